//! Hears who changes links, addresses, routes, neighbours, settings and tables, and says what to look at.
//!
//! One pair of listeners hears the router and all endpoints, whose links have given their namespaces ids there; the
//! host has its own pair. What this process did is not looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd};

use super::kernel::{ChangeError, Kernel, Sockets};
use super::sight::Look;
use crate::desired::{EndpointId, Tag};
use crate::netlink::{Heard, Listener, NetlinkError, Protocol, attributes, u32_ne};
use crate::observed::{Observed, Side};
use crate::plan;

/// `RTNLGRP_*`: link, neighbour, address, route, and settings of forwarding, for both families.
const LINK_GROUPS: [u32; 8] = [1, 3, 5, 7, 9, 11, 24, 25];
/// `NFNLGRP_NFTABLES`.
const TABLE_GROUPS: [u32; 1] = [7];

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWNETCONF: u16 = 80;
const IFF_UP: u32 = 1;
const IFLA_IFALIAS: u16 = 20;
const NUD_PERMANENT: u16 = 0x80;

/// Listeners on both sides.
#[derive(Debug)]
pub(super) struct Watch {
    host: Ears,
    router: Ears,
    /// The port ids of the sockets that are kept on both sides: nobody else can have them there.
    own: BTreeSet<u32>,
    /// The port id of sockets in endpoints' namespaces.
    inside: u32,
}

#[derive(Debug)]
struct Ears {
    links: Listener,
    tables: Listener,
}

impl Ears {
    fn open(sockets: &Sockets) -> Result<Self, ChangeError> {
        let open = || -> Result<Self, NetlinkError> {
            Ok(Self {
                links: Listener::open(Protocol::Route, &LINK_GROUPS)?,
                tables: Listener::open(Protocol::Netfilter, &TABLE_GROUPS)?,
            })
        };
        sockets
            .namespace
            .enter(open)?
            .map_err(|source| ChangeError::Netlink {
                change: "listen to the kernel",
                source,
            })
    }
}

impl Watch {
    pub(super) fn open(kernel: &Kernel) -> Result<Self, ChangeError> {
        let Kernel {
            host, router, inside, ..
        } = kernel;
        let own = [host.port_ids()?, router.port_ids()?];
        Ok(Self {
            host: Ears::open(host)?,
            router: Ears::open(router)?,
            own: own.into_iter().flatten().collect(),
            inside: *inside,
        })
    }

    /// What to wait on.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        [
            self.host.links.as_fd(),
            self.host.tables.as_fd(),
            self.router.links.as_fd(),
            self.router.tables.as_fd(),
        ]
    }

    /// Hears all that was said, and adds to `look` what it concerns.
    pub(super) fn hear(
        &mut self,
        tag: &Tag,
        observed: &Observed,
        look: &mut Look,
    ) -> Result<(), NetlinkError> {
        let Self {
            host,
            router,
            own,
            inside,
        } = self;
        let endpoints = ids_of_endpoints(tag, observed);
        let ours = plan::table(tag, crate::nft::Family::V4).name;
        let foreign = |heard: &Heard<'_>| !own.contains(&heard.by);
        let whole = [
            host.links.hear(|heard| {
                if heard.namespace.is_none() && foreign(&heard) && matters(&heard) {
                    look.links.insert(Side::Host);
                }
            })?,
            host.tables.hear(|heard| {
                if heard.namespace.is_none()
                    && foreign(&heard)
                    && (of_table(&heard, &ours) || of_rules(&heard))
                {
                    look.tables.insert(Side::Host);
                }
            })?,
            router.links.hear(|heard| match heard.namespace {
                None if foreign(&heard) && matters(&heard) => {
                    look.links.insert(Side::Router);
                    look.endpoints.extend(endpoint_of_link(tag, &heard));
                }
                Some(id) if heard.by != *inside && matters(&heard) => {
                    look.endpoints.extend(endpoints.get(&id).cloned());
                }
                _ => {}
            })?,
            router.tables.hear(|heard| {
                if heard.namespace.is_none() && foreign(&heard) && of_table(&heard, &ours) {
                    look.tables.insert(Side::Router);
                }
            })?,
        ];
        look.all |= whole.contains(&false);
        Ok(())
    }
}

/// The endpoints by the ids that their namespaces have in the router's.
fn ids_of_endpoints(tag: &Tag, observed: &Observed) -> BTreeMap<u32, EndpointId> {
    let links = observed.router.links.values();
    links
        .filter_map(|link| {
            Some((
                link.other_end?,
                plan::endpoint_of(tag, &link.alias)?.parse().ok()?,
            ))
        })
        .collect()
}

/// The endpoint whose link in the router is gone, mostly with the endpoint's namespace.
fn endpoint_of_link(tag: &Tag, heard: &Heard<'_>) -> Option<EndpointId> {
    let list = attributes(heard.body.get(16..).filter(|_| heard.kind == RTM_DELLINK)?);
    plan::endpoint_of(tag, list.text(IFLA_IFALIAS)?)?.parse().ok()
}

/// Whether something may have gone, or changed.
fn matters(heard: &Heard<'_>) -> bool {
    match heard.kind {
        RTM_DELLINK | RTM_DELADDR | RTM_DELROUTE | RTM_DELNEIGH | RTM_NEWNETCONF | RTM_NEWROUTE => true,
        RTM_NEWLINK => heard
            .body
            .get(8..)
            .and_then(u32_ne)
            .is_none_or(|flags| flags & IFF_UP == 0),
        RTM_NEWNEIGH => {
            let state = heard.body.get(8..).and_then(crate::netlink::u16_ne);
            state.is_none_or(|state| state & NUD_PERMANENT == 0)
        }
        _ => false,
    }
}

/// Every message of nftables names its table first.
fn of_table(heard: &Heard<'_>, table: &str) -> bool {
    heard.body.get(4..).and_then(|body| attributes(body).text(1)) == Some(table)
}

/// Whether another tool's chains changed: elements of its sets are its own business.
fn of_rules(heard: &Heard<'_>) -> bool {
    // Tables, chains and rules, made or removed, are the first nine.
    heard.kind & 0xff <= 8
}
