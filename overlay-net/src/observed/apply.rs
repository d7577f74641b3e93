//! What a change does, as the kernel would do it: refusals included.
//!
//! Called by the engine after the kernel did it, and by tests in place of a kernel.

use super::{NEW_LINKS, Observed, Place, Side, Where};
use crate::nft::{ChainState, Data, Key, Operation, RuleState, SetState, TableName, TableState, Verdict};
use crate::plan::Change;
use crate::rtnl::{LinkState, Request, VethEnd, Via};

/// A change that the kernel would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel would refuse: {0}")]
pub struct Impossible(pub String);

type Outcome = Result<(), Impossible>;

fn refuse<T>(why: impl Into<String>) -> Result<T, Impossible> {
    Err(Impossible(why.into()))
}

impl Observed {
    /// Carries the state forward over one change.
    pub fn apply(&mut self, change: &Change) -> Outcome {
        match change {
            Change::Setting { side, setting, value } => {
                self.settings
                    .insert((*side, setting.clone()), (*value).to_owned());
                Ok(())
            }
            Change::Links { place, requests } => requests
                .iter()
                .try_for_each(|request| self.request(place, request)),
            Change::Tables { side, operations } => operations
                .iter()
                .try_for_each(|(table, operation)| self.operation(*side, table, operation)),
            Change::Forget { .. } => Ok(()),
        }
    }

    fn place_mut(&mut self, place: &Where) -> Result<&mut Place, Impossible> {
        match place {
            Where::Side(Side::Host) => Ok(&mut self.host),
            Where::Side(Side::Router) => Ok(&mut self.router),
            Where::Endpoint(id) => {
                let found = self.endpoints.get_mut(id);
                found.ok_or_else(|| Impossible(format!("the namespace of {id} is not there")))
            }
        }
    }

    fn request(&mut self, place: &Where, request: &Request<Where>) -> Outcome {
        match request {
            Request::AddVeth {
                here,
                there,
                namespace,
                mtu,
            } => {
                self.place_mut(place)?.add_link(here, *mtu)?;
                self.place_mut(namespace)?.add_link(there, *mtu)
            }
            Request::RemoveLink(link) => {
                let removed = self.place_mut(place)?.remove_link(*link);
                let alias = removed.map(|link| link.alias).unwrap_or_default();
                let others = [&mut self.host, &mut self.router]
                    .into_iter()
                    .chain(self.endpoints.values_mut());
                for other in others {
                    if let Some(end) = other
                        .marked(&alias)
                        .filter(|_| !alias.is_empty())
                        .map(|end| end.index)
                    {
                        other.remove_link(end);
                    }
                }
                Ok(())
            }
            Request::Mark { link, alias, .. } => {
                alias.clone_into(&mut self.place_mut(place)?.link_mut(*link)?.alias);
                Ok(())
            }
            Request::Up(link) => {
                self.place_mut(place)?.link_mut(*link)?.up = true;
                Ok(())
            }
            Request::Mtu { link, mtu } => {
                self.place_mut(place)?.link_mut(*link)?.mtu = *mtu;
                Ok(())
            }
            smaller => self.place_mut(place)?.smaller(smaller),
        }
    }

    fn operation(&mut self, side: Side, table: &TableName, operation: &Operation) -> Outcome {
        let key = (side, table.family);
        if table.name == "filter" {
            return self.foreign_rule(table, operation);
        }
        match operation {
            Operation::AddTable => {
                self.tables.entry(key).or_default();
                Ok(())
            }
            Operation::RemoveTable if self.tables.remove(&key).is_some() => Ok(()),
            other => match self.tables.get_mut(&key) {
                Some(table) => table.apply(other),
                None => refuse(format!("no table {table:?}")),
            },
        }
    }

    fn foreign_rule(&mut self, table: &TableName, operation: &Operation) -> Outcome {
        let family = table.family.number();
        let mut chains = self.foreign.iter_mut();
        let mut find = |name: &str| {
            let found = chains.find(|c| c.family == family && c.table == table.name && c.chain == name);
            found.ok_or_else(|| Impossible(format!("no chain {name}")))
        };
        match operation {
            Operation::InsertRule { chain, rule } => {
                let mut inserted = crate::nft::ForeignRule::default();
                inserted.rule.comment.clone_from(&rule.comment);
                find(chain)?.rules.insert(0, inserted);
                Ok(())
            }
            Operation::RemoveRule { chain, handle } => {
                find(chain)?.rules.retain(|rule| rule.rule.handle != *handle);
                Ok(())
            }
            other => refuse(format!("{other:?} in another tool's table")),
        }
    }
}

impl Place {
    fn link_mut(&mut self, link: u32) -> Result<&mut LinkState, Impossible> {
        self.links
            .get_mut(&link)
            .ok_or_else(|| Impossible(format!("no link {link}")))
    }

    fn add_link(&mut self, end: &VethEnd, mtu: u32) -> Outcome {
        if self.named(&end.name).is_some() || self.links.contains_key(&end.index) {
            return refuse(format!("link {} exists", end.name));
        }
        let state = LinkState {
            index: end.index,
            name: end.name.clone(),
            kind: "veth".to_owned(),
            alias: String::new(),
            mac: Some(end.mac),
            mtu,
            up: false,
            carries: false,
            other_end: None,
        };
        self.links.insert(end.index, state);
        if self.without_v6.contains(NEW_LINKS) {
            self.without_v6.insert(end.name.clone());
        }
        Ok(())
    }

