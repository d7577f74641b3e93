//! The names of the node's networks, as they were last told. Pure: fed with updates, asked by answers.
//!
//! A name belongs to a network: who is not in it does not see it. What several groups have under one name is joined.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::address::Prefix;
use crate::desired::{GroupId, Name, NetworkId};
use crate::message::{GroupNames, Update};

/// All names.
#[derive(Debug, Default)]
pub struct Names {
    pools: Vec<Prefix>,
    /// Whether networks are internal.
    networks: BTreeMap<NetworkId, bool>,
    groups: BTreeMap<GroupId, (NetworkId, Vec<Name>)>,
    within: BTreeMap<NetworkId, Within>,
}

/// The names of one network.
#[derive(Debug, Default)]
struct Within {
    addresses: BTreeMap<Name, BTreeMap<GroupId, Box<[IpAddr]>>>,
    names: BTreeMap<IpAddr, BTreeSet<Name>>,
}

impl Names {
    /// Takes a part of a change.
    pub fn apply(&mut self, update: &Update) {
        if update.fresh {
            *self = Self::default();
        }
        if let Some(pools) = &update.pools {
            self.pools.clone_from(pools);
        }
        for (id, internal) in &update.networks {
            match internal {
                Some(internal) => self.networks.insert(id.clone(), *internal),
                None => self.networks.remove(id),
            };
        }
        for (id, names) in &update.groups {
            self.remove(id);
            if let Some(names) = names {
                self.add(id, names);
            }
        }
    }

    fn add(&mut self, id: &GroupId, group: &GroupNames) {
        let names = group.records.iter().map(|(name, _)| name.clone()).collect();
        self.groups.insert(id.clone(), (group.network.clone(), names));
        if group.records.is_empty() {
            return;
        }
        let within = self.within.entry(group.network.clone()).or_default();
        for (name, addresses) in &group.records {
            let by_group = within.addresses.entry(name.clone()).or_default();
            by_group.insert(id.clone(), addresses.as_slice().into());
            for address in addresses {
                within.names.entry(*address).or_default().insert(name.clone());
            }
        }
    }

    fn remove(&mut self, id: &GroupId) {
        let Some((network, names)) = self.groups.remove(id) else {
            return;
        };
        let Some(within) = self.within.get_mut(&network) else {
            return;
        };
        for name in names {
            within.remove(&name, id);
        }
        if within.addresses.is_empty() {
            self.within.remove(&network);
        }
    }

    /// These addresses are no one's any more. Their names stay, if without any address.
    pub fn forget(&mut self, gone: &BTreeSet<IpAddr>) {
        for within in self.within.values_mut() {
            for addresses in within.addresses.values_mut().flat_map(BTreeMap::values_mut) {
                if addresses.iter().any(|address| gone.contains(address)) {
                    let left = addresses.iter().filter(|address| !gone.contains(*address));
                    *addresses = left.copied().collect();
                }
            }
            within.names.retain(|address, _| !gone.contains(address));
        }
    }

