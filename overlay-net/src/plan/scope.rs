//! What a change of the desired state touches, so that planning costs what changed and not what there is.
//!
//! Made by the engine from the old and the new state. A scope that is too wide costs time; one that is too narrow
//! would leave something undone, which a property test over both rules out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::changed::{changed, same};
use crate::desired::{Desired, EndpointId, Group, PortKey, Protocol, Published};

/// Which parts of the state a plan looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// All of them; also what is there and desired by nobody.
    pub whole: bool,
    /// Tables but for what is spread over backends.
    pub rules: bool,
    /// The links of these endpoints.
    pub endpoints: BTreeSet<EndpointId>,
    /// These VIPs.
    pub vips: BTreeSet<IpAddr>,
    /// These published ports, by VIP.
    pub doors: BTreeSet<(IpAddr, Protocol, u16)>,
    /// Whether links of ours that belong to no endpoint are removed: only once it is certain that they do not go
    /// with their namespace, since removing a link stops the whole kernel's work on links for tens of milliseconds.
    pub sweep: bool,
}

impl Scope {
    /// Everything.
    pub fn whole() -> Self {
        Self {
            whole: true,
            rules: true,
            ..Self::default()
        }
    }

    /// What differs between two desired states.
    pub fn between(old: &Desired, new: &Desired) -> Self {
        let mut scope = Self::default();
        let (before, after) = (&*old.tables, &*new.tables);
        let draining = |tables: &crate::desired::Tables| tables.draining();
        scope.rules = before.node != after.node
            || changed(&before.networks, &after.networks, same).next().is_some()
            || draining(before) != draining(after);
        for (_, groups) in changed(&before.groups, &after.groups, same) {
            scope.vips.extend(
                groups
                    .into_iter()
                    .flatten()
                    .flat_map(|group: &Arc<Group>| group.vip.iter()),
            );
        }
        for (port, published) in changed(&before.ports, &after.ports, same) {
            let vips = published
                .into_iter()
                .flatten()
                .flat_map(|p: &Arc<Published>| p.vip.iter());
            scope.doors.extend(vips.map(|vip| door(vip, port)));
        }
        let endpoints = changed(&old.endpoints, &new.endpoints, same);
        scope.endpoints = endpoints.map(|(id, _)| id.clone()).collect();
        scope.rules |= !scope.endpoints.is_empty();
        scope
    }

    /// Whether an endpoint's links are looked at.
    pub fn has_endpoint(&self, id: &EndpointId) -> bool {
        self.whole || self.endpoints.contains(id)
    }
}

fn door(vip: IpAddr, port: &PortKey) -> (IpAddr, Protocol, u16) {
    (vip, port.protocol, port.port)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Scope;
    use crate::desired::{Desired, Group, Tables};

    #[test]
    fn only_what_differs_is_in_scope() {
        let group = |vip: &str| Group {
            network: "n".parse().unwrap(),
            vip: [vip.parse().unwrap()].into_iter().collect(),
            backends: std::collections::BTreeSet::new(),
            draining: std::collections::BTreeSet::new(),
            records: std::collections::BTreeMap::new(),
        };
        let mut tables = Tables::default();
        for (id, vip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
            tables.groups.insert(id.parse().unwrap(), Arc::new(group(vip)));
        }
        let old = Desired {
            tables: Arc::new(tables.clone()),
            ..Desired::default()
        };
        assert_eq!(Scope::between(&old, &old.clone()), Scope::default());
        tables.groups.remove("a");
        tables
            .groups
            .insert("b".parse().unwrap(), Arc::new(group("10.0.0.9")));
        // Equal though not the same.
        tables
            .groups
            .insert("c".parse().unwrap(), Arc::new(group("10.0.0.3")));
        let new = Desired {
            tables: Arc::new(tables),
            ..Desired::default()
        };
        let scope = Scope::between(&old, &new);
        let vips: Vec<_> = scope.vips.iter().map(ToString::to_string).collect();
        assert_eq!(vips, ["10.0.0.1", "10.0.0.2", "10.0.0.9"]);
        assert!(!scope.rules && !scope.whole);
    }
}
