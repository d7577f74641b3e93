//! What the cluster says against what the overlay is given.

use super::*;
use crate::testing::network::{INGRESS, NET, Sketch, at, network, node, task};
use shoal_core::model::{PortMode, PublishedPort, Slot};
use shoal_overlay_net::desired::Published;
use std::net::{IpAddr, SocketAddr};

fn side() -> NodeSide {
    NodeSide {
        tag: "0123abcd".parse().unwrap(),
        open_host_ports: BTreeSet::new(),
    }
}

fn translated_from(sketch: &Sketch) -> Translation {
    Translation::new(node(1), side(), &sketch.tables(), at(1))
}

/// Everything of the overlay's tables, a line each.
fn lines(tables: &Tables) -> Vec<String> {
    let list = |addresses: &[IpAddr]| {
        let words: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        words.join(",")
    };
    let mut lines = Vec::new();
    for group in tables.groups.values() {
        let both = |set: &BTreeSet<IpAddr>| list(&set.iter().copied().collect::<Vec<_>>());
        let vip: Vec<IpAddr> = group.vip.iter().collect();
        lines.push(format!(
            "vip {} -> {} draining {}",
            list(&vip),
            both(&group.backends),
            both(&group.draining)
        ));
        let records = group.records.iter();
        lines.extend(records.map(|(name, addresses)| format!("{name} = {}", list(addresses))));
    }
    lines.extend(
        tables
            .ports
            .iter()
            .map(|(key, published)| port_line(key, published)),
    );
    lines
}

fn port_line(key: &PortKey, published: &Published) -> String {
    let both = |set: &BTreeSet<SocketAddr>| {
        let words: Vec<String> = set.iter().map(SocketAddr::to_string).collect();
        words.join(",")
    };
    let vip: Vec<String> = published.vip.iter().map(|vip| vip.to_string()).collect();
    format!(
        "{key} by {} -> {} draining {}",
        vip.join(","),
        both(&published.backends),
        both(&published.draining)
    )
}

#[track_caller]
fn check(translation: &Translation, expect: &[&str]) {
    assert_eq!(lines(&translation.tables()), expect);
}

#[test]
fn a_service_has_its_names_its_vip_and_every_address_of_its_tasks() {
    let mut sketch = Sketch::new();
    sketch.service(1, "App_Web", &[NET], &["web"]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    sketch.endpoint(2, 1, Slot::Replica(2), node(2), false);
    sketch.endpoint(3, 1, Slot::Replica(3), node(1), true);
    check(
        &translated_from(&sketch),
        &[
            "vip 10.1.0.101,fd00::65 -> 10.1.0.1,10.1.0.2,fd00::1,fd00::2 draining 10.1.0.3,fd00::3",
            "1.app_web = 10.1.0.1,fd00::1",
            "1.web = 10.1.0.1,fd00::1",
            "2.app_web = 10.1.0.2,fd00::2",
            "2.web = 10.1.0.2,fd00::2",
            "app_web = 10.1.0.101,fd00::65",
            "app_web-1.app_web = 10.1.0.1,fd00::1",
            "app_web-2.app_web = 10.1.0.2,fd00::2",
            "app_web.net1 = 10.1.0.101,fd00::65",
            "tasks.app_web = 10.1.0.2,fd00::2,10.1.0.1,fd00::1",
            "tasks.web = 10.1.0.2,fd00::2,10.1.0.1,fd00::1",
            "web = 10.1.0.101,fd00::65",
            "web-1.web = 10.1.0.1,fd00::1",
            "web-2.web = 10.1.0.2,fd00::2",
            "web.net1 = 10.1.0.101,fd00::65",
        ],
    );
}

#[test]
fn without_a_vip_the_name_stands_for_all_tasks_and_a_global_slot_for_its_node() {
    let mut sketch = Sketch::new();
    sketch.service(1, "agent", &[NET], &[]);
    sketch.without_vip(1, NET);
    sketch.endpoint(1, 1, Slot::Node(node(2)), node(2), false);
    let here = node(2);
    let lines = lines(&translated_from(&sketch).tables());
    assert_eq!(lines[0], "vip  -> 10.1.0.1,fd00::1 draining ");
    assert!(
        lines.contains(&"agent = 10.1.0.1,fd00::1".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&format!("agent-{here}.agent = 10.1.0.1,fd00::1")),
        "{lines:?}"
    );
    // Nobody is left: the name is still the cluster's.
    sketch.remove_endpoint(1);
    check(
        &translated_from(&sketch),
        &[
            "vip  ->  draining ",
            "agent = ",
            "agent.net1 = ",
            "tasks.agent = ",
        ],
    );
}

#[test]
fn a_name_in_its_network_never_means_a_task_of_a_service_called_like_the_network() {
    let mut sketch = Sketch::new();
    for (number, name) in (1..).zip(["3", "tasks", "net1-3", "net1-x", "net1"]) {
        sketch.service(number, name, &[NET], &[]);
    }
    let lines = lines(&translated_from(&sketch).tables());
    let mut under: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once(".net1 = "))
        .map(|(name, _)| name)
        .collect();
    under.sort_unstable();
    // `tasks` is that of the last service.
    assert_eq!(under, ["net1", "net1-x", "tasks"]);
}

