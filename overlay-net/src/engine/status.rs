//! What the worker is told of the node's network.
//!
//! Made anew by the loop after each look or change.

use std::collections::BTreeMap;

use super::Engine;
use crate::address::Prefix;
use crate::desired::{EndpointId, NetworkId, PortKey, Revision};
use crate::nft::{Family, ForeignChain};
use crate::observed::Side;
use crate::plan;
use crate::rtnl::Via;

/// How the node's network is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetStatus {
    /// Of the tables in force.
    pub revision: Revision,
    /// Endpoints that are not whole, and why.
    pub lost: BTreeMap<EndpointId, String>,
    /// What stands in the way, and what would help.
    pub problems: Vec<Problem>,
    /// The host's own routes.
    pub routes: Vec<HostRoute>,
    /// How often something had to be put back.
    pub healed: u64,
    /// How `shoal-net` is.
    pub names: NamesState,
    /// Published ports that could not be had, and who has them or why not. They lead nowhere, are tried again, and
    /// leave this list when they are had.
    pub ports_taken: BTreeMap<PortKey, String>,
    /// Endpoints that have no names, and why; they are tried again.
    pub nameless: BTreeMap<EndpointId, String>,
}

/// How `shoal-net` is, the process that answers names and holds published ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NamesState {
    /// It is being started, or filled.
    #[default]
    Starting,
    /// It answers from the tables in force.
    Serving {
        /// Its process.
        pid: u32,
    },
    /// It could not be started, or does not do what it is asked; it is tried again.
    Down {
        /// Why.
        why: String,
    },
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What it is.
    pub what: String,
    /// The command or setting that would help.
    pub remedy: String,
}

/// Bytes of a text of a problem: managers take a little more.
const TEXT_MOST: usize = 1000;
/// Bytes of a reason, which is told within a sentence.
pub(crate) const REASON_MOST: usize = 700;

/// Of others' routes that meet one network.
const ROUTES_NAMED: usize = 3;

impl Problem {
    /// Other tools' names may hold anything, and be as long as they like.
    fn new(what: &str, remedy: &str) -> Self {
        Self {
            what: line(what, TEXT_MOST),
            remedy: line(remedy, TEXT_MOST),
        }
    }
}

/// One line of at most so many bytes.
pub(crate) fn line(text: &str, most: usize) -> String {
    let printed = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let printed: String = text.chars().map(printed).collect();
    if printed.len() <= most {
        return printed;
    }
    let cut = printed.floor_char_boundary(most.saturating_sub('…'.len_utf8()));
    format!("{}…", &printed[..cut])
}

/// A firewall's chain that is not for us to change.
fn firewall_problem(chain: &ForeignChain, link: &str) -> Problem {
    let family = match chain.family {
        2 => "ip",
        10 => "ip6",
        _ => "inet",
    };
    let (table, name) = (&chain.table, &chain.chain);
    let what = format!(
        "the firewall chain {name} of the table {family} {table} drops what is passed on, also from and to containers"
    );
    // A command is to be pasted: no name may end it and begin another.
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let remedy = if plain(table) && plain(name) {
        format!(
            "nft insert rule {family} {table} {name} iifname {link} accept; \
             nft insert rule {family} {table} {name} oifname {link} accept"
        )
    } else {
        format!("have that chain accept what comes in by the link {link}, and what goes out by it")
    };
    Problem::new(&what, &remedy)
}

/// A route of the host's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    /// Where to.
    pub prefix: Prefix,
    /// By which link.
    pub link: String,
}

impl NetStatus {
    /// What the loop sees; whether that is news.
    pub(crate) fn take_kernel(&mut self, kernel: &Self) -> bool {
        let mut new = Self {
            names: self.names.clone(),
            ports_taken: self.ports_taken.clone(),
            nameless: self.nameless.clone(),
            ..kernel.clone()
        };
        new.problems.extend(self.of_process());
        self.become_(new)
    }

