//! Stores of objects: what they say of an object, its bytes, the names in a bucket, and uploads. This is the one home
//! of the library that speaks to them; what is asynchronous runs on a thread of the network's ([`Background`]).
//!
//! The library sends a request again after a broken connection, 429 and 5xx, and goes on with a body from where it
//! broke, as long as the object is the same. How often is said here.

mod aws_files;
mod error;
mod options;
mod web;

pub(crate) use error::works_elsewhere;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ListResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
};
use parking_lot::Mutex;

use super::Endpoint;
use super::url::{ObjectUrl, Scheme};
use crate::error::{Error, Result};
use crate::http::{Background, FileHead, Pending, WebStream};
use crate::stop::Stop;
use error::Failure;
use web::Web;

/// How often a request is sent again, with waits that double from `WAIT` to `WAIT_MAX`: about half a minute, after which a
/// store that slowed us down has let us in again.
const RETRIES: usize = 8;
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(15);
/// All tries of a request together. The signature of a request holds for 15 minutes, some credentials for less.
const TRYING_MAX: Duration = Duration::from_mins(3);

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    /// Its size; `None`: a web server does not say.
    pub(super) bytes: Option<u64>,
    /// When it was last changed, RFC 3339.
    pub(super) modified: Option<String>,
    /// What the store calls this version.
    pub(super) etag: Option<String>,
    /// Whether a part of it can be asked for.
    pub(super) has_ranges: bool,
    /// What a web server said.
    head: Option<FileHead>,
}

/// A bucket, or a web server.
pub(super) struct Store {
    background: Background,
    backend: Backend,
    /// What was said of objects when the bucket was listed: they are not asked for again one by one.
    listed: Mutex<HashMap<String, Meta>>,
}

enum Backend {
    Bucket(Arc<dyn Bucket>),
    Web(Arc<Web>),
}

/// What is needed of a bucket.
trait Bucket: ObjectStore + MultipartStore + PaginatedListStore {}

impl<T: ObjectStore + MultipartStore + PaginatedListStore> Bucket for T {}

type Stores = HashMap<(Scheme, String, Option<Endpoint>), Arc<Store>>;

/// The stores of this process: objects of one bucket share its connections and credentials.
static STORES: LazyLock<Mutex<Stores>> = LazyLock::new(Mutex::default);

/// A part on its way; done, what the store calls it.
pub(super) type PendingPart = Pending<Result<String>>;

/// An object on its way, or one that goes.
pub(super) type PendingPut = Pending<Result<()>>;

