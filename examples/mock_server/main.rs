//! A server for pipelines that wait: it answers slowly, wants a login, has a limit, or fails, as it is told.
//!
//! ```text
//! cargo run --release --example mock_server -- --port 8123 --latency-ms 50
//! ```
//!
//! It answers with made-up data, the same for the same `--seed`:
//!
//! - `GET /instruments?rics=A,B` and `POST /instruments` with `{"universe": ["A", "B"]}`:
//!   `{"data": [{"instrument": "A", "fields": {"F01": .., .., "F59": ..}}, ..]}`
//! - `GET /items/7`: `{"id": 7, "value": ..}`
//! - `GET /customers/7/connections`: `{"connections": [{"conn_id": .., "view": {"view_id": ..}}, ..],
//!   "next": ..}`, two a page; the next page's path or null
//! - `GET /views.csv`: `view_id,title` of every view
//! - `POST /session`: `{"access_token": ".."}`; `POST /session/close` with that token
//! - `GET /stats`: how many requests there were, and how many at once at most
//!
//! Each connection has a thread. A failure is an item's, so that it is met whatever asks for it and when.

mod server;
mod wire;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
usage: mock_server [OPTION VALUE]...
  --port N             where to listen on 127.0.0.1 (8123; 0: any, it is printed)
  --latency-ms N       before every answer (50)
  --item-ms X          more for each item of a request, fractions too (0)
  --session-ms N       a login takes this long, and everything else wants one (0: no login)
  --sessions-max N     logins at once; one more is refused with 429 (0: no limit)
  --session-requests N a session is good for so many requests, then 401 (0: for ever)
  --per-session N      requests of one session that are answered at once; others wait (0: no limit)
  --rate N             requests a second; others are refused with 429 and Retry-After (0: no limit)
  --fail ITEM=STATUS   every request with this item, repeatable
  --fail-permille N    so many of a thousand items always fail, with 500 (0)
  --flaky-permille N   so many of a thousand items fail once, with 503 (0)
  --seed N             of what is answered and what fails (1)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = Options::parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("error: cannot listen on port {}: {error}", options.port);
            return ExitCode::FAILURE;
        }
    };
    match listener.local_addr() {
        Ok(address) => println!("listening on http://{address}"),
        Err(error) => eprintln!("{error}"),
    }
    server::serve(&listener, options);
    ExitCode::SUCCESS
}

/// What it does beside answering.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) port: u16,
    pub(crate) latency: Duration,
    pub(crate) item: Duration,
    pub(crate) session: Duration,
    pub(crate) sessions_max: usize,
    pub(crate) session_requests: u64,
    pub(crate) per_session: usize,
    pub(crate) rate: u32,
    pub(crate) fail: HashMap<String, u16>,
    pub(crate) fail_permille: u64,
    pub(crate) flaky_permille: u64,
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let mut options = Options {
            port: 8123,
            latency: Duration::from_millis(50),
            seed: 1,
            ..Options::default()
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next()?;
            let ms = |value: &str| Some(Duration::from_secs_f64(value.parse::<f64>().ok()? / 1e3));
            match name.as_str() {
                "--port" => options.port = value.parse().ok()?,
                "--latency-ms" => options.latency = ms(value)?,
                "--item-ms" => options.item = ms(value)?,
                "--session-ms" => options.session = ms(value)?,
                "--sessions-max" => options.sessions_max = value.parse().ok()?,
                "--session-requests" => options.session_requests = value.parse().ok()?,
                "--per-session" => options.per_session = value.parse().ok()?,
                "--rate" => options.rate = value.parse().ok()?,
                "--fail" => {
                    let (item, status) = value.split_once('=')?;
                    options.fail.insert(item.to_owned(), status.parse().ok()?);
                }
                "--fail-permille" => options.fail_permille = value.parse().ok()?,
                "--flaky-permille" => options.flaky_permille = value.parse().ok()?,
                "--seed" => options.seed = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }
}
