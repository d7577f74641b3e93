//! A host for each test: its own network and mount namespace, a machine outside, containers, and what they say to
//! each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use shoal_overlay_net::address::{Addresses, Mac, Prefix};
use shoal_overlay_net::desired::{
    Attachment, Desired, Endpoint, EndpointId, Group, Network, NodeNet, PortKey, Published, ResolverSpec,
    Tables, Tag,
};
use shoal_overlay_net::namespace::{self, Namespace};
use shoal_overlay_net::rtnl::{LinkAddress, Request, Route, RouteSocket, VethEnd, Via};
use shoal_overlay_net::{NamesState, Net, NetConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::task::LocalSet;

/// Anything that waits longer than this has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// An answer that takes longer than this does not come: everything is on one machine.
pub(crate) const ANSWER: Duration = Duration::from_millis(900);

/// Addresses of the machine outside, and the host's own on the link to it.
pub(crate) const OUTSIDE: [&str; 2] = ["192.0.2.9", "2001:db8::9"];
pub(crate) const HOST: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// One host.
pub(crate) struct World {
    net: Option<Net>,
    pub(crate) config: NetConfig,
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
    /// What the host had before.
    pub(crate) before: Vec<String>,
    tables: Tables,
    directory: tempfile::TempDir,
}

/// A container: a namespace with nothing in it but a loopback device, and what shall be in it.
pub(crate) struct Container {
    pub(crate) namespace: Namespace,
    pub(crate) endpoint: Endpoint,
    pub(crate) addresses: Vec<Addresses>,
}

/// Runs a test in a host of its own.
pub(crate) fn in_a_host<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests change networks and need root"
    );
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
    // Mounts of the test stay in it.
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::new());
    let config = world.config.clone();
    let run = || {
        LocalSet::new().block_on(&runtime, async {
            tokio::time::timeout(DEADLINE * 6, test(world))
                .await
                .expect("the test takes too long");
        });
    };
    let result = std::panic::catch_unwind(AssertUnwindSafe(run));
    // `shoal-net` outlives who started it, also when that is a test that failed.
    runtime.block_on(shoal_overlay_net::purge(config)).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    async fn new() -> Self {
        let host = Namespace::current().unwrap();
        let outside = Namespace::unnamed().unwrap();
        uplink(&host, &outside);
        let before = look(&host);
        let directory = tempfile::tempdir().unwrap();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag: Tag = format!(
            "{:08x}",
            std::process::id().wrapping_mul(256).wrapping_add(number)
        )
        .parse()
        .unwrap();
        let config = NetConfig {
            tag,
            run_dir: directory.path().join("net"),
            program: env!("CARGO_BIN_EXE_shoal-net").into(),
        };
        let mut tables = Tables {
            node: NodeNet {
                pools: vec!["10.128.0.0/12".parse().unwrap(), "fd00:1::/48".parse().unwrap()],
                host: both("169.254.200.1", "fd00:1::1"),
                router: both("169.254.200.2", "fd00:1::2"),
                mtu: None,
                open_host_ports: BTreeSet::new(),
            },
            ..Tables::default()
        };
        for (name, number, internal) in [("blue", 1, false), ("red", 2, false), ("inner", 3, true)] {
            tables
                .networks
                .insert(name.parse().unwrap(), Arc::new(network(number, internal, true)));
        }
        tables
            .networks
            .insert("ingress".parse().unwrap(), Arc::new(network(0, false, false)));
        let desired = Desired {
            tables: Arc::new(tables.clone()),
            endpoints: BTreeMap::new(),
        };
        let net = Net::open(config.clone(), desired).await.unwrap();
        Self {
            net: Some(net),
            config,
            host,
            outside,
            before,
            tables,
            directory,
        }
    }

    /// The tables that were last put in force.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Changes the tables and puts them in force.
    pub(crate) async fn change(&mut self, change: impl FnOnce(&mut Tables)) {
        change(&mut self.tables);
        self.tables.revision.index += 1;
        self.net().apply(Arc::new(self.tables.clone())).await.unwrap();
    }

    /// A container with an address in each of these networks.
    pub(crate) async fn container(&self, host: u8, networks: &[&str]) -> Container {
        let container = self.unattached(host, networks);
        self.net().attach(container.endpoint.clone()).await.unwrap();
        container
    }

    pub(crate) fn unattached(&self, host: u8, networks: &[&str]) -> Container {
        let path = self.directory.path().join(format!("container-{host}"));
        let namespace = Namespace::create(&path).unwrap();
        let attachments: Vec<Attachment> = networks
            .iter()
            .map(|name| Attachment {
                network: name.parse().unwrap(),
                addresses: address_in(name, host),
            })
            .collect();
        let id: EndpointId = format!("container-{host}").parse().unwrap();
        Container {
            addresses: attachments
                .iter()
                .map(|attachment| attachment.addresses)
                .collect(),
            namespace,
            endpoint: Endpoint {
                id,
                namespace: path,
                attachments,
                resolver: ResolverSpec::default(),
            },
        }
    }

    /// The router's namespace.
    pub(crate) fn router(&self) -> Namespace {
        Namespace::open(&self.config.router()).unwrap()
    }

    /// The network in hand.
    pub(crate) fn net(&self) -> &Net {
        self.net.as_ref().unwrap()
    }

    /// Ends it without a word to the kernel.
    pub(crate) fn close(&mut self) {
        self.net = None;
    }

    /// Ends the one in hand without a word to the kernel, and opens it again with these containers.
    pub(crate) async fn reopen(&mut self, containers: &[&Container]) {
        self.net = None;
        let endpoints = containers
            .iter()
            .map(|c| (c.endpoint.id.clone(), Arc::new(c.endpoint.clone())));
        let desired = Desired {
            tables: Arc::new(self.tables.clone()),
            endpoints: endpoints.collect(),
        };
        self.net = Some(Net::open(self.config.clone(), desired).await.unwrap());
    }

    /// A group of backends in a network, under a VIP.
    pub(crate) async fn group(&mut self, network: &str, vip: u8, backends: &[&Container]) {
        let index = |c: &Container| {
            c.endpoint
                .attachments
                .iter()
                .position(|a| a.network.as_str() == network)
                .unwrap()
        };
        let backends = backends
            .iter()
            .flat_map(|c| c.addresses[index(c)].iter())
            .collect();
        let group = Group {
            network: network.parse().unwrap(),
            vip: address_in(network, vip),
            backends,
            draining: BTreeSet::new(),
            records: BTreeMap::new(),
        };
        let id = format!("group-{vip}/{network}").parse().unwrap();
        self.change(|tables| {
            tables.groups.insert(id, Arc::new(group));
        })
        .await;
    }

    /// Names in a network.
    pub(crate) async fn names(&mut self, network: &str, records: &[(&str, &[IpAddr])]) {
        let records = records
            .iter()
            .map(|(name, addresses)| (name.parse().unwrap(), addresses.to_vec()));
        let group = Group {
            network: network.parse().unwrap(),
            vip: Addresses::default(),
            backends: BTreeSet::new(),
            draining: BTreeSet::new(),
            records: records.collect(),
        };
        let id = format!("names/{network}").parse().unwrap();
        self.change(|tables| {
            tables.groups.insert(id, Arc::new(group));
        })
        .await;
    }

    /// The process that serves names and ports.
    pub(crate) async fn process(&self) -> u32 {
        let mut status = self.net().status();
        let serving = status.wait_for(|status| matches!(status.names, NamesState::Serving { .. }));
        let status = tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
        match status.names {
            NamesState::Serving { pid } => pid,
            NamesState::Starting | NamesState::Down { .. } => unreachable!(),
        }
    }

    /// A folder of the test's own.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// A published port.
    pub(crate) async fn publish(&mut self, key: PortKey, vip: Option<u8>, backends: &[(&Container, u16)]) {
        let backends = backends.iter().flat_map(|(c, port)| {
            c.addresses[0]
                .iter()
                .map(|address| SocketAddr::new(address, *port))
        });
        let published = Published {
            vip: vip.map(|host| address_in("ingress", host)).unwrap_or_default(),
            backends: backends.collect(),
            draining: BTreeSet::new(),
        };
        self.change(|tables| {
            tables.ports.insert(key, Arc::new(published));
        })
        .await;
    }
}

