//! What the node's network and its host say of themselves, for the managers, for tasks and for people.
//!
//! Changes pass at a bounded rate: every change of the description is an entry in the managers' store.

use super::node_side::range;
use crate::assignment::AssignedTask;
use shoal_agent_runtime::{HostProblem, Runtime};
use shoal_core::model::{self, NodeDescription, NodeProblem};
use shoal_overlay_net::desired::{PortKey, Protocol};
use shoal_overlay_net::{HostRoute, NetStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// A description is sent up at most so often.
const PACE: Duration = Duration::from_secs(2);
/// The host's problems are looked for so often: nobody waits for a word of them, and it costs nothing.
const HOST_AGAIN: Duration = Duration::from_secs(60);
/// Routes that are told: a host with more is a router of the internet, and its widest ones say the most.
const MOST_ROUTES: usize = 1000;
/// Problems that are told; a person works on the first. Their texts are bounded where they are made.
const MOST_PROBLEMS: usize = 32;

/// Published ports of this node that others hold, and who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortsTaken(BTreeMap<PortKey, String>);

impl PortsTaken {
    #[cfg(test)]
    pub(crate) fn of_tcp(port: u16, who: &str) -> Self {
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port,
        };
        Self(BTreeMap::from([(key, who.to_owned())]))
    }

    /// The sentence about the first port of a task that could not be had.
    pub(crate) fn of(&self, task: &AssignedTask) -> Option<String> {
        if self.0.is_empty() || !super::has_links(task) {
            return None;
        }
        task.ports.iter().find_map(|port| {
            let key = PortKey {
                protocol: match port.protocol {
                    model::Protocol::Tcp => Protocol::Tcp,
                    model::Protocol::Udp => Protocol::Udp,
                },
                address: port.host_ip,
                port: port.published,
            };
            self.0.get(&key).map(|why| unpublished(why))
        })
    }
}

/// Why not names the port.
fn unpublished(why: &str) -> String {
    format!("a port is not published on this node: {why}")
}

/// Keeps what is wrong with the host up to date. Nothing tells of it, so it is looked for now and then.
pub(crate) async fn watch_host(runtime: Runtime, told: watch::Sender<Vec<NodeProblem>>) {
    let mut again = tokio::time::interval(HOST_AGAIN);
    loop {
        again.tick().await;
        let problems = host_problems(&runtime).await;
        told.send_if_modified(|told| replace(told, problems));
    }
}

/// What about the host takes away from what containers should have.
pub(crate) async fn host_problems(runtime: &Runtime) -> Vec<NodeProblem> {
    let problems = runtime.problems().await.into_iter();
    let problems = problems.map(|HostProblem { what, remedy }| NodeProblem { what, remedy });
    problems.collect()
}

/// Keeps the description and the list of taken ports as the network's status and the host's problems say; ends with the
/// network.
pub(crate) async fn keep_described(
    mut status: watch::Receiver<NetStatus>,
    mut host: watch::Receiver<Vec<NodeProblem>>,
    description: watch::Sender<NodeDescription>,
    ports: watch::Sender<PortsTaken>,
) {
    loop {
        let of_host = host.borrow_and_update().clone();
        let (routes, problems, taken) = {
            let now = status.borrow_and_update();
            let problems = of_host.into_iter().chain(problems(&now));
            (
                routes(&now.routes),
                problems.take(MOST_PROBLEMS).collect(),
                PortsTaken(now.ports_taken.clone()),
            )
        };
        ports.send_if_modified(|told| replace(told, taken));
        let told = description.send_if_modified(|description| {
            replace(&mut description.routes, routes) | replace(&mut description.problems, problems)
        });
        if told {
            pass_ports(&mut status, &ports).await;
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() {
                return;
            },
            Ok(()) = host.changed() => {}
        }
    }
}

/// For a while, only what concerns tasks is passed on.
async fn pass_ports(status: &mut watch::Receiver<NetStatus>, ports: &watch::Sender<PortsTaken>) {
    let over = tokio::time::sleep(PACE);
    tokio::pin!(over);
    let mut behind = false;
    loop {
        tokio::select! {
            () = &mut over => break,
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                behind = true;
                let taken = PortsTaken(status.borrow_and_update().ports_taken.clone());
                ports.send_if_modified(|told| replace(told, taken));
            }
        }
    }
    if behind {
        status.mark_changed();
    }
}

fn replace<T: PartialEq>(told: &mut T, now: T) -> bool {
    let changed = *told != now;
    if changed {
        *told = now;
    }
    changed
}

/// The widest first, each once.
fn routes(routes: &[HostRoute]) -> Vec<ipnet::IpNet> {
    let ranges: BTreeSet<_> = routes
        .iter()
        .filter_map(|route| range(route.prefix))
        .map(|range| (range.prefix_len(), range))
        .collect();
    ranges
        .into_iter()
        .take(MOST_ROUTES)
        .map(|(_, range)| range)
        .collect()
}

