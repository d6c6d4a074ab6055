//! Rejects that the tasks of a job have left in the folder that all machines see: a file a task, a line each.

use std::io::{BufRead, BufReader, Seek, SeekFrom};

use super::parts::{REJECTS, place};
use crate::error::{Error, Result};
use crate::place::{ReadSeek, Shared};
use crate::stage::Reject;

/// The rejects of a task, each with the position of its stage in the fragment.
pub(crate) fn of_task(folder: &Shared, task: usize) -> Result<Vec<(usize, Reject)>> {
    let mut file = TaskFile::open(folder, task)?;
    let mut rejects = Vec::new();
    while let Some((position, reject)) = file.next()? {
        rejects.push((usize::try_from(position).unwrap_or(usize::MAX), reject));
    }
    Ok(rejects)
}

/// The rejects of all tasks of a job whose rows are numbered, in the order of the rows, whichever task had them.
pub(crate) struct NumberedRejects {
    folder: Shared,
    /// The row's number, the task, and where its line begins.
    places: Vec<(u64, usize, u64)>,
}

impl NumberedRejects {
    /// Those of these tasks.
    pub(crate) fn of(folder: &Shared, tasks: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut places = Vec::new();
        for task in tasks {
            let mut file = TaskFile::open(folder, task)?;
            let mut at = 0;
            while let Some((number, _)) = file.next()? {
                places.push((number, task, at));
                at += file.line.len() as u64;
            }
        }
        places.sort_unstable();
        Ok(NumberedRejects {
            folder: folder.clone(),
            places,
        })
    }

    /// The numbers of the rows, rising.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.places.iter().map(|&(number, ..)| number).collect()
    }

    /// The rejects, read one after the other.
    pub(crate) fn read(&self) -> impl Iterator<Item = Result<Reject>> {
        let mut open: Option<TaskFile> = None;
        self.places.iter().map(move |&(_, task, at)| {
            let file = match &mut open {
                Some(file) if file.task == task => file,
                other => other.insert(TaskFile::open(&self.folder, task)?),
            };
            file.seek(at)?;
            let cut = || Error::failed("rejects of a task are gone since they were counted");
            file.next()?.map(|(_, reject)| reject).ok_or_else(cut)
        })
    }
}

/// The file of one task.
struct TaskFile {
    task: usize,
    place: Shared,
    reader: BufReader<Box<dyn ReadSeek>>,
    line: String,
}

impl TaskFile {
    fn open(folder: &Shared, task: usize) -> Result<Self> {
        let place = place(folder, REJECTS, task);
        let reader = BufReader::new(place.open()?);
        Ok(TaskFile {
            task,
            place,
            reader,
            line: String::new(),
        })
    }

    /// The next reject, with the number that stands before it.
    fn next(&mut self) -> Result<Option<(u64, Reject)>> {
        self.line.clear();
        let read = self.reader.read_line(&mut self.line);
        if read.map_err(|error| unreadable(&self.place, &error))? == 0 {
            return Ok(None);
        }
        let parsed = serde_json::from_str(&self.line);
        parsed
            .map(Some)
            .map_err(|error| unreadable(&self.place, &error))
    }

    fn seek(&mut self, at: u64) -> Result<()> {
        // The next line is in memory already, as a rule.
        let mut go = || match self.reader.stream_position()? {
            place if place == at => Ok(at),
            _ => self.reader.seek(SeekFrom::Start(at)),
        };
        go().map(drop)
            .map_err(|error| unreadable(&self.place, &error))
    }
}

fn unreadable(place: &Shared, error: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("cannot read the rejects in `{place}`")).cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::schema::Schema;

    #[test]
    fn numbered_rejects_come_in_the_order_of_the_rows_whichever_task_had_them() {
        let folder = std::env::temp_dir().join(format!("etl-rejects-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder takes another");
        let shared = Shared::Path(folder.clone());
        let line = |number: u64| {
            let (rows, reason) = (Batch::new(Vec::new(), 1), format!("reason {number}"));
            let reject = Reject::of(&rows, &Schema::default(), 0, None, None, reason);
            serde_json::to_string(&(number, reject)).expect("it is plain data") + "\n"
        };
        for (task, numbers) in [(0, &[1, 4, 5][..]), (3, &[0, 2]), (4, &[])] {
            let text: String = numbers.iter().copied().map(line).collect();
            place(&shared, REJECTS, task)
                .write(text.as_bytes())
                .expect("the folder takes files");
        }
        let rejects = NumberedRejects::of(&shared, [0, 3, 4]).expect("they can be read");
        assert_eq!(rejects.numbers(), [0, 1, 2, 4, 5]);
        let reasons: Result<Vec<String>> =
            rejects.read().map(|reject| Ok(reject?.reason)).collect();
        let expected = [0, 1, 2, 4, 5].map(|number| format!("reason {number}"));
        assert_eq!(reasons.expect("as above"), expected);
        place(&shared, REJECTS, 3).write(b"[0,").expect("as above");
        assert!(NumberedRejects::of(&shared, [3]).is_err());
        std::fs::remove_dir_all(folder).expect("it was made here");
    }
}
