//! The server that has the objects of a stage, where the stage names one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::url::Scheme;
use crate::error::{Error, Result};
use crate::http::Url;
use crate::secrets::mask_url;

/// What is to be written for one.
pub(super) const WRITE: &str = "write `http://HOST:PORT`, or `https://HOST`";

/// The address of a server. It holds no secrets, and is the same for all spellings of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads the address of the server that has the objects among `names`.
    pub(crate) fn parse(text: &str, names: &[String]) -> Result<Endpoint> {
        let shown = mask_url(text);
        let Some(url) = server(text) else {
            return Err(Error::usage(format!("`{shown}` is no address of a server")).hint(WRITE));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::usage(format!(
                "`{shown}`: an address holds no user and no password"
            ))
            .hint("credentials come from the environment: see docs/places.md"));
        }
        // Azurite has the account there.
        let mut schemes = names.iter().filter_map(|name| Scheme::in_front_of(name));
        let is_other = |scheme| matches!(scheme, Scheme::S3 | Scheme::Gs);
        let has_path = url.path() != "/" && schemes.any(is_other);
        if has_path || url.query().is_some() || url.fragment().is_some() {
            return Err(
                Error::usage(format!("`{shown}` is more than the address of a server")).hint(
                    format!("{WRITE}: the bucket stands in the objects' own addresses"),
                ),
            );
        }
        Ok(Endpoint(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The address.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of a server, with whatever stands behind it; `None`: the text is none. The library takes any text, and
/// panics at one that is none.
pub(super) fn server(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    // The parser mends what the library does not.
    let is_written = text.starts_with("http://") || text.starts_with("https://");
    let is_whole = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_written && is_whole && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_server_and_nothing_more() {
        let read = |text: &str, name: &str| match Endpoint::parse(text, &[name.to_owned()]) {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => error.message,
        };
        for (text, wanted) in [
            ("http://minio:9000", "http://minio:9000"),
            ("http://Minio:9000/", "http://minio:9000"),
            ("http://minio:80", "http://minio"),
            ("https://[::1]:1", "https://[::1]:1"),
            ("minio:9000", "`minio:9000` is no address of a server"),
            ("s3://minio", "`s3://minio` is no address of a server"),
            ("http://a b", "`http://a b` is no address of a server"),
            ("http://", "`http://` is no address of a server"),
            (
                "http://me:SECRET@minio",
                "`http://***@minio`: an address holds no user and no password",
            ),
            (
                "http://me:SECRET@mi nio",
                "`http://***@mi nio` is no address of a server",
            ),
            (
                "http://minio/bucket",
                "`http://minio/bucket` is more than the address of a server",
            ),
            (
                "http://minio?sig=SECRET",
                "`http://minio?***` is more than the address of a server",
            ),
            (
                "http://minio#x",
                "`http://minio#x` is more than the address of a server",
            ),
        ] {
            assert_eq!(read(text, "s3://bucket/a.csv"), wanted, "{text}");
        }
        let azurite = "http://127.0.0.1:10000/account";
        assert_eq!(read(azurite, "az://container/a.csv"), azurite);
    }
}
