//! A proxy that cuts connections in the middle of what they carry, and holds it up.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::listener::{Connections, Listener};

/// Small, so that a large request is held up more than once.
const PIECE_BYTES: usize = 16 << 10;

pub(crate) struct Proxy {
    /// The upstream's address with the port of the proxy.
    pub(crate) url: String,
    faults: Arc<Faults>,
    _listener: Listener,
}

struct Faults {
    upstream: String,
    seed: u64,
    /// Bytes of requests or of answers after which a connection is cut.
    cut: Option<Range<usize>>,
    delay: Duration,
    cutting: AtomicBool,
    cuts: AtomicUsize,
    carried: AtomicUsize,
}

impl Proxy {
    /// Cuts every connection after a random number of bytes out of `cut`, counted in one random direction,
    /// and holds up every piece of what it carries for a random time up to `delay`.
    pub(crate) fn start(
        upstream_url: &str,
        seed: u64,
        cut: Option<Range<usize>>,
        delay: Duration,
    ) -> Proxy {
        let (scheme, upstream) = upstream_url
            .split_once("://")
            .expect("an address has a scheme");
        let faults = Arc::new(Faults {
            upstream: upstream.trim_end_matches('/').to_owned(),
            seed,
            cut,
            delay,
            cutting: AtomicBool::new(true),
            cuts: AtomicUsize::new(0),
            carried: AtomicUsize::new(0),
        });
        let listener = Listener::start({
            let faults = Arc::clone(&faults);
            move |number, stream, connections| faults.serve(number, &stream, connections)
        });
        Proxy {
            url: format!("{scheme}://{}", listener.address()),
            faults,
            _listener: listener,
        }
    }

    /// From now on no connection is cut, old or new.
    pub(crate) fn stop_cutting(&self) {
        self.faults.cutting.store(false, Ordering::SeqCst);
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Bytes carried so far, of requests and answers.
    pub(crate) fn carried(&self) -> usize {
        self.faults.carried.load(Ordering::SeqCst)
    }
}

impl Faults {
    fn serve(&self, number: usize, client: &TcpStream, connections: &Connections) {
        let _client_guard = connections.guard(client);
        let Ok(server) = TcpStream::connect(&self.upstream) else {
            return;
        };
        let server = &server;
        let _server_guard = connections.guard(server);
        let mut random = Random::new(self.seed.wrapping_add(number as u64));
        let (mut of_requests, mut of_answers) = (None, None);
        if let Some(cut) = &self.cut {
            let bytes = Some(random.within(cut));
            match random.next() % 2 {
                0 => of_requests = bytes,
                _ => of_answers = bytes,
            }
        }
        let answers_random = Random::new(random.next());
        // Neither direction's end by itself is a fault: what has been sent is still to arrive.
        thread::scope(|scope| {
            scope.spawn(|| self.carry(client, server, of_requests, random, connections));
            let _ = self.carry(server, client, of_answers, answers_random, connections);
        });
    }

    /// Carries what comes from one side to the other, until it ends or is cut.
    fn carry(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        cut: Option<usize>,
        mut random: Random,
        connections: &Connections,
    ) -> io::Result<()> {
        let mut carried = 0;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = from.read(&mut piece).unwrap_or(0);
            if length == 0 {
                return to.shutdown(Shutdown::Write);
            }
            if !self.delay.is_zero() {
                connections.pause(self.delay.mul_f64(random.fraction()));
            }
            let left = cut.map_or(usize::MAX, |cut| cut.saturating_sub(carried));
            if left <= length && self.cutting.load(Ordering::SeqCst) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                let sent = to.write_all(&piece[..left]);
                from.shutdown(Shutdown::Both)?;
                to.shutdown(Shutdown::Both)?;
                return sent;
            }
            if to.write_all(&piece[..length]).is_err() {
                // Who sends must learn that nobody listens.
                return from.shutdown(Shutdown::Both);
            }
            carried += length;
            self.carried.fetch_add(length, Ordering::SeqCst);
        }
    }
}

/// Marsaglia's xorshift64, as good as a proxy's whims need.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Neighbouring seeds are to differ in all bits, and none may be zero.
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number of the range; its start where the range is empty.
    pub(crate) fn within(&mut self, range: &Range<usize>) -> usize {
        let width = range.end.saturating_sub(range.start).max(1) as u64;
        range.start + usize::try_from(self.next() % width).expect("less than the range's width")
    }

    /// From 0 up to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