    /// What is seen of the process; whether that is news.
    pub(crate) fn take_process(
        &mut self,
        names: NamesState,
        ports_taken: BTreeMap<PortKey, String>,
        nameless: &BTreeMap<EndpointId, String>,
    ) -> bool {
        let before = self.of_process();
        let mut new = Self {
            names,
            ports_taken,
            nameless: nameless.clone(),
            ..self.clone()
        };
        new.problems.retain(|problem| !before.contains(problem));
        new.problems.extend(new.of_process());
        self.become_(new)
    }

    /// The problems of the process.
    fn of_process(&self) -> Vec<Problem> {
        let nameless = nameless_problem(&self.nameless);
        self.names.problem().into_iter().chain(nameless).collect()
    }

    fn become_(&mut self, mut new: Self) -> bool {
        new.problems.sort();
        let changed = *self != new;
        *self = new;
        changed
    }
}

impl NamesState {
    fn problem(&self) -> Option<Problem> {
        match self {
            Self::Starting | Self::Serving { .. } => None,
            Self::Down { why } => Some(Problem::new(
                &format!(
                    "containers have no names and published ports are not on the loopback device: {why}"
                ),
                "look into the log of shoal-net, and whether the program is there",
            )),
        }
    }
}

/// One for all: it is mostly the same with each.
fn nameless_problem(nameless: &BTreeMap<EndpointId, String>) -> Option<Problem> {
    let (id, why) = nameless.first_key_value()?;
    let others = match nameless.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    Some(Problem::new(
        &format!("the container {id} has no names{others}: {why}"),
        "it is tried again every second; look into the log of shoal-net",
    ))
}

fn legacy_problem(family: Family, link: &str) -> Problem {
    let program = match family {
        Family::V4 => "iptables-legacy",
        Family::V6 => "ip6tables-legacy",
    };
    let what = format!(
        "the chain FORWARD of {program} drops what is passed on, also from and to containers (where there is no \
         program of that name, it is the one without `-legacy`)"
    );
    let remedy =
        format!("{program} -I FORWARD -i {link} -j ACCEPT; {program} -I FORWARD -o {link} -j ACCEPT");
    Problem::new(&what, &remedy)
}

/// Others' routes by one link to addresses of one network.
fn crossing_problem(by: &str, network: &NetworkId, routes: &[Prefix]) -> Problem {
    let first: Vec<String> = routes
        .iter()
        .take(ROUTES_NAMED)
        .map(ToString::to_string)
        .collect();
    let more = match routes.len().saturating_sub(ROUTES_NAMED) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let (first, plural) = (first.join(", "), if routes.len() == 1 { "" } else { "s" });
    Problem::new(
        &format!(
            "the host's route{plural} to {first}{more} by {by} and the network {network} have addresses in common:              those that containers and services have are theirs on this host, and the others lead where that route says"
        ),
        "make the network again with another subnet (`shoal network create --subnet`), or keep that route away",
    )
}

impl Engine {
    pub(crate) fn status(&self) -> &NetStatus {
        &self.status
    }

    /// A firewall that we do not change: only what is said of it may be another.
    pub(super) fn look_at_legacy(&mut self) {
        match self.kernel.legacy() {
            Ok(legacy) if legacy == self.observed.legacy => {}
            Ok(legacy) => {
                self.observed.legacy = legacy;
                self.status.problems = self.problems();
            }
            Err(error) => tracing::debug!(%error, "the host cannot be looked at"),
        }
    }

    pub(super) fn update_status(&mut self) {
        let lost = self.desired.endpoints.keys().filter_map(|id| {
            let gone = || {
                let why = self.unfound.get(id).cloned();
                why.unwrap_or_else(|| "its network namespace is gone".to_owned())
            };
            let there = self.observed.endpoints.contains_key(id);
            let why = self.refused.get(id).cloned().or_else(|| (!there).then(gone))?;
            Some((id.clone(), why))
        });
        self.status.lost = lost.collect();
        self.status.problems = self.problems();
        self.status.routes = self.routes();
    }

