//! Sockets of processes: those of a connection whose other end has stopped are ended, so that a client that only
//! waits hears of it as well.
//!
//! Called by the engine in the namespace of the client. A kernel without this (`INET_DIAG_DESTROY`) leaves such
//! clients to their own timeouts.

use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use crate::netlink::{Batch, NetlinkError, Protocol, Socket};
use crate::nft::Family;

/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// A connection as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    /// The client's end.
    pub(crate) from: SocketAddr,
    /// What it connected to: a VIP, or a backend itself.
    pub(crate) to: SocketAddr,
}

/// Ends the client's socket of each of these connections, in the calling thread's namespace. Those that are not there
/// have ended by themselves.
pub(crate) fn end(connections: &[Connection]) -> Result<(), NetlinkError> {
    let mut batch = Batch::new();
    for connection in connections {
        batch.message(DESTROY, 0, &request(connection), |_| {});
    }
    let failures = Socket::open(Protocol::SocketDiag)?.send(&batch)?;
    match failures.into_iter().find(|failure| failure.errno != Errno::NOENT) {
        None => Ok(()),
        Some(failure) => Err(NetlinkError::Refused(failure)),
    }
}

/// `struct inet_diag_req_v2`.
fn request(connection: &Connection) -> Vec<u8> {
    let Connection { from, to } = connection;
    let mut bytes = vec![Family::of(from.ip()).number(), TCP, 0, 0];
    // In any state.
    bytes.extend_from_slice(&u32::MAX.to_ne_bytes());
    bytes.extend_from_slice(&from.port().to_be_bytes());
    bytes.extend_from_slice(&to.port().to_be_bytes());
    for address in [from.ip(), to.ip()] {
        let mut field = [0; 16];
        match address {
            IpAddr::V4(v4) => field[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => field = v6.octets(),
        }
        bytes.extend_from_slice(&field);
    }
    // By any link; whichever socket it is.
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&[0xff; 8]);
    bytes
}
