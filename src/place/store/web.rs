//! Files of a web server, as a store.

use bytes::Bytes;

use super::Meta;
use crate::error::{Error, Result};
use crate::http::{FileHead, Url, WebFiles, WebStream};
use crate::place::ObjectUrl;

/// A web server.
pub(super) struct Web(WebFiles);

impl Web {
    pub(super) fn new(url: &ObjectUrl) -> Result<Web> {
        WebFiles::new(&address(url)?).map(Web)
    }

    pub(super) async fn look(&self, url: &ObjectUrl) -> Result<Meta> {
        let head = self.0.look(&address(url)?, &url.to_string()).await?;
        Ok(Meta {
            bytes: head.bytes,
            modified: head.changed_at(),
            etag: head.etag.clone(),
            // Nothing would tell whether two parts are of the same file.
            has_ranges: head.has_ranges && head.has_version(),
            head: Some(head),
        })
    }

    pub(super) async fn range(
        &self,
        url: &ObjectUrl,
        meta: &Meta,
        from: u64,
        to: u64,
    ) -> Result<Bytes> {
        let was = meta.head.clone().unwrap_or_default();
        let name = url.to_string();
        self.0.range(&address(url)?, &name, &was, from, to).await
    }

    pub(super) fn stream(&self, url: &ObjectUrl, meta: &Meta) -> Result<WebStream> {
        let was: FileHead = meta.head.clone().unwrap_or_default();
        Ok(self.0.stream(&address(url)?, &url.to_string(), was))
    }
}

fn address(url: &ObjectUrl) -> Result<Url> {
    Url::parse(&url.exposed())
        .map_err(|error| Error::usage(format!("`{url}` is no address")).cause(error))
}