    fn problems(&self) -> Vec<Problem> {
        let link = plan::host_link(&self.kernel.tag);
        let mut problems: Vec<_> = plan::blockers(&self.kernel.tag, &self.observed)
            .map(|chain| firewall_problem(chain, &link))
            .collect();
        problems.extend(
            self.observed
                .legacy
                .iter()
                .map(|family| legacy_problem(*family, &link)),
        );
        problems.extend(self.crossing());
        let wanted = &self.desired.tables.node.pools;
        let v6 = wanted.iter().any(|pool| !pool.address().is_ipv4());
        if v6 && !self.observed.has_v6(Side::Host) {
            problems.push(Problem::new(
                "the host has no IPv6: containers have it among themselves only",
                "sysctl -w net.ipv6.conf.all.disable_ipv6=0",
            ));
        }
        problems.sort();
        problems
    }

    /// One for each link of others' that leads to addresses of networks here, and each network.
    fn crossing(&self) -> Vec<Problem> {
        let mut met: BTreeMap<(String, &NetworkId), Vec<Prefix>> = BTreeMap::new();
        for route in plan::crossed::routes(&self.kernel.tag, &self.desired, &self.observed) {
            let link = match route.via {
                Via::Link(link) | Via::Gateway(link, _) => self.observed.host.links.get(&link),
                Via::Unreachable => None,
            };
            let by = link.map_or_else(|| "no link".to_owned(), |link| format!("the link {}", link.name));
            for network in plan::crossed::networks(&self.desired, route) {
                met.entry((by.clone(), network)).or_default().push(route.to);
            }
        }
        let met = met.iter();
        met.map(|((by, network), routes)| crossing_problem(by, network, routes))
            .collect()
    }

    fn routes(&self) -> Vec<HostRoute> {
        let host = &self.observed.host;
        let own = host
            .named(&plan::host_link(&self.kernel.tag))
            .map(|link| link.index);
        let routes = host.others_routes.iter().filter(|route| route.to.length() > 0);
        let mut routes: Vec<_> = routes
            .filter_map(|route| match route.via {
                Via::Link(link) | Via::Gateway(link, _) if Some(link) != own => Some(HostRoute {
                    prefix: route.to,
                    link: host.links.get(&link)?.name.clone(),
                }),
                _ => None,
            })
            .collect();
        routes.sort();
        routes.dedup();
        routes
    }
}

#[cfg(test)]
mod tests {
    use super::{NamesState, REASON_MOST, TEXT_MOST, firewall_problem, line};
    use crate::nft::ForeignChain;
    use proptest::prelude::*;

    fn chain(table: &str, chain: &str) -> ForeignChain {
        ForeignChain {
            family: 1,
            table: table.to_owned(),
            chain: chain.to_owned(),
            hook: None,
            drops: true,
            rules: Vec::new(),
        }
    }

    #[test]
    fn a_command_is_given_for_plain_names_only() {
        let of = |table, name| firewall_problem(&chain(table, name), "shoal-1").remedy;
        assert!(
            of("my-wall", "forward_1")
                .starts_with("nft insert rule inet my-wall forward_1 iifname shoal-1 accept;")
        );
        for (table, name) in [("a;reboot", "b"), ("a", "$(reboot)"), ("a b", "c"), ("a", "\n")] {
            let remedy = of(table, name);
            assert!(remedy.starts_with("have that chain accept"), "{remedy}");
        }
    }

    #[test]
    fn a_long_reason_fits_into_its_sentence() {
        let why = line(&"ä\n".repeat(2000), REASON_MOST);
        let problem = NamesState::Down { why }.problem().unwrap();
        assert!(
            problem.what.len() < TEXT_MOST && problem.what.ends_with('…'),
            "{problem:?}"
        );
    }

    proptest! {
        #[test]
        fn any_name_becomes_a_line(table in ".{0,900}", name in any::<String>()) {
            let problem = firewall_problem(&chain(&table, &name), "shoal-1");
            for text in [&problem.what, &problem.remedy] {
                prop_assert!(text.len() <= TEXT_MOST && !text.chars().any(char::is_control));
            }
        }
    }
}