/// Bytes on their way.
pub(super) type PendingBytes = Pending<Result<Bytes>>;

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// The store that has this object.
    pub(super) fn of(url: &ObjectUrl) -> Result<Arc<Store>> {
        let mut stores = STORES.lock();
        let key = url.home();
        if let Some(store) = stores.get(&key) {
            return Ok(store.clone());
        }
        let backend = if url.scheme.is_web() {
            Backend::Web(Arc::new(Web::new(url)?))
        } else {
            Backend::Bucket(options::bucket(url)?)
        };
        let store = Arc::new(Store {
            background: Background::start("etl-store")?,
            backend,
            listed: Mutex::default(),
        });
        stores.insert(key, store.clone());
        Ok(store)
    }

    /// What is known of an object; it must be there.
    pub(super) fn look(&self, url: &ObjectUrl, stop: &Stop) -> Result<Meta> {
        if let Some(meta) = self.listed.lock().remove(&url.key) {
            return Ok(meta);
        }
        let shown = url.clone();
        let looked = match &self.backend {
            Backend::Web(web) => {
                let web = web.clone();
                self.background.begin(async move { web.look(&shown).await })
            }
            Backend::Bucket(bucket) => {
                let (bucket, path) = (bucket.clone(), path(url)?);
                self.background.begin(async move {
                    let looked = look(&*bucket, &path).await;
                    looked.map_err(|failure| failure.about(&shown))
                })
            }
        };
        looked.wait(stop)?
    }

    /// What is known of an object in a bucket; `None`: it is not there, or may not be seen.
    pub(super) fn find(&self, url: &ObjectUrl, stop: &Stop) -> Result<Option<Meta>> {
        let (bucket, path) = (self.bucket(url)?, path(url)?);
        let looked = self
            .background
            .begin(async move { look(&*bucket, &path).await });
        match looked.wait(stop)? {
            Ok(meta) => Ok(Some(meta)),
            Err(failure) if failure.is_unseen() => Ok(None),
            Err(failure) => Err(failure.in_write(url)),
        }
    }

    /// Whether an object without bytes that was listed under this name stands for a folder: its name ends in `/`, which the
    /// library drops. There is no object of the name without it then, or it has bytes.
    pub(super) fn is_folder(&self, url: &ObjectUrl, stop: &Stop) -> Result<bool> {
        let (bucket, path) = (self.bucket(url)?, path(url)?);
        let looked = self
            .background
            .begin(async move { look(&*bucket, &path).await });
        Ok(match looked.wait(stop)? {
            Ok(meta) => meta.bytes != Some(0),
            Err(failure) => failure.is_absent(),
        })
    }

    /// Begins to read some bytes of an object, which must be the one that was looked at.
    pub(super) fn range(&self, url: &ObjectUrl, meta: &Meta, from: u64, to: u64) -> PendingBytes {
        let (shown, meta) = (url.clone(), meta.clone());
        match &self.backend {
            Backend::Web(web) => {
                let web = web.clone();
                self.background
                    .begin(async move { web.range(&shown, &meta, from, to).await })
            }
            Backend::Bucket(bucket) => {
                let bucket = bucket.clone();
                self.background.begin(async move {
                    let read = range(&*bucket, &path(&shown)?, meta.etag, from..to).await;
                    read.map_err(|failure| failure.in_run(&shown))
                })
            }
        }
    }

    /// Begins to read a whole file of a web server that gives no parts; `None`: it is in a bucket.
    pub(super) fn stream(&self, url: &ObjectUrl, meta: &Meta) -> Result<Option<WebStream>> {
        match &self.backend {
            Backend::Web(web) => web.stream(url, meta).map(Some),
            Backend::Bucket(_) => Ok(None),
        }
    }

    /// Begins to read on; gives the stream back.
    pub(super) fn read_on(&self, stream: WebStream) -> Pending<(WebStream, Result<Bytes>)> {
        let mut stream = stream;
        self.background.begin(async move {
            let next = stream.next().await;
            (stream, next)
        })
    }

    /// The names in a bucket that begin with `prefix`, and what is known of each; of those with a `/` after the prefix
    /// only if `deep`.
    pub(super) fn list(
        &self,
        url: &ObjectUrl,
        prefix: &str,
        deep: bool,
        stop: &Stop,
        mut take: impl FnMut(String, Meta) -> Result<()>,
    ) -> Result<()> {
        self.pages(url, prefix, deep, stop, |page| {
            let mut objects = page.objects.into_iter();
            objects.try_for_each(|found| take(found.location.to_string(), meta(found)))
        })
    }

    /// What stands between `prefix` and the next `/` in the names that have both.
    pub(super) fn folders(
        &self,
        url: &ObjectUrl,
        prefix: &str,
        stop: &Stop,
    ) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        self.pages(url, prefix, false, stop, |page| {
            let found = page.common_prefixes.iter();
            folders.extend(found.filter_map(|folder| folder.filename().map(str::to_owned)));
            Ok(())
        })?;
        Ok(folders)
    }

    /// The pages of a list.
    fn pages(
        &self,
        url: &ObjectUrl,
        prefix: &str,
        deep: bool,
        stop: &Stop,
        mut take: impl FnMut(ListResult) -> Result<()>,
    ) -> Result<()> {
        let bucket = self.bucket(url)?;
        let mut page_token = None;
        loop {
            let options = PaginatedListOptions {
                delimiter: (!deep).then(|| "/".into()),
                page_token: page_token.take(),
                ..PaginatedListOptions::default()
            };
            let (bucket, prefix) = (bucket.clone(), prefix.to_owned());
            let page = self.background.begin(async move {
                let prefix = (!prefix.is_empty()).then_some(&*prefix);
                let page = bucket.list_paginated(prefix, options).await;
                page.map_err(|error| Failure::of(&error))
            });
            let page = page.wait(stop)?;
            let page = page.map_err(|failure| failure.about_bucket(url))?;
            take(page.result)?;
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(());
            }
        }
    }

    /// Remembers what was said of an object, for who looks at it next.
    pub(super) fn remember(&self, key: String, meta: Meta) {
        self.listed.lock().insert(key, meta);
    }

    /// Begins to write a whole object.
    pub(super) fn put(&self, url: &ObjectUrl, bytes: Bytes) -> Result<PendingPut> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        Ok(self.background.begin(async move {
            let put = bucket.put(&path, PutPayload::from_bytes(bytes)).await;
            put.map(drop)
                .map_err(|error| Failure::of(&error).in_write(&shown))
        }))
    }

    /// Begins to read a whole object that this run has written.
    pub(super) fn get(&self, url: &ObjectUrl) -> Result<PendingBytes> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        Ok(self.background.begin(async move {
            let read = match bucket.get(&path).await {
                Ok(found) => found.bytes().await,
                Err(error) => Err(error),
            };
            read.map_err(|error| Failure::of(&error).of_own(&shown))
        }))
    }

    /// Begins to remove an object. One that is gone already is no error.
    pub(super) fn delete(&self, url: &ObjectUrl) -> Result<PendingPut> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        Ok(self.background.begin(async move {
            match bucket.delete(&path).await {
                Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => {
                    Err(Failure::of(&error).in_write(&shown))
                }
                _ => Ok(()),
            }
        }))
    }

    /// Begins an upload in parts.
    pub(super) fn create_upload(&self, url: &ObjectUrl, stop: &Stop) -> Result<String> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        let created = self.background.begin(async move {
            let created = bucket.create_multipart(&path).await;
            created.map_err(|error| Failure::of(&error).in_write(&shown))
        });
        created.wait(stop)?
    }

    /// Begins to send a part of an upload; gives what the store calls it.
    pub(super) fn put_part(
        &self,
        url: &ObjectUrl,
        upload: &str,
        number: usize,
        bytes: Bytes,
    ) -> Result<PendingPart> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        let upload = upload.to_owned();
        Ok(self.background.begin(async move {
            let payload = PutPayload::from_bytes(bytes);
            let put = bucket.put_part(&path, &upload, number, payload).await;
            put.map(|part| part.content_id)
                .map_err(|error| Failure::of(&error).in_write(&shown))
        }))
    }

    /// Makes an object of all parts of an upload.
    pub(super) fn complete_upload(
        &self,
        url: &ObjectUrl,
        upload: &str,
        parts: Vec<String>,
        stop: &Stop,
    ) -> Result<()> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        let upload = upload.to_owned();
        let parts = parts.into_iter();
        let parts = parts.map(|content_id| object_store::multipart::PartId { content_id });
        let parts = parts.collect();
        let done = self.background.begin(async move {
            let done = bucket.complete_multipart(&path, &upload, parts).await;
            done.map(drop)
                .map_err(|error| Failure::of(&error).in_write(&shown))
        });
        done.wait(stop)?
    }

    /// Ends an upload; what was sent of it is gone. One that is gone already is no error.
    pub(super) fn abort_upload(&self, url: &ObjectUrl, upload: &str, stop: &Stop) -> Result<()> {
        let (bucket, path, shown) = (self.bucket(url)?, path(url)?, url.clone());
        let upload = upload.to_owned();
        let done = self.background.begin(async move {
            match bucket.abort_multipart(&path, &upload).await {
                Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => {
                    Err(Failure::of(&error).in_write(&shown))
                }
                _ => Ok(()),
            }
        });
        done.wait(stop)?
    }

    fn bucket(&self, url: &ObjectUrl) -> Result<Arc<dyn Bucket>> {
        match &self.backend {
            Backend::Bucket(bucket) => Ok(bucket.clone()),
            Backend::Web(_) => Err(Error::usage(format!(
                "`{url}`: a web server neither lists nor takes files"
            ))),
        }
    }
}

