//! What a run is for its stages: its folders, its files, its name.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::batch::origin::FILES_MAX;
use crate::disk::{self, Hold};
use crate::error::{Error, Place, Result};
use crate::place::Folder;
use crate::stop::Stop;

/// What a run is, for stages that begin in it.
pub struct Run {
    /// Unique: time and a random part.
    pub id: String,
    /// Where relative paths of the pipeline start.
    pub folder: Folder,
    /// Where this run keeps what it must not forget.
    pub state: PathBuf,
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether it goes on where an earlier one was interrupted.
    pub resumed: bool,
    /// Files by number, for the origins of rows.
    files: Mutex<Vec<String>>,
    /// The numbers that its files get, where these are some of another run's; `None`: they count from 0.
    numbers: Option<Vec<u32>>,
    /// Whether it is to stop, for sources that wait for something.
    pub stop: Stop,
}

impl Run {
    /// A run of a pipeline in `folder`, its state kept in the folder `state`.
    pub fn new(id: String, folder: Folder, state: PathBuf, stop: Stop) -> Self {
        Run {
            id,
            folder,
            state,
            pipeline: String::new(),
            resumed: false,
            stop,
            files: Mutex::default(),
            numbers: None,
        }
    }

    /// A part of a run: its files get these numbers, one after the other.
    pub(crate) fn numbered(mut self, numbers: Vec<u32>) -> Self {
        self.numbers = Some(numbers);
        self
    }

    /// Gives a file its number.
    pub fn add_file(&self, file: impl Display) -> Result<u32> {
        let mut files = self.files.lock().expect("no one panics holding this lock");
        let number = match &self.numbers {
            Some(numbers) => numbers.get(files.len()).copied(),
            None => u32::try_from(files.len())
                .ok()
                .filter(|number| *number < FILES_MAX),
        };
        let number = number.ok_or_else(|| {
            Error::failed(format!("a run reads at most {FILES_MAX} files"))
                .hint("read them in several runs")
        })?;
        files.push(file.to_string());
        Ok(number)
    }

    /// How many files have a number.
    pub(crate) fn files(&self) -> usize {
        self.files
            .lock()
            .expect("no one panics holding this lock")
            .len()
    }

    /// The place that an origin number stands for.
    pub fn place(&self, origin: u64, line: Option<u64>, byte: Option<u64>) -> Place {
        let (file, record) = crate::batch::origin::split(origin);
        let files = self.files.lock().expect("no one panics holding this lock");
        let file = usize::try_from(file)
            .ok()
            .and_then(|file| files.get(file).cloned())
            .unwrap_or_default();
        Place {
            file,
            record,
            line,
            byte,
        }
    }
}

/// The file in a run's folder that is locked as long as the run goes on.
pub const RUN_FILE: &str = "run.json";

/// The file in a run's folder that has its rejects, one JSON object a line.
pub const REJECTS_FILE: &str = "rejects.ndjson";

/// What a file in a run's folder begins with that notes an upload in parts, until it is published or given up.
pub const UPLOAD_PREFIX: &str = "upload-";

/// Whether this is the name that a run gives itself, and so to its folder: `YYYYMMDDTHHMMSS-xxxx`.
pub fn is_run_id(name: &str) -> bool {
    let of = |text: &str, is: fn(&u8) -> bool| text.bytes().all(|byte| is(&byte));
    let Some((time, number)) = name.split_once('-') else {
        return false;
    };
    let Some((day, second)) = time.split_once('T') else {
        return false;
    };
    // A run that finds its number taken counts on, past four digits where it must.
    (day.len(), second.len()) == (8, 6)
        && (4..=5).contains(&number.len())
        && of(day, u8::is_ascii_digit)
        && of(second, u8::is_ascii_digit)
        && of(number, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether run `id` in the folder `runs` is known to have ended.
pub fn has_ended(runs: &Path, id: &str) -> bool {
    matches!(disk::hold(&runs.join(id).join(RUN_FILE)), Hold::Held(_))
}
