//! Numbers, rests and subnets by themselves. What a cluster makes of them is in the scenario scripts and the
//! properties of planning.

use super::{numbers::Numbers, subnets::Taken, *};
use crate::{
    model::*,
    store::{Change, StoreView},
};
use std::time::Duration;

struct World {
    view: StoreView,
    ids: IdGen,
    network: NetworkId,
    now: Timestamp,
}

impl World {
    fn new(subnet: &str, v6: Option<&str>) -> Self {
        let mut ids = IdGen::from_number(1);
        let network = Network {
            id: NetworkId::mint(&mut ids),
            meta: Meta::default(),
            spec: NetworkSpec::default(),
            stack: None,
            status: NetworkStatus {
                v4: Some(subnet.parse().unwrap()),
                v6: v6.map(|subnet| subnet.parse().unwrap()),
                ..NetworkStatus::default()
            },
        };
        let mut world = Self {
            view: StoreView::default(),
            ids,
            network: network.id.clone(),
            now: Timestamp(1),
        };
        world.put(network);
        world
    }

    fn put(&mut self, object: impl Into<Change>) {
        if let Change::Put(object) = object.into() {
            self.view.put(object);
        }
    }

    /// A service that holds what a transaction of its own gives it.
    fn take(&mut self) -> Result<Attachment, Lack> {
        let mut numbers = Numbers::default();
        let given = numbers
            .give(&self.view, [&self.network].into_iter(), self.now)?
            .remove(0);
        self.write(&numbers);
        let mut service = service(&mut self.ids);
        service.endpoint.vips = vec![given.clone()];
        self.put(service);
        Ok(given)
    }

    fn take_many(&mut self, count: usize) {
        for _ in 0..count {
            self.take().unwrap();
        }
    }

    fn give_back(&mut self, number: u32) {
        let holder = self.view.services().find(|s| s.endpoint.vips[0].number == number);
        let service = holder.unwrap().clone();
        let mut numbers = Numbers::default();
        numbers.rest(&self.view, &service.endpoint.vips, self.now);
        self.view
            .delete(&crate::store::ObjectKey::Service(service.id.clone()));
        self.write(&numbers);
    }