/// It ends: nothing of it holds its namespace any more.
impl Drop for Container {
    fn drop(&mut self) {
        namespace::unpin(&self.endpoint.namespace).unwrap();
    }
}

impl Container {
    /// Its address in its first network.
    pub(crate) fn v4(&self) -> IpAddr {
        self.addresses[0].v4.unwrap().into()
    }

    pub(crate) fn v6(&self) -> IpAddr {
        self.addresses[0].v6.unwrap().into()
    }

    /// Serves TCP and UDP on a port, on all its addresses: says this name and who asked, then repeats what it hears.
    pub(crate) fn serve(&self, port: u16, name: &str) {
        serve(&self.namespace, port, name);
    }
}

pub(crate) fn both(v4: &str, v6: &str) -> Addresses {
    Addresses {
        v4: v4.parse().ok(),
        v6: v6.parse().ok(),
    }
}

fn network(number: u8, internal: bool, meet: bool) -> Network {
    let v4: Prefix = format!("10.128.{number}.0/24").parse().unwrap();
    let v6: Prefix = format!("fd00:1:0:{}::/64", number + 16).parse().unwrap();
    Network {
        subnets: vec![v4, v6],
        internal,
        meet,
    }
}

/// An address of a network, by its host number.
pub(crate) fn address_in(network: &str, host: u8) -> Addresses {
    let number = ["ingress", "blue", "red", "inner"]
        .iter()
        .position(|n| *n == network)
        .unwrap();
    both(
        &format!("10.128.{number}.{host}"),
        &format!("fd00:1:0:{}::{host:x}", number + 16),
    )
}

