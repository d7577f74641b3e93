//! The numbers of networks: the next free one behind the last, and a rest for those that are given back.
//!
//! A number whose holder is gone is not given for a while, so that nobody who still has the old holder's address in a
//! table, a cache or a connection meets the new one. Called through a plan's draft or a request's transaction, which
//! write each network that changed once.

use crate::{
    model::{Addresses, Attachment, Network, NetworkId, ResolvedUse, Rest, Timestamp},
    store::StoreView,
};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

/// How long a number rests: long enough for the tables of every node that is in touch with a manager to have changed,
/// and for a client to have given up a request.
pub const REST: Duration = Duration::from_secs(10);

/// Ranges of resting numbers that a network keeps; beyond, the nearest ones become one and what is between them rests
/// too. It is what the default subnet can need, and some 20 KiB of an entry.
const MAX_RESTS: usize = 1024;

/// No number is free in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) network: NetworkId,
    /// When the next of those that rest is free, if any rests.
    pub(crate) again_at: Option<Timestamp>,
}

/// The networks that a transaction has taken numbers from or given numbers back to.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pools: BTreeMap<NetworkId, Pool>,
}

#[derive(Debug)]
struct Pool {
    network: Arc<Network>,
    highest: u32,
    last: u32,
    resting: Vec<Rest>,
    changed: bool,
    /// Once it was found that none is free: what was said then.
    spent: Option<Lack>,
}

impl Numbers {
    /// One number in each network, or none at all. The caller puts their holder into the view.
    pub(crate) fn give<'a>(
        &mut self,
        view: &StoreView,
        networks: impl Iterator<Item = &'a NetworkId> + Clone,
        now: Timestamp,
    ) -> Result<Vec<Attachment>, Lack> {
        let mut found = Vec::new();
        for network in networks.clone() {
            let lack = || Lack {
                network: network.clone(),
                again_at: None,
            };
            let pool = self.pool(view, network).ok_or_else(lack)?;
            let number = pool.next(view, now)?;
            found.push(Attachment {
                network: network.clone(),
                number,
                addresses: addresses(&pool.network, number),
            });
        }
        for attachment in &found {
            if let Some(pool) = self.pools.get_mut(&attachment.network) {
                pool.last = attachment.number;
                pool.changed = true;
            }
        }
        Ok(found)
    }

    /// Lets the numbers rest of a holder that is gone.
    pub(crate) fn rest(&mut self, view: &StoreView, places: &[Attachment], now: Timestamp) {
        for place in places {
            if let Some(pool) = self.pool(view, &place.network) {
                pool.rest(place.number, now);
            }
        }
    }

    /// Numbers were given back that nobody ever saw: they are free at once.
    pub(crate) fn unused(&mut self, places: &[Attachment]) {
        for place in places {
            if let Some(pool) = self.pools.get_mut(&place.network) {
                pool.spent = None;
            }
        }
    }

    /// Which of the networks have no number free and when that changes by itself, in words.
    pub(crate) fn tell(&mut self, view: &StoreView, networks: &[ResolvedUse], now: Timestamp) -> String {
        let mut parts = Vec::new();
        for used in networks {
            let Some(pool) = self.pool(view, &used.network) else {
                continue;
            };
            let Err(lack) = pool.next(view, now) else {
                continue;
            };
            let name = &pool.network.spec.name;
            let when = lack.again_at.map_or_else(
                || "none of them was given back lately".to_owned(),
                |at| {
                    format!(
                        "one that was given back is free again in {} s",
                        at.since(now).as_secs() + 1
                    )
                },
            );
            parts.push(format!(
                "network {name:?} has no address of its {} free, {when}",
                pool.highest
            ));
        }
        if parts.is_empty() {
            return "an address is free now".to_owned();
        }
        parts.join("; ")
    }

    /// The networks that changed, to be written.
    pub(crate) fn changed(&self, view: &StoreView, now: Timestamp) -> Vec<Network> {
        let changed = self.pools.iter().filter(|(_, pool)| pool.changed);
        changed
            .filter_map(|(id, pool)| {
                let mut network = Network::clone(view.network(id)?);
                network.status.last = pool.last;
                network.status.resting.clone_from(&pool.resting);
                network.status.resting.retain(|rest| rest.until > now);
                Some(network)
            })
            .collect()
    }

    /// When the last number of a network that rests has rested, as far as this transaction knows.
    pub(crate) fn resting_until(&self, network: &Network, now: Timestamp) -> Option<Timestamp> {
        let pool = self.pools.get(&network.id);
        let resting = pool.map_or(&network.status.resting, |pool| &pool.resting);
        resting_until(resting, now)
    }

    fn pool(&mut self, view: &StoreView, id: &NetworkId) -> Option<&mut Pool> {
        if !self.pools.contains_key(id) {
            let network = view.network(id)?.clone();
            let pool = Pool {
                highest: highest(&network),
                last: network.status.last,
                resting: network.status.resting.clone(),
                network,
                changed: false,
                spent: None,
            };
            self.pools.insert(id.clone(), pool);
        }
        self.pools.get_mut(id)
    }
}