    fn write(&mut self, numbers: &Numbers) {
        for network in numbers.changed(&self.view, self.now) {
            self.put(network);
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn rests(&self) -> Vec<(u32, u32)> {
        let resting = &self.view.network(&self.network).unwrap().status.resting;
        resting.iter().map(|rest| (rest.first, rest.last)).collect()
    }
}

fn service(ids: &mut IdGen) -> Service {
    let id = ServiceId::mint(ids);
    Service {
        spec: ServiceSpec {
            name: id.to_string(),
            labels: Labels::new(),
            mode: Mode::Global,
            task: TaskSpec::default(),
            ports: Vec::new(),
            endpoint_mode: EndpointMode::Vip,
            update: UpdateConfig::default(),
        },
        id,
        meta: Meta::default(),
        revision: 1,
        stack: None,
        endpoint: ServiceEndpoint::default(),
        update: None,
    }
}

#[test]
fn a_number_gives_an_address_of_each_family() {
    let mut world = World::new("10.9.0.0/29", Some("fd00:9::/64"));
    let first = world.take().unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(first.addresses.v4, Some("10.9.0.1".parse().unwrap()));
    assert_eq!(first.addresses.v6, Some("fd00:9::1".parse().unwrap()));
}

#[test]
fn neither_the_first_nor_the_last_address_is_given() {
    let mut world = World::new("10.9.0.0/29", None);
    let given: Vec<u32> = (0..6).map(|_| world.take().unwrap().number).collect();
    assert_eq!(given, [1, 2, 3, 4, 5, 6]);
    let lack = world.take().unwrap_err();
    assert_eq!(lack.again_at, None, "none rests");
}

#[test]
fn a_small_ipv6_range_bounds_the_numbers() {
    let mut world = World::new("10.0.0.0/8", Some("fd00:9::/112"));
    let mut network = Network::clone(world.view.network(&world.network).unwrap());
    network.status.last = 65_534;
    world.put(network);
    let given: Vec<u32> = (0..3).map(|_| world.take().unwrap().number).collect();
    assert_eq!(given, [65_535, 1, 2]);
}

#[test]
fn a_number_rests_even_where_the_search_comes_round() {
    let mut world = World::new("10.9.0.0/29", None);
    world.take_many(6);
    world.give_back(2);
    world.pass(Duration::from_secs(4));
    world.give_back(5);
    let lack = world.take().unwrap_err();
    assert_eq!(lack.again_at, Some(Timestamp(1).after(REST)));
    world.pass(Duration::from_secs(6));
    assert_eq!(world.take().unwrap().number, 2);
    let lack = world.take().unwrap_err();
    assert_eq!(
        lack.again_at,
        Some(Timestamp(1).after(REST + Duration::from_secs(4)))
    );
    world.pass(Duration::from_secs(4));
    assert_eq!(world.take().unwrap().number, 5);
    assert_eq!(world.rests(), []);
}

#[test]
fn numbers_come_in_turn() {
    let mut world = World::new("10.9.0.0/28", None);
    world.take_many(3);
    world.give_back(1);
    world.pass(REST);
    assert_eq!(
        world.take().unwrap().number,
        4,
        "the one given back longest ago is still the last to come"
    );
}

#[test]
fn what_rests_together_is_one_range() {
    let mut world = World::new("10.9.0.0/22", None);
    world.take_many(10);
    for number in [3, 5, 4, 9] {
        world.give_back(number);
    }
    assert_eq!(world.rests(), [(3, 5), (9, 9)]);
    world.pass(Duration::from_secs(1));
    world.give_back(6);
    assert_eq!(world.rests(), [(3, 5), (6, 6), (9, 9)], "it rests longer");
}

#[test]
fn what_a_network_remembers_is_bounded() {
    let mut world = World::new("10.0.0.0/8", None);
    let mut numbers = Numbers::default();
    let place = |number| Attachment {
        network: world.network.clone(),
        number,
        addresses: Addresses::default(),
    };
    let all: Vec<_> = (0..20_000).map(|n| place(1 + 3 * n + n / 100 * 1000)).collect();
    for chunk in all.chunks(10) {
        numbers.rest(&world.view, chunk, world.now);
        world.now = world.now.after(Duration::from_micros(10));
    }
    world.write(&numbers);
    let status = world.view.network(&world.network).unwrap().status.clone();
    assert!(status.resting.len() <= 1024, "{}", status.resting.len());
    assert!(status.resting.windows(2).all(|pair| pair[0].last < pair[1].first));
    for place in &all {
        let rests = |rest: &&Rest| (rest.first..=rest.last).contains(&place.number);
        let rest = status.resting.iter().find(rests);
        assert!(rest.is_some(), "{} does not rest any more", place.number);
    }
    let blocked: u32 = status.resting.iter().map(|rest| rest.last - rest.first + 1).sum();
    assert!(blocked < 20_000 * 4 + 512 * 1000, "{blocked} rest for 20000");
}

#[test]
fn a_full_network_is_searched_in_no_time() {
    let mut world = World::new("10.0.0.0/8", None);
    let mut numbers = Numbers::default();
    let mut holder = service(&mut world.ids);
    for _ in 0..50_000 {
        let given = numbers
            .give(&world.view, [&world.network].into_iter(), world.now)
            .unwrap();
        holder.endpoint.vips.extend(given);
    }
    world.put(holder.clone());
    world.write(&numbers);
    // The search begins at the first number and steps over all that are held at once.
    let mut network = Network::clone(world.view.network(&world.network).unwrap());
    network.status.last = 0;
    world.put(network);
    assert_eq!(world.view.free_number(&world.network, 1), 50_001);
    assert_eq!(world.take().unwrap().number, 50_001);
}

#[test]
fn subnets_are_the_first_that_meet_nothing() {
    let pools = |pools: &[&str]| pools.iter().map(|pool| pool.parse().unwrap()).collect::<Vec<_>>();
    let check = |taken: &[&str], from: &[&str], length, expect: Option<&str>| {
        let mut all = Taken::default();
        taken.iter().for_each(|net| all.add(net.parse().unwrap()));
        let found = all.choose_v4(&pools(from), length).map(|net| net.to_string());
        assert_eq!(found.as_deref(), expect, "{taken:?}");
    };
    let pool = &["10.0.0.0/16"];
    check(&[], pool, 24, Some("10.0.0.0/24"));
    check(&["10.0.0.0/24", "10.0.2.0/24"], pool, 24, Some("10.0.1.0/24"));
    check(&["10.0.0.128/25"], pool, 24, Some("10.0.1.0/24"));
    check(&["10.0.0.0/17", "10.0.3.0/24"], pool, 24, Some("10.0.128.0/24"));
    check(&["9.0.0.0/8", "10.0.0.0/22"], pool, 20, Some("10.0.16.0/20"));
    check(&["10.0.0.0/8"], pool, 24, None);
    check(
        &["10.0.0.0/8"],
        &["10.0.0.0/16", "172.16.0.0/16"],
        24,
        Some("172.16.0.0/24"),
    );
    check(&["255.255.0.0/16"], &["255.255.0.0/16"], 24, None);
    let mut taken = Taken::default();
    let pool: ipnet::Ipv6Net = "fd12:3456:789a::/48".parse().unwrap();
    let found: Vec<String> = (0..2)
        .map(|_| taken.choose_v6(pool).unwrap().to_string())
        .collect();
    assert_eq!(
        found,
        ["fd12:3456:789a:1::/64", "fd12:3456:789a:2::/64"],
        "the first is the nodes'"
    );
}

#[test]
fn addresses_of_a_host_meet_where_one_is_all_of_them() {
    let meets = |one: &str, other: &str| {
        let parse = |text: &str| text.parse::<std::net::IpAddr>().ok();
        addresses_meet(parse(one), parse(other))
    };
    for (one, other, expect) in [
        ("", "", true),
        ("", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("0.0.0.0", "10.0.0.2", true),
        ("0.0.0.0", "fd00::1", false),
        ("::", "fd00::1", true),
    ] {
        assert_eq!(meets(one, other), expect, "{one:?} {other:?}");
        assert_eq!(meets(other, one), expect, "{other:?} {one:?}");
    }
}
