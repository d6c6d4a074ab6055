//! A web server in this process that answers each request as a test says: with any bytes, or with none.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::listener::{Connections, Listener};
use crate::server::http;

/// A request as the script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as they were sent.
    pub(crate) target: String,
    /// By name in lower case.
    pub(crate) headers: std::collections::BTreeMap<String, String>,
    pub(crate) body: String,
    /// The same, whatever it is.
    pub(crate) bytes: Vec<u8>,
    /// How often the same was asked before, method, target and body.
    pub(crate) before: usize,
    pub(crate) at: Instant,
    /// Who asked.
    pub(crate) from: SocketAddr,
}

/// What is said to it.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// A whole answer: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and the connection closes.
    Raw(Vec<u8>),
    /// These bytes, and then the last of them for ever.
    Endless(Vec<u8>),
    /// Nothing, and the connection stays open.
    Hold,
}

impl Say {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Say {
        Say::status(200, body)
    }

    pub(crate) fn status(status: u16, body: impl Into<Vec<u8>>) -> Say {
        Say::Answer(status, Vec::new(), body.into())
    }

    pub(crate) fn with(self, name: &'static str, value: impl Into<String>) -> Say {
        match self {
            Say::Answer(status, mut headers, body) => {
                headers.push((name, value.into()));
                Say::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

pub(crate) struct Site {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _listener: Listener,
}

type Script = dyn Fn(&Asked) -> Say + Send + Sync;

impl Site {
    pub(crate) fn start(script: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Site {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let listener = Listener::start({
            let asked = Arc::clone(&asked);
            move |_, stream, connections| {
                let _guard = connections.guard(&stream);
                // Whoever asked may be gone.
                let _ = serve(&stream, connections, &asked, &*script);
            }
        });
        Site {
            url: format!("http://{}", listener.address()),
            asked,
            _listener: listener,
        }
    }

    /// All requests so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// How many requests there were to each target.
    pub(crate) fn targets(&self) -> HashMap<String, usize> {
        let mut targets = HashMap::new();
        for asked in self.asked() {
            *targets.entry(asked.target).or_default() += 1;
        }
        targets
    }
}

fn lock(asked: &Mutex<Vec<Asked>>) -> MutexGuard<'_, Vec<Asked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    stream: &TcpStream,
    connections: &Connections,
    all: &Mutex<Vec<Asked>>,
    script: &Script,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some((head, body)) = http::read_request(&mut reader, stream)? {
        let mut words = head.first.split(' ').map(str::to_owned);
        let (method, target) = (words.next(), words.next());
        let mut asked = Asked {
            method: method.unwrap_or_default(),
            target: target.unwrap_or_default(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            bytes: body,
            before: 0,
            at: Instant::now(),
            from: stream.peer_addr()?,
        };
        {
            let mut all = lock(all);
            let same = |other: &&Asked| {
                (&other.method, &other.target, &other.body)
                    == (&asked.method, &asked.target, &asked.body)
            };
            asked.before = all.iter().filter(same).count();
            all.push(asked.clone());
        }
        if !say(script(&asked), &asked, stream, connections)? {
            break;
        }
    }
    Ok(())
}

/// Whether the connection goes on.
fn say(
    say_it: Say,
    asked: &Asked,
    mut stream: &TcpStream,
    connections: &Connections,
) -> io::Result<bool> {
    match say_it {
        Say::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} .\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            stream.write_all((head + "\r\n").as_bytes())?;
            if asked.method != "HEAD" {
                stream.write_all(&body)?;
            }
            Ok(true)
        }
        Say::Raw(bytes) => {
            stream.write_all(&bytes)?;
            Ok(false)
        }
        Say::Endless(bytes) => {
            stream.write_all(&bytes)?;
            let last = vec![bytes.last().copied().unwrap_or(b' '); 4096];
            // Until nobody reads any more.
            loop {
                stream.write_all(&last)?;
            }
        }
        Say::Hold => {
            connections.pause(Duration::MAX);
            Ok(false)
        }
    }
}
