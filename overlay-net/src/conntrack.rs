//! Connections that the kernel remembers: those to a backend that has stopped are forgotten.
//!
//! The client's next packet then meets a new connection's rules: over TCP another backend answers it with a reset,
//! over UDP another backend has it. A client that sends nothing would not notice: its connections are listed, so that
//! they can be ended. Called by the engine's thread for that, and by nobody who waits.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use crate::desired::Protocol as Transport;
use crate::netlink::{Attributes, Batch, NetlinkError, Protocol, Socket, attributes, u16_be};
use crate::nft::{Family, Word};
use crate::sockets::Connection;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_DST: u16 = 4;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// Clients of one backend that are told that it stopped: more than one that serves well has.
const CLIENTS_MOST: usize = 65_536;

/// A socket for the connections of one namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Socket,
}

/// Connections that some backends answer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// All of them.
    pub(crate) entries: Vec<Entry>,
    /// Those over TCP, as their clients see them; as many as are told.
    pub(crate) clients: Vec<Connection>,
}

/// What names one connection.
#[derive(Debug)]
pub(crate) struct Entry {
    family: Family,
    original: Vec<u8>,
    id: Vec<u8>,
}

impl Conntrack {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(Protocol::Netfilter)?,
        })
    }

    /// The connections that one of these addresses answers. Costs what the kernel remembers in all, once: its own filter
    /// takes one address at a time, and compares those of IPv6 the wrong way round.
    pub(crate) fn answered_by(&mut self, backends: &BTreeSet<IpAddr>) -> Result<Found, NetlinkError> {
        self.socket.dump(
            message(IPCTNL_MSG_CT_GET),
            &ANY_FAMILY,
            |_| {},
            Found::default,
            |found, _, body| {
                let family = body.first().copied().and_then(family_of);
                let list = body.get(ANY_FAMILY.len()..).map(attributes);
                if let (Some(family), Some(list)) = (family, list)
                    && answers(&list, family).is_some_and(|address| backends.contains(&address))
                {
                    found.entries.extend(Entry::read(&list, family));
                    if found.clients.len() < CLIENTS_MOST {
                        found.clients.extend(connection(&list, family));
                    }
                }
            },
        )
    }

    /// Forgets connections; those that have ended meanwhile are forgotten already.
    pub(crate) fn delete(&mut self, entries: &[Entry]) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        for entry in entries {
            let header = [entry.family.number(), 0, 0, 0];
            batch.message(message(IPCTNL_MSG_CT_DELETE), 0, &header, |m| {
                m.bytes(CTA_TUPLE_ORIG | NESTED, &entry.original)
                    .bytes(CTA_ID, &entry.id);
            });
        }
        let failures = self.socket.send(&batch)?;
        match failures.into_iter().find(|failure| failure.errno != Errno::NOENT) {
            None => Ok(()),
            Some(failure) => Err(NetlinkError::Refused(failure)),
        }
    }
}

/// `nfgenmsg` of a request for all families; each answer names its own.
const ANY_FAMILY: [u8; 4] = [0; 4];
const NESTED: u16 = 0x8000;

impl Entry {
    fn read(list: &Attributes<'_>, family: Family) -> Option<Self> {
        Some(Self {
            family,
            original: list.clone().get(CTA_TUPLE_ORIG)?.to_vec(),
            id: list.clone().get(CTA_ID)?.to_vec(),
        })
    }
}

const fn message(kind: u16) -> u16 {
    NFNL_SUBSYS_CTNETLINK << 8 | kind
}

fn family_of(number: u8) -> Option<Family> {
    Family::ALL.into_iter().find(|family| family.number() == number)
}

fn answers(list: &Attributes<'_>, family: Family) -> Option<IpAddr> {
    let tuple = attributes(list.clone().get(CTA_TUPLE_REPLY)?);
    let kind = match family {
        Family::V4 => CTA_IP_V4_SRC,
        Family::V6 => CTA_IP_V6_SRC,
    };
    Word::new(attributes(tuple.get(CTA_TUPLE_IP)?).get(kind)?).address(family)
}

/// A TCP connection, as its client sees it.
fn connection(list: &Attributes<'_>, family: Family) -> Option<Connection> {
    let tuple = attributes(list.clone().get(CTA_TUPLE_ORIG)?);
    let protocol = attributes(tuple.clone().get(CTA_TUPLE_PROTO)?);
    if protocol.clone().get(CTA_PROTO_NUM)? != [Transport::Tcp.number()] {
        return None;
    }
    let addresses = attributes(tuple.get(CTA_TUPLE_IP)?);
    let (source, destination) = match family {
        Family::V4 => (CTA_IP_V4_SRC, CTA_IP_V4_DST),
        Family::V6 => (CTA_IP_V6_SRC, CTA_IP_V6_DST),
    };
    let end = |address, port| {
        let address = Word::new(addresses.clone().get(address)?).address(family)?;
        Some(SocketAddr::new(address, u16_be(protocol.clone().get(port)?)?))
    };
    Some(Connection {
        from: end(source, CTA_PROTO_SRC_PORT)?,
        to: end(destination, CTA_PROTO_DST_PORT)?,
    })
}
