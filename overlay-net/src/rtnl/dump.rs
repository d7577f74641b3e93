//! What the kernel has, and the socket for both ways.
//!
//! Called by the engine, one socket a namespace. What this crate cannot express (routes with several ways, other
//! tables) is left out, never guessed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use super::request::{
    IF_OPER_UP, IFA_ADDRESS, IFA_LOCAL, IFF_UP, IFLA_ADDRESS, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_KIND,
    IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MTU, IFLA_OPERSTATE, NDA_DST, NDA_LLADDR, NUD_PERMANENT,
    RT_TABLE_LOCAL, RT_TABLE_MAIN, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_TABLE, RTM_GETADDR,
    RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE, RTN_LOCAL, RTN_UNICAST, RTN_UNREACHABLE, Request, link_header,
};
use super::{LinkAddress, LinkState, Neighbour, ROUTES_OF_SHOAL, Result, Route, Via, is_fine};
use crate::address::{Mac, Prefix};
use crate::netlink::{Batch, Failure, Protocol, Socket, attributes, u16_ne, u32_ne};
use crate::nft::Family;

/// A socket for links, addresses, routes and neighbours of one namespace.
#[derive(Debug)]
pub struct RouteSocket(Socket);

/// A route as a dump gives it: also those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyRoute {
    /// The route.
    pub route: Route,
    /// Whether Shoal made it.
    pub ours: bool,
}

