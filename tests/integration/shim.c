/* Stands between the program and the C library: notes every call that changes names or brings them to disk, and
   ends the process at one of them.
   SHIM_LOG=FILE     notes the calls there
   SHIM_UNDER=DIR    counts calls about DIR and what lies directly in it, and removals of *.json anywhere below
   SHIM_KILL=N       kills the process at the N-th of these,
   SHIM_WHEN=after   behind the call, otherwise before it
   SHIM_NO_EXCHANGE  the file system cannot exchange two names
   SHIM_NO_SYNC=DIR  the names in DIR cannot be brought to disk */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int count;

static void note(const char *call, const char *path, const char *to, int mode) {
    const char *log = getenv("SHIM_LOG");
    if (!log) return;
    char line[3 * PATH_MAX];
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%o\n", call, path, to, mode);
    int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0) return;
    if (write(fd, line, length) < 0) abort();
    close(fd);
}

static int counts(const char *path, int deep) {
    const char *under = getenv("SHIM_UNDER");
    if (!under || !path) return 0;
    size_t length = strlen(under);
    if (strncmp(path, under, length) != 0) return 0;
    if (path[length] == 0) return 1;
    return path[length] == '/' && (deep || !strchr(path + length + 1, '/'));
}

/* Whether the process is to end behind this call; it may end here. */
static int begin(const char *call, const char *path, const char *to, int mode, int deep) {
    note(call, path, to, mode);
    if (!counts(path, deep) && !counts(to, deep)) return 0;
    const char *at = getenv("SHIM_KILL"), *when = getenv("SHIM_WHEN");
    if (!at || __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) != atoi(at)) return 0;
    if (when && strcmp(when, "after") == 0) return 1;
    kill(getpid(), SIGKILL);
    return 0;
}

static const char *path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static const char *path_at(int fd, const char *name, char *path) {
    if (name[0] == '/') return name;
    char folder[PATH_MAX];
    if (fd == AT_FDCWD) {
        if (!getcwd(folder, sizeof folder)) return name;
    } else {
        path_of(fd, folder);
    }
    snprintf(path, 2 * PATH_MAX, "%s/%s", folder, strncmp(name, "./", 2) ? name : name + 2);
    return path;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define CALL(call, path, to, mode, deep, what) \
    int last = begin(call, path, to, mode, deep); \
    int result = what; \
    int error = errno; \
    if (last) kill(getpid(), SIGKILL); \
    errno = error; \
    return result

int rename(const char *from, const char *to) {
    REAL(rename);
    char a[2 * PATH_MAX], b[2 * PATH_MAX];
    CALL("rename", path_at(AT_FDCWD, from, a), path_at(AT_FDCWD, to, b), 0, 0, real(from, to));
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags) {
    REAL(renameat2);
    char a[2 * PATH_MAX], b[2 * PATH_MAX];
    if (flags && getenv("SHIM_NO_EXCHANGE")) {
        errno = EINVAL;
        return -1;
    }
    CALL("exchange", path_at(from_fd, from, a), path_at(to_fd, to, b), 0, 0, real(from_fd, from, to_fd, to, flags));
}

int fsync(int fd) {
    REAL(fsync);
    char a[PATH_MAX];
    const char *fails = getenv("SHIM_NO_SYNC");
    if (fails && strcmp(path_of(fd, a), fails) == 0) {
        errno = EIO;
        return -1;
    }
    CALL("fsync", path_of(fd, a), "", 0, 0, real(fd));
}

int fdatasync(int fd) {
    REAL(fdatasync);
    char a[PATH_MAX];
    CALL("fsync", path_of(fd, a), "", 0, 0, real(fd));
}

int flock(int fd, int operation) {
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    char a[PATH_MAX];
    CALL("flock", path_of(fd, a), "", 0, 0, real(fd, operation));
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    char a[PATH_MAX];
    CALL("ftruncate", path_of(fd, a), "", 0, 0, real(fd, length));
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    char a[2 * PATH_MAX];
    CALL("mkdir", path_at(AT_FDCWD, path, a), "", mode, 0, real(path, mode));
}

int rmdir(const char *path) {
    REAL(rmdir);
    char a[2 * PATH_MAX];
    CALL("rmdir", path_at(AT_FDCWD, path, a), "", 0, 0, real(path));
}

int unlink(const char *path) {
    REAL(unlink);
    char a[2 * PATH_MAX];
    CALL("unlink", path_at(AT_FDCWD, path, a), "", 0, 0, real(path));
}

int unlinkat(int fd, const char *path, int flags) {
    REAL(unlinkat);
    char a[2 * PATH_MAX];
    int deep = strlen(path) > 5 && strcmp(path + strlen(path) - 5, ".json") == 0;
    CALL("unlink", path_at(fd, path, a), "", 0, deep, real(fd, path, flags));
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!(flags & O_CREAT)) return real(path, flags);
    char a[2 * PATH_MAX];
    CALL("create", path_at(AT_FDCWD, path, a), "", mode, 0, real(path, flags, mode));
}
