//! What a store's refusal means, in words that hold no secret: the library's own texts have whole addresses in them,
//! signatures and all.

use std::sync::OnceLock;

use super::super::url::{ObjectUrl, Scheme};
use super::options::endpoints_set;
use crate::error::Error;
use crate::http::{CA_HINT, clip, words};
use crate::secrets::mask_url;

/// The machine on which this process works for a run that began on another one, and what to do there about credentials.
static ELSEWHERE: OnceLock<(String, &str)> = OnceLock::new();

/// This process works on `machine` for a run that began on another one; `hint` says what to do there about credentials.
pub(crate) fn works_elsewhere(machine: String, hint: &'static str) {
    // It does not move.
    let _ = ELSEWHERE.set((machine, hint));
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    /// What the store says, or what broke.
    words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// There is no such bucket.
    NoBucket,
    /// There is no such object.
    NoObject,
    /// It is another object than the one that was looked at.
    Changed,
    /// The credentials are refused.
    Refused,
    /// The credentials are known, and have not the right.
    Denied,
    /// There are no credentials.
    NoCredentials,
    /// The bucket is in another region.
    Region,
    /// No answer, or one that says to try later.
    Away,
    /// The server's certificate is not trusted.
    Untrusted,
    /// A name that the library does not take.
    Name,
    /// Anything else.
    Other,
}

