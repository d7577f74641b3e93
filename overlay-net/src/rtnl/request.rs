//! Requests, as values, and how they are written.
//!
//! Plans are made of them; the socket of a namespace sends them, many at once.

use std::net::IpAddr;
use std::os::fd::RawFd;

use super::{LinkAddress, Neighbour, ROUTES_OF_SHOAL, Route, Via};
use crate::address::Mac;
use crate::netlink::{Batch, Message};
use crate::nft::Family;

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
pub(super) const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_GETROUTE: u16 = 26;
pub(super) const RTM_NEWNEIGH: u16 = 28;
pub(super) const RTM_DELNEIGH: u16 = 29;
pub(super) const RTM_GETNEIGH: u16 = 30;

const REPLACE: u16 = 0x100;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_OPERSTATE: u16 = 16;
/// RFC 2863's "up".
pub(super) const IF_OPER_UP: u8 = 6;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_LINK_NETNSID: u16 = 37;
pub(super) const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
pub(super) const IFF_UP: u32 = 1;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
/// Usable at once, without asking whether another has it.
const IFA_F_NODAD: u8 = 2;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RT_TABLE_MAIN: u8 = 254;
pub(super) const RT_TABLE_LOCAL: u8 = 255;
pub(super) const RTN_LOCAL: u8 = 2;
pub(super) const RTN_UNICAST: u8 = 1;
pub(super) const RTN_UNREACHABLE: u8 = 7;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTNH_F_ONLINK: u32 = 4;

pub(super) const NDA_DST: u16 = 1;
pub(super) const NDA_LLADDR: u16 = 2;
pub(super) const NUD_PERMANENT: u16 = 0x80;

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// The kernel's number of it, chosen by who makes it, so that what follows in the same batch can name it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its address.
    pub mac: Mac,
}

/// One change. `N` names namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<N> {
    /// Makes a pair, this end here and down, the other in a namespace and down.
    AddVeth {
        /// This end.
        here: VethEnd,
        /// The other end.
        there: VethEnd,
        /// Its namespace.
        namespace: N,
        /// The longest packet of both.
        mtu: u32,
    },
    /// Says what a link is called besides, to be known again, and keeps it from making itself an IPv6 address when
    /// it comes up. Neither can be said when a pair is made.
    Mark {
        /// The link.
        link: u32,
        /// Its alias.
        alias: String,
        /// Whether the namespace has IPv6.
        v6: bool,
    },
    /// Brings a link up.
    Up(u32),
    /// Another longest packet.
    Mtu {
        /// The link.
        link: u32,
        /// In bytes.
        mtu: u32,
    },
    /// Removes a link.
    RemoveLink(u32),
    /// Gives a link an address.
    AddAddress(LinkAddress),
    /// Takes it away.
    RemoveAddress(LinkAddress),
    /// Makes a route, in place of one to the same destination.
    SetRoute(Route),
    /// Removes a route of Shoal's.
    RemoveRoute(Route),
    /// Makes a permanent neighbour, in place of what is known of that address.
    SetNeighbour(Neighbour),
    /// Removes it.
    RemoveNeighbour(Neighbour),
}

impl<N> Request<N> {
    /// Whether it makes something.
    pub(crate) fn adds(&self) -> bool {
        !matches!(
            self,
            Self::RemoveLink(_) | Self::RemoveAddress(_) | Self::RemoveRoute(_) | Self::RemoveNeighbour(_)
        )
    }

    /// The link that has to be there for it.
    pub(crate) fn link(&self) -> Option<u32> {
        match self {
            Self::AddVeth { .. } => None,
            Self::Mark { link, .. } | Self::Up(link) | Self::Mtu { link, .. } | Self::RemoveLink(link) => {
                Some(*link)
            }
            Self::AddAddress(address) | Self::RemoveAddress(address) => Some(address.link),
            Self::SetRoute(route) | Self::RemoveRoute(route) => match route.via {
                Via::Link(link) | Via::Gateway(link, _) => Some(link),
                Via::Unreachable => None,
            },
            Self::SetNeighbour(neighbour) | Self::RemoveNeighbour(neighbour) => Some(neighbour.link),
        }
    }