#[test]
fn members_of_ingress_do_not_meet_and_have_no_names() {
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[INGRESS], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    let translation = translated_from(&sketch);
    check(&translation, &[]);
    let meet: Vec<bool> = translation.tables().networks.values().map(|n| n.meet).collect();
    assert_eq!(meet, [true, false]);
}

#[test]
fn subnets_outside_of_the_pools_are_the_clusters_too() {
    let ranges = |translation: &Translation| {
        let node = translation.tables().node.clone();
        let texts = node.pools.iter().map(|range| range.to_string());
        (texts.collect::<Vec<_>>(), node.host)
    };
    let mut sketch = Sketch::new();
    let held = sketch.tables();
    let mut translation = translated_from(&sketch);
    let pools = ["10.0.0.0/12", "fd00::/48"];
    let (known, host) = ranges(&translation);
    assert_eq!(known, pools, "those in the pools need no word of their own");
    let mut tables = held.clone();
    let outside = tables.networks.get_mut(&network(NET)).unwrap();
    outside.v4 = Some("172.28.0.0/16".parse().unwrap());
    outside.v6 = Some("fdff:1::/64".parse().unwrap());
    translation.update(at(2), &difference(&held, &whole(&tables)));
    let all = [pools[0], pools[1], "172.28.0.0/16", "fdff:1::/64"];
    assert_eq!(ranges(&translation), (all.map(str::to_owned).to_vec(), host));
    let anew = Translation::new(node(1), side(), &tables, at(2));
    assert_eq!(anew.tables().node, translation.tables().node);
    sketch.remove_network(NET);
    translation.update(at(3), &difference(&tables, &whole(&sketch.tables())));
    assert_eq!(ranges(&translation).0, pools);
}

#[test]
fn published_ports_lead_to_all_tasks_or_to_this_nodes_own() {
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET, INGRESS], &[]);
    sketch.port(1, 80, 8080, PortMode::Ingress, None);
    sketch.port(1, 53, 53, PortMode::Host, Some([192, 0, 2, 1].into()));
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    sketch.endpoint(2, 1, Slot::Replica(2), node(2), true);
    let translation = translated_from(&sketch);
    let ports: Vec<String> = translation
        .tables()
        .ports
        .iter()
        .map(|(key, published)| port_line(key, published))
        .collect();
    let all =
        "8080/tcp by 10.0.0.101,fd00:0:0:1::65 -> 10.1.0.1:80,[fd00::1]:80 draining 10.1.0.2:80,[fd00::2]:80";
    assert_eq!(
        ports,
        [all, "192.0.2.1:53/tcp by  -> 10.1.0.1:53,[fd00::1]:53 draining "]
    );
    sketch.remove_endpoint(1);
    let without = translated_from(&sketch);
    let keys: Vec<String> = without.tables().ports.keys().map(PortKey::to_string).collect();
    assert_eq!(keys, ["8080/tcp"], "no task here has the host's port");
}

