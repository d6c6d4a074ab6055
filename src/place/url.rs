//! The address of an object: a scheme, a bucket or a host, and what stands behind it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::http::Url;

/// Where objects lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scheme {
    /// S3, and what speaks as it does.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
    /// A web server.
    Http,
    /// A web server with TLS.
    Https,
}

impl Scheme {
    /// What stands before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Gs => "gs",
            Scheme::Az => "az",
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn of(text: &str) -> Option<Scheme> {
        use Scheme::{Az, Gs, Http, Https, S3};
        [S3, Gs, Az, Http, Https]
            .into_iter()
            .find(|scheme| scheme.as_str() == text)
    }

    /// That of an address; `None`: the text is none, or of no scheme that is known.
    pub(super) fn in_front_of(text: &str) -> Option<Scheme> {
        Scheme::of(text.split_once("://")?.0)
    }

    /// Whether it is a web server, which lists nothing and takes nothing.
    pub fn is_web(self) -> bool {
        matches!(self, Scheme::Http | Scheme::Https)
    }
}

/// The address of an object. It is printed without what may be secret: a user part is refused, and of a query only
/// that there is one is shown.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectUrl {
    /// Where it lies.
    pub scheme: Scheme,
    /// The bucket or container; of a web server its host and port.
    pub bucket: String,
    /// The object's name in its bucket, as it is, without escapes; of a web server its path, with escapes.
    pub key: String,
    /// The query of a web server's address, which may hold a signature.
    query: Option<String>,
    /// The server that has the bucket, if its stage names one; otherwise the environment does.
    endpoint: Option<Endpoint>,
}