/// An object's name as the library takes it.
fn path(url: &ObjectUrl) -> Result<Path> {
    // The library drops a `/` at either end, which makes another name of it.
    let path = Path::parse(&url.key).ok();
    path.filter(|path| path.as_ref() == url.key).ok_or_else(|| {
        Error::usage(format!(
            "`{url}`: a name with an empty part, `.`, `..` or a control character is not read"
        ))
        .hint("a name has parts with one `/` between them")
    })
}

async fn look(bucket: &dyn Bucket, path: &Path) -> Result<Meta, Failure> {
    let head = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    let refused = match bucket.get_opts(path, head).await {
        Ok(found) => return Ok(meta(found.meta)),
        Err(refused) => refused,
    };
    // The answer to HEAD has no body that would say why.
    let first = GetOptions {
        range: Some(GetRange::Bounded(0..1)),
        ..GetOptions::default()
    };
    match bucket.get_opts(path, first).await {
        Ok(_) => Err(Failure::of(&refused)),
        Err(refused) => Err(Failure::of(&refused)),
    }
}

async fn range(
    bucket: &dyn Bucket,
    path: &Path,
    etag: Option<String>,
    range: std::ops::Range<u64>,
) -> Result<Bytes, Failure> {
    let length = range.end - range.start;
    let options = GetOptions {
        range: Some(GetRange::Bounded(range)),
        if_match: etag.clone(),
        ..GetOptions::default()
    };
    let found = bucket.get_opts(path, options).await;
    let found = found.map_err(|error| Failure::of(&error))?;
    // Some servers pay no heed to the condition.
    let now = found.meta.e_tag.as_deref();
    let is_other = now
        .zip(etag.as_deref())
        .is_some_and(|(now, was)| now != was);
    if is_other {
        return Err(Failure::changed());
    }
    let bytes = found.bytes().await;
    let bytes = bytes.map_err(|error| Failure::of(&error))?;
    if bytes.len() as u64 != length {
        return Err(Failure::short(bytes.len(), length));
    }
    Ok(bytes)
}

fn meta(found: ObjectMeta) -> Meta {
    // A list of Azure's has them without quotes.
    let quoted = |etag: String| {
        if etag.starts_with(['"', 'W']) {
            etag
        } else {
            format!("\"{etag}\"")
        }
    };
    let modified = found.last_modified;
    Meta {
        bytes: Some(found.size),
        modified: Some(modified.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
        etag: found.e_tag.map(quoted),
        has_ranges: true,
        head: None,
    }
}
