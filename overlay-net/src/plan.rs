//! What has to change so that what there is becomes what is desired. Pure: neither looks nor acts.
//!
//! The order of the changes is part of the plan. New ways are there before anything is sent on them, and old ones go
//! after nothing is sent on them any more: a packet on its way meets either the old state or the new one, whole.

pub(crate) mod crossed;
mod endpoints;
mod firewall;
mod foreign;
mod host;
mod links;
mod router;
mod ruleset;
mod scope;
mod settings;
mod slots;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use endpoints::endpoint_of;
pub(crate) use foreign::blockers;
pub use scope::Scope;
pub use settings::Setting;
pub(crate) use settings::{of_host as settings_of_host, of_router as settings_of_router};

use crate::desired::{Desired, EndpointId, Tag};
use crate::nft::{Family, Operation, TableName, TableState};
use crate::observed::{Observed, Side, Where};
use crate::rtnl::Request;

/// One change. Those of a plan are carried out one after the other; each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A setting of the kernel gets another value.
    Setting {
        /// Where.
        side: Side,
        /// Which.
        setting: Setting,
        /// The value.
        value: &'static str,
    },
    /// Links and what belongs to them, in one send.
    Links {
        /// Where.
        place: Where,
        /// In this order.
        requests: Vec<Request<Where>>,
    },
    /// A transaction.
    Tables {
        /// Where.
        side: Side,
        /// In this order.
        operations: Vec<(TableName, Operation)>,
    },
    /// The connections of these addresses are over: what the kernel remembers of them goes.
    Forget {
        /// The addresses of backends that have stopped.
        addresses: BTreeSet<IpAddr>,
    },
}

/// What of a plan belongs into the tables of one family and side, by when it has to happen.
#[derive(Debug, Default)]
struct Phases {
    /// New ways, which nothing takes yet.
    make: Vec<Operation>,
    /// From the old ways to the new.
    switch: Vec<Operation>,
    /// Old ways, which nothing takes any more.
    clear: Vec<Operation>,
    /// The table is made anew, so that making and switching have to be one.
    whole: bool,
    /// Addresses that were taken out.
    gone: BTreeSet<IpAddr>,
}

/// The changes that are left to make, in their order; none if there is nothing to do.
pub fn plan(tag: &Tag, desired: &Desired, observed: &Observed, scope: &Scope) -> Vec<Change> {
    let mut changes = settings::plan(tag, desired, observed);
    links::plan(tag, desired, observed, scope, &mut changes);
    endpoints::plan(tag, desired, observed, scope, &mut changes);
    let gone = tables(tag, desired, observed, scope, &mut changes);
    foreign::plan(tag, observed, &mut changes);
    forget(desired, gone, &mut changes);
    endpoints::clear(tag, desired, observed, scope, &mut changes);
    changes
}

/// The transactions that take backends that are gone out of the router's table of one family, whoever is left in it.
pub(crate) fn without(
    tag: &Tag,
    family: Family,
    gone: &BTreeSet<IpAddr>,
    there: &TableState,
) -> impl Iterator<Item = Vec<(TableName, Operation)>> {
    let name = table(tag, family);
    let phases = router::without(tag, family, gone, there);
    let steps = [phases.make, phases.switch, phases.clear].into_iter();
    let named = move |operation| (name.clone(), operation);
    steps
        .filter(|step| !step.is_empty())
        .map(move |step| step.into_iter().map(&named).collect())
}

impl Change {
    /// The endpoint whose links these are, if it is one's alone and made or changed where it is.
    pub(crate) fn endpoint(&self) -> Option<&EndpointId> {
        match self {
            Self::Links {
                place: Where::Endpoint(id),
                ..
            } => Some(id),
            Self::Links { requests, .. } => requests.iter().find_map(|request| match request {
                Request::AddVeth {
                    namespace: Where::Endpoint(id),
                    ..
                } => Some(id),
                _ => None,
            }),
            Self::Setting { .. } | Self::Tables { .. } | Self::Forget { .. } => None,
        }
    }

    /// Whether this needs one of these links of the router.
    pub(crate) fn is_about(&self, links: &BTreeSet<u32>) -> bool {
        match self {
            Self::Links {
                place: Where::Side(Side::Router),
                requests,
            } => requests
                .iter()
                .any(|request| request.link().is_some_and(|link| links.contains(&link))),
            _ => false,
        }
    }

    /// Links that this makes in the router, by their numbers.
    pub(crate) fn new_links_of_the_router(&self) -> impl Iterator<Item = u32> {
        let requests = match self {
            Self::Links {
                place: Where::Side(Side::Router),
                requests,
            } => requests.as_slice(),
            _ => &[],
        };
        requests.iter().filter_map(|request| match request {
            Request::AddVeth { here, .. } => Some(here.index),
            _ => None,
        })
    }
}

/// The link of this Shoal in the host.
pub fn host_link(tag: &Tag) -> String {
    format!("shoal-{tag}")
}

/// The router's end of it.
pub(crate) const ROUTER_LINK: &str = "host";

/// The tables of this Shoal, wherever they are.
pub(crate) fn table(tag: &Tag, family: Family) -> TableName {
    TableName {
        family,
        name: format!("shoal-{tag}"),
    }
}

fn tables(
    tag: &Tag,
    desired: &Desired,
    observed: &Observed,
    scope: &Scope,
    changes: &mut Vec<Change>,
) -> BTreeSet<IpAddr> {
    let each = |side, plan: &dyn Fn(Family) -> Phases| -> Vec<(TableName, Phases)> {
        let families = observed.families(side).iter();
        families
            .map(|family| (table(tag, *family), plan(*family).settled()))
            .collect()
    };
    let routers = each(Side::Router, &|family| {
        router::plan(tag, family, desired, observed, scope)
    });
    let hosts = each(Side::Host, &|family| host::plan(tag, family, desired, observed));
    let mut put = |side, step: usize, from: &[(TableName, Phases)]| {
        let of = |(name, phases): &(TableName, Phases)| -> Vec<(TableName, Operation)> {
            phases
                .step(step)
                .iter()
                .map(|operation| (name.clone(), operation.clone()))
                .collect()
        };
        let operations: Vec<_> = from.iter().flat_map(of).collect();
        if !operations.is_empty() {
            changes.push(Change::Tables { side, operations });
        }
    };
    // The router knows a published port before the host sends anything there, and as long as it may.
    put(Side::Router, 0, &routers);
    put(Side::Router, 1, &routers);
    (0..3).for_each(|step| put(Side::Host, step, &hosts));
    put(Side::Router, 2, &routers);
    let all = routers.into_iter().chain(hosts);
    all.flat_map(|(_, phases)| phases.gone).collect()
}

impl Phases {
    fn step(&self, step: usize) -> &[Operation] {
        match step {
            0 => &self.make,
            1 => &self.switch,
            _ => &self.clear,
        }
    }

    /// A table that is made anew has to be whole at once.
    fn settled(mut self) -> Self {
        if self.whole {
            let switch = std::mem::take(&mut self.switch);
            self.make.extend(switch);
        }
        self
    }
}

/// Of the addresses that were taken out somewhere, those that are no backends any more.
fn forget(desired: &Desired, gone: BTreeSet<IpAddr>, changes: &mut Vec<Change>) {
    let addresses: BTreeSet<IpAddr> = gone
        .into_iter()
        .filter(|a| !desired.tables.has_backend(*a))
        .collect();
    if !addresses.is_empty() {
        changes.push(Change::Forget { addresses });
    }
}

#[cfg(test)]
mod tests;
