//! Looking at the kernel: fills [`Observed`], as much of it as was asked for.
//!
//! Called by the loop; decides nothing about what it sees.

use std::collections::BTreeSet;
use std::fs;

use super::kernel::{ChangeError, Kernel, Sockets};
use crate::desired::EndpointId;
use crate::netlink::NetlinkError;
use crate::nft::Family;
use crate::observed::{NEW_LINKS, Observed, Place, Side};
use crate::plan::{self, Setting};
use crate::rtnl::RouteSocket;
use crate::xtables;

/// What to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Everything.
    pub(super) all: bool,
    /// Links and what belongs to them, on these sides.
    pub(super) links: BTreeSet<Side>,
    /// Tables, on these sides.
    pub(super) tables: BTreeSet<Side>,
    /// Settings of the kernel.
    pub(super) settings: bool,
    /// These endpoints.
    pub(super) endpoints: BTreeSet<EndpointId>,
}

impl Look {
    pub(super) fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Kernel {
    /// Looks, and puts what it sees in the place of what was thought to be.
    pub(super) fn look(&mut self, look: &Look, observed: &mut Observed) -> Result<(), ChangeError> {
        if look.all || look.settings || !look.links.is_empty() {
            self.settings(observed)?;
        }
        for side in [Side::Host, Side::Router] {
            if look.all || look.links.contains(&side) {
                let place = read_place(&mut self.side(side).links).map_err(reading("links"))?;
                match side {
                    Side::Host => observed.host = place,
                    Side::Router => observed.router = place,
                }
            }
            if look.all || look.tables.contains(&side) {
                self.tables(side, observed)?;
            }
        }
        let known: Vec<EndpointId> = self.endpoints.keys().cloned().collect();
        observed.endpoints.retain(|id, _| self.endpoints.contains_key(id));
        for id in known
            .into_iter()
            .filter(|id| look.all || look.endpoints.contains(id))
        {
            match self.endpoint(&id)? {
                Some(place) => observed.endpoints.insert(id, place),
                None => observed.endpoints.remove(&id),
            };
        }
        Ok(())
    }

    fn endpoint(&self, id: &EndpointId) -> Result<Option<Place>, ChangeError> {
        let Some(namespace) = self.namespace_of(id)? else {
            return Ok(None);
        };
        let read = namespace.enter(|| {
            let mut place = read_place(&mut RouteSocket::open()?)?;
            place.without_v6 = without_v6(&place);
            Ok(place)
        })?;
        read.map(Some).map_err(reading("an endpoint's links"))
    }

    fn tables(&mut self, side: Side, observed: &mut Observed) -> Result<(), ChangeError> {
        let tag = self.tag.clone();
        let sockets: &mut Sockets = self.side(side);
        for family in Family::ALL {
            let table = plan::table(&tag, family);
            match sockets.tables.table(&table).map_err(reading("tables"))? {
                Some(state) => observed.tables.insert((side, family), state),
                None => observed.tables.remove(&(side, family)),
            };
        }
        if side == Side::Host {
            let ours = plan::table(&tag, Family::V4).name;
            observed.foreign = sockets.tables.foreign(&ours).map_err(reading("tables"))?;
            observed.legacy = self.legacy()?;
        }
        Ok(())
    }

    /// What cannot be read is not known to be in the way.
    pub(super) fn legacy(&self) -> Result<BTreeSet<Family>, ChangeError> {
        let link = plan::host_link(&self.tag);
        let blocks = |family: &Family| {
            xtables::blocks(*family, &link).unwrap_or_else(|errno| {
                tracing::debug!(?family, %errno, "the tables of iptables-legacy cannot be read");
                false
            })
        };
        let found = self
            .host
            .namespace
            .enter(|| Family::ALL.into_iter().filter(blocks).collect())?;
        Ok(found)
    }

    fn settings(&mut self, observed: &mut Observed) -> Result<(), ChangeError> {
        observed.settings.clear();
        let tag = self.tag.clone();
        let router = self
            .router
            .namespace
            .enter(|| read_settings(plan::settings_of_router()))?;
        let host = self.host.namespace.enter(|| {
            let mut found = read_settings(plan::settings_of_host(&tag));
            found.extend(read_settings(announcements()));
            found
        })?;
        let all = [(Side::Router, router), (Side::Host, host)];
        for (side, found) in all {
            observed
                .settings
                .extend(found.into_iter().map(|(setting, value)| ((side, setting), value)));
        }
        Ok(())
    }
}

fn reading(what: &'static str) -> impl FnOnce(NetlinkError) -> ChangeError {
    move |source| ChangeError::Netlink { change: what, source }
}

fn read_place(socket: &mut RouteSocket) -> Result<Place, NetlinkError> {
    let links = socket.links()?.into_iter().map(|link| (link.index, link));
    let mut place = Place {
        links: links.collect(),
        addresses: socket.addresses()?.into_iter().collect(),
        neighbours: socket.neighbours()?.into_iter().collect(),
        ..Place::default()
    };
    for route in socket.routes()? {
        let routes = if route.ours {
            &mut place.routes
        } else {
            &mut place.others_routes
        };
        routes.insert(route.route);
    }
    Ok(place)
}

/// The links of an endpoint on which IPv6 is switched off, and links that are yet to be made if it will be on them.
fn without_v6(place: &Place) -> BTreeSet<String> {
    let names = place.links.values().map(|link| link.name.as_str());
    let is_off = |name: &&str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"));
        // Where there is no such setting there is no IPv6 anywhere.
        text.is_ok_and(|text| text.trim() != "0")
    };
    let off = names.chain([NEW_LINKS]).filter(is_off);
    off.map(str::to_owned).collect()
}

/// Settings that are there, with their values: what is missing is no error, the kernel has no such part.
fn read_settings(settings: impl IntoIterator<Item = Setting>) -> Vec<(Setting, String)> {
    let read = |setting: Setting| {
        let text = fs::read_to_string(format!("/proc/sys/net/{}", setting.path())).ok()?;
        Some((setting, text.trim().to_owned()))
    };
    settings.into_iter().filter_map(read).collect()
}

/// One for each link of the host.
fn announcements() -> Vec<Setting> {
    let links = fs::read_dir("/proc/sys/net/ipv6/conf")
        .into_iter()
        .flatten()
        .flatten();
    links
        .filter_map(|link| link.file_name().into_string().ok())
        .map(Setting::Announcements)
        .collect()
}