#[test]
fn an_older_task_is_reached_where_it_was_made_to_listen() {
    let port = |target, published, mode| PublishedPort {
        target,
        published,
        protocol: model::Protocol::Tcp,
        mode,
        host_ip: None,
    };
    let (ingress, host) = (PortMode::Ingress, PortMode::Host);
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET, INGRESS], &[]);
    sketch.port(1, 81, 8080, ingress, None);
    sketch.port(1, 90, 9090, host, None);
    for number in 1..=2 {
        sketch.endpoint(number, 1, Slot::Replica(number), node(1), number == 2);
    }
    sketch.endpoint(3, 1, Slot::Replica(3), node(1), false);
    let ports = |own: &[PublishedPort]| {
        let mut tables = sketch.tables();
        for number in 1..=2 {
            tables.endpoints.get_mut(&task(number)).unwrap().ports = Some(own.to_vec());
        }
        let translation = Translation::new(node(1), side(), &tables, at(1));
        let tables = translation.tables();
        let ports = tables.ports.iter();
        let texts = ports.map(|(key, published)| port_line(key, published).replace(",[", " ["));
        let v4 = texts.map(|text| {
            text.split(' ')
                .filter(|word| !word.contains('['))
                .collect::<Vec<_>>()
                .join(" ")
        });
        v4.collect::<Vec<_>>()
    };
    // The target changed: new tasks on the new one, old ones on theirs.
    let both = [
        "8080/tcp by 10.0.0.101,fd00:0:0:1::65 -> 10.1.0.1:80,10.1.0.3:81 draining 10.1.0.2:80",
        "9090/tcp by  -> 10.1.0.1:91,10.1.0.3:90 draining 10.1.0.2:91",
    ];
    assert_eq!(ports(&[port(80, 8080, ingress), port(91, 9090, host)]), both);
    // Another number for the same target is served by all, but for a host's own, which others may have by now.
    let renumbered = [
        "8080/tcp by 10.0.0.101,fd00:0:0:1::65 -> 10.1.0.1:81,10.1.0.3:81 draining 10.1.0.2:81",
        "9090/tcp by  -> 10.1.0.3:90 draining ",
    ];
    assert_eq!(
        ports(&[port(81, 8000, ingress), port(90, 9000, host)]),
        renumbered
    );
    // What they never had leads to new ones alone.
    let new = [
        "8080/tcp by 10.0.0.101,fd00:0:0:1::65 -> 10.1.0.3:81 draining ",
        "9090/tcp by  -> 10.1.0.3:90 draining ",
    ];
    assert_eq!(ports(&[]), new);
}

#[test]
fn a_change_leaves_everything_else_shared() {
    let mut sketch = Sketch::new();
    for number in 1..=3 {
        sketch.service(number, &format!("web{number}"), &[NET, INGRESS], &[]);
        let port = u16::try_from(8000 + number).unwrap();
        sketch.port(number, 80, port, PortMode::Ingress, None);
        sketch.endpoint(number, number, Slot::Replica(1), node(1), false);
    }
    let mut translation = translated_from(&sketch);
    let before = translation.tables();
    let diff = sketch.change(|sketch| sketch.endpoint(9, 2, Slot::Replica(2), node(2), false));
    assert!(translation.update(at(2), &diff));
    let after = translation.tables();
    assert_eq!((before.revision.index, after.revision.index), (1, 2));
    let kept = |before: &Tables, after: &Tables| {
        let groups = before.groups.iter();
        let groups = groups
            .filter(|(key, group)| Arc::ptr_eq(group, &after.groups[*key]))
            .count();
        let ports = before.ports.iter();
        let ports = ports
            .filter(|(key, port)| Arc::ptr_eq(port, &after.ports[*key]))
            .count();
        (groups, ports)
    };
    assert_eq!(kept(&before, &after), (2, 2));
    // Said again, it is the same and nothing is touched.
    translation.update(at(3), &diff);
    assert_eq!(kept(&after, &translation.tables()), (3, 3));
    assert!(!translation.update(at(4), &TablesDiff::default()));
    // Built at once from everything, it is the same.
    assert_eq!(
        lines(&translation.tables()),
        lines(&translated_from(&sketch).tables())
    );
}

