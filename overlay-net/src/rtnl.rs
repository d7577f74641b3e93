//! Links, addresses, routes and neighbours: requests in batches, and dumps.
//!
//! What Shoal makes is marked: links by an alias, routes by a protocol number of their own, neighbours by being
//! permanent.

mod dump;
mod request;

use std::net::IpAddr;

pub use dump::RouteSocket;
pub use request::{Request, VethEnd};

use crate::address::{Mac, Prefix};
use crate::netlink::NetlinkError;

/// `rtm_protocol` of routes made by Shoal: none of the registered ones.
pub const ROUTES_OF_SHOAL: u8 = 83;

/// A link as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// The kernel's number of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `vxlan`, …; empty for what the machine came with.
    pub kind: String,
    /// What [`Request::AddVeth`] called it.
    pub alias: String,
    /// Its own address.
    pub mac: Option<Mac>,
    /// The longest packet.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it can carry packets: it is up and so is its other end. The kernel sees to that a little after both
    /// were brought up, and drops what is sent before.
    pub carries: bool,
    /// The id here of the namespace that its other end is in.
    pub other_end: Option<u32>,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkAddress {
    /// The link.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The subnet's length.
    pub length: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub to: Prefix,
    /// What happens with packets.
    pub via: Via,
    /// The source address of what this machine itself sends there.
    pub source: Option<IpAddr>,
}

/// What happens with packets of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// Sent out by a link, to the neighbour with the destination's own address.
    Link(u32),
    /// Sent to a neighbour on a link, whatever addresses the link has.
    Gateway(u32, IpAddr),
    /// Answered with "unreachable".
    Unreachable,
}

/// A permanent neighbour: nothing has to be asked to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The link.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: Mac,
}

/// A refusal of a request that only says that the object is as asked for, or gone as asked for.
pub(crate) fn is_fine(errno: rustix::io::Errno, adding: bool) -> bool {
    use rustix::io::Errno;
    if adding {
        errno == Errno::EXIST
    } else {
        matches!(
            errno,
            Errno::NOENT | Errno::SRCH | Errno::NODEV | Errno::ADDRNOTAVAIL
        )
    }
}

/// Short for results of this module.
pub type Result<T> = std::result::Result<T, NetlinkError>;
