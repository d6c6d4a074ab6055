//! A master before Spark looks for it: Spark tries for a minute, and then says little.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::error::{Error, Result};

/// The longest wait for one that answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether something answers at one of the addresses of a standalone master. Of other masters nothing is known here.
pub(super) fn answers(master: &str) -> Result<()> {
    let Some(addresses) = master.strip_prefix("spark://") else {
        return Ok(());
    };
    let mut last = None;
    for address in addresses.split(',') {
        match connect(address) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    let mut error = Error::failed(format!("nothing answers at `{master}`"));
    if let Some(last) = last {
        error = error.cause(last);
    }
    Err(error.hint(
        "is a master running there? its log and its page name its address, `spark://HOST:PORT`",
    ))
}

fn connect(address: &str) -> std::io::Result<()> {
    let mut last = std::io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn one_of_several_masters_is_enough_and_none_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let there = listener.local_addr().expect("it is bound");
        let listener_gone = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let gone = listener_gone.local_addr().expect("it was bound");
        drop(listener_gone);
        assert!(answers(&format!("spark://{there}")).is_ok());
        assert!(answers(&format!("spark://{gone},{there}")).is_ok());
        assert!(answers("yarn").is_ok());
        let error = answers(&format!("spark://{gone}")).expect_err("nobody listens");
        assert!(error.message.contains(&gone.to_string()), "{error}");
        assert!(answers("spark://no-port").is_err());
    }
}