impl Failure {
    /// Reads an error of the library.
    pub(super) fn of(error: &object_store::Error) -> Failure {
        use object_store::Error as Store;
        let text = error.to_string();
        let words = words(error);
        let code = tag(&text, "Code").unwrap_or_default();
        let said = said(&text);
        let kind = match (error, code) {
            (_, "NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName") => Kind::NoBucket,
            (Store::NotFound { .. }, _) => Kind::NoObject,
            (Store::Precondition { .. }, _) => Kind::Changed,
            (_, "PermanentRedirect" | "AuthorizationHeaderMalformed") => Kind::Region,
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "AuthenticationFailed",
            ) => Kind::Refused,
            _ if text.contains("without LOCATION") => Kind::Region,
            (Store::PermissionDenied { .. } | Store::Unauthenticated { .. }, _) => Kind::Denied,
            _ if words.iter().any(|words| words.contains("certificate")) => Kind::Untrusted,
            _ if text.contains("empty path segment") || text.contains("Error parsing Path") => {
                Kind::Name
            }
            _ if is_about_credentials(&text) => Kind::NoCredentials,
            _ if said.is_none()
                || text.contains("status code: 5")
                || text.contains("status code: 429") =>
            {
                Kind::Away
            }
            _ => Kind::Other,
        };
        Failure {
            kind,
            words: said.unwrap_or_else(|| root(&words)),
        }
    }

    /// Whether no more is known of the object than that it cannot be seen: who may only write is not told more.
    pub(super) fn is_unseen(&self) -> bool {
        matches!(self.kind, Kind::NoObject | Kind::Denied)
    }

    /// Whether there is no such object.
    pub(super) fn is_absent(&self) -> bool {
        self.kind == Kind::NoObject
    }

    /// The error of reading what this run has written.
    pub(super) fn of_own(self, url: &ObjectUrl) -> Error {
        match self.kind {
            Kind::NoObject => {
                Error::failed(format!("`{url}`, which this run has written, is gone"))
                    .hint("a rule of the bucket, or somebody else, has removed it; run again")
            }
            _ => self.in_run(url),
        }
    }

    /// It is another object than the one that was looked at.
    pub(super) fn changed() -> Failure {
        Failure {
            kind: Kind::Changed,
            words: String::new(),
        }
    }

    /// An answer that is shorter than what was asked for.
    pub(super) fn short(came: usize, asked: u64) -> Failure {
        Failure {
            kind: Kind::Away,
            words: format!("{came} bytes came of {asked} that were asked for"),
        }
    }

    /// The error of looking at an object.
    pub(super) fn about(self, url: &ObjectUrl) -> Error {
        let error = match self.kind {
            Kind::NoObject => Error::failed(format!("`{url}` is not there")).hint(
                "names are exact, upper and lower case too; a pattern in the name lists what is there",
            ),
            _ => self.of_bucket(url, &format!("cannot read `{url}`")),
        };
        self.told(url, error)
    }

    /// The error of reading an object that was looked at when the run began.
    pub(super) fn in_run(self, url: &ObjectUrl) -> Error {
        let what = match self.kind {
            Kind::Changed => "was replaced by another object",
            Kind::NoObject => "was removed",
            _ => return self.about(url),
        };
        Error::failed(format!("`{url}` {what} after the run began"))
            .hint("another program writes it? run again once it is complete")
    }

    /// The error of writing an object.
    pub(super) fn in_write(self, url: &ObjectUrl) -> Error {
        let error = match self.kind {
            Kind::NoObject => Error::failed(format!("the upload of `{url}` is gone"))
                .hint("a rule of the bucket, or somebody else, has ended it; run again"),
            _ => self.of_bucket(url, &format!("cannot write `{url}`")),
        };
        self.told(url, error)
    }

    /// The error of listing a bucket.
    pub(super) fn about_bucket(self, url: &ObjectUrl) -> Error {
        let error = self.of_bucket(url, &format!("cannot list `{}`", url.shown_bucket()));
        self.told(url, error)
    }

    /// An error with the server, where its stage names it, and the store's words.
    fn told(self, url: &ObjectUrl, error: Error) -> Error {
        let error = match url.endpoint() {
            Some(endpoint) => error.cause(format!("at {endpoint}")),
            None if self.kind == Kind::Away => match endpoints_set(url.scheme).next() {
                Some((name, endpoint)) => {
                    error.cause(format!("at {}, which `{name}` names", mask_url(&endpoint)))
                }
                None => error,
            },
            None => error,
        };
        let is_right = matches!(
            self.kind,
            Kind::NoCredentials | Kind::Refused | Kind::Denied
        );
        match ELSEWHERE.get().filter(|_| is_right) {
            Some((machine, hint)) => error
                .cause(self.words)
                .cause(format!("on {machine}"))
                .hint(*hint),
            None => error.cause(self.words),
        }
    }

    fn of_bucket(&self, url: &ObjectUrl, what: &str) -> Error {
        let bucket = url.shown_bucket();
        match self.kind {
            Kind::NoBucket => Error::failed(format!("there is no bucket `{bucket}`")).hint(
                "look at its name, at the endpoint, and at the account that the environment names",
            ),
            Kind::Refused | Kind::Denied => {
                Error::failed(format!("{what}: it is refused")).hint(refused(url.scheme))
            }
            Kind::NoCredentials => {
                Error::failed(format!("{what}: there are no credentials")).hint(absent(url.scheme))
            }
            Kind::Name => Error::failed(format!(
                "{what}: a name in it has an empty part, `.`, `..` or a control character"
            ))
            .hint("such names are not read: narrow the pattern, so that it lists none of them"),
            Kind::Untrusted => {
                Error::failed(format!("{what}: the server's certificate is not trusted"))
                    .hint(CA_HINT)
            }
            Kind::Region => Error::failed(format!("{what}: the bucket is in another region"))
                .hint("set `AWS_REGION` to the bucket's"),
            Kind::Away => Error::failed(what).hint(
                "every try failed; look whether the store can be reached from here, and run again",
            ),
            Kind::NoObject | Kind::Changed | Kind::Other => Error::failed(what),
        }
    }
}

fn refused(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => {
            "look at `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, or the rights of that user"
        }
        Scheme::Gs => "look at `GOOGLE_APPLICATION_CREDENTIALS`, or the rights of that account",
        Scheme::Az => {
            "look at `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`, or the rights of that account"
        }
        Scheme::Http | Scheme::Https => "kind `fetch` sends credentials",
    }
}

