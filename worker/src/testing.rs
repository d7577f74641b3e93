//! Values that this crate's tests share.
//!
//! Never compiled into the product.

use crate::assignment::{AssignedTask, Known};
use shoal_core::model::{
    ContainerSpec, DesiredState, IdGen, NetworkMode, ServiceId, Slot, TaskId, TaskSpec, TaskState,
};
use std::time::Duration;

/// The numbered task of one service, wanted running, on the host's network.
pub(crate) fn assigned(number: u32) -> AssignedTask {
    AssignedTask {
        id: TaskId::mint(&mut IdGen::from_number(u64::from(number))),
        service: ServiceId::mint(&mut IdGen::from_number(u64::MAX)),
        service_name: "web".to_owned(),
        stack_name: String::new(),
        service_labels: shoal_core::model::Labels::new(),
        slot: Slot::Replica(number),
        desired: DesiredState::Running,
        spec: TaskSpec {
            container: ContainerSpec {
                network: NetworkMode::Host,
                ..ContainerSpec::default()
            },
            ..TaskSpec::default()
        },
        ports: vec![],
        attachments: vec![],
        hold: Duration::ZERO,
        known: Known {
            attempt: 0,
            state: TaskState::Assigned,
        },
    }
}

/// The same with links of its own: its number's addresses in one network.
pub(crate) fn linked(number: u32) -> AssignedTask {
    let mut task = assigned(number);
    task.spec.container.network = NetworkMode::Networks;
    task.attachments = vec![network::attachment(network::NET, number)];
    task
}

/// Network tables drawn with few words.
pub(crate) mod network {
    use crate::assignment::Position;
    use shoal_core::dispatcher::{
        NetworkTables, TableEndpoint, TableNetwork, TableService, TableUse, TablesDiff,
    };
    use shoal_core::model::{
        Addresses, Attachment, IdGen, NetworkId, NodeId, PortMode, Protocol, PublishedPort, ServiceId, Slot,
        TaskId,
    };
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// The numbers of the two networks that every sketch has; `INGRESS` is the later id.
    pub(crate) const NET: u8 = 1;
    pub(crate) const INGRESS: u8 = 0;

    pub(crate) fn at(index: u64) -> Position {
        Position { epoch: 1, index }
    }

    pub(crate) fn node(number: u64) -> NodeId {
        NodeId::mint(&mut IdGen::from_number(number))
    }

    pub(crate) fn task(number: u32) -> TaskId {
        super::assigned(number).id
    }

    fn service(number: u32) -> ServiceId {
        ServiceId::mint(&mut IdGen::from_number(u64::from(number)))
    }

    pub(crate) fn network(number: u8) -> NetworkId {
        let digit = if number == INGRESS { "z" } else { "a" };
        digit.repeat(25).parse().unwrap()
    }

    /// The number's addresses in a network.
    pub(crate) fn attachment(net: u8, number: u32) -> Attachment {
        let low = u16::try_from(number).unwrap();
        let subnet = if net == INGRESS { 1 } else { 0 };
        Attachment {
            network: network(net),
            number,
            addresses: Addresses {
                v4: Some(Ipv4Addr::new(10, net, 0, u8::try_from(number).unwrap())),
                v6: Some(Ipv6Addr::new(0xfd00, 0, 0, subnet, 0, 0, 0, low)),
            },
        }
    }

    /// Tables that a test changes step by step.
    #[derive(Clone, Debug)]
    pub(crate) struct Sketch(NetworkTables);

    impl Sketch {
        pub(crate) fn new() -> Self {
            let mut tables = NetworkTables {
                pools: vec!["10.0.0.0/12".parse().unwrap(), "fd00::/48".parse().unwrap()],
                ..NetworkTables::default()
            };
            for net in [NET, INGRESS] {
                let subnet = if net == INGRESS { 1 } else { 0 };
                let described = TableNetwork {
                    name: format!("net{net}"),
                    v4: Some(format!("10.{net}.0.0/16").parse().unwrap()),
                    v6: Some(format!("fd00:0:0:{subnet}::/64").parse().unwrap()),
                    internal: false,
                    ingress: net == INGRESS,
                };
                tables.networks.insert(network(net), described);
            }
            Self(tables)
        }

        pub(crate) fn tables(&self) -> NetworkTables {
            self.0.clone()
        }

