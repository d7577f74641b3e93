//! Sockets inside a container's namespace: a port of 127.0.0.11, and the way of port 53 to it.
//!
//! Port 53 itself stays the container's own. What goes to 127.0.0.11:53 is rewritten packet by packet, and so is what
//! comes back: a translation that remembers connections would remember one for every question, for half a minute
//! each, and a container that asks much would fill the kernel's memory with them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use crate::desired::Protocol;
use crate::message::Asker;
use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::NetlinkError;
use crate::nft::{
    Base, ChainType, Compare, Expression, Family, Hook, Meta, NftSocket, Operation, Register, Rule,
    TableName, Word,
};

/// Where containers ask.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// The table that leads there.
const TABLE: &str = "shoal-names";
const CHAIN: &str = "names";
/// Before anything that remembers connections.
const BEFORE_TRACKING: i32 = -350;
/// A port that is free over UDP may be taken over TCP.
const TRIES: usize = 16;

/// The two sockets of an endpoint.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// Names could not be brought into a namespace.
#[derive(Debug, thiserror::Error)]
pub(super) enum InsideError {
    /// It is not there any more.
    #[error("its network namespace is gone")]
    Gone,
    /// It could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No socket.
    #[error("listen on {ADDRESS}")]
    Listen(#[source] io::Error),
    /// No way to it.
    #[error("lead port {PORT} of {ADDRESS} there")]
    Redirect(#[source] NetlinkError),
}

/// Opens the sockets of an asker, at best on the port that they had, and leads port 53 to them.
pub(super) fn open(asker: &Asker) -> Result<Sockets, InsideError> {
    let namespace = match Namespace::open(&asker.namespace) {
        Ok(namespace) if namespace.id() == asker.id => namespace,
        Ok(_other) => return Err(InsideError::Gone),
        Err(error) if error.is_gone() => return Err(InsideError::Gone),
        Err(error) => return Err(error.into()),
    };
    namespace.enter(|| {
        let sockets = listen(asker.port).map_err(InsideError::Listen)?;
        let port = sockets.udp.local_addr().map_err(InsideError::Listen)?.port();
        redirect(port).map_err(InsideError::Redirect)?;
        Ok(sockets)
    })?
}

fn listen(before: Option<u16>) -> io::Result<Sockets> {
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for port in before.into_iter().chain([0; TRIES]) {
        result = listen_on(port);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn listen_on(port: u16) -> io::Result<Sockets> {
    let udp = UdpSocket::bind(SocketAddrV4::new(ADDRESS, port))?;
    let tcp = TcpListener::bind(SocketAddr::V4(SocketAddrV4::new(
        ADDRESS,
        udp.local_addr()?.port(),
    )))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(Sockets { udp, tcp })
}

/// Puts back the way of port 53 where somebody in the container took it away; whether that was so. A container that is
/// gone needs none.
pub(super) fn restore(asker: &Asker, port: u16) -> Result<bool, InsideError> {
    let namespace = match Namespace::open(&asker.namespace) {
        Ok(namespace) if namespace.id() == asker.id => namespace,
        Ok(_) => return Ok(false),
        Err(error) if error.is_gone() => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let restored = namespace.enter(|| {
        let whole = NftSocket::open()?.table(&table())?.is_some_and(|found| {
            let chain = found.chains.get(CHAIN).filter(|chain| chain.base == Some(BASE));
            let rules = chain.map(|chain| chain.rules.iter().map(|rule| &rule.comment));
            rules.is_some_and(|there| there.eq(rules_for(port).iter().map(|rule| &rule.comment)))
        });
        if !whole {
            redirect(port)?;
        }
        Ok(!whole)
    })?;
    restored.map_err(InsideError::Redirect)
}

const BASE: Base = Base {
    kind: ChainType::Filter,
    hook: Hook::Output,
    priority: BEFORE_TRACKING,
};

fn table() -> TableName {
    TableName {
        family: Family::V4,
        name: TABLE.to_owned(),
    }
}

fn rules_for(port: u16) -> Vec<Rule> {
    let both = |protocol| [there(protocol, port), back(protocol, port)];
    let expressions = Protocol::ALL.into_iter().flat_map(both);
    expressions.map(|steps| Rule::new(TABLE, steps)).collect()
}

fn redirect(port: u16) -> Result<(), NetlinkError> {
    let table = table();
    let chain = || CHAIN.to_owned();
    let mut socket = NftSocket::open()?;
    let mut operations = Vec::new();
    if socket.tables(Family::V4)?.contains(&table.name) {
        // From before. Only then: what is removed is waited for when the socket is closed, for some 30 ms.
        operations.push(Operation::RemoveTable);
    }
    operations.extend([
        Operation::AddTable,
        Operation::AddChain {
            chain: chain(),
            base: Some(BASE),
        },
    ]);
    operations.extend(
        rules_for(port)
            .into_iter()
            .map(|rule| Operation::AppendRule { chain: chain(), rule }),
    );
    socket.commit(operations.iter().map(|operation| (&table, operation)))
}

const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;

/// A question: to port 53, and then to the other one.
fn there(protocol: Protocol, port: u16) -> Vec<Expression> {
    let address = Expression::destination(Family::V4, Register(0));
    rewrite(protocol, address, DESTINATION_PORT, [PORT, port])
}

/// An answer: from the other port, and then from port 53.
fn back(protocol: Protocol, port: u16) -> Vec<Expression> {
    let address = Expression::source(Family::V4, Register(0));
    rewrite(protocol, address, SOURCE_PORT, [port, PORT])
}

fn rewrite(protocol: Protocol, address: Expression, place: u32, [from, to]: [u16; 2]) -> Vec<Expression> {
    let checksum = match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
    };
    vec![
        address,
        Expression::compare(Register(0), Compare::Equal, &ADDRESS.octets()),
        Expression::meta(Meta::Protocol, Register(0)),
        Expression::compare(Register(0), Compare::Equal, &[protocol.number()]),
        Expression::transport(place, 2, Register(0)),
        Expression::compare(Register(0), Compare::Equal, &from.to_be_bytes()),
        Expression::untracked(),
        Expression::load(Word::new(&to.to_be_bytes()), Register(0)),
        Expression::set_transport(place, 2, checksum, Register(0)),
    ]
}
