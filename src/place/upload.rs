//! An object that is written: nothing of it is visible before it is published. What is small is sent then, in one
//! request. What is larger is sent in parts while it is made, and published when the store makes an object of them. Parts
//! that are not published cost money: so they are given up however the run ends, and a killed run leaves a note, by which
//! the next one gives them up.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ObjectUrl;
use super::store::{PendingPart, Store};
use crate::clock::monotonic;
use crate::disk;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// The first parts. S3 takes none below 5 MiB, but for the last.
const PART_MIN: usize = 8 << 20;
/// After so many parts their size doubles: of the 10,000 that S3 takes none is missing before 5 TiB, its largest object.
const PARTS_OF_A_SIZE: usize = 1000;
/// How many parts are on their way at most, beside the one that is filled.
const UNDER_WAY_MAX: usize = 3;
/// The longest that giving up an upload takes when the run is to stop.
const GIVING_UP: Duration = Duration::from_secs(5);

/// An object on its way; dropped before it is published, it is given up.
pub(crate) struct Upload {
    store: Arc<Store>,
    url: ObjectUrl,
    stop: Stop,
    buffer: Vec<u8>,
    /// What the store calls it, once it has parts.
    id: Option<String>,
    under_way: VecDeque<PendingPart>,
    /// What the store calls the parts that it has.
    parts: Vec<String>,
    /// The note by which the next run finds it.
    note: PathBuf,
}

/// What a run notes of an upload.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Of the object, with its server.
    url: String,
    upload: String,
}

impl Upload {
    /// Begins to write an object; `note` is a file that outlives a killed run.
    pub(crate) fn begin(url: &ObjectUrl, note: PathBuf, stop: &Stop) -> Result<Upload> {
        let upload = Upload {
            store: Store::of(url)?,
            url: url.clone(),
            stop: stop.clone(),
            buffer: Vec::new(),
            id: None,
            under_way: VecDeque::new(),
            parts: Vec::new(),
            note,
        };
        // What a killed run of the same name has left.
        give_up(&upload.note, url, stop);
        Ok(upload)
    }

    /// Takes more of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.part_bytes() - self.buffer.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            // The last part is sent when it is known to be the last.
            if !rest.is_empty() {
                self.send_part()?;
            }
        }
        Ok(())
    }

    /// How large the part is that is filled now.
    fn part_bytes(&self) -> usize {
        PART_MIN << ((self.parts.len() + self.under_way.len()) / PARTS_OF_A_SIZE)
    }

    fn send_part(&mut self) -> Result<()> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.create()?,
        };
        // Large parts have fewer beside them.
        let most = (UNDER_WAY_MAX * PART_MIN / self.part_bytes()).max(1);
        while self.under_way.len() >= most {
            self.take_part()?;
        }
        let number = self.parts.len() + self.under_way.len();
        let bytes = std::mem::take(&mut self.buffer).into();
        let part = self.store.put_part(&self.url, &id, number, bytes)?;
        self.under_way.push_back(part);
        Ok(())
    }

    fn create(&mut self) -> Result<String> {
        let id = self.store.create_upload(&self.url, &self.stop)?;
        self.id = Some(id.clone());
        let note = Note {
            url: self.url.whole(),
            upload: id.clone(),
        };
        let json = serde_json::to_vec(&note).expect("it is plain data");
        let written = disk::private().create(true).truncate(true).open(&self.note);
        let written = written.and_then(|mut file| {
            file.write_all(&json)?;
            disk::sync(&file)
        });
        written.map_err(|error| Error::io("write", self.note.display(), &error))?;
        Ok(id)
    }

    fn take_part(&mut self) -> Result<()> {
        if let Some(part) = self.under_way.pop_front() {
            self.parts.push(part.wait(&self.stop)??);
        }
        Ok(())
    }

    /// All is written: every part is with the store, and nothing is visible.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.id.is_some() {
            self.send_part()?;
            while !self.under_way.is_empty() {
                self.take_part()?;
            }
        }
        Ok(())
    }

    /// Makes it the object.
    pub(crate) fn publish(mut self) -> Result<()> {
        let Some(id) = &self.id else {
            let bytes = std::mem::take(&mut self.buffer).into();
            return self.store.put(&self.url, bytes)?.wait(&self.stop)?;
        };
        let parts = self.parts.clone();
        self.store
            .complete_upload(&self.url, id, parts, &self.stop)?;
        self.id = None;
        let _ = std::fs::remove_file(&self.note);
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A part that comes after the upload was given up would stay.
        self.under_way.clear();
        if let Some(id) = self.id.take() {
            let stop = Stop::default().until(monotonic() + GIVING_UP);
            // Otherwise the next run finds the note.
            if self.store.abort_upload(&self.url, &id, &stop).is_ok() {
                let _ = std::fs::remove_file(&self.note);
            }
        }
    }
}

/// Gives up the upload that a run which has ended has noted in this file, if it was to become this object. What cannot be
/// given up now keeps its note.
pub(crate) fn give_up(note: &Path, url: &ObjectUrl, stop: &Stop) {
    let noted = std::fs::read(note).ok();
    let noted: Option<Note> = noted.and_then(|noted| serde_json::from_slice(&noted).ok());
    let Some(noted) = noted.filter(|noted| noted.url == url.whole()) else {
        return;
    };
    let store = Store::of(url);
    if store.is_ok_and(|store| store.abort_upload(url, &noted.upload, stop).is_ok()) {
        let _ = std::fs::remove_file(note);
    }
}

/// What is known of an object that will be replaced; `None`: there is none.
pub(crate) fn replaced(url: &ObjectUrl, stop: &Stop) -> Result<Option<u64>> {
    let found = Store::of(url)?.find(url, stop)?;
    Ok(found.and_then(|found| found.bytes))
}

/// Whether an object can be written there: an upload is begun and given up.
pub(crate) fn can_write(url: &ObjectUrl, stop: &Stop) -> Result<()> {
    let store = Store::of(url)?;
    let id = store.create_upload(url, stop)?;
    store.abort_upload(url, &id, stop)
}
