//! Settings of the kernel: packets are passed on, and the kernel's own guesses about them are off.
//!
//! Of the host's own settings only those are changed without which no container reaches the world.

use super::{Change, host_link};
use crate::desired::{Desired, Tag};
use crate::nft::Family;
use crate::observed::{Observed, Side};

/// A setting, one file below `/proc/sys/net`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// Packets for others are passed on.
    Forward(Family),
    /// Routers' announcements are heard on this link: 1 only while nothing is passed on, 2 in any case.
    Announcements(String),
    /// Packets must come by the link that the way back would take; the larger of `all` and the link counts.
    ReversePath(String),
    /// Senders are told of shorter ways.
    Redirects(String),
    /// IPv6 is switched off.
    NoV6,
}

impl Setting {
    /// Its path below `/proc/sys/net`.
    pub fn path(&self) -> String {
        match self {
            Self::Forward(Family::V4) => "ipv4/ip_forward".to_owned(),
            Self::Forward(Family::V6) => "ipv6/conf/all/forwarding".to_owned(),
            Self::Announcements(link) => format!("ipv6/conf/{link}/accept_ra"),
            Self::ReversePath(link) => format!("ipv4/conf/{link}/rp_filter"),
            Self::Redirects(link) => format!("ipv4/conf/{link}/send_redirects"),
            Self::NoV6 => "ipv6/conf/all/disable_ipv6".to_owned(),
        }
    }
}

/// Settings of the router that are the same for all its links.
pub(crate) fn of_router() -> [Setting; 7] {
    let all = || "all".to_owned();
    let new = || "default".to_owned();
    [
        Setting::Forward(Family::V4),
        Setting::Forward(Family::V6),
        Setting::ReversePath(all()),
        Setting::ReversePath(new()),
        Setting::Redirects(all()),
        Setting::Redirects(new()),
        Setting::NoV6,
    ]
}

/// Settings of the host.
pub(crate) fn of_host(tag: &Tag) -> [Setting; 4] {
    [
        Setting::Forward(Family::V4),
        Setting::Forward(Family::V6),
        Setting::Redirects(host_link(tag)),
        Setting::NoV6,
    ]
}

pub(super) fn plan(tag: &Tag, desired: &Desired, observed: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut want = |side, setting: Setting, value: &'static str| {
        // What is not there need not be set: no IPv6, or a link that is yet to be made.
        if observed
            .settings
            .get(&(side, setting.clone()))
            .is_some_and(|found| found != value)
        {
            changes.push(Change::Setting { side, setting, value });
        }
    };
    for setting in of_router() {
        match setting {
            Setting::Forward(_) => want(Side::Router, setting, "1"),
            Setting::ReversePath(_) | Setting::Redirects(_) => want(Side::Router, setting, "0"),
            Setting::Announcements(_) | Setting::NoV6 => {}
        }
    }
    want(Side::Host, Setting::Redirects(host_link(tag)), "0");
    want(Side::Host, Setting::Forward(Family::V4), "1");
    let v6 = desired
        .tables
        .node
        .pools
        .iter()
        .any(|pool| Family::of(pool.address()) == Family::V6);
    if v6 && observed.has_v6(Side::Host) {
        // A host that passes packets on stops listening to its router, and loses its own way out, unless told twice.
        let own = host_link(tag);
        let listening = observed
            .settings
            .iter()
            .filter_map(|((side, setting), value)| match setting {
                Setting::Announcements(link) if *side == Side::Host && value == "1" && *link != own => {
                    Some(setting.clone())
                }
                _ => None,
            });
        listening.for_each(|setting| want(Side::Host, setting, "2"));
        want(Side::Host, Setting::Forward(Family::V6), "1");
    }
    changes
}