    /// The addresses of a name for a member of these networks; none if there is no such name, which is something else
    /// than a name without addresses.
    pub fn addresses<'a>(
        &self,
        networks: impl IntoIterator<Item = &'a NetworkId>,
        name: &str,
    ) -> Option<BTreeSet<IpAddr>> {
        let known = networks
            .into_iter()
            .filter_map(|network| self.within.get(network));
        let found: Vec<_> = known.filter_map(|within| within.addresses.get(name)).collect();
        if found.is_empty() {
            return None;
        }
        let all = found.into_iter().flat_map(BTreeMap::values);
        Some(all.flatten().copied().collect())
    }

    /// Whether a name has the form of a numbered task's (`9.web`, `web-9.web`) of a service that members of these networks
    /// know. Names under a service's are the cluster's in these forms alone: a service may be called like a domain of the
    /// world, whose hosts are not to vanish. For the same reason nothing is said of what is under an alias with dots.
    pub fn is_slot<'a>(&self, networks: impl IntoIterator<Item = &'a NetworkId>, name: &str) -> bool {
        numbered(name)
            .is_some_and(|service| !service.contains('.') && self.addresses(networks, service).is_some())
    }

    /// The name of an address for a member of these networks: of all that it has, the one that means it most closely,
    /// which is the one with the fewest other addresses, of those a slot's, and of those the longest.
    pub fn name_of<'a>(
        &self,
        networks: impl IntoIterator<Item = &'a NetworkId>,
        address: IpAddr,
    ) -> Option<Name> {
        let known = networks
            .into_iter()
            .filter_map(|network| self.within.get(network));
        let all = known.flat_map(|within| {
            let names = within.names.get(&address).into_iter().flatten();
            names.map(|name| (within.count(name), name))
        });
        let closest = all.min_by(|(one, a), (two, b)| {
            let slot = |name: &Name| numbered(name.as_str()).is_some();
            let slots = slot(b).cmp(&slot(a));
            let longer = b.as_str().len().cmp(&a.as_str().len());
            one.cmp(two).then(slots).then(longer).then_with(|| a.cmp(b))
        });
        closest.map(|(_, name)| name.clone())
    }

    /// Whether an address is one of the cluster's, known or not.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.pools.iter().any(|pool| pool.contains(address))
    }

    /// Whether members of these networks may ask the world outside.
    pub fn leads_out<'a>(&self, networks: impl IntoIterator<Item = &'a NetworkId>) -> bool {
        let mut known = networks.into_iter().map(|network| self.networks.get(network));
        known.any(|internal| internal == Some(&false))
    }
}

/// The service of a numbered task's name: `web` of `3.web` and `web-3.web`.
fn numbered(name: &str) -> Option<&str> {
    let (task, service) = name.split_once('.')?;
    let behind = task.strip_prefix(service).and_then(|rest| rest.strip_prefix('-'));
    let slot = behind.unwrap_or(task);
    let number = !slot.is_empty() && slot.bytes().all(|byte| byte.is_ascii_digit());
    number.then_some(service)
}

impl Within {
    fn count(&self, name: &Name) -> usize {
        let groups = self.addresses.get(name).into_iter().flat_map(BTreeMap::values);
        groups.map(|addresses| addresses.len()).sum()
    }

