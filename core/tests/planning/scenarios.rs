//! Scenario scripts: `core/tests/scenarios/*.txt`, commands with the output they shall give.
//!
//! A line that starts with `> ` is a command, `#` a comment, all else golden output. With
//! `SHOAL_REGENERATE=1` in the environment the output is written anew; then read the difference.

#[path = "scenarios/options.rs"]
mod options;
#[path = "scenarios/shown.rs"]
mod shown;

use super::world::{self, World};
use options::{cpu, duration, set, set_network, stack};
use shoal_core::{
    explain,
    model::*,
    planner::PlannerInput,
    request::{Request, Response, StackAction},
    resolve,
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

#[test]
fn scenarios_give_their_golden_output() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let regenerate = std::env::var_os("SHOAL_REGENERATE").is_some();
    let mut differing = Vec::new();
    for path in paths {
        let golden = std::fs::read_to_string(&path).unwrap();
        let found = play(&golden);
        if regenerate {
            std::fs::write(&path, &found).unwrap();
        } else if found != golden {
            differing.push(format!(
                "{}:\n{}",
                path.display(),
                first_difference(&golden, &found)
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Every code of the list is reached by some script.
#[test]
fn every_wait_code_is_reachable() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut seen = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let golden = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut script = Script::new();
        for line in golden.lines().filter_map(|line| line.strip_prefix("> ")) {
            script.command(line);
        }
        seen.extend(script.world.waits_seen);
    }
    for code in WaitCode::ALL {
        assert!(seen.contains(&code), "no script reaches {code:?}");
    }
}

fn play(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "{line}").unwrap();
            out.push_str(&script.command(command));
        } else if line.starts_with('#') || (line.is_empty() && !out.ends_with("\n\n")) {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

fn first_difference(golden: &str, found: &str) -> String {
    let mut golden = golden.lines();
    for (n, line) in found.lines().enumerate() {
        let expected = golden.next();
        if expected != Some(line) {
            return format!("line {}: expected {expected:?}, found {line:?}", n + 1);
        }
    }
    "output is missing at the end".to_owned()
}

/// The commands:
///
/// ```text
/// node NAME [cpu=N] [memory=SIZE] [arch=A] [ip=ADDRESS] [label.X=V]    a node joins
/// availability NODE active|pause|drain      label NODE X=V      rmnode NODE
/// silence NODE...      speak NODE...      goodbye NODE
/// service NAME [replicas=N | global] [OPTION=V]...      update NAME [OPTION=V]...      force NAME
/// scale NAME=N...      rm NAME      stack NAME [prune] SERVICE[:OPTION=V,...]...      rmstack NAME
/// options: network=NAME[+ALIAS]... no-networks network-mode publish=[host:][PORT:]PORT[/udp][@ADDRESS] no-ports dnsrr
///          image cpu memory port (a host's own) constraint spread max-per-node restart delay attempts window monitor
///          order health remove-at-end
/// budget N  steps a turn has      turn  one of them (a `service` with `later` takes none)
/// step      workers go one state on          run       until nothing moves
/// fail|complete|reject SERVICE.SLOT          after DURATION
/// network NAME [subnet=RANGE] [ipv6] [internal]      rmnetwork NAME      in a stack: `+NAME[:OPTION,...]`
/// hold SERVICE.SLOT CODE    its worker says that it waits
/// tasks [SERVICE]      nodes      services      why SERVICE      takeover
/// networks      endpoints  what services are reached by      tables NODE  what its worker holds
/// ```
struct Script {
    world: World,
    nodes: BTreeMap<String, NodeId>,
    descriptions: BTreeMap<NodeId, NodeDescription>,
}

impl Script {
    fn new() -> Self {
        Self {
            world: World::new(1),
            nodes: BTreeMap::new(),
            descriptions: BTreeMap::new(),
        }
    }

    fn command(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        match verb {
            "node" | "availability" | "label" | "rmnode" | "silence" | "speak" | "goodbye" => {
                self.node_command(verb, &words)
            }
            "service" | "update" | "force" | "scale" | "rm" | "stack" | "rmstack" | "network"
            | "rmnetwork" => self.user_command(verb, &words),
            "step" => {
                self.world.settle();
                self.world.step_workers();
                self.world.settle();
                String::new()
            }
            "run" => {
                self.world.run_workers();
                String::new()
            }
            "budget" => {
                self.world.budget = words[0].parse().unwrap();
                String::new()
            }
            "turn" => {
                self.world.turn();
                String::new()
            }
            "fail" => self.end(words[0], TaskState::Failed),
            "complete" => self.end(words[0], TaskState::Complete),
            "reject" => self.end(words[0], TaskState::Rejected),
            "after" => {
                self.world.pass(duration(words[0]));
                String::new()
            }
            "takeover" => {
                self.world.take_over();
                let before = self.world.changes;
                self.world.settle();
                format!("{} changes\n", self.world.changes - before)
            }
            "hold" => self.hold(words[0], words[1]),
            "tasks" => self.tasks(words.first().copied()),
            "networks" => self.networks(),
            "endpoints" => self.endpoints(),
            "tables" => self.tables(words[0]),
            "nodes" => self.node_table(),
            "services" => self.services(),
            "why" => self.why(words[0]),
            _ => panic!("unknown command {line:?}"),
        }
    }

    fn node_command(&mut self, verb: &str, words: &[&str]) -> String {
        let name = words[0];
        if verb == "node" {
            let (node, description) = self.new_node(name, &words[1..]);
            self.nodes.insert(name.to_owned(), node.id.clone());
            self.descriptions.insert(node.id.clone(), description.clone());
            self.world.add_node(node, description);
            self.world.settle();
            return String::new();
        }
        let id = self.nodes[name].clone();
        let request = |world: &World, change: &dyn Fn(&mut NodeSpec)| {
            let node = world.view().node(&id).unwrap();
            let mut spec = node.spec.clone();
            change(&mut spec);
            Request::UpdateNode {
                reference: id.to_string(),
                version: node.meta.version,
                spec,
            }
        };
        match verb {
            "silence" | "speak" => {
                for name in words {
                    let id = self.nodes[*name].clone();
                    self.world.workers.get_mut(&id).unwrap().silent = verb == "silence";
                    if verb == "speak" {
                        let description = self.descriptions[&id].clone();
                        self.world.open_session(&id, description);
                    }
                }
                self.world.settle();
                String::new()
            }
            "goodbye" => {
                let view = self.world.store.snapshot();
                self.world.workers.get_mut(&id).unwrap().silent = true;
                let input = PlannerInput::Goodbye { node: id };
                self.world.planner.handle(&view, input, self.world.now).unwrap();
                self.world.settle();
                String::new()
            }
            "availability" => {
                let availability = match words[1] {
                    "active" => Availability::Active,
                    "pause" => Availability::Pause,
                    _ => Availability::Drain,
                };
                let request = request(&self.world, &|spec| spec.availability = availability);
                self.ask(&request)
            }
            "label" => {
                let (key, value) = words[1].split_once('=').unwrap();
                let request = request(&self.world, &|spec| {
                    spec.labels.insert(key.to_owned(), value.to_owned());
                });
                self.ask(&request)
            }
            _ => self.ask(&Request::RemoveNode {
                reference: id.to_string(),
            }),
        }
    }

    fn new_node(&mut self, name: &str, options: &[&str]) -> (Node, NodeDescription) {
        let (mut node, mut description) = world::node(&mut self.world.ids, name);
        for option in options {
            let (key, value) = option.split_once('=').unwrap();
            match key {
                "cpu" => description.resources.cpu = cpu(value),
                "memory" => description.resources.memory = value.parse().unwrap(),
                "arch" => description.platform.arch = value.to_owned(),
                "ip" => description.address = value.to_owned(),
                "route" => description.routes.push(value.parse().unwrap()),
                "role" => node.spec.role = Role::Manager,
                _ => {
                    let key = key.strip_prefix("label.").unwrap();
                    node.spec.labels.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        (node, description)
    }

    fn user_command(&mut self, verb: &str, words: &[&str]) -> String {
        let name = words[0].to_owned();
        let request = match verb {
            "service" => {
                let mut spec = world::service(&name, Mode::Replicated { replicas: 1 });
                words[1..].iter().for_each(|option| set(&mut spec, option));
                Request::CreateService { spec }
            }
            "update" | "force" => {
                let service = self.world.view().service_by_name(&name).unwrap();
                let mut spec = service.spec.clone();
                words[1..].iter().for_each(|option| set(&mut spec, option));
                Request::UpdateService {
                    reference: name,
                    version: service.meta.version,
                    spec,
                    force: verb == "force",
                }
            }
            "scale" => Request::ScaleServices {
                scales: words
                    .iter()
                    .map(|word| {
                        let (name, replicas) = word.split_once('=').unwrap();
                        (name.to_owned(), replicas.parse().unwrap())
                    })
                    .collect(),
            },
            "rm" => Request::RemoveService { reference: name },
            "rmnetwork" => Request::RemoveNetwork { reference: name },
            "network" => {
                let mut spec = NetworkSpec {
                    name,
                    ..NetworkSpec::default()
                };
                words[1..]
                    .iter()
                    .for_each(|option| set_network(&mut spec, option));
                Request::CreateNetwork { spec }
            }
            "rmstack" => Request::RemoveStack { reference: name },
            _ => stack(name, &words[1..]),
        };
        if words.last() == Some(&"later") {
            self.world.request(&request).unwrap();
            return String::new();
        }
        self.ask(&request)
    }

    fn ask(&mut self, request: &Request) -> String {
        let answer = self.world.request(request);
        self.world.settle();
        let mut out = String::new();
        match answer {
            Err(refusal) => writeln!(out, "refused ({:?}): {refusal}", refusal.code).unwrap(),
            Ok(Response::Stack {
                changes, networks, ..
            }) => {
                let networks = networks.into_iter().map(|change| {
                    (
                        change.action,
                        format!("network {}", change.network),
                        change.details,
                    )
                });
                let services = changes
                    .into_iter()
                    .map(|change| (change.action, change.service, change.details));
                for (action, name, details) in networks.chain(services) {
                    let action = match action {
                        StackAction::Create => "create",
                        StackAction::Update => "update",
                        StackAction::Remove => "remove",
                        StackAction::Keep => "keep",
                    };
                    let details = details.join(", ");
                    writeln!(out, "{}", format!("{action} {name} {details}").trim_end()).unwrap();
                }
            }
            Ok(Response::Network { warnings, .. }) => {
                for warning in warnings {
                    writeln!(out, "warning: {warning}").unwrap();
                }
            }
            Ok(
                Response::Done | Response::Service { .. } | Response::Scaled { .. } | Response::Node { .. },
            ) => {}
        }
        out
    }

    /// The live task of `SERVICE.SLOT`.
    fn task(&self, task: &str) -> TaskId {
        let (service, slot) = task.rsplit_once('.').unwrap();
        let view = self.world.view();
        let service = view.service_by_name(service).unwrap();
        let slot = match slot.parse() {
            Ok(number) => Slot::Replica(number),
            Err(_) => Slot::Node(self.nodes[slot].clone()),
        };
        view.tasks_of_slot(&service.id, &slot)
            .find(|task| task.desired <= DesiredState::Running)
            .unwrap()
            .id
            .clone()
    }

    /// Its worker says that it waits.
    fn hold(&mut self, task: &str, code: &str) -> String {
        let id = self.task(task);
        let task = self.world.view().task(&id).unwrap();
        let mut report = world::told(id.clone(), task.status.state);
        report.wait = Some(Wait {
            code: WaitCode::ALL
                .into_iter()
                .find(|known| known.name() == code)
                .unwrap(),
            since: Timestamp::ZERO,
            detail: "said by its node".to_owned(),
        });
        let node = task.node.clone().unwrap();
        self.world.send(&node, vec![report]);
        self.world.settle();
        String::new()
    }

    fn end(&mut self, task: &str, state: TaskState) -> String {
        let task = self.task(task);
        self.world.end(&task, state);
        self.world.settle();
        String::new()
    }

    fn hostname(&self, id: &NodeId) -> String {
        let name = self.nodes.iter().find(|(_, node)| *node == id).unwrap().0;
        name.clone()
    }

    fn tasks(&self, service: Option<&str>) -> String {
        let view = self.world.view();
        let mut lines = Vec::new();
        for task in view.tasks() {
            let name = view
                .service(&task.service)
                .map_or("(removed)", |service| service.spec.name.as_str());
            if service.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let slot = match &task.slot {
                Slot::Replica(number) => number.to_string(),
                Slot::Node(node) => self.hostname(node),
            };
            let node = task
                .node
                .as_ref()
                .map_or("-".to_owned(), |node| self.hostname(node));
            let desired = match task.desired {
                DesiredState::Ready => "ready",
                DesiredState::Running => "running",
                DesiredState::Shutdown => "shutdown",
                DesiredState::Remove => "remove",
            };
            let wait = task.wait.as_ref().map_or(String::new(), |wait| {
                let age = self.world.now.since(wait.since);
                format!("{} {}s {}", wait.code.name(), age.as_secs_f64(), wait.detail)
            });
            let line = format!(
                "{:<8} {:<9} {:<10} r{} {wait}",
                node,
                desired,
                task.status.state.name(),
                task.revision
            );
            let key = (name.to_owned(), task.slot.clone(), task.sequence);
            let head = format!("{:<14}", format!("{name}.{slot}#{}", task.sequence));
            lines.push((key, format!("{head} {}", line.trim_end())));
        }
        lines.sort();
        lines
            .into_iter()
            .fold(String::new(), |out, (_, line)| out + &line + "\n")
    }

    fn node_table(&self) -> String {
        let view = self.world.view();
        let mut lines: Vec<_> = view
            .nodes()
            .map(|node| {
                let live = view
                    .tasks_on_node(&node.id)
                    .filter(|task| task.desired <= DesiredState::Running)
                    .count();
                format!(
                    "{:<8} {:<8} {:<7} {live} tasks {}",
                    self.hostname(&node.id),
                    format!("{:?}", node.status.state).to_lowercase(),
                    format!("{:?}", node.spec.availability).to_lowercase(),
                    node.status.message
                )
                .trim_end()
                .to_owned()
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    fn services(&self) -> String {
        let view = self.world.view();
        let mut lines: Vec<_> = view
            .services()
            .map(|service| {
                let revisions: Vec<_> = view
                    .revisions_of_service(&service.id)
                    .map(|r| r.key.number.to_string())
                    .collect();
                let update = service.update.as_ref().map_or(String::new(), |update| {
                    let state = format!("{:?}", update.state).to_lowercase();
                    let message = update.message.rsplit_once(": ").map_or("", |(_, error)| error);
                    format!(" {state} {message}")
                });
                format!(
                    "{} revision {} of {}{update}",
                    service.spec.name,
                    service.revision,
                    revisions.join(",")
                )
                .trim_end()
                .to_owned()
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    fn why(&self, name: &str) -> String {
        let view = self.world.view();
        let service = resolve::service(view, name).unwrap();
        let why = explain::service(view, service, self.world.now);
        let mut out = format!("{} of {} running: {}\n", why.running, why.desired, why.summary);
        for reason in why.reasons {
            let slot = match &reason.slot {
                Some(Slot::Replica(number)) => format!("{name}.{number}"),
                Some(Slot::Node(node)) => format!("{name}.{}", self.hostname(node)),
                None => name.to_owned(),
            };
            writeln!(
                out,
                "{slot} {} ({}, {}s): {}",
                reason.code,
                reason.owner.map_or("-", WaitOwner::name),
                reason.age.as_secs_f64(),
                reason.detail
            )
            .unwrap();
        }
        out
    }
}