        /// Changes it; the change as managers send it.
        pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self)) -> TablesDiff {
            let before = self.0.clone();
            change(self);
            let all = crate::network::whole(&self.0);
            crate::network::difference(&before, &all)
        }

        pub(crate) fn service(&mut self, number: u32, name: &str, networks: &[u8], aliases: &[&str]) {
            let use_of = |net: u8| TableUse {
                vip: Some(attachment(net, 100 + number).addresses),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            };
            let described = TableService {
                name: name.to_owned(),
                networks: networks.iter().map(|net| (network(*net), use_of(*net))).collect(),
                ports: Vec::new(),
            };
            self.0.services.insert(service(number), described);
        }

        pub(crate) fn without_vip(&mut self, number: u32, net: u8) {
            let service = self.0.services.get_mut(&service(number)).unwrap();
            service.networks.get_mut(&network(net)).unwrap().vip = None;
        }

        pub(crate) fn port(
            &mut self,
            number: u32,
            target: u16,
            published: u16,
            mode: PortMode,
            host_ip: Option<IpAddr>,
        ) {
            let port = PublishedPort {
                target,
                published,
                protocol: Protocol::Tcp,
                mode,
                host_ip,
            };
            self.0
                .services
                .get_mut(&service(number))
                .unwrap()
                .ports
                .push(port);
        }

        /// A task with its number's addresses in `NET`.
        pub(crate) fn endpoint(&mut self, number: u32, of: u32, slot: Slot, node: NodeId, draining: bool) {
            let endpoint = TableEndpoint {
                service: service(of),
                slot,
                node,
                attachments: vec![attachment(NET, number)],
                draining,
                ports: None,
            };
            self.0.endpoints.insert(task(number), endpoint);
        }

        pub(crate) fn remove_endpoint(&mut self, number: u32) {
            self.0.endpoints.remove(&task(number));
        }

        pub(crate) fn remove_service(&mut self, number: u32) {
            self.0.services.remove(&service(number));
        }

        pub(crate) fn remove_network(&mut self, net: u8) {
            self.0.networks.remove(&network(net));
        }
    }
}

/// A network that only remembers.
pub(crate) mod overlay {
    use super::network::{at, node};
    use crate::network::{NetworkHub, NodeSide, Opening, Overlay};
    use futures::future::BoxFuture;
    use shoal_core::dispatcher::NetworkTables;
    use shoal_core::model::TaskId;
    use shoal_overlay_net::desired::{Desired, Endpoint, EndpointId, Tables};
    use shoal_overlay_net::{ApplyError, AttachError, KernelError, NetStatus};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex, MutexGuard};
    use tokio::sync::watch;

    #[derive(Debug)]
    pub(crate) struct FakeOverlay {
        seen: Mutex<Seen>,
        pub(crate) status: watch::Sender<NetStatus>,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Seen {
        pub(crate) tables: Vec<Arc<Tables>>,
        pub(crate) endpoints: BTreeMap<EndpointId, Endpoint>,
        pub(crate) detached: Vec<EndpointId>,
        /// Applying never comes to an end.
        pub(crate) stuck: bool,
        /// So many attachments fail, as without `shoal-net`.
        pub(crate) unready: u32,
    }

    impl Default for FakeOverlay {
        fn default() -> Self {
            Self {
                seen: Mutex::default(),
                status: watch::Sender::new(NetStatus::default()),
            }
        }
    }

    impl FakeOverlay {
        pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
            self.seen.lock().unwrap()
        }
    }

    impl Overlay for FakeOverlay {
        fn apply(&self, tables: Arc<Tables>) -> BoxFuture<'_, Result<(), ApplyError>> {
            let mut seen = self.seen();
            seen.tables.push(tables);
            if seen.stuck {
                return Box::pin(std::future::pending());
            }
            Box::pin(std::future::ready(Ok(())))
        }

        fn attach(&self, endpoint: Endpoint) -> BoxFuture<'_, Result<(), AttachError>> {
            let mut seen = self.seen();
            let result = if seen.unready > 0 {
                seen.unready -= 1;
                Err(AttachError::Names {
                    id: endpoint.id,
                    why: "shoal-net is being started".to_owned(),
                })
            } else {
                seen.endpoints.insert(endpoint.id.clone(), endpoint);
                Ok(())
            };
            Box::pin(std::future::ready(result))
        }

        fn detach(&self, id: EndpointId) -> BoxFuture<'_, Result<(), KernelError>> {
            let mut seen = self.seen();
            seen.endpoints.remove(&id);
            seen.detached.push(id);
            Box::pin(std::future::ready(Ok(())))
        }

        fn status(&self) -> watch::Receiver<NetStatus> {
            self.status.subscribe()
        }
    }

    /// A hub on a fake network that has nothing yet.
    pub(crate) async fn hub(fake: &Arc<FakeOverlay>, tables: &NetworkTables) -> NetworkHub {
        hub_without(fake, tables, Vec::new()).await
    }

    /// The same after a restart in the midst of stopping these.
    pub(crate) async fn hub_without(
        fake: &Arc<FakeOverlay>,
        tables: &NetworkTables,
        failing: Vec<TaskId>,
    ) -> NetworkHub {
        let opening = Opening {
            node: node(1),
            side: NodeSide {
                tag: "0123abcd".parse().unwrap(),
                open_host_ports: BTreeSet::new(),
            },
            tables,
            at: at(1),
            failing,
            attached: Vec::new(),
        };
        let fake = Arc::clone(fake);
        let open = |desired: Desired| -> BoxFuture<'static, _> {
            fake.seen().tables.push(desired.tables);
            Box::pin(std::future::ready(Ok(fake as Arc<dyn Overlay>)))
        };
        NetworkHub::open(opening, open).await.unwrap()
    }
}