pub(crate) fn vip(network: &str, host: u8) -> [IpAddr; 2] {
    let addresses = address_in(network, host);
    [addresses.v4.unwrap().into(), addresses.v6.unwrap().into()]
}

/// Links, routes and chains of a namespace, in words.
pub(crate) fn look(namespace: &Namespace) -> Vec<String> {
    let read = || {
        let mut links = RouteSocket::open().unwrap();
        let mut tables = shoal_overlay_net::nft::NftSocket::open().unwrap();
        let mut found: Vec<String> = links.links().unwrap().into_iter().map(|link| link.name).collect();
        // The kernel's own routes of a link come a little after it.
        let routes = links.routes().unwrap().into_iter().filter(|route| route.ours);
        found.extend(routes.map(|route| format!("{:?}", route.route)));
        for chain in tables.foreign("nobody's").unwrap() {
            let rules: Vec<_> = chain.rules.iter().map(|rule| rule.rule.comment.clone()).collect();
            found.push(format!(
                "{} {} {}: {}",
                chain.family,
                chain.table,
                chain.chain,
                rules.join(", ")
            ));
        }
        found
    };
    namespace.enter(read).unwrap()
}

/// The host's link to the machine outside, addresses on both ends, the way out.
fn uplink(host: &Namespace, outside: &Namespace) {
    let end = |index, name: &str, last| VethEnd {
        index,
        name: name.to_owned(),
        mac: Mac([2, 0, 0, 0, 0, last]),
    };
    let mut socket = RouteSocket::open().unwrap();
    let pair = Request::AddVeth {
        here: end(2, "uplink", 1),
        there: end(2, "uplink", 2),
        namespace: (),
        mtu: 1500,
    };
    let sent = socket.send(&[pair], |()| outside.as_fd().as_raw_fd()).unwrap();
    assert!(sent.is_empty(), "{sent:?}");
    let settle = |addresses: [&str; 2], gateway: Option<[&str; 2]>| {
        let mut socket = RouteSocket::open().unwrap();
        let mut requests = vec![Request::Up(1), Request::Up(2)];
        for (address, length) in addresses.into_iter().zip([24, 64]) {
            let address = address.parse().unwrap();
            requests.push(Request::AddAddress(LinkAddress {
                link: 2,
                address,
                length,
            }));
        }
        for gateway in gateway.into_iter().flatten() {
            let gateway: IpAddr = gateway.parse().unwrap();
            let to = Prefix::containing(gateway, 0);
            let via = Via::Gateway(2, gateway);
            requests.push(Request::SetRoute(Route {
                to,
                via,
                source: None,
            }));
        }
        let failures = socket.send::<()>(&requests, |()| -1).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
    };
    outside.enter(|| settle(OUTSIDE, None)).unwrap();
    host.enter(|| settle(HOST, Some(OUTSIDE))).unwrap();
}

