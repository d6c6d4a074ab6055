//! Connections on a free port, a thread for each, that all end when the listener is dropped.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) struct Listener {
    address: SocketAddr,
    connections: Arc<Connections>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Gives every connection, with its number, to a thread of its own that runs `serve`.
    pub(super) fn start(
        serve: impl Fn(usize, TcpStream, &Connections) + Send + Sync + 'static,
    ) -> Listener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let address = listener.local_addr().expect("it is bound");
        let connections = Arc::new(Connections::default());
        let thread = thread::spawn({
            let connections = Arc::clone(&connections);
            move || {
                thread::scope(|scope| {
                    for (number, stream) in listener.incoming().flatten().enumerate() {
                        if connections.has_ended() {
                            break;
                        }
                        let (serve, connections) = (&serve, &connections);
                        scope.spawn(move || serve(number, stream, connections));
                    }
                });
            }
        });
        Listener {
            address,
            connections,
            thread: Some(thread),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connections.end();
        // The thread waits for a connection, so it is given one.
        let _ = TcpStream::connect(self.address);
        let result = self.thread.take().map(JoinHandle::join);
        // A script's failed assertion fails the test, unless the test has failed already.
        assert!(
            !matches!(result, Some(Err(_))) || thread::panicking(),
            "a script has panicked"
        );
    }
}

/// The connections that are open, and whether they are to end.
#[derive(Default)]
pub(super) struct Connections {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    opened: usize,
    open: BTreeMap<usize, TcpStream>,
}

impl Connections {
    /// Closes the connection when what is returned is dropped, or when the listener is.
    pub(super) fn guard(&self, stream: &TcpStream) -> Guard<'_> {
        let mut state = self.lock();
        state.opened += 1;
        let number = state.opened;
        match stream.try_clone() {
            Ok(clone) if !state.ended => drop(state.open.insert(number, clone)),
            _ => close(stream),
        }
        Guard {
            connections: self,
            number,
        }
    }

    /// Waits; less long where the listener is dropped.
    pub(super) fn pause(&self, duration: Duration) {
        // Poisoned or not, the time is over.
        drop(
            self.ended
                .wait_timeout_while(self.lock(), duration, |state| !state.ended),
        );
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.open.values().for_each(close);
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Guard<'a> {
    connections: &'a Connections,
    number: usize,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.connections.lock().open.remove(&self.number) {
            close(&stream);
        }
    }
}

fn close(stream: &TcpStream) {
    // The other side may have closed it before.
    let _ = stream.shutdown(Shutdown::Both);
}
