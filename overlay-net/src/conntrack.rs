//! Connections that the kernel remembers: those to a backend that has stopped are forgotten.
//!
//! The client's next packet then meets a new connection's rules: over TCP another backend answers it with a reset,
//! over UDP another backend has it. The kernel filters by itself since 6.12, for IPv4; else what it lists is looked
//! through here. A client that sends nothing would not notice: its connections are listed, so that they can be ended.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use crate::desired::Protocol as Transport;
use crate::netlink::{Attributes, Batch, Message, NetlinkError, Protocol, Socket, attributes, u16_be};
use crate::nft::{Family, Word};
use crate::sockets::Connection;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_FILTER_F_CTA_IP_SRC: u32 = 1;
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
/// `nfgenmsg.version` of a request whose family counts: version 0 forgets all families.
const WITH_FAMILY: u8 = 1;

/// A socket for the connections of one namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Socket,
    /// Whether the kernel was found to filter, or not to.
    filters: Option<bool>,
}

impl Conntrack {
    /// Opens one in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open(Protocol::Netfilter)?,
            filters: None,
        })
    }

    /// The TCP connections that one of these addresses answers, as their clients see them.
    pub(crate) fn clients(&mut self, backends: &BTreeSet<IpAddr>) -> Result<Vec<Connection>, NetlinkError> {
        let mut all = Vec::new();
        for family in Family::ALL {
            if !backends.iter().any(|address| Family::of(*address) == family) {
                continue;
            }
            let found: Vec<Connection> = self.socket.dump(
                message(IPCTNL_MSG_CT_GET),
                &[family.number(), 0, 0, 0],
                |_| {},
                Vec::new,
                |found, _, body| {
                    let Some(list) = body.get(4..).map(attributes) else {
                        return;
                    };
                    let ours = answers(&list, family).is_some_and(|address| backends.contains(&address));
                    if ours && found.len() < CLIENTS_MOST {
                        found.extend(connection(&list, family));
                    }
                },
            )?;
            all.extend(found);
        }
        Ok(all)
    }

    /// Forgets all connections that one of these addresses answers.
    pub(crate) fn forget(&mut self, backends: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        for family in Family::ALL {
            let addresses: BTreeSet<IpAddr> = backends
                .iter()
                .copied()
                .filter(|a| Family::of(*a) == family)
                .collect();
            if addresses.is_empty() || (family == Family::V4 && self.forget_filtered(&addresses)?) {
                continue;
            }
            self.forget_listed(family, &addresses)?;
        }
        Ok(())
    }

    /// By the kernel's own filter; false if it has none. (Its comparison of IPv6 addresses is inverted, so only IPv4.)
    fn forget_filtered(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<bool, NetlinkError> {
        if self.filters == Some(false) {
            return Ok(false);
        }
        let mut batch = Batch::new();
        for address in addresses {
            batch.message(
                message(IPCTNL_MSG_CT_DELETE),
                0,
                &[Family::V4.number(), WITH_FAMILY, 0, 0],
                |m| {
                    answered_by(m, *address);
                    m.nest(CTA_FILTER, |filter| {
                        filter.u32_ne(CTA_FILTER_REPLY_FLAGS, CTA_FILTER_F_CTA_IP_SRC);
                    });
                },
            );
        }
        let failures = self.socket.send(&batch)?;
        // A kernel that does not know the filter takes the addresses for a whole connection's, of which parts are
        // missing.
        let unknown = |errno| matches!(errno, Errno::INVAL | Errno::OPNOTSUPP);
        if failures.iter().any(|failure| unknown(failure.errno)) {
            self.filters = Some(false);
            return Ok(false);
        }
        self.filters = Some(true);
        match failures.into_iter().find(|failure| failure.errno != Errno::NOENT) {
            None => Ok(true),
            Some(failure) => Err(NetlinkError::Refused(failure)),
        }
    }

    fn forget_listed(&mut self, family: Family, addresses: &BTreeSet<IpAddr>) -> Result<(), NetlinkError> {
        let header = [family.number(), 0, 0, 0];
        let found: Vec<Entry> = self.socket.dump(
            message(IPCTNL_MSG_CT_GET),
            &header,
            |_| {},
            Vec::new,
            |found, _, body| {
                let Some(list) = body.get(4..).map(attributes) else {
                    return;
                };
                if answers(&list, family).is_some_and(|address| addresses.contains(&address)) {
                    found.extend(Entry::read(&list));
                }
            },
        )?;
        let mut batch = Batch::new();
        for entry in &found {
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

const NESTED: u16 = 0x8000;

/// What names one connection.
struct Entry {
    original: Vec<u8>,
    id: Vec<u8>,
}

impl Entry {
    fn read(list: &Attributes<'_>) -> Option<Self> {
        Some(Self {
            original: list.clone().get(CTA_TUPLE_ORIG)?.to_vec(),
            id: list.clone().get(CTA_ID)?.to_vec(),
        })
    }
}

const fn message(kind: u16) -> u16 {
    NFNL_SUBSYS_CTNETLINK << 8 | kind
}

fn answered_by(message: &mut Message<'_>, address: IpAddr) {
    message.nest(CTA_TUPLE_REPLY, |tuple| {
        tuple.nest(CTA_TUPLE_IP, |ip| {
            let kind = if address.is_ipv4() {
                CTA_IP_V4_SRC
            } else {
                CTA_IP_V6_SRC
            };
            ip.bytes(kind, Word::from(address).as_bytes());
        });
    });
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
