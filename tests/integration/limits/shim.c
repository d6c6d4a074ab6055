/* What a test loads before the program (LD_PRELOAD): a system without room for another thread or process,
   and a clock that is set wrong.

   SHIM_FROM=N   the N-th thread or process that is started, and each after it, is refused
   SHIM_IN=WHO   in `worker` processes only, or in their `parent` only
   SHIM_TIME=S   the clock says that S seconds have gone by since 1970 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long started;
static long from = -1;
static const char *set_time;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHIM_FROM"), *in = getenv("SHIM_IN");
    char line[4096] = {0};
    int file = open("/proc/self/cmdline", O_RDONLY);
    long length = file < 0 ? 0 : read(file, line, sizeof line - 1);
    if (file >= 0) close(file);
    long first = strlen(line) + 1;
    int is_worker = first < length && strcmp(line + first, "worker") == 0;
    if (text && (!in || (strcmp(in, "worker") == 0) == is_worker)) from = atol(text);
    set_time = getenv("SHIM_TIME");
}

static int refused(void) { return from >= 0 && atomic_fetch_add(&started, 1) + 1 >= from; }

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *p) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (refused()) return EAGAIN;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(t, a, f, p);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const words[], char *const environment[]) {
    static __typeof__(posix_spawnp) *real;
    if (refused()) return EAGAIN;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "posix_spawnp");
    return real(pid, file, actions, attributes, words, environment);
}

pid_t fork(void) {
    static __typeof__(fork) *real;
    if (refused()) { errno = EAGAIN; return -1; }
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "fork");
    return real();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (set_time && clock == CLOCK_REALTIME) now->tv_sec = atol(set_time);
    return result;
}
