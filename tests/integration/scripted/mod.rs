//! A search server in this process that keeps what it is given and fails exactly when and how a test says:
//! a script is shown every bulk request and says how it is answered.
//!
//! Requests other than bulks are answered as the real servers do, as far as a loader asks (see `cluster`).

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::server::http;
use crate::server::json_or_text;

mod aliases;
mod bulk;
mod cluster;
mod indices;
mod listener;
mod proxy;
mod site;

pub(crate) use bulk::{Bulk, Item, Op};
pub(crate) use proxy::{Proxy, Random};
pub(crate) use site::{Asked, Say, Site};

use cluster::{Answer, Cluster, Request, matches};
use listener::{Connections, Listener};

/// How a bulk request is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// It is carried out.
    Normal,
    /// These items fail; the others are carried out.
    Items(Vec<ItemFault>),
    /// Nothing is carried out: this status, these headers and this body for the whole request.
    Status(u16, Vec<(String, String)>, String),
    /// The connection closes without an answer, and nothing is carried out.
    CloseBefore,
    /// It is carried out, and the connection closes without an answer.
    CloseAfter,
    /// It is carried out and answered with 200 and this body.
    Garbage(String),
    /// It is carried out, and the connection closes after so many bytes of the answer, head included.
    CutAnswer(usize),
    /// It is carried out, but its last item is missing from the answer.
    FewerItems,
    /// Nothing happens for a while; then this does.
    Delay(Duration, Box<Reply>),
}

impl Reply {
    /// A status for the whole request, with the error that the real servers give the reason of.
    pub(crate) fn status(status: u16, kind: &str) -> Reply {
        let answer = Answer::error(status, kind, "the script says so");
        Reply::Status(status, Vec::new(), answer.body.to_string())
    }

    /// This if it `holds`, else what is normal.
    pub(crate) fn when(self, holds: bool) -> Reply {
        if holds { self } else { Reply::Normal }
    }

    pub(crate) fn after(self, delay: Duration) -> Reply {
        Reply::Delay(delay, Box::new(self))
    }
}

/// The error that one item of a bulk is answered with.
#[derive(Debug, Clone)]
pub(crate) struct ItemFault {
    /// The item's place in the request, from 0.
    pub(crate) position: usize,
    pub(crate) status: u16,
    /// The error's `type`.
    pub(crate) kind: String,
}

impl ItemFault {
    pub(crate) fn new(position: usize, status: u16, kind: &str) -> ItemFault {
        ItemFault {
            position,
            status,
            kind: kind.to_owned(),
        }
    }
}

/// What becomes of one request, whatever it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not carried out, and the connection stays open without an answer.
    HoldBefore,
    /// It is carried out, and the connection stays open without an answer.
    HoldAfter,
    /// It is not carried out, and the connection closes without an answer.
    CloseBefore,
    /// It is carried out, and the connection closes without an answer.
    CloseAfter,
    /// As with `HoldBefore`, and so it goes with all that come after it.
    Freeze,
}

impl Trouble {
    fn is_carried_out(self) -> bool {
        matches!(self, Trouble::HoldAfter | Trouble::CloseAfter)
    }
}

/// What has been asked of a scripted server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// Method and path with query of all requests, in order.
    pub(crate) requests: Vec<String>,
    /// Bulk requests.
    pub(crate) bulks: usize,
    /// Bulk requests that were being answered at the same time, at most.
    pub(crate) most_at_once: usize,
    /// Of a bulk request.
    pub(crate) largest_body_bytes: usize,
    /// One entry for each time that an id was sent: the status it was answered with, None where no answer
    /// for it got out whole.
    pub(crate) answers: BTreeMap<String, Vec<Option<u16>>>,
}

pub(crate) struct Scripted {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _listener: Listener,
}

type Script = Box<dyn FnMut(&Bulk) -> Reply + Send>;

struct Shared {
    /// Apart from the state, so that a script may wait without holding up other requests.
    script: Mutex<(usize, Script)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    record: Record,
    at_once: usize,
    refusals: VecDeque<Refusal>,
    /// Which request meets what.
    trouble: Option<(usize, Trouble)>,
    held: usize,
    gates: Vec<Gate>,
}

/// Where one request waits.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    method: String,
    path: String,
    met: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
}