/// Listens in a namespace and serves until the test ends.
pub(crate) fn serve(namespace: &Namespace, port: u16, name: &str) {
    let (tcp, udp) = namespace
        .enter(|| {
            let address = SocketAddr::from(([0_u16; 8], port));
            let tcp = std::net::TcpListener::bind(address).unwrap();
            let udp = std::net::UdpSocket::bind(address).unwrap();
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            (tcp, udp)
        })
        .unwrap();
    let (tcp, udp) = (
        TcpListener::from_std(tcp).unwrap(),
        UdpSocket::from_std(udp).unwrap(),
    );
    let name = name.to_owned();
    let udp_name = name.clone();
    tokio::spawn(async move {
        while let Ok((stream, from)) = tcp.accept().await {
            tokio::spawn(talk(stream, format!("{name} {}\n", from.ip().to_canonical())));
        }
    });
    tokio::spawn(async move {
        let mut question = [0; 1500];
        while let Ok((_, from)) = udp.recv_from(&mut question).await {
            let answer = format!("{udp_name} {}\n", from.ip().to_canonical());
            // Whoever asked may be gone.
            let _sent = udp.send_to(answer.as_bytes(), from).await;
        }
    });
}

async fn talk(mut stream: TcpStream, greeting: String) -> io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(|_bytes| ())
}

/// A TCP connection out of a namespace, after its greeting was read.
pub(crate) struct Conversation {
    stream: tokio::io::BufReader<TcpStream>,
    pub(crate) greeting: String,
}

impl Conversation {
    pub(crate) async fn open(from: &Namespace, to: SocketAddr) -> io::Result<Self> {
        let socket = from
            .enter(|| {
                if to.is_ipv4() {
                    TcpSocket::new_v4()
                } else {
                    TcpSocket::new_v6()
                }
            })
            .unwrap()?;
        let opened = tokio::time::timeout(ANSWER, async {
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            let mut stream = tokio::io::BufReader::new(stream);
            let mut greeting = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut stream, &mut greeting).await?;
            let greeting = greeting.trim_end().to_owned();
            Ok(Self { stream, greeting })
        });
        opened
            .await
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says nothing and waits for something.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        let heard = tokio::time::timeout(DEADLINE, self.stream.read_u8()).await;
        heard
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
            .map(|_byte| ())
    }

    /// Says something and hears it back.
    pub(crate) async fn echo(&mut self) -> io::Result<()> {
        let exchange = async {
            self.stream.get_mut().write_all(b"still here?\n").await?;
            let mut answer = [0; 12];
            self.stream.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"still here?\n");
            Ok(())
        };
        let timed = tokio::time::timeout(DEADLINE, exchange);
        timed
            .await
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What a server says to a TCP connection.
pub(crate) async fn ask(from: &Namespace, to: impl Into<IpAddr>, port: u16) -> io::Result<String> {
    let opened = Conversation::open(from, SocketAddr::new(to.into(), port)).await?;
    Ok(opened.greeting)
}

/// What a server says to a datagram.
pub(crate) async fn ask_udp(from: &Namespace, to: impl Into<IpAddr>, port: u16) -> io::Result<String> {
    let to = SocketAddr::new(to.into(), port);
    let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.enter(|| std::net::UdpSocket::bind(local)).unwrap()?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(to).await?;
    socket.send(b"who?").await?;
    let mut answer = [0; 100];
    let length = tokio::time::timeout(ANSWER, socket.recv(&mut answer))
        .await
        .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim_end().to_owned())
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