impl RouteSocket {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        Socket::open(Protocol::Route).map(Self)
    }

    /// Opens one that notifications name by this number, where nobody has it.
    pub fn open_as(port_id: u32) -> Result<Self> {
        Socket::open_as(Protocol::Route, port_id).map(Self)
    }

    /// The number by which notifications name what this socket did.
    pub fn port_id(&self) -> Result<u32> {
        self.0.port_id()
    }

    /// Sends requests together. All are tried; what is given back are the refusals that matter: that something is
    /// already there, or already gone, does not.
    pub fn send<N>(
        &mut self,
        requests: &[Request<N>],
        descriptor: impl Fn(&N) -> RawFd,
    ) -> Result<Vec<Failure>> {
        let mut batch = Batch::new();
        for request in requests {
            request.write(&mut batch, &descriptor);
        }
        let mut failures = self.0.send(&batch)?;
        failures.retain(|failure| {
            let request = requests.get(failure.message as usize);
            !request.is_some_and(|request| is_fine(failure.errno, request.adds()))
        });
        Ok(failures)
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<LinkState>> {
        self.0.dump(
            RTM_GETLINK,
            &link_header(0, 0, 0),
            |_| {},
            Vec::new,
            |links, _, body| {
                links.extend(read_link(body));
            },
        )
    }

    /// The link of a name.
    pub fn link(&mut self, name: &str) -> Result<Option<LinkState>> {
        let found = self.0.get(RTM_GETLINK, &link_header(0, 0, 0), |m| {
            m.text(IFLA_IFNAME, name);
        })?;
        Ok(found.and_then(|(_, body)| read_link(&body)))
    }

    /// The link of a number.
    pub fn link_of(&mut self, index: u32) -> Result<Option<LinkState>> {
        let found = self.0.get(RTM_GETLINK, &link_header(index, 0, 0), |_| {})?;
        Ok(found.and_then(|(_, body)| read_link(&body)))
    }

    /// All addresses.
    pub fn addresses(&mut self) -> Result<Vec<LinkAddress>> {
        self.0.dump(
            RTM_GETADDR,
            &[0; 8],
            |_| {},
            Vec::new,
            |addresses, _, body| {
                addresses.extend(read_address(body));
            },
        )
    }

    /// All routes of the main table that this crate can express.
    pub fn routes(&mut self) -> Result<Vec<AnyRoute>> {
        let mut header = [0; 12];
        header[4] = RT_TABLE_MAIN;
        // In one namespace after the other, since IPv6 does not answer for both.
        let mut all = Vec::new();
        for family in Family::ALL {
            header[0] = family.number();
            let table = |m: &mut crate::netlink::Message<'_>| {
                m.u32_ne(RTA_TABLE, u32::from(RT_TABLE_MAIN));
            };
            let found = self
                .0
                .dump(RTM_GETROUTE, &header, table, Vec::new, |routes, _, body| {
                    routes.extend(read_route(body));
                });
            match found {
                Ok(found) => all.extend(found),
                // No such table yet: no such route.
                Err(crate::netlink::NetlinkError::Refused(failure))
                    if failure.errno == rustix::io::Errno::NOENT => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The IPv6 addresses that packets are accepted for: the kernel takes a moment for one that is new.
    pub fn accepted(&mut self) -> Result<BTreeSet<IpAddr>> {
        let mut header = [0; 12];
        header[0] = Family::V6.number();
        header[4] = RT_TABLE_LOCAL;
        let table = |m: &mut crate::netlink::Message<'_>| {
            m.u32_ne(RTA_TABLE, u32::from(RT_TABLE_LOCAL));
        };
        self.0.dump(
            RTM_GETROUTE,
            &header,
            table,
            BTreeSet::new,
            |addresses, _, body| {
                let Some((header, list)) = body.split_at_checked(12) else {
                    return;
                };
                if header[4] == RT_TABLE_LOCAL && header[7] == RTN_LOCAL {
                    addresses.extend(attributes(list).get(RTA_DST).and_then(address));
                }
            },
        )
    }

    /// All permanent neighbours.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        self.0.dump(
            RTM_GETNEIGH,
            &[0; 12],
            |_| {},
            Vec::new,
            |neighbours, _, body| {
                neighbours.extend(read_neighbour(body));
            },
        )
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn read_link(body: &[u8]) -> Option<LinkState> {
    let (header, list) = body.split_at_checked(16)?;
    let list = attributes(list);
    let info = attributes(list.clone().get(IFLA_LINKINFO).unwrap_or_default());
    let text = |kind| list.clone().text(kind).unwrap_or_default().to_owned();
    Some(LinkState {
        index: u32_ne(&header[4..])?,
        name: text(IFLA_IFNAME),
        kind: info.text(IFLA_INFO_KIND).unwrap_or_default().to_owned(),
        alias: text(IFLA_IFALIAS),
        mac: list
            .clone()
            .get(IFLA_ADDRESS)
            .and_then(|b| b.try_into().ok())
            .map(Mac),
        mtu: list.clone().get(IFLA_MTU).and_then(u32_ne).unwrap_or_default(),
        up: u32_ne(&header[8..])? & IFF_UP != 0,
        carries: list.clone().get(IFLA_OPERSTATE).and_then(<[u8]>::first) == Some(&IF_OPER_UP),
        other_end: list.get(IFLA_LINK_NETNSID).and_then(u32_ne),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

fn read_address(body: &[u8]) -> Option<LinkAddress> {
    let (header, list) = body.split_at_checked(8)?;
    let list = attributes(list);
    // On a link with two ends, IFA_ADDRESS would be the other's.
    let bytes = list.clone().get(IFA_LOCAL).or_else(|| list.get(IFA_ADDRESS))?;
    Some(LinkAddress {
        link: u32_ne(&header[4..])?,
        address: address(bytes)?,
        length: header[1],
    })
}

fn read_route(body: &[u8]) -> Option<AnyRoute> {
    let (header, list) = body.split_at_checked(12)?;
    let list = attributes(list);
    let unspecified: IpAddr = match header[0] {
        2 => Ipv4Addr::UNSPECIFIED.into(),
        10 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if header[4] != RT_TABLE_MAIN {
        return None;
    }
    let to = list.clone().get(RTA_DST).map_or(Some(unspecified), address)?;
    let link = list.clone().get(RTA_OIF).and_then(u32_ne);
    let gateway = list.clone().get(RTA_GATEWAY).and_then(address);
    let via = match (header[7], link, gateway) {
        (RTN_UNREACHABLE, ..) => Via::Unreachable,
        (RTN_UNICAST, Some(link), Some(gateway)) => Via::Gateway(link, gateway),
        (RTN_UNICAST, Some(link), None) => Via::Link(link),
        _ => return None,
    };
    Some(AnyRoute {
        route: Route {
            to: Prefix::containing(to, header[1]),
            via,
            source: list.get(RTA_PREFSRC).and_then(address),
        },
        ours: header[5] == ROUTES_OF_SHOAL,
    })
}

fn read_neighbour(body: &[u8]) -> Option<Neighbour> {
    let (header, list) = body.split_at_checked(12)?;
    if u16_ne(&header[8..])? & NUD_PERMANENT == 0 {
        return None;
    }
    let list = attributes(list);
    Some(Neighbour {
        link: u32_ne(&header[4..])?,
        address: address(list.clone().get(NDA_DST)?)?,
        mac: list.get(NDA_LLADDR).and_then(|b| b.try_into().ok()).map(Mac)?,
    })
}
