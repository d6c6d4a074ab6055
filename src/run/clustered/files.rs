//! Which tasks read which files.

use std::ops::Range;

/// Small files are read by one task until they have so many bytes: a task costs about 50 ms.
const TASK_FILES_BYTES: u64 = 64 << 20;
/// So many tasks a core let the faster ones do more.
const TASKS_A_CORE: u64 = 4;

/// Which files that follow each other a task reads, by their sizes. A file is read and parsed by one task, however large it
/// is: to send what was read to others takes several times as long as the work on it (docs/cluster.md).
pub(super) fn together(sizes: &[u64], cores: u64) -> Vec<Range<usize>> {
    let all: u64 = sizes.iter().sum();
    let enough = (all / (cores * TASKS_A_CORE).max(1)).min(TASK_FILES_BYTES);
    let mut tasks: Vec<Range<usize>> = Vec::new();
    let mut taken = u64::MAX;
    for (at, &size) in sizes.iter().enumerate() {
        match tasks.last_mut() {
            Some(task) if taken.saturating_add(size) <= enough => {
                task.end += 1;
                taken += size;
            }
            _ => {
                tasks.push(at..at + 1);
                taken = size;
            }
        }
    }
    if tasks.is_empty() {
        // One task says that there is nothing.
        tasks.push(0..0);
    }
    tasks
}

/// How many tasks read files of these sizes.
pub fn file_tasks(sizes: &[u64], cores: u64) -> usize {
    together(sizes, cores).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_together_and_large_ones_alone() {
        let tasks = |sizes: &[u64], cores| -> Vec<(usize, usize)> {
            let tasks = together(sizes, cores).into_iter();
            tasks.map(|files| (files.start, files.end)).collect()
        };
        let alone = [(0, 1), (1, 2), (2, 3), (3, 4)];
        assert_eq!(tasks(&[], 2), [(0, 0)]);
        assert_eq!(tasks(&[5], 2), [(0, 1)]);
        assert_eq!(tasks(&[10; 4], 1), alone);
        assert_eq!(tasks(&[1, 1, 1, 1, 100, 1, 1], 1), [(0, 4), (4, 5), (5, 7)]);
        let large = TASK_FILES_BYTES;
        assert_eq!(tasks(&[large, 1, large, large], 1), alone);
    }
}
