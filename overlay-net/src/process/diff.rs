//! What the process has to be told so that it knows what it shall. Pure.
//!
//! Parts of a change are filled up to a bound; the last one makes it take effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::changed::{changed, same};
use crate::desired::{EndpointId, Group, PortKey, Published, Tables};
use crate::message::{Asker, GroupNames, Serving, UPDATE_FULL, Update};

/// All that it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Whose ports it holds.
    pub(crate) ports: Arc<Tables>,
    /// Whose names it answers.
    pub(crate) names: Arc<Tables>,
    /// Who asks.
    pub(crate) endpoints: BTreeMap<EndpointId, Asker>,
}

/// Parts that are being filled.
struct Parts {
    done: Vec<Update>,
    current: Update,
    size: usize,
    /// Whether there is anything to tell.
    any: bool,
}

impl Told {
    /// What differs from before; everything, if nothing is known of before.
    pub(crate) fn since(&self, before: Option<&Self>, number: u64) -> Vec<Update> {
        let nothing = Self::default();
        let fresh = before.is_none();
        let before = before.unwrap_or(&nothing);
        let mut parts = Parts::new(number, fresh, self);
        let pools = &self.names.node.pools;
        if fresh || before.names.node.pools != *pools {
            parts.add(pools).pools = Some(pools.clone());
        }
        if fresh || !Arc::ptr_eq(&before.names, &self.names) {
            let (before, now) = (&before.names, &self.names);
            for (id, [_, network]) in changed(&before.networks, &now.networks, same) {
                let change = (id.clone(), network.map(|network| network.internal));
                parts.add(&change).networks.push(change);
            }
            for (id, [_, group]) in changed(&before.groups, &now.groups, same_names) {
                let change = (id.clone(), group.map(|group| names(group)));
                parts.add(&change).groups.push(change);
            }
        }
        if fresh || !Arc::ptr_eq(&before.ports, &self.ports) {
            for (key, [_, port]) in changed(&before.ports.ports, &self.ports.ports, same_backends) {
                let change = (*key, port.map(|port| serving(port)));
                parts.add(&change).ports.push(change);
            }
        }
        for (id, [_, asker]) in changed(&before.endpoints, &self.endpoints, PartialEq::eq) {
            let change = (id.clone(), asker.cloned());
            parts.add(&change).endpoints.push(change);
        }
        parts.finish()
    }
}

impl Parts {
    fn new(number: u64, fresh: bool, told: &Told) -> Self {
        let current = Update {
            number,
            fresh,
            revision: told.names.revision,
            ..Update::default()
        };
        Self {
            done: Vec::new(),
            current,
            size: 0,
            any: fresh,
        }
    }

    /// The part that a change fits into.
    fn add(&mut self, change: &impl Serialize) -> &mut Update {
        let size = postcard::experimental::serialized_size(change).unwrap_or(UPDATE_FULL);
        if self.size > 0 && self.size + size > UPDATE_FULL {
            let next = Update {
                number: self.current.number,
                revision: self.current.revision,
                ..Update::default()
            };
            self.done.push(std::mem::replace(&mut self.current, next));
            self.size = 0;
        }
        self.size += size;
        self.any = true;
        &mut self.current
    }

    fn finish(mut self) -> Vec<Update> {
        if self.any {
            self.current.last = true;
            self.done.push(self.current);
        }
        self.done
    }
}

fn same_names(one: &Arc<Group>, other: &Arc<Group>) -> bool {
    Arc::ptr_eq(one, other) || (one.network == other.network && one.records == other.records)
}

fn same_backends(one: &Arc<Published>, other: &Arc<Published>) -> bool {
    Arc::ptr_eq(one, other) || (one.backends == other.backends && one.draining == other.draining)
}

fn names(group: &Group) -> GroupNames {
    let records = group.records.iter();
    GroupNames {
        network: group.network.clone(),
        records: records
            .map(|(name, addresses)| (name.clone(), addresses.clone()))
            .collect(),
    }
}

fn serving(published: &Published) -> Serving {
    Serving {
        backends: published.backends.iter().copied().collect(),
        draining: published.draining.iter().copied().collect(),
    }
}

/// A port that could not be had leads nowhere: what another process serves there goes on.
pub(crate) fn without_ports<V>(tables: &Arc<Tables>, taken: &BTreeMap<PortKey, V>) -> Arc<Tables> {
    if taken.keys().all(|key| !tables.ports.contains_key(key)) {
        return Arc::clone(tables);
    }
    let mut left = Tables::clone(tables);
    left.ports.retain(|key, _| !taken.contains_key(key));
    Arc::new(left)
}

#[cfg(test)]
mod tests {
    use super::{Told, UPDATE_FULL};
    use crate::address::Addresses;
    use crate::desired::{Group, Tables};
    use crate::message::{Request, frame};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn told(groups: impl IntoIterator<Item = (String, usize)>) -> Told {
        let group = |count: usize| Group {
            network: "n".parse().unwrap(),
            vip: Addresses::default(),
            backends: BTreeSet::new(),
            draining: BTreeSet::new(),
            records: BTreeMap::from([("web".parse().unwrap(), vec!["fd00::1".parse().unwrap(); count])]),
        };
        let groups = groups
            .into_iter()
            .map(|(id, count)| (id.parse().unwrap(), Arc::new(group(count))));
        let names = Tables {
            groups: groups.collect(),
            ..Tables::default()
        };
        Told {
            names: Arc::new(names),
            ..Told::default()
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = told([("a".to_owned(), 1), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
        let after = told([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert!(before.since(Some(&before.clone()), 1).is_empty());
        let parts = after.since(Some(&before), 2);
        assert_eq!(parts.len(), 1);
        let groups: Vec<_> = parts[0]
            .groups
            .iter()
            .map(|(id, value)| (id.to_string(), value.is_some()))
            .collect();
        assert_eq!(groups, [("b".to_owned(), true), ("c".to_owned(), false)]);
        assert!(parts[0].last && !parts[0].fresh);
        let parts = Told::default().since(None, 3);
        assert!(parts.len() == 1 && parts[0].fresh && parts[0].last);
    }

    #[test]
    fn much_is_told_in_parts() {
        let parts = told((0..100).map(|n| (format!("g{n}"), 1000))).since(None, 1);
        assert!(parts.len() > 5);
        assert!(parts[0].fresh && parts[1..].iter().all(|part| !part.fresh));
        let (last, others) = parts.split_last().unwrap();
        assert!(last.last && others.iter().all(|part| !part.last));
        assert_eq!(parts.iter().map(|part| part.groups.len()).sum::<usize>(), 100);
        for part in parts {
            assert!(frame(&Request::Update(part)).unwrap().len() < UPDATE_FULL + 1000);
        }
    }
}
