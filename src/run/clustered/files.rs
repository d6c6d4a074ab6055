//! Which tasks read which files.

/// Small files are read by one task until they have so many bytes: a task costs about 50 ms.
const TASK_FILES_BYTES: u64 = 64 << 20;
/// So many tasks a core let the faster ones do more.
const TASKS_A_CORE: u64 = 4;

/// Which files that follow each other a task reads, by their sizes: for each task the first one, and how many.
pub(super) fn together(sizes: &[u64], cores: u64) -> Vec<(usize, usize)> {
    let all: u64 = sizes.iter().sum();
    let enough = (all / (cores * TASKS_A_CORE).max(1)).min(TASK_FILES_BYTES);
    let mut tasks: Vec<(usize, usize)> = Vec::new();
    let mut taken = u64::MAX;
    for (at, size) in sizes.iter().enumerate() {
        match tasks.last_mut() {
            Some((_, count)) if taken.saturating_add(*size) <= enough => {
                *count += 1;
                taken += size;
            }
            _ => {
                tasks.push((at, 1));
                taken = *size;
            }
        }
    }
    if tasks.is_empty() {
        // One task says that there is nothing.
        tasks.push((0, 0));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_together_and_large_ones_alone() {
        assert_eq!(together(&[], 2), [(0, 0)]);
        assert_eq!(together(&[5], 2), [(0, 1)]);
        assert_eq!(together(&[10; 4], 1), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(
            together(&[1, 1, 1, 1, 100, 1, 1], 1),
            [(0, 4), (4, 1), (5, 2)]
        );
        let large = TASK_FILES_BYTES;
        assert_eq!(
            together(&[large, 1, large, large], 1),
            [(0, 1), (1, 1), (2, 1), (3, 1)]
        );
    }
}