#[test]
fn services_that_go_take_everything_and_a_port_may_pass_on() {
    let mut sketch = Sketch::new();
    for (number, name) in [(1, "old"), (2, "new")] {
        sketch.service(number, name, &[NET, INGRESS], &[]);
    }
    sketch.port(2, 80, 8080, PortMode::Ingress, None);
    let mut translation = translated_from(&sketch);
    let diff = sketch.change(|sketch| {
        sketch.remove_service(2);
        sketch.port(1, 80, 8080, PortMode::Ingress, None);
        sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    });
    translation.update(at(2), &diff);
    assert_eq!(
        lines(&translation.tables()),
        lines(&translated_from(&sketch).tables())
    );
    assert_eq!(translation.tables().ports.len(), 1);
    let diff = sketch.change(|sketch| sketch.remove_network(NET));
    translation.update(at(3), &diff);
    assert_eq!(
        (
            translation.tables().groups.len(),
            translation.tables().networks.len()
        ),
        (0, 1)
    );
    let rest = sketch.change(|sketch| {
        sketch.remove_service(1);
        sketch.remove_endpoint(1);
    });
    translation.update(at(4), &rest);
    check(&translation, &[]);
}

#[test]
fn what_is_known_here_of_own_tasks_comes_before_what_the_managers_say() {
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    sketch.endpoint(2, 1, Slot::Replica(2), node(2), false);
    let mut translation = translated_from(&sketch);
    let first = |translation: &Translation| lines(&translation.tables())[0].clone();
    assert!(translation.stand(&task(1), Some(Standing::Draining)));
    let drained = "vip 10.1.0.101,fd00::65 -> 10.1.0.2,fd00::2 draining 10.1.0.1,fd00::1";
    assert_eq!(first(&translation), drained);
    assert!(translation.stand(&task(1), Some(Standing::Gone)));
    let gone = "vip 10.1.0.101,fd00::65 -> 10.1.0.2,fd00::2 draining ";
    assert_eq!(first(&translation), gone);
    // The managers lag behind: what they say of it does not bring it back, and of others it counts.
    let diff = sketch.change(|sketch| sketch.endpoint(3, 1, Slot::Replica(3), node(1), false));
    translation.update(at(2), &diff);
    assert!(!translation.stand(&task(1), Some(Standing::Gone)), "said already");
    assert!(
        !translation.stand(&task(7), Some(Standing::Gone)),
        "it is in no table yet"
    );
    let late = sketch.change(|sketch| sketch.endpoint(7, 1, Slot::Replica(7), node(1), false));
    translation.update(at(3), &late);
    assert_eq!(
        first(&translation),
        "vip 10.1.0.101,fd00::65 -> 10.1.0.2,10.1.0.3,fd00::2,fd00::3 draining "
    );
    assert!(translation.stand(&task(1), None), "it runs again");
    assert!(first(&translation).contains("10.1.0.1,"));
    // Another node's task is not judged here.
    assert!(translation.stand(&task(2), Some(Standing::Gone)));
    assert!(first(&translation).contains("10.1.0.2,"));
}

#[test]
fn a_full_message_becomes_what_is_different_in_it() {
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    let held = sketch.tables();
    assert!(difference(&held, &whole(&held)).is_empty());
    sketch.remove_endpoint(1);
    sketch.endpoint(2, 1, Slot::Replica(1), node(1), false);
    sketch.remove_network(INGRESS);
    let diff = difference(&held, &whole(&sketch.tables()));
    assert_eq!(
        (diff.endpoints.len(), diff.networks.len(), diff.services.len()),
        (2, 1, 0)
    );
    let mut applied = held;
    applied.apply(&diff);
    assert_eq!(applied, sketch.tables());
}