    fn remove(&mut self, name: &Name, group: &GroupId) {
        let Some(groups) = self.addresses.get_mut(name) else {
            return;
        };
        let gone = groups.remove(group).unwrap_or_default();
        let left: BTreeSet<IpAddr> = groups.values().flatten().copied().collect();
        if groups.is_empty() {
            self.addresses.remove(name);
        }
        for address in gone.iter().filter(|address| !left.contains(*address)) {
            if let Some(names) = self.names.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.names.remove(address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use crate::desired::{GroupId, NetworkId};
    use crate::message::{GroupNames, Update};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    fn group(network: &str, records: &[(&str, &[&str])]) -> GroupNames {
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        GroupNames {
            network: network.parse().unwrap(),
            records: records
                .iter()
                .map(|(name, list)| (name.parse().unwrap(), addresses(list)))
                .collect(),
        }
    }

    fn of(names: &Names, networks: &[&str], name: &str) -> Option<String> {
        let networks: Vec<NetworkId> = networks.iter().map(|n| n.parse().unwrap()).collect();
        let found = names.addresses(&networks, name)?;
        Some(
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    #[test]
    fn names_are_joined_within_networks_and_hidden_between_them() {
        let mut names = Names::default();
        let put = |id: &str, group| Update {
            groups: vec![(id.parse().unwrap(), group)],
            ..Update::default()
        };
        names.apply(&put(
            "a",
            Some(group("blue", &[("web", &["10.0.0.1"]), ("empty", &[])])),
        ));
        names.apply(&put("b", Some(group("blue", &[("web", &["10.0.0.2"])]))));
        names.apply(&put("c", Some(group("red", &[("web", &["10.0.1.1"])]))));
        for (networks, name, expect) in [
            (&["blue"][..], "web", Some("10.0.0.1 10.0.0.2")),
            (&["red"], "web", Some("10.0.1.1")),
            (&["blue", "red"], "web", Some("10.0.0.1 10.0.0.2 10.0.1.1")),
            (&["blue"], "empty", Some("")),
            (&["red"], "empty", None),
            (&["blue"], "other", None),
            (&[], "web", None),
        ] {
            assert_eq!(
                of(&names, networks, name).as_deref(),
                expect,
                "{networks:?} {name}"
            );
        }
        let gone = ["10.0.0.2", "10.0.1.1"].map(|address| address.parse().unwrap());
        names.forget(&gone.into());
        assert_eq!(of(&names, &["blue", "red"], "web").as_deref(), Some("10.0.0.1"));
        assert_eq!(of(&names, &["red"], "web").as_deref(), Some(""));
        let red = ["red".parse().unwrap()];
        assert_eq!(names.name_of(&red, gone[1]), None);
        names.apply(&put("b", Some(group("blue", &[("web", &["10.0.0.2"])]))));
        names.apply(&put("a", None));
        assert_eq!(of(&names, &["blue"], "web").as_deref(), Some("10.0.0.2"));
        assert_eq!(of(&names, &["blue"], "empty"), None);
    }

    #[test]
    fn an_address_has_its_closest_name() {
        let mut names = Names::default();
        let records: &[(&str, &[&str])] = &[
            ("tasks.web", &["10.0.0.2", "10.0.0.3"]),
            ("2.web", &["10.0.0.2"]),
            ("web-2.web", &["10.0.0.2"]),
            ("3.web", &["10.0.0.3"]),
            ("one", &["10.0.0.5"]),
            ("one.frontends", &["10.0.0.5"]),
            ("one-1.one", &["10.0.0.5"]),
        ];
        names.apply(&Update {
            groups: vec![("a".parse().unwrap(), Some(group("blue", records)))],
            ..Update::default()
        });
        let name = |network: &str, address: &str| {
            let network: NetworkId = network.parse().unwrap();
            let found = names.name_of([&network], address.parse().unwrap());
            found.map(|name| name.to_string()).unwrap_or_default()
        };
        assert_eq!(name("blue", "10.0.0.2"), "web-2.web");
        assert_eq!(name("blue", "10.0.0.3"), "3.web");
        assert_eq!(name("blue", "10.0.0.5"), "one-1.one");
        assert_eq!(name("blue", "10.0.0.4"), "");
        assert_eq!(name("red", "10.0.0.2"), "");
    }

    proptest! {
        /// However it came about, the table is what the groups in it say.
        #[test]
        fn updates_leave_nothing_behind(
            steps in proptest::collection::vec((0..4_u8, proptest::option::of((0..2_u8, proptest::collection::vec((0..3_u8, 0..4_u8), 0..4)))), 0..30),
        ) {
            let (mut names, mut model) = (Names::default(), BTreeMap::new());
            for (id, value) in steps {
                let id: GroupId = format!("g{id}").parse().unwrap();
                let value = value.map(|(network, records)| {
                    let mut all: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
                    for (name, host) in records {
                        all.entry(format!("n{name}")).or_default().push([10, 0, 0, host].into());
                    }
                    GroupNames {
                        network: format!("net{network}").parse().unwrap(),
                        records: all.into_iter().map(|(n, a)| (n.parse().unwrap(), a)).collect(),
                    }
                });
                names.apply(&Update { groups: vec![(id.clone(), value.clone())], ..Update::default() });
                match value {
                    Some(value) => drop(model.insert(id, value)),
                    None => drop(model.remove(&id)),
                }
            }
            let mut again = Names::default();
            for (id, value) in model {
                again.apply(&Update { groups: vec![(id, Some(value))], ..Update::default() });
            }
            prop_assert_eq!(format!("{names:?}"), format!("{again:?}"));
        }
    }
}