impl Gate {
    /// Whether the request has come.
    pub(crate) fn is_met(&self) -> bool {
        self.met.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

struct Refusal {
    method: String,
    path: String,
    status: u16,
    body: Value,
}

impl Scripted {
    pub(crate) fn start(script: impl FnMut(&Bulk) -> Reply + Send + 'static) -> Scripted {
        let shared = Arc::new(Shared {
            script: Mutex::new((0, Box::new(script))),
            state: Mutex::default(),
        });
        let listener = Listener::start({
            let shared = Arc::clone(&shared);
            move |_, stream, connections| {
                let _guard = connections.guard(&stream);
                // However a connection ends, the record tells what was answered on it.
                let _ = shared.serve(&stream, connections);
            }
        });
        let address = listener.address().to_string();
        shared.state().cluster.address.clone_from(&address);
        Scripted {
            url: format!("http://{address}"),
            shared,
            _listener: listener,
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.shared.state().record.clone()
    }

    /// A request of those still to come, by its number from 0 and of all kinds, meets this trouble.
    pub(crate) fn trouble(&self, number: usize, trouble: Trouble) {
        let mut state = self.shared.state();
        let before = state.record.requests.len();
        state.trouble = Some((before + number, trouble));
        state.held = 0;
    }

    /// Whether the request that was to meet trouble is still to come.
    pub(crate) fn trouble_waits(&self) -> bool {
        let state = self.shared.state();
        state.trouble.is_some() && state.held == 0
    }

    /// No request meets trouble any more, but for those that are held.
    pub(crate) fn recover(&self) {
        let mut state = self.shared.state();
        state.trouble = None;
        state.held = 0;
    }

    /// Holds the next request of this method to this path until [`Gate::open`]; then it is carried out.
    pub(crate) fn gate(&self, method: &str, path: &str) -> Gate {
        let gate = Gate {
            method: method.to_owned(),
            path: path.to_owned(),
            met: Arc::default(),
            open: Arc::default(),
        };
        self.shared.state().gates.push(gate.clone());
        gate
    }

    /// Answers the next request of this method to this path (without its query, a star for any part of it)
    /// so, and does not carry it out. Several wait for their requests side by side. Bulks are the script's.
    pub(crate) fn refuse(&self, method: &str, path: &str, status: u16, body: Value) {
        self.shared.state().refusals.push_back(Refusal {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            body,
        });
    }

    /// Status and body of the answer, as of [`crate::server::Server::call`]. It is recorded like any other.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (_, address) = self.url.split_once("://").expect("it has a scheme");
        let (status, body) = http::call(address, method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (status, json_or_text(&body))
    }

    /// Every document of an index or alias by its `_id`; none if there is no such index.
    pub(crate) fn documents(&self, index: &str) -> BTreeMap<String, Value> {
        self.shared.state().cluster.documents(index)
    }

    /// Documents in an index or alias.
    pub(crate) fn count(&self, index: &str) -> u64 {
        self.documents(index).len() as u64
    }
}

impl Shared {
    /// Usable after a panic too: the test that fails by it may still ask for the record.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of one connection until it ends.
    fn serve(&self, stream: &TcpStream, connections: &Connections) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some((head, body)) = http::read_request(&mut reader, stream)? {
            let mut parts = head.first.split(' ');
            let (Some(method), Some(target)) = (parts.next(), parts.next()) else {
                return Ok(());
            };
            let request = Request::new(method, target, &body);
            let trouble = self.state().note(format!("{method} {target}"));
            if let Some(trouble) = trouble {
                return self.meet(trouble, stream, &request, connections);
            }
            let gate = self.state().gate(&request);
            while gate
                .as_ref()
                .is_some_and(|gate| !gate.open.load(Ordering::SeqCst))
            {
                if connections.has_ended() {
                    return Ok(());
                }
                connections.pause(Duration::from_millis(2));
            }
            let goes_on = if head.headers.contains_key("content-encoding") {
                let reason = "the scripted server reads plain bodies only";
                write_answer(stream, &Answer::error(415, "unsupported", reason))?
            } else if request.segments.last().is_some_and(|last| last == "_bulk") {
                self.answer_bulk(stream, &request, connections, None)?
            } else {
                let answer = self.state().answer(&request);
                write_answer(stream, &answer)?
            };
            if !goes_on || head.has("connection", "close") {
                break;
            }
        }
        Ok(())
    }

    fn meet(
        &self,
        trouble: Trouble,
        stream: &TcpStream,
        request: &Request,
        connections: &Connections,
    ) -> io::Result<()> {
        if trouble.is_carried_out() {
            if request.segments.last().is_some_and(|last| last == "_bulk") {
                self.answer_bulk(stream, request, connections, Some(Reply::CloseAfter))?;
            } else {
                self.state().answer(request);
            }
        }
        if trouble != Trouble::Freeze {
            self.state().trouble = None;
        }
        if !matches!(trouble, Trouble::CloseBefore | Trouble::CloseAfter) {
            self.state().held += 1;
            connections.pause(Duration::MAX);
        }
        Ok(())
    }

    /// Replies as the script says, unless it is said here. Whether the connection goes on.
    fn answer_bulk(
        &self,
        stream: &TcpStream,
        request: &Request,
        connections: &Connections,
        said: Option<Reply>,
    ) -> io::Result<bool> {
        let items = match bulk::parse(request) {
            Ok(items) => items,
            Err(reason) => {
                let answer = Answer::error(400, "illegal_argument_exception", &reason);
                return write_answer(stream, &answer);
            }
        };
        let (at_once, sent) = self.state().begin(&items, request.body.len());
        let (bulk, mut reply) = {
            let mut script = self.script.lock().expect("no script has panicked");
            let number = script.0;
            script.0 += 1;
            let bulk = Bulk {
                number,
                items,
                at_once,
                bytes: request.body.len(),
            };
            let reply = said.unwrap_or_else(|| (script.1)(&bulk));
            (bulk, reply)
        };
        while let Reply::Delay(duration, next) = reply {
            connections.pause(duration);
            reply = *next;
        }
        let outcome = self.state().finish(&bulk, &sent, reply);
        let Some((answer, bytes)) = outcome else {
            return Ok(false);
        };
        let goes_on = write_bytes(stream, &answer, bytes);
        if goes_on.is_err() {
            self.state().set_answers(&bulk, &sent, &[]);
        }
        goes_on
    }
}

impl State {
    /// Takes down a request; the trouble that it meets.
    fn note(&mut self, request: String) -> Option<Trouble> {
        self.record.requests.push(request);
        let (at, trouble) = self.trouble?;
        let number = self.record.requests.len() - 1;
        let met = number == at || (number > at && trouble == Trouble::Freeze);
        met.then_some(trouble)
    }

    /// The gate at which a request waits, if there is one.
    fn gate(&mut self, request: &Request) -> Option<Gate> {
        let path = request.path();
        let is_meant = |gate: &Gate| gate.method == request.method && matches(&gate.path, &path);
        let at = self.gates.iter().position(is_meant)?;
        let gate = self.gates.remove(at);
        gate.met.store(true, Ordering::SeqCst);
        Some(gate)
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let path = request.path();
        let refusal = self
            .refusals
            .iter()
            .position(|refusal| refusal.method == request.method && matches(&refusal.path, &path));
        match refusal.and_then(|found| self.refusals.remove(found)) {
            Some(refusal) => Answer::new(refusal.status, refusal.body),
            None => self.cluster.answer(request),
        }
    }

    /// Takes down that a bulk has come. How many are being answered, and for each item how often its id had
    /// been sent before.
    fn begin(&mut self, items: &[Item], body_bytes: usize) -> (usize, Vec<usize>) {
        self.at_once += 1;
        let record = &mut self.record;
        record.bulks += 1;
        record.most_at_once = record.most_at_once.max(self.at_once);
        record.largest_body_bytes = record.largest_body_bytes.max(body_bytes);
        let sent = items.iter().map(|item| {
            let answers = record.answers.entry(item.id.clone()).or_default();
            answers.push(None);
            answers.len() - 1
        });
        (self.at_once, sent.collect())
    }

    /// Carries a bulk out as the reply says. The answer and how many of its bytes get out; None where there
    /// is none.
    fn finish(&mut self, bulk: &Bulk, sent: &[usize], reply: Reply) -> Option<(Vec<u8>, usize)> {
        // Before the answer is written: who has read it may send the next at once.
        self.at_once -= 1;
        let faults = match &reply {
            Reply::CloseBefore => return None,
            Reply::Status(status, headers, body) => {
                self.set_answers(bulk, sent, &vec![*status; bulk.items.len()]);
                return Some(whole(http::answer(*status, headers, body)));
            }
            Reply::Items(faults) => faults.as_slice(),
            _ => &[],
        };
        let mut results = self.cluster.carry_out(&bulk.items, faults);
        if matches!(reply, Reply::FewerItems) {
            results.pop();
        }
        let statuses: Vec<u16> = results.iter().map(|result| result.status).collect();
        let normal = http::answer(200, &[], &bulk::answer(results).to_string());
        match reply {
            Reply::CloseAfter => None,
            Reply::Garbage(body) => Some(whole(http::answer(200, &[], &body))),
            Reply::CutAnswer(bytes) if bytes < normal.len() => Some((normal, bytes)),
            // Who reads it cannot tell which item is missing.
            Reply::FewerItems => Some(whole(normal)),
            _ => {
                self.set_answers(bulk, sent, &statuses);
                Some(whole(normal))
            }
        }
    }

    /// Items beyond the statuses are without an answer.
    fn set_answers(&mut self, bulk: &Bulk, sent: &[usize], statuses: &[u16]) {
        for (i, (item, sent)) in bulk.items.iter().zip(sent).enumerate() {
            let answers = self.record.answers.get_mut(&item.id);
            answers.expect("its sending is recorded")[*sent] = statuses.get(i).copied();
        }
    }
}

fn write_answer(stream: &TcpStream, answer: &Answer) -> io::Result<bool> {
    let body = match &answer.body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let (bytes, length) = whole(http::answer(answer.status, &[], &body));
    write_bytes(stream, &bytes, length)
}

/// Writes the first `length` bytes. Whether those are all, so that the connection may go on.
fn write_bytes(mut stream: &TcpStream, bytes: &[u8], length: usize) -> io::Result<bool> {
    stream.write_all(&bytes[..length])?;
    Ok(length == bytes.len())
}

fn whole(message: Vec<u8>) -> (Vec<u8>, usize) {
    let length = message.len();
    (message, length)
}