    fn remove_link(&mut self, link: u32) -> Option<LinkState> {
        self.addresses.retain(|address| address.link != link);
        self.neighbours.retain(|neighbour| neighbour.link != link);
        self.routes.retain(|route| match route.via {
            Via::Link(out) | Via::Gateway(out, _) => out != link,
            Via::Unreachable => true,
        });
        let removed = self.links.remove(&link)?;
        self.without_v6.remove(&removed.name);
        Some(removed)
    }

    fn smaller(&mut self, request: &Request<Where>) -> Outcome {
        match request {
            Request::AddAddress(address) => {
                let name = self.link_mut(address.link)?.name.clone();
                if address.address.is_ipv6() && self.without_v6.contains(&name) {
                    return refuse(format!("IPv6 is switched off on {name}"));
                }
                self.addresses.insert(*address);
            }
            Request::RemoveAddress(address) => {
                self.addresses.remove(address);
            }
            Request::SetRoute(route) => {
                if let Via::Link(link) | Via::Gateway(link, _) = route.via
                    && !self.link_mut(link)?.up
                {
                    return refuse(format!("the link of {route:?} is down"));
                }
                self.routes.retain(|other| other.to != route.to);
                self.routes.insert(*route);
            }
            Request::RemoveRoute(route) => {
                self.routes.remove(route);
            }
            Request::SetNeighbour(neighbour) => {
                self.link_mut(neighbour.link)?;
                self.neighbours
                    .retain(|n| (n.link, n.address) != (neighbour.link, neighbour.address));
                self.neighbours.insert(*neighbour);
            }
            Request::RemoveNeighbour(neighbour) => {
                self.neighbours.remove(neighbour);
            }
            Request::AddVeth { .. }
            | Request::Mark { .. }
            | Request::Up(_)
            | Request::Mtu { .. }
            | Request::RemoveLink(_) => {}
        }
        Ok(())
    }
}

impl TableState {
    fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::AddTable | Operation::RemoveTable => refuse("not within a table"),
            Operation::AddChain { chain, base } => match self.chains.get(chain) {
                Some(there) if there.base != *base => refuse(format!("chain {chain} hangs elsewhere")),
                Some(_) => Ok(()),
                None => {
                    let made = ChainState {
                        base: *base,
                        rules: Vec::new(),
                    };
                    self.chains.insert(chain.clone(), made);
                    Ok(())
                }
            },
            Operation::RemoveChain { chain } if self.referred(chain) => {
                refuse(format!("chain {chain} is in use"))
            }
            Operation::RemoveChain { chain } => match self.chains.remove(chain) {
                Some(_) => Ok(()),
                None => refuse(format!("no chain {chain}")),
            },
            Operation::FlushChain { chain } => {
                self.chain(chain)?.rules.clear();
                Ok(())
            }
            Operation::AppendRule { chain, rule } | Operation::InsertRule { chain, rule } => {
                let state = RuleState {
                    comment: rule.comment.clone(),
                    handle: 0,
                };
                let rules = &mut self.chain(chain)?.rules;
                let place = if matches!(operation, Operation::InsertRule { .. }) {
                    0
                } else {
                    rules.len()
                };
                rules.insert(place, state);
                Ok(())
            }
            Operation::RemoveRule { chain, handle } => {
                self.chain(chain)?.rules.retain(|rule| rule.handle != *handle);
                Ok(())
            }
            Operation::AddSet { set, definition } => self.add_set(set, SetState::new(definition)),
            Operation::RemoveSet { set } => match self.sets.remove(set) {
                Some(_) => Ok(()),
                None => refuse(format!("no set {set}")),
            },
            Operation::AddElements { set, elements } => elements
                .iter()
                .try_for_each(|(key, data)| self.add_element(set, *key, data)),
            Operation::RemoveElements { set, keys } => {
                let Some(state) = self.sets.get_mut(set) else {
                    return refuse(format!("no set {set}"));
                };
                match keys.iter().find(|key| state.elements.remove(key).is_none()) {
                    None => Ok(()),
                    Some(key) => refuse(format!("set {set} has no {key:?}")),
                }
            }
        }
    }

    fn add_set(&mut self, set: &str, state: SetState) -> Outcome {
        match self.sets.get(set) {
            Some(there) if !there.is(&state) => refuse(format!("set {set} is of another kind")),
            Some(_) => Ok(()),
            None => {
                self.sets.insert(set.to_owned(), state);
                Ok(())
            }
        }
    }

    fn chain(&mut self, chain: &str) -> Result<&mut ChainState, Impossible> {
        self.chains
            .get_mut(chain)
            .ok_or_else(|| Impossible(format!("no chain {chain}")))
    }

    /// Rules refer to chains through maps only.
    fn referred(&self, chain: &str) -> bool {
        let mut data = self.sets.values().flat_map(|set| set.elements.values());
        data.any(|data| matches!(data, Data::Verdict(Verdict::Goto(to) | Verdict::Jump(to)) if to == chain))
    }

    fn add_element(&mut self, set: &str, key: Key, data: &Data) -> Outcome {
        if let Data::Verdict(Verdict::Goto(to) | Verdict::Jump(to)) = data
            && !self.chains.contains_key(to)
        {
            return refuse(format!("{set} {key:?}: no chain {to}"));
        }
        let Some(state) = self.sets.get_mut(set) else {
            return refuse(format!("no set {set}"));
        };
        match state.elements.insert(key, data.clone()) {
            Some(other) if other != *data => refuse(format!("{set} has {key:?} with other data")),
            _ => Ok(()),
        }
    }
}
