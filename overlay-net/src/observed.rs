//! What there is: links, addresses, routes, neighbours, tables and settings, as far as this crate minds them.
//!
//! Filled from the kernel by the engine, and carried forward by [`Observed::apply`] as if the kernel had done what a
//! plan says: so that a plan can be checked, and the next one made, without looking again.

mod apply;

use std::collections::{BTreeMap, BTreeSet};

pub use apply::Impossible;

use crate::desired::EndpointId;
use crate::nft::{Family, ForeignChain, TableState};
use crate::plan::Setting;
use crate::rtnl::{LinkAddress, LinkState, Neighbour, Route};

/// One of the two namespaces that are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The host's.
    Host,
    /// The router's.
    Router,
}

/// Any of the namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Where {
    /// The host's or the router's.
    Side(Side),
    /// An endpoint's.
    Endpoint(EndpointId),
}

/// The state of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The host's links.
    pub host: Place,
    /// The router's links.
    pub router: Place,
    /// Endpoints whose namespace is there.
    pub endpoints: BTreeMap<EndpointId, Place>,
    /// Tables of ours.
    pub tables: BTreeMap<(Side, Family), TableState>,
    /// Chains of others in the host.
    pub foreign: Vec<ForeignChain>,
    /// Families of which `iptables-legacy` drops what passes through the host from or to our link.
    pub legacy: BTreeSet<Family>,
    /// Settings of the kernel that matter, by what they are now. What is not in it does not exist there.
    pub settings: BTreeMap<(Side, Setting), String>,
}

/// The links of one namespace and what belongs to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// By their number.
    pub links: BTreeMap<u32, LinkState>,
    /// All addresses.
    pub addresses: BTreeSet<LinkAddress>,
    /// Routes of ours.
    pub routes: BTreeSet<Route>,
    /// Routes of others.
    pub others_routes: BTreeSet<Route>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// In an endpoint: links on which IPv6 is switched off, and [`NEW_LINKS`] if it is on those that are yet to be made.
    pub without_v6: BTreeSet<String>,
}

/// What the kernel calls links that are yet to be made, in its settings.
pub const NEW_LINKS: &str = "default";

impl Observed {
    /// One of the two places.
    pub fn side(&self, side: Side) -> &Place {
        match side {
            Side::Host => &self.host,
            Side::Router => &self.router,
        }
    }

    /// A place, if it is there.
    pub fn place(&self, place: &Where) -> Option<&Place> {
        match place {
            Where::Side(side) => Some(self.side(*side)),
            Where::Endpoint(id) => self.endpoints.get(id),
        }
    }

    /// Whether the kernel speaks IPv6 on that side.
    pub fn has_v6(&self, side: Side) -> bool {
        self.settings
            .get(&(side, Setting::NoV6))
            .is_some_and(|value| value == "0")
    }

    /// The families that a side speaks.
    pub fn families(&self, side: Side) -> &'static [Family] {
        if self.has_v6(side) {
            &Family::ALL
        } else {
            &Family::ALL[..1]
        }
    }
}

impl Place {
    /// The link of a name.
    pub fn named(&self, name: &str) -> Option<&LinkState> {
        self.links.values().find(|link| link.name == name)
    }

    /// The link that was marked so.
    pub fn marked(&self, alias: &str) -> Option<&LinkState> {
        self.links.values().find(|link| link.alias == alias)
    }

    /// A number that no link has, `after` others that are about to be made.
    pub fn free_index(&self, after: u32) -> u32 {
        self.links.keys().next_back().copied().unwrap_or(1) + 1 + after
    }
}