fn problems(status: &NetStatus) -> Vec<NodeProblem> {
    let all = status.problems.iter().map(|problem| NodeProblem {
        what: problem.what.clone(),
        remedy: problem.remedy.clone(),
    });
    all.take(MOST_PROBLEMS).collect()
}

/// For people who ask this node: one line each, the host's first.
pub(crate) fn notes(host: &[NodeProblem], status: &NetStatus) -> Vec<String> {
    let of_network = problems(status);
    let problems = host.iter().chain(&of_network);
    let problems = problems.map(|problem| format!("{}; try: {}", problem.what, problem.remedy));
    let ports = status.ports_taken.values().map(|why| unpublished(why));
    let lost = status.lost.iter();
    let lost = lost.map(|(id, why)| format!("the container {id} is not in its networks: {why}"));
    problems.chain(ports).chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::linked;
    use shoal_core::model::{PortMode, PublishedPort};
    use shoal_overlay_net::{NamesState, Problem};

    fn status() -> NetStatus {
        let route = |prefix: &str| HostRoute {
            prefix: prefix.parse().unwrap(),
            link: "eth0".to_owned(),
        };
        NetStatus {
            routes: vec![route("10.7.0.0/16"), route("10.0.0.0/8"), route("10.7.0.0/16")],
            problems: vec![Problem {
                what: "a firewall drops".to_owned(),
                remedy: "nft insert".to_owned(),
            }],
            ..NetStatus::default()
        }
    }

    /// As the network says it when its process is down.
    fn down(status: &mut NetStatus) {
        let why = "no such file".to_owned();
        status.problems.push(Problem {
            what: format!("containers have no names: {why}"),
            remedy: "look into the log".to_owned(),
        });
        status.names = NamesState::Down { why };
    }

    fn unconfined() -> NodeProblem {
        NodeProblem {
            what: "containers run without a profile".to_owned(),
            remedy: "install apparmor".to_owned(),
        }
    }

    #[test]
    fn problems_come_with_what_would_help() {
        let mut status = status();
        down(&mut status);
        status.ports_taken = PortsTaken::of_tcp(80, "80/tcp is taken by nginx").0;
        assert_eq!(
            notes(&[unconfined()], &status),
            [
                "containers run without a profile; try: install apparmor",
                "a firewall drops; try: nft insert",
                "containers have no names: no such file; try: look into the log",
                "a port is not published on this node: 80/tcp is taken by nginx",
            ]
        );
        let widest: Vec<String> = routes(&status.routes).iter().map(ToString::to_string).collect();
        assert_eq!(widest, ["10.0.0.0/8", "10.7.0.0/16"]);
    }

    #[test]
    fn a_taken_port_is_said_of_the_tasks_that_publish_it() {
        let taken = PortsTaken::of_tcp(8080, "8080/tcp is taken by nginx");
        let with = |published, mode, host_ip| {
            let mut task = linked(1);
            task.ports = vec![PublishedPort {
                target: 80,
                published,
                protocol: model::Protocol::Tcp,
                mode,
                host_ip,
            }];
            taken.of(&task)
        };
        let sentence = "a port is not published on this node: 8080/tcp is taken by nginx";
        assert_eq!(with(8080, PortMode::Ingress, None).as_deref(), Some(sentence));
        assert!(with(8080, PortMode::Host, None).is_some());
        assert_eq!(with(8081, PortMode::Ingress, None), None);
        assert_eq!(with(8080, PortMode::Ingress, Some([127, 0, 0, 1].into())), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_changes_is_told_and_taken_ports_at_once() {
        let (network, told) = watch::channel(status());
        let (description, mut described) = watch::channel(NodeDescription::default());
        let (ports, mut taken) = watch::channel(PortsTaken::default());
        let (host, of_host) = watch::channel(Vec::new());
        let keeping = tokio::spawn(keep_described(told, of_host, description, ports));
        described.changed().await.unwrap();
        assert_eq!(described.borrow_and_update().routes.len(), 2);
        network.send_modify(|status| {
            down(status);
            status.ports_taken = PortsTaken::of_tcp(80, "nginx").0;
        });
        taken.changed().await.unwrap();
        assert!(
            !described.has_changed().unwrap(),
            "not so soon after the one before"
        );
        described.changed().await.unwrap();
        assert_eq!(described.borrow_and_update().problems.len(), 2);
        host.send_replace(vec![unconfined()]);
        described.changed().await.unwrap();
        let problems = described.borrow().problems.clone();
        assert_eq!((problems.len(), &problems[0]), (3, &unconfined()));
        drop(network);
        keeping.await.unwrap();
    }
}
