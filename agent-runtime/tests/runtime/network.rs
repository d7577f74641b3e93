//! A network namespace that somebody outside gives a link before the program starts.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use shoal_agent_runtime::{ContainerState, NamespaceError, Network};

use crate::world::{DEADLINE, World, fresh_id};

/// What the container's program tells of its network.
const LOOK: &str = "cat /etc/resolv.conf; echo hosts; cat /etc/hosts; echo links; \
    for link in /sys/class/net/*; do echo ${link##*/} $(cat $link/flags); done; \
    cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range \
    /proc/sys/net/ipv4/conf/later/forwarding";

fn namespace_number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_network_is_given_links_before_the_program_starts() {
    let world = World::new().await;
    let mut spec = world.spec(&["sh", "-c", LOOK]);
    let id = spec.id.clone();
    spec.network = Network::Private;
    spec.hostname = Some("web".to_owned());
    spec.addresses = vec![[10, 7, 0, 3].into(), "fd00::3".parse::<IpAddr>().unwrap()];
    spec.dns.search = vec!["app.example".to_owned()];
    spec.dns.options = vec!["timeout:1".to_owned()];
    spec.dns.extra_hosts = vec![("gateway".to_owned(), "10.7.0.1".to_owned())];
    spec.sysctls = [("net.ipv4.conf.default.forwarding".to_owned(), "1".to_owned())].into();
    world.runtime.create(spec).await.unwrap();

    let status = &world.runtime.list().await.unwrap()[0];
    assert_eq!(status.state, ContainerState::Created);
    let namespace = world.runtime.network_namespace(&id).await.unwrap();
    assert_eq!(
        namespace,
        Path::new("/proc")
            .join(status.pid.unwrap().to_string())
            .join("ns/net")
    );
    assert_ne!(
        namespace_number(&namespace),
        namespace_number(Path::new("/proc/self/ns/net"))
    );
    let given = Command::new("nsenter")
        .arg(format!("--net={}", namespace.display()))
        .args([
            "ip", "link", "add", "later", "type", "veth", "peer", "name", "other",
        ])
        .status()
        .unwrap();
    assert!(given.success());

    world.runtime.start(&id).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, world.runtime.wait(&id)).await;
    let log = world.log(&id);
    assert_eq!(exit.unwrap().unwrap().code, 0, "{log}");
    let (resolv_conf, rest) = log.split_once("hosts\n").unwrap();
    let (hosts, links) = rest.split_once("links\n").unwrap();
    assert_eq!(
        resolv_conf,
        "nameserver 127.0.0.11\nsearch app.example\noptions timeout:1 ndots:0\n"
    );
    assert!(
        hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost"),
        "{hosts}"
    );
    assert!(
        hosts.ends_with("10.7.0.1\tgateway\n10.7.0.3\tweb\nfd00::3\tweb\n"),
        "{hosts}"
    );
    // Up and a loopback device; a link that is given is not raised by the runtime.
    assert_eq!(links, "later 0x1002\nlo 0x9\nother 0x1002\n0\n0\t2147483647\n1\n");

    let gone = world.runtime.network_namespace(&id).await.unwrap_err();
    assert!(matches!(gone, NamespaceError::NotRunning(_)), "{gone}");
    let unknown = world.runtime.network_namespace(&fresh_id()).await.unwrap_err();
    assert!(matches!(unknown, NamespaceError::NotFound(_)), "{unknown}");
    world.runtime.remove(&id).await.unwrap();
    assert_eq!(world.remains(), Vec::<String>::new());
}