impl ObjectUrl {
    /// Reads an address; `None`: the text is a path.
    pub fn parse(text: &str) -> Option<Result<ObjectUrl>> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return one_slash(text).map(Err);
        };
        let Some(scheme) = Scheme::of(scheme) else {
            return Some(Err(unknown(text, scheme)));
        };
        Some(if scheme.is_web() {
            web(text, scheme)
        } else {
            in_bucket(scheme, rest)
        })
    }

    /// The same bucket with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> ObjectUrl {
        ObjectUrl {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// The same on the server that its stage names; of a web server it is the same.
    #[must_use]
    pub(crate) fn at(self, endpoint: Option<&Endpoint>) -> ObjectUrl {
        let endpoint = endpoint.filter(|_| !self.scheme.is_web()).cloned();
        ObjectUrl { endpoint, ..self }
    }

    /// The server that its stage names.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_ref().map(Endpoint::as_str)
    }

    /// What it has in common with all objects of its bucket.
    pub(crate) fn home(&self) -> (Scheme, String, Option<Endpoint>) {
        (self.scheme, self.bucket.clone(), self.endpoint.clone())
    }

    /// Its address with the server that its stage names, for those who must tell it from all others.
    pub(crate) fn whole(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{self} at {endpoint}"),
            None => self.to_string(),
        }
    }

    /// Its bucket alone, as it is printed.
    pub fn shown_bucket(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.bucket)
    }

    /// The whole address, with what must not be printed.
    pub(super) fn exposed(&self) -> String {
        let query = self.query.iter().flat_map(|query| ["?", query]);
        let query: String = query.collect();
        format!("{}/{}{query}", self.shown_bucket(), self.key)
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.shown_bucket(), self.key)?;
        if self.query.is_some() {
            f.write_str("?***")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error of an address that lacks a slash, as a path would have it.
fn one_slash(text: &str) -> Option<Error> {
    let (scheme, rest) = text.split_once(":/")?;
    Scheme::of(scheme)?;
    let shown = crate::secrets::mask_url(&format!("{scheme}://{rest}"));
    Some(
        Error::usage(format!("`{scheme}:/` begins neither a path nor an address")).hint(format!(
            "write `{shown}`; for a path write `./{scheme}:/...`"
        )),
    )
}

fn unknown(text: &str, scheme: &str) -> Error {
    let shown = crate::secrets::mask_url(text);
    let error = Error::usage(format!(
        "`{shown}`: `{scheme}://` is none of `s3://`, `gs://`, `az://` and `https://`"
    ));
    let lower = scheme.to_ascii_lowercase();
    if lower != scheme && Scheme::of(&lower).is_some() {
        return error.hint(format!("write `{lower}://`"));
    }
    error.hint(match scheme {
        "file" => "write the path alone",
        "s3a" | "s3n" => "write `s3://`",
        "gcs" => "write `gs://`",
        "abfs" | "abfss" | "azure" | "wasb" | "wasbs" => {
            "write `az://CONTAINER/NAME`; the account is named by `AZURE_STORAGE_ACCOUNT_NAME`"
        }
        _ => "download it first",
    })
}

fn in_bucket(scheme: Scheme, rest: &str) -> Result<ObjectUrl> {
    let word = scheme.as_str();
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return Err(Error::usage(format!(
            "`{word}://***`: an address holds no user and no password"
        ))
        .hint("credentials come from the environment: see docs/places.md"));
    }
    let shown = format!("{word}://{rest}");
    if bucket.is_empty() || key.is_empty() {
        return Err(
            Error::usage(format!("`{shown}` names no object")).hint(format!(
                "write `{word}://BUCKET/NAME`; a pattern stands behind the bucket, as in `{word}://BUCKET/*.csv`"
            )),
        );
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._$".contains(&byte);
    if !bucket.bytes().all(fits) {
        return Err(
            Error::usage(format!("`{shown}`: `{bucket}` is no name of a bucket")).hint(
                "a bucket's name has letters, digits, `-`, `.` and `_`; patterns stand behind it",
            ),
        );
    }
    Ok(ObjectUrl {
        scheme,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        query: None,
        endpoint: None,
    })
}

fn web(text: &str, scheme: Scheme) -> Result<ObjectUrl> {
    let start = format!("{}://", scheme.as_str());
    let url = Url::parse(text)
        .map_err(|error| Error::usage(format!("`{start}***` is no address: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage(format!(
            "`{start}***`: an address holds no user and no password"
        ))
        .hint(
            "kind `fetch` takes credentials; or read the file with `curl` into `files = [\"-\"]`",
        ));
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}"));
    Ok(ObjectUrl {
        scheme,
        bucket: format!("{host}{}", port.unwrap_or_default()),
        key: url.path().trim_start_matches('/').to_owned(),
        query: url.query().map(str::to_owned),
        endpoint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match ObjectUrl::parse(text) {
            None => "a path".into(),
            Some(Ok(url)) => url.to_string(),
            Some(Err(error)) => error.message,
        }
    }

    #[test]
    fn an_address_is_read_and_shown_without_secrets() {
        for (text, wanted) in [
            ("a/b.csv", "a path"),
            ("s3://bucket/a/b c.csv", "s3://bucket/a/b c.csv"),
            ("gs://b_1/x", "gs://b_1/x"),
            ("az://$web/x?y", "az://$web/x?y"),
            (
                "s3:/bucket/a",
                "`s3:/` begins neither a path nor an address",
            ),
            ("a:/b", "a path"),
            ("s3://bucket", "`s3://bucket` names no object"),
            ("s3:///key", "`s3:///key` names no object"),
            ("s3://b*/key", "`s3://b*/key`: `b*` is no name of a bucket"),
            (
                "s3://ID:SECRET@bucket/key",
                "`s3://***`: an address holds no user and no password",
            ),
            (
                "https://me:SECRET@host/key",
                "`https://***`: an address holds no user and no password",
            ),
            (
                "https://Host:8443/a%20b.csv?sig=SECRET",
                "https://host:8443/a%20b.csv?***",
            ),
            ("http://localhost/a.csv", "http://localhost/a.csv"),
            (
                "ftp://user:SECRET@host/x",
                "`ftp://***@host/x`: `ftp://` is none of `s3://`, `gs://`, `az://` and `https://`",
            ),
        ] {
            assert_eq!(shown(text), wanted);
        }
        let upper = ObjectUrl::parse("S3://bucket/a.csv").expect("no path");
        let hint = upper.expect_err("upper case").hint;
        assert_eq!(hint.as_deref(), Some("write `s3://`"));
        let url = ObjectUrl::parse("https://host/a?sig=x").and_then(Result::ok);
        let url = url.expect("it is an address");
        assert_eq!(url.exposed(), "https://host/a?sig=x");
    }
}