    /// Writes it as the next message of a batch.
    pub(crate) fn write(&self, batch: &mut Batch, descriptor: impl Fn(&N) -> RawFd) {
        match self {
            Self::AddVeth {
                here,
                there,
                namespace,
                mtu,
            } => {
                let header = link_header(here.index, 0, 0);
                let namespace = descriptor(namespace);
                batch.message(RTM_NEWLINK, CREATE | EXCLUSIVE, &header, |m| {
                    veth(m, (here, there), namespace, *mtu);
                });
            }
            Self::Mark { link, alias, v6 } => batch.message(RTM_NEWLINK, 0, &link_header(*link, 0, 0), |m| {
                m.bytes(IFLA_IFALIAS, alias.as_bytes());
                if *v6 {
                    no_address_of_its_own(m);
                }
            }),
            Self::Up(link) => batch.message(RTM_NEWLINK, 0, &link_header(*link, IFF_UP, IFF_UP), |_| {}),
            Self::Mtu { link, mtu } => batch.message(RTM_NEWLINK, 0, &link_header(*link, 0, 0), |m| {
                m.u32_ne(IFLA_MTU, *mtu);
            }),
            Self::RemoveLink(link) => batch.message(RTM_DELLINK, 0, &link_header(*link, 0, 0), |_| {}),
            Self::AddAddress(address) => write_address(batch, RTM_NEWADDR, CREATE | REPLACE, address),
            Self::RemoveAddress(address) => write_address(batch, RTM_DELADDR, 0, address),
            Self::SetRoute(route) => write_route(batch, RTM_NEWROUTE, CREATE | REPLACE, route),
            Self::RemoveRoute(route) => write_route(batch, RTM_DELROUTE, 0, route),
            Self::SetNeighbour(neighbour) => {
                write_neighbour(batch, RTM_NEWNEIGH, CREATE | REPLACE, neighbour);
            }
            Self::RemoveNeighbour(neighbour) => write_neighbour(batch, RTM_DELNEIGH, 0, neighbour),
        }
    }
}

/// `struct ifinfomsg`.
pub(super) fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn veth(message: &mut Message<'_>, (here, there): (&VethEnd, &VethEnd), namespace: RawFd, mtu: u32) {
    let end = |message: &mut Message<'_>, end: &VethEnd| {
        message
            .text(IFLA_IFNAME, &end.name)
            .bytes(IFLA_ADDRESS, &end.mac.0);
        message.u32_ne(IFLA_MTU, mtu);
    };
    end(message, here);
    message.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "veth");
        info.nest(IFLA_INFO_DATA, |data| {
            data.nest_after(VETH_INFO_PEER, &link_header(there.index, 0, 0), |peer| {
                end(peer, there);
                peer.u32_ne(IFLA_NET_NS_FD, u32::try_from(namespace).unwrap_or_default());
            });
        });
    });
}

/// No link-local address: all that the link needs is given to it, and it asks nobody.
fn no_address_of_its_own(message: &mut Message<'_>) {
    message.nest(IFLA_AF_SPEC, |families| {
        families.nest(u16::from(Family::V6.number()), |inet6| {
            inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        });
    });
}

fn octets(address: IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => {
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, 4)
        }
        IpAddr::V6(v6) => (v6.octets(), 16),
    }
}

fn put_address(message: &mut Message<'_>, kind: u16, address: IpAddr) {
    let (bytes, length) = octets(address);
    message.bytes(kind, &bytes[..length]);
}

fn write_address(batch: &mut Batch, kind: u16, flags: u16, address: &LinkAddress) {
    // struct ifaddrmsg: family, length, flags, scope, link.
    let [a, b, c, d] = address.link.to_ne_bytes();
    let family = Family::of(address.address);
    let nodad = if family == Family::V6 { IFA_F_NODAD } else { 0 };
    let header = [family.number(), address.length, nodad, 0, a, b, c, d];
    batch.message(kind, flags, &header, |m| {
        put_address(m, IFA_LOCAL, address.address);
        put_address(m, IFA_ADDRESS, address.address);
    });
}

fn write_route(batch: &mut Batch, kind: u16, flags: u16, route: &Route) {
    let (action, scope, on_link) = match route.via {
        Via::Link(_) => (RTN_UNICAST, RT_SCOPE_LINK, 0),
        Via::Gateway(..) => (RTN_UNICAST, RT_SCOPE_UNIVERSE, RTNH_F_ONLINK),
        Via::Unreachable => (RTN_UNREACHABLE, RT_SCOPE_UNIVERSE, 0),
    };
    let family = Family::of(route.to.address());
    let scope = if family == Family::V6 {
        RT_SCOPE_UNIVERSE
    } else {
        scope
    };
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
    let mut header = [0; 12];
    header[..2].copy_from_slice(&[family.number(), route.to.length()]);
    header[4..8].copy_from_slice(&[RT_TABLE_MAIN, ROUTES_OF_SHOAL, scope, action]);
    header[8..].copy_from_slice(&on_link.to_ne_bytes());
    batch.message(kind, flags, &header, |m| {
        if route.to.length() > 0 {
            put_address(m, RTA_DST, route.to.address());
        }
        match route.via {
            Via::Link(link) => {
                m.u32_ne(RTA_OIF, link);
            }
            Via::Gateway(link, gateway) => {
                put_address(m, RTA_GATEWAY, gateway);
                m.u32_ne(RTA_OIF, link);
            }
            Via::Unreachable => {}
        }
        if let Some(source) = route.source {
            put_address(m, RTA_PREFSRC, source);
        }
    });
}

fn write_neighbour(batch: &mut Batch, kind: u16, flags: u16, neighbour: &Neighbour) {
    // struct ndmsg: family, padding, link, state, flags, type.
    let mut header = [0; 12];
    header[0] = Family::of(neighbour.address).number();
    header[4..8].copy_from_slice(&neighbour.link.to_ne_bytes());
    header[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    batch.message(kind, flags, &header, |m| {
        put_address(m, NDA_DST, neighbour.address);
        m.bytes(NDA_LLADDR, &neighbour.mac.0);
    });
}