fn absent(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => {
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`; for a public bucket set `AWS_SKIP_SIGNATURE=true`"
        }
        Scheme::Gs => {
            "set `GOOGLE_APPLICATION_CREDENTIALS`, or run `gcloud auth application-default login`; for a public bucket set `GOOGLE_SKIP_SIGNATURE=true`"
        }
        Scheme::Az | Scheme::Http | Scheme::Https => {
            "set `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`; for a public container set `AZURE_SKIP_SIGNATURE=true`"
        }
    }
}

/// Whether it was the search for credentials that failed, at the places where a cloud's machines have them.
fn is_about_credentials(text: &str) -> bool {
    [
        "169.254.169.254",
        "169.254.170.2",
        "metadata.google.internal",
        "/metadata/identity",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// What the store says: its code and its message, or the status alone.
fn said(text: &str) -> Option<String> {
    let code = tag(text, "Code");
    // Azure's messages repeat what was signed.
    let message = tag(text, "Message").filter(|_| !text.contains("AuthenticationErrorDetail"));
    let status = text.split_once("status code: ").map(|(_, rest)| {
        let end = rest.find([':', '\n']).unwrap_or(rest.len());
        rest[..end].trim()
    });
    let words = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => status?.to_owned(),
    };
    Some(clip(words.lines().next().unwrap_or_default()).into_owned())
}

/// What stands between `<name>` and `</name>`.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inside.trim())
}

/// What lies at the bottom of an error: a reason without an address.
fn root(words: &[String]) -> String {
    let last = words.last().filter(|last| !last.contains("://"));
    clip(last.map_or("no answer that is of use", String::as_str)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, refused: bool) -> String {
        let source = text.to_owned().into();
        let error = if refused {
            object_store::Error::PermissionDenied {
                path: "a.csv".into(),
                source,
            }
        } else {
            object_store::Error::Generic {
                store: "S3",
                source,
            }
        };
        let url = ObjectUrl::parse("s3://bucket/a.csv").expect("it is an address");
        let error = Failure::of(&error).about(&url.expect("it is one"));
        format!("{}: {}", error.message, error.causes.join(": "))
    }

    #[test]
    fn an_error_says_what_the_store_says_and_no_secret() {
        let request = "Error performing GET https://h/a.csv?X-Amz-Signature=SECRET in 1s - Server returned non-2xx status code: ";
        for (answer, refused, wanted) in [
            (
                "404 Not Found: <Error><Code>NoSuchBucket</Code><Message>It is not there</Message></Error>",
                false,
                "there is no bucket `s3://bucket`: NoSuchBucket: It is not there",
            ),
            (
                "403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>No</Message><StringToSign>SECRET</StringToSign></Error>",
                true,
                "cannot read `s3://bucket/a.csv`: it is refused: SignatureDoesNotMatch: No",
            ),
            (
                "403 Forbidden: <Error><Code>AuthenticationFailed</Code><Message>SECRET</Message><AuthenticationErrorDetail>SECRET</AuthenticationErrorDetail></Error>",
                true,
                "cannot read `s3://bucket/a.csv`: it is refused: AuthenticationFailed",
            ),
            (
                "503 Service Unavailable: ",
                false,
                "cannot read `s3://bucket/a.csv`: 503 Service Unavailable",
            ),
        ] {
            assert_eq!(words(&format!("{request}{answer}"), refused), wanted);
        }
        let nobody = "Error performing PUT http://169.254.169.254/latest/api/token in 1s";
        let said = words(nobody, false);
        assert!(said.contains("there are no credentials"), "{said}");
        let lost = "Error performing GET https://h/a.csv?sig=SECRET: it broke";
        assert_eq!(
            words(lost, false),
            "cannot read `s3://bucket/a.csv`: no answer that is of use"
        );
    }
}
