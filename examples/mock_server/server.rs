//! The server at work: logins, limits, failures, and what is answered.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::Options;
use crate::wire::{Answer, Request, read_request, write_answer};

/// Fields of an instrument.
const FIELDS: usize = 59;
/// Views there are.
const VIEWS: u64 = 40;

/// Answers every connection of `listener`, each in a thread of its own.
pub(crate) fn serve(listener: &TcpListener, options: Options) {
    let server = Arc::new(Server {
        options,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    for stream in listener.incoming().flatten() {
        let server = server.clone();
        // A connection that breaks has ended.
        std::thread::spawn(move || server.connection(&stream));
    }
}

struct Server {
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: u64,
    at_once: usize,
    most_at_once: usize,
    logins: u64,
    sessions: HashMap<String, Session>,
    /// Items that have failed once.
    failed_once: HashSet<String>,
    /// When the next request may come, where there is a rate.
    next: Option<Instant>,
}

#[derive(Default)]
struct Session {
    requests: u64,
    at_once: usize,
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics holding this lock")
    }

    fn connection(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            {
                let mut state = self.lock();
                state.requests += 1;
                state.at_once += 1;
                state.most_at_once = state.most_at_once.max(state.at_once);
            }
            let answer = self.answer(&request);
            self.lock().at_once -= 1;
            write_answer(stream, &answer, request.method == "HEAD")?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/stats") => return self.stats(),
            ("POST", "/session") => return self.log_in(),
            _ => {}
        }
        if let Some(refusal) = self.refuse_by_rate() {
            return refusal;
        }
        let token = match self.enter(request) {
            Ok(token) => token,
            Err(refusal) => return refusal,
        };
        let items = items(request);
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        std::thread::sleep(self.options.latency + self.options.item * count);
        let answer = self.content(request, &items);
        self.leave(token.as_deref());
        answer
    }

    fn stats(&self) -> Answer {
        let state = self.lock();
        Answer::json(format!(
            "{{\"requests\":{},\"most_at_once\":{},\"logins\":{},\"sessions\":{}}}",
            state.requests,
            state.most_at_once,
            state.logins,
            state.sessions.len()
        ))
    }

    fn log_in(&self) -> Answer {
        std::thread::sleep(self.options.session);
        let mut state = self.lock();
        let max = self.options.sessions_max;
        if max > 0 && state.sessions.len() >= max {
            return Answer::error(429, "too many sessions");
        }
        state.logins += 1;
        let token = format!(
            "{:016x}",
            hash(self.options.seed, &state.logins.to_string())
        );
        state.sessions.insert(token.clone(), Session::default());
        Answer::json(format!("{{\"access_token\":\"{token}\"}}"))
    }

    fn refuse_by_rate(&self) -> Option<Answer> {
        if self.options.rate == 0 {
            return None;
        }
        let now = Instant::now();
        let mut state = self.lock();
        let next = state.next.unwrap_or(now);
        // A second's requests may come in a burst.
        if next > now + Duration::from_secs(1) {
            return Some(Answer {
                retry_after: Some(1),
                ..Answer::error(429, "too many requests")
            });
        }
        state.next = Some(next.max(now) + Duration::from_secs(1) / self.options.rate);
        None
    }

    /// Takes a place in the request's session, if one is wanted.
    fn enter(&self, request: &Request) -> Result<Option<String>, Answer> {
        if self.options.session.is_zero() {
            return Ok(None);
        }
        let refused = || Answer::error(401, "no session");
        let token = request.token.clone().ok_or_else(refused)?;
        let mut state = self.lock();
        loop {
            let session = state.sessions.get_mut(&token).ok_or_else(refused)?;
            let per_session = self.options.per_session;
            if per_session == 0 || session.at_once < per_session {
                session.requests += 1;
                let good_for = self.options.session_requests;
                if good_for > 0 && session.requests > good_for {
                    state.sessions.remove(&token);
                    return Err(Answer::error(401, "the session has expired"));
                }
                session.at_once += 1;
                return Ok(Some(token));
            }
            state = self
                .changed
                .wait(state)
                .expect("no one panics holding this lock");
        }
    }

    fn leave(&self, token: Option<&str>) {
        let mut state = self.lock();
        if let Some(session) = token.and_then(|token| state.sessions.get_mut(token)) {
            session.at_once -= 1;
            self.changed.notify_all();
        }
    }

    fn content(&self, request: &Request, items: &[String]) -> Answer {
        for item in items {
            if let Some(status) = self.failure(item) {
                return Answer::error(status, &format!("no answer for {item}"));
            }
        }
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        match segments[..] {
            ["instruments"] => self.instruments(items),
            ["items", id] => Answer::json(format!(
                "{{\"id\":{id},\"value\":{}}}",
                self.number(id) % 1000
            )),
            ["customers", id, "connections"] => self.connections(id, request.query.get("page")),
            ["views.csv"] => self.views(),
            ["session", "close"] => {
                let gone = request
                    .token
                    .as_ref()
                    .map(|token| self.lock().sessions.remove(token));
                Answer::json(format!("{{\"closed\":{}}}", gone.flatten().is_some()))
            }
            _ => Answer::error(404, "nothing is here"),
        }
    }

    /// Whether this item fails now, and how.
    fn failure(&self, item: &str) -> Option<u16> {
        if let Some(status) = self.options.fail.get(item) {
            return Some(*status);
        }
        let of_thousand = |salt: u64| hash(self.options.seed + salt, item) % 1000;
        if of_thousand(1) < self.options.fail_permille {
            return Some(500);
        }
        let flaky = of_thousand(2) < self.options.flaky_permille;
        (flaky && self.lock().failed_once.insert(item.to_owned())).then_some(503)
    }

    fn number(&self, item: &str) -> u64 {
        hash(self.options.seed, item)
    }

    fn instruments(&self, items: &[String]) -> Answer {
        let mut body = String::from("{\"data\":[");
        for (i, item) in items.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(
                body,
                "{comma}{{\"instrument\":{},\"fields\":{{",
                quoted(item)
            );
            for field in 1..=FIELDS {
                let comma = if field > 1 { "," } else { "" };
                let number = hash(self.options.seed + field as u64, item);
                // Texts, prices and counts take turns; some are missing.
                let value = match (number % 11, field % 3) {
                    (0, _) => "null".to_owned(),
                    (_, 0) => format!("\"T{}\"", number % 10_000),
                    (_, 1) => format!("{}.{:02}", number % 500, number / 500 % 100),
                    _ => (number % 1_000_000).to_string(),
                };
                let _ = write!(body, "{comma}\"F{field:02}\":{value}");
            }
            body.push_str("}}");
        }
        body.push_str("]}");
        Answer::json(body)
    }

    /// A customer's connections, two a page: none, or up to seven.
    fn connections(&self, id: &str, page: Option<&String>) -> Answer {
        let count = self.number(id) % 8;
        let page: u64 = page.and_then(|page| page.parse().ok()).unwrap_or(1).max(1);
        let from = (page - 1) * 2;
        let on_page = (from..count).take(2).map(|n| {
            let view = hash(self.options.seed + n, id) % (VIEWS + 2);
            format!("{{\"conn_id\":\"C{id}-{n}\",\"view\":{{\"view_id\":{view}}}}}")
        });
        let on_page: Vec<String> = on_page.collect();
        let next = if from + 2 < count {
            format!("\"/customers/{id}/connections?page={}\"", page + 1)
        } else {
            "null".to_owned()
        };
        Answer::json(format!(
            "{{\"connections\":[{}],\"next\":{next}}}",
            on_page.join(",")
        ))
    }

    fn views(&self) -> Answer {
        let mut body = String::from("view_id,title\n");
        for view in 0..VIEWS {
            let _ = writeln!(
                body,
                "{view},\"View {view}, of {}\"",
                self.number(&view.to_string()) % 90 + 1930
            );
        }
        Answer {
            ty: "text/csv",
            ..Answer::json(body)
        }
    }
}

/// What is asked about.
fn items(request: &Request) -> Vec<String> {
    let segments: Vec<&str> = request.path.split('/').skip(1).collect();
    match segments[..] {
        ["instruments"] if request.method == "POST" => strings(&request.body),
        ["instruments"] => {
            let rics = request
                .query
                .get("rics")
                .map(String::as_str)
                .unwrap_or_default();
            rics.split(',')
                .filter(|ric| !ric.is_empty())
                .map(str::to_owned)
                .collect()
        }
        ["items", id] | ["customers", id, "connections"] => vec![id.to_owned()],
        _ => Vec::new(),
    }
}

/// The strings of the list in a body such as `{"universe": ["A", "B"]}`.
fn strings(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let list = text
        .split_once('[')
        .and_then(|(_, list)| list.split_once(']'));
    let words = list.map(|(list, _)| list).unwrap_or_default().split('"');
    words.skip(1).step_by(2).map(str::to_owned).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// FNV-1a, and a mix behind it: enough to look random.
fn hash(seed: u64, text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}
