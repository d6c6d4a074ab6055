//! Which tasks read which files.

use std::ops::Range;

/// Small files are read by one task until they have so many bytes: a task costs about 50 ms. What is read of a large one
/// is worked on in parts of about this size.
pub(super) const TASK_FILES_BYTES: u64 = 64 << 20;
/// So many tasks a core let the faster ones do more.
const TASKS_A_CORE: u64 = 4;

/// Files that follow each other, which one task reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileTask {
    /// Their numbers.
    pub(super) files: Range<usize>,
    /// Whether it only reads what other tasks work on: a file so large that all cores would wait for one.
    pub(super) is_shared: bool,
}

/// Which task reads which files, by their sizes.
pub(super) fn together(sizes: &[u64], cores: u64) -> Vec<FileTask> {
    let all: u64 = sizes.iter().sum();
    let enough = (all / (cores * TASKS_A_CORE).max(1)).min(TASK_FILES_BYTES);
    let is_large = |size: u64| size > TASK_FILES_BYTES && size > all / cores.max(1);
    let mut tasks: Vec<FileTask> = Vec::new();
    let mut taken = u64::MAX;
    for (at, &size) in sizes.iter().enumerate() {
        match tasks.last_mut() {
            Some(task) if taken.saturating_add(size) <= enough => {
                task.files.end += 1;
                taken += size;
            }
            _ => {
                tasks.push(FileTask {
                    files: at..at + 1,
                    is_shared: is_large(size),
                });
                taken = size;
            }
        }
    }
    if tasks.is_empty() {
        // One task says that there is nothing.
        tasks.push(FileTask {
            files: 0..0,
            is_shared: false,
        });
    }
    tasks
}

/// How many tasks work on files of these sizes, about where one reads for others.
pub fn file_tasks(sizes: &[u64], cores: u64) -> usize {
    let tasks = together(sizes, cores).into_iter();
    let parts = tasks.map(|task| {
        let bytes: u64 = sizes[task.files].iter().sum();
        if task.is_shared {
            bytes.div_ceil(TASK_FILES_BYTES)
        } else {
            1
        }
    });
    usize::try_from(parts.sum::<u64>()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of each task, and which tasks only read.
    fn tasks(sizes: &[u64], cores: u64) -> (Vec<(usize, usize)>, Vec<usize>) {
        let tasks = together(sizes, cores);
        let shared = (0..tasks.len()).filter(|&at| tasks[at].is_shared).collect();
        let files = tasks
            .into_iter()
            .map(|task| (task.files.start, task.files.end));
        (files.collect(), shared)
    }

    #[test]
    fn small_files_are_read_together_and_large_ones_alone() {
        let alone = [(0, 1), (1, 2), (2, 3), (3, 4)].to_vec();
        assert_eq!(tasks(&[], 2), (vec![(0, 0)], vec![]));
        assert_eq!(tasks(&[5], 2), (vec![(0, 1)], vec![]));
        assert_eq!(tasks(&[10; 4], 1), (alone.clone(), vec![]));
        assert_eq!(
            tasks(&[1, 1, 1, 1, 100, 1, 1], 1),
            (vec![(0, 4), (4, 5), (5, 7)], vec![])
        );
        let large = TASK_FILES_BYTES;
        assert_eq!(tasks(&[large, 1, large, large], 1), (alone, vec![]));
    }

    #[test]
    fn what_is_larger_than_the_share_of_a_core_is_read_for_others() {
        let large = TASK_FILES_BYTES + 1;
        assert_eq!(tasks(&[large], 2), (vec![(0, 1)], vec![0]));
        // It is all that there is to do.
        assert_eq!(tasks(&[large], 1), (vec![(0, 1)], vec![]));
        assert_eq!(tasks(&[large - 1], 2), (vec![(0, 1)], vec![]));
        // Each core has as much to do.
        assert!(tasks(&[large, large], 2).1.is_empty());
        assert_eq!(tasks(&[large, large], 3).1, [0, 1]);
        let sizes = [1, 1, 10 * large, large, 1];
        assert_eq!(
            tasks(&sizes, 8),
            (vec![(0, 2), (2, 3), (3, 4), (4, 5)], vec![1])
        );
    }
}
