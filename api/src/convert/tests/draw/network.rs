//! Draws networks, addresses and network tables.
//!
//! Beside the other nouns, with the same seed.

use super::Draw;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::Rng;
use shoal_core::{
    dispatcher::{TableEndpoint, TableNetwork, TableService, TableUse, TablesDiff},
    model::{
        Addresses, Attachment, Network, NetworkDriver, NetworkId, NetworkSpec, NetworkStatus, ResolvedUse,
        Rest, Slot,
    },
};
use std::{collections::BTreeMap, net::IpAddr};

impl Draw {
    pub(super) fn network_id(&mut self) -> NetworkId {
        NetworkId::mint(&mut self.ids)
    }

    pub(super) fn address(&mut self) -> IpAddr {
        if self.flag() {
            IpAddr::V4(self.small().into())
        } else {
            IpAddr::V6(self.random.random::<u128>().into())
        }
    }

    pub(super) fn range_v4(&mut self) -> Ipv4Net {
        Ipv4Net::new(self.small().into(), self.random.random_range(0..=32)).unwrap()
    }

    pub(super) fn range_v6(&mut self) -> Ipv6Net {
        let address = self.random.random::<u128>().into();
        Ipv6Net::new(address, self.random.random_range(0..=128)).unwrap()
    }

    pub(super) fn range(&mut self) -> IpNet {
        if self.flag() {
            self.range_v4().into()
        } else {
            self.range_v6().into()
        }
    }

    pub(super) fn addresses(&mut self) -> Addresses {
        Addresses {
            v4: self.maybe(|d| d.small().into()),
            v6: self.maybe(|d| d.random.random::<u128>().into()),
        }
    }

    pub(super) fn attachment(&mut self) -> Attachment {
        Attachment {
            network: self.network_id(),
            number: self.small(),
            addresses: self.addresses(),
        }
    }

    pub(super) fn resolved_use(&mut self) -> ResolvedUse {
        ResolvedUse {
            network: self.network_id(),
            aliases: self.list(Self::text),
        }
    }

    pub(super) fn network_spec(&mut self) -> NetworkSpec {
        NetworkSpec {
            name: self.text(),
            labels: self.labels(),
            driver: self.pick(&[NetworkDriver::Overlay, NetworkDriver::Bridge]),
            internal: self.flag(),
            attachable: self.flag(),
            ipv6: self.flag(),
            subnets: self.list(Self::range),
            options: self.labels(),
            ingress: self.flag(),
        }
    }

    pub(super) fn network(&mut self) -> Network {
        Network {
            id: self.network_id(),
            meta: self.meta(),
            spec: self.network_spec(),
            stack: self.maybe(Self::stack_id),
            status: NetworkStatus {
                v4: self.maybe(Self::range_v4),
                v6: self.maybe(Self::range_v6),
                last: self.small(),
                resting: self.list(|d| Rest {
                    first: d.small(),
                    last: d.small(),
                    until: d.at(),
                }),
                removed: self.flag(),
            },
        }
    }

    fn table_network(&mut self) -> TableNetwork {
        TableNetwork {
            name: self.text(),
            v4: self.maybe(Self::range_v4),
            v6: self.maybe(Self::range_v6),
            internal: self.flag(),
            ingress: self.flag(),
        }
    }

    fn table_service(&mut self) -> TableService {
        let network = |d: &mut Self| TableUse {
            vip: d.maybe(Self::addresses),
            aliases: d.list(Self::text),
        };
        TableService {
            name: self.text(),
            networks: self.list(|d| (d.network_id(), network(d))).into_iter().collect(),
            ports: self.ports(),
        }
    }

    fn table_endpoint(&mut self) -> TableEndpoint {
        TableEndpoint {
            service: self.service_id(),
            slot: Slot::Replica(self.small()),
            node: self.node_id(),
            attachments: self.list(Self::attachment),
            draining: self.flag(),
            ports: self.maybe(Self::ports),
        }
    }

    pub(in super::super) fn tables(&mut self) -> TablesDiff {
        TablesDiff {
            pools: self.maybe(|d| d.list(Self::range)),
            networks: self
                .list(|d| (d.network_id(), d.maybe(Self::table_network)))
                .into_iter()
                .collect(),
            services: self
                .list(|d| (d.service_id(), d.maybe(Self::table_service)))
                .into_iter()
                .collect(),
            endpoints: self
                .list(|d| (d.task_id(), d.maybe(Self::table_endpoint)))
                .into_iter()
                .collect(),
        }
    }

    /// Tables of a cluster of 20,000 tasks: more than one message holds.
    pub(in super::super) fn large_tables(&mut self) -> TablesDiff {
        let endpoints: BTreeMap<_, _> = (0..20_000)
            .map(|_| (self.task_id(), Some(self.table_endpoint())))
            .collect();
        let services = (0..2000).map(|_| (self.service_id(), Some(self.table_service())));
        let services = services.collect();
        let networks = (0..500).map(|_| (self.network_id(), Some(self.table_network())));
        TablesDiff {
            networks: networks.collect(),
            services,
            endpoints,
            pools: Some(vec![self.range()]),
        }
    }
}
