//! The network: the one home of TLS, credentials, compression, timeouts, retries, and of the
//! asynchronous runtime behind them. Nothing outside is asynchronous: [`HttpClient::send`] is one try of one
//! request and blocks until it is settled; [`RetryPolicy::run`] tries again, as long as the caller says that another
//! try may help, who knows what may be repeated. The library of object stores is asynchronous: `Background` carries out
//! its work on a thread of its own, so that files are read ahead.
//!
//! A client is shared by the threads of a process. Each request takes a *lane*, a runtime of one thread
//! with connections of its own: so a request is written and its answer read on the thread that wants it,
//! and its processor time is that thread's. [`Nodes`] are several servers, of which one is asked by such a client.
//!
//! The `elasticsearch` crate gives paths, methods and headers. Its `Transport` does not carry requests: it reads
//! an answer whole, however large it inflates, follows redirects, and takes no verifier of certificates. So
//! requests go through `reqwest`, on which it is built, with limits of our own.

mod background;
mod body;
mod client;
mod connect;
mod dates;
mod files;
mod nodes;
mod retry;
mod runtime;
mod tls;

pub(crate) use background::{Background, Pending};
pub(crate) use client::words;
pub use client::{HttpClient, HttpRequest, HttpResponse, header_fits, header_map, status_words};
pub use connect::{Connect, Url, listens};
pub(crate) use connect::{parse_url, shown};
pub use elasticsearch::BulkParts;
pub use elasticsearch::http::Method;
pub(crate) use files::{CA_HINT, FileHead, WebFiles, WebStream, metadata_client, store_client};
pub use nodes::{Nodes, Request};
pub use retry::{RetryPolicy, Tried, retries_on};

use crate::error::Error;

/// Why there is no answer.
#[derive(Debug)]
pub enum TransportError {
    /// No connection was made: nothing was carried out.
    Unreached(String),
    /// It may have been carried out: the connection broke, or the answer is not whole.
    Lost {
        /// How.
        words: String,
        /// It broke before any of the answer had come, maybe while the body was on its way.
        unanswered: bool,
    },
    /// It may have been carried out, or may still be: no answer in time.
    TimedOut(String),
    /// The same would happen again, or the run is to stop.
    Final(Error),
}

/// How much of what a server says is repeated in a message.
const WORDS_MAX: usize = 2000;

/// A server's words, cut where they are long.
pub(crate) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()).into(),
        None => text.into(),
    }
}