/// When the last of them has rested.
pub(crate) fn resting_until(resting: &[Rest], now: Timestamp) -> Option<Timestamp> {
    resting
        .iter()
        .map(|rest| rest.until)
        .filter(|until| *until > now)
        .max()
}

/// The whole seconds after which a time has come.
pub(crate) fn seconds(at: Timestamp, now: Timestamp) -> u64 {
    let left = at.since(now);
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

impl Pool {
    fn next(&mut self, view: &StoreView, now: Timestamp) -> Result<u32, Lack> {
        if let Some(lack) = &self.spent {
            return Err(lack.clone());
        }
        let behind = self.last.saturating_add(1);
        let found = self
            .search(view, behind, self.highest, now)
            .or_else(|| self.search(view, 1, self.last.min(self.highest), now));
        found.ok_or_else(|| {
            let ends = self.resting.iter().map(|rest| rest.until);
            let lack = Lack {
                network: self.network.id.clone(),
                again_at: ends.filter(|until| *until > now).min(),
            };
            self.spent = Some(lack.clone());
            lack
        })
    }

    /// Steps over runs of held and ranges of resting numbers. What it steps over the next search begins behind.
    fn search(&self, view: &StoreView, from: u32, to: u32, now: Timestamp) -> Option<u32> {
        let mut number = from;
        loop {
            number = view.free_number(&self.network.id, number);
            if number > to {
                return None;
            }
            match self.rest_with(number).filter(|rest| rest.until > now) {
                None => return Some(number),
                Some(rest) => number = rest.last.checked_add(1)?,
            }
        }
    }

    fn rest_with(&self, number: u32) -> Option<&Rest> {
        let place = self.resting.partition_point(|rest| rest.last < number);
        self.resting.get(place).filter(|rest| rest.first <= number)
    }

    fn rest(&mut self, number: u32, now: Timestamp) {
        self.changed = true;
        let until = now.after(REST);
        if let Some(lack) = &mut self.spent {
            lack.again_at = Some(lack.again_at.map_or(until, |at| at.min(until)));
        }
        let place = self.resting.partition_point(|rest| rest.last < number);
        let inside = self
            .resting
            .get(place)
            .copied()
            .filter(|rest| rest.first <= number);
        let mut parts = vec![Rest {
            first: number,
            last: number,
            until,
        }];
        if let Some(around) = inside {
            self.resting.remove(place);
            if around.first < number {
                parts.insert(
                    0,
                    Rest {
                        last: number - 1,
                        ..around
                    },
                );
            }
            if number < around.last {
                parts.push(Rest {
                    first: number + 1,
                    ..around
                });
            }
        }
        self.resting.splice(place..place, parts);
        self.join(place.saturating_sub(1)..place + 3);
        if self.resting.len() > MAX_RESTS {
            self.resting.retain(|rest| rest.until > now);
            self.coarsen();
        }
    }

    /// Joins neighbours without a gap that end together.
    fn join(&mut self, places: std::ops::Range<usize>) {
        for place in places.rev() {
            let (Some(one), Some(next)) = (self.resting.get(place), self.resting.get(place + 1)) else {
                continue;
            };
            if one.until == next.until && one.last.checked_add(1) == Some(next.first) {
                self.resting[place].last = next.last;
                self.resting.remove(place + 1);
            }
        }
    }

    /// Makes one range of those that have the least between them, until half of what may be kept is left.
    fn coarsen(&mut self) {
        if self.resting.len() <= MAX_RESTS {
            return;
        }
        let gap = |pair: &[Rest]| pair[1].first - pair[0].last;
        let mut gaps: Vec<u32> = self.resting.windows(2).map(gap).collect();
        gaps.sort_unstable();
        let surplus = self.resting.len() - MAX_RESTS / 2;
        let widest = gaps.get(surplus - 1).copied().unwrap_or(u32::MAX);
        let mut coarse: Vec<Rest> = Vec::with_capacity(MAX_RESTS);
        for rest in &self.resting {
            match coarse.last_mut() {
                Some(before) if rest.first - before.last <= widest => {
                    before.last = rest.last;
                    before.until = before.until.max(rest.until);
                }
                Some(_) | None => coarse.push(*rest),
            }
        }
        self.resting = coarse;
    }
}

/// The highest number that has an address in every range of the network. Neither the address of a range itself nor
/// IPv4's last one, its broadcast address, is anybody's.
fn highest(network: &Network) -> u32 {
    let of_length = |bits: u8| {
        1_u32
            .checked_shl(u32::from(bits))
            .map_or(u32::MAX, |size| size - 1)
    };
    let v4 = network.status.v4.map(|net| of_length(32 - net.prefix_len()) - 1);
    let v6 = network.status.v6.map(|net| of_length(128 - net.prefix_len()));
    v4.into_iter().chain(v6).min().unwrap_or(0)
}

/// What a number stands for.
pub(crate) fn addresses(network: &Network, number: u32) -> Addresses {
    let v4 = network
        .status
        .v4
        .map(|net| Ipv4Addr::from(u32::from(net.network()) + number));
    let v6 = network
        .status
        .v6
        .map(|net| Ipv6Addr::from(u128::from(net.network()) + u128::from(number)));
    Addresses { v4, v6 }
}
