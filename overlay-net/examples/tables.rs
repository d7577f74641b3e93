//! Measures tables being put in force: `tables PATH-OF-SHOAL-NET`.
//!
//! In a network and mount namespace of its own. Lines `whole MS`: a thousand services of ten endpoints, from empty
//! tables; lines `one MS`: one endpoint leaves its service, or comes back, among them.

#![expect(clippy::print_stdout, reason = "a tool for people at a terminal")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use shoal_overlay_net::address::{Addresses, Prefix};
use shoal_overlay_net::desired::{Desired, Group, GroupId, Network, NodeNet, Tables};
use shoal_overlay_net::{Net, NetConfig, purge};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SERVICES: u16 = 1_000;
const ENDPOINTS: u16 = 10;

const ROUNDS: usize = 5;
const CHANGES: usize = 200;

fn main() -> Outcome<()> {
    let program = std::env::args_os()
        .nth(1)
        .ok_or("expected the path of shoal-net")?;
    // Before any thread: every one that follows is in them.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(program.into()))
}

async fn measure(program: PathBuf) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("shoal-tables-{}", std::process::id()));
    let config = NetConfig {
        tag: format!("{:08x}", std::process::id()).parse()?,
        run_dir: folder.clone(),
        program,
    };
    let outcome = rounds(&config).await;
    purge(config).await?;
    std::fs::remove_dir_all(folder)?;
    outcome
}

async fn rounds(config: &NetConfig) -> Outcome<()> {
    let empty = without_services()?;
    let full = with_services(&empty)?;
    let desired = Desired {
        tables: Arc::new(empty.clone()),
        endpoints: BTreeMap::new(),
    };
    let net = Net::open(config.clone(), desired).await?;
    let mut index = 0;
    for _ in 0..ROUNDS {
        println!("whole {}", apply(&net, &mut index, full.clone()).await?);
        apply(&net, &mut index, empty.clone()).await?;
    }
    apply(&net, &mut index, full.clone()).await?;
    let changed = group_id(SERVICES / 2)?;
    let mut tables = full.clone();
    for round in 0..CHANGES {
        let group = if round % 2 == 0 {
            Arc::new(group(SERVICES / 2, ENDPOINTS - 1)?)
        } else {
            full.groups[&changed].clone()
        };
        tables.groups.insert(changed.clone(), group);
        println!("one {}", apply(&net, &mut index, tables.clone()).await?);
    }
    Ok(())
}

/// Milliseconds until they are in force.
async fn apply(net: &Net, index: &mut u64, mut tables: Tables) -> Outcome<f64> {
    *index += 1;
    tables.revision.index = *index;
    let tables = Arc::new(tables);
    let begun = Instant::now();
    net.apply(tables).await?;
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn without_services() -> Outcome<Tables> {
    let network = Network {
        subnets: vec![prefix("10.128.0.0/16")?, prefix("fd00:1:0:1::/64")?],
        internal: false,
        meet: true,
    };
    Ok(Tables {
        node: NodeNet {
            pools: vec![prefix("10.128.0.0/12")?, prefix("fd00:1::/48")?],
            host: Addresses {
                v4: Some("169.254.200.1".parse()?),
                v6: Some("fd00:1::1".parse()?),
            },
            router: Addresses {
                v4: Some("169.254.200.2".parse()?),
                v6: Some("fd00:1::2".parse()?),
            },
            mtu: None,
            open_host_ports: BTreeSet::new(),
        },
        networks: BTreeMap::from([("bench".parse()?, Arc::new(network))]),
        ..Tables::default()
    })
}

fn with_services(empty: &Tables) -> Outcome<Tables> {
    let mut tables = empty.clone();
    for service in 0..SERVICES {
        tables
            .groups
            .insert(group_id(service)?, Arc::new(group(service, ENDPOINTS)?));
    }
    Ok(tables)
}

/// A service's VIP is its first number, its endpoints have those that follow.
fn group(service: u16, endpoints: u16) -> Outcome<Group> {
    let first = 256 + service * (ENDPOINTS + 1);
    let all = (1..=endpoints)
        .map(|n| addresses(first + n))
        .collect::<Outcome<Vec<_>>>()?;
    let backends: BTreeSet<IpAddr> = all.iter().flat_map(Addresses::iter).collect();
    let vip = addresses(first)?;
    let name = format!("service-{service}");
    let records = BTreeMap::from([
        (name.parse()?, vip.iter().collect()),
        (
            format!("tasks.{name}").parse()?,
            backends.iter().copied().collect(),
        ),
    ]);
    Ok(Group {
        network: "bench".parse()?,
        vip,
        backends,
        draining: BTreeSet::new(),
        records,
    })
}

fn group_id(service: u16) -> Outcome<GroupId> {
    Ok(format!("service-{service}/bench").parse()?)
}

fn addresses(number: u16) -> Outcome<Addresses> {
    let [high, low] = number.to_be_bytes();
    Ok(Addresses {
        v4: Some([10, 128, high, low].into()),
        v6: Some(format!("fd00:1:0:1::{number:x}").parse()?),
    })
}

fn prefix(text: &str) -> Outcome<Prefix> {
    Ok(text.parse()?)
}
