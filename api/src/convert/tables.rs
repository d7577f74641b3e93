//! Network tables of a worker's session, as changes by key.
//!
//! Both directions; how one change is cut into parts is the business of the assignment that carries it.

use super::{Malformed, optional, parsed, parsed_list, parsed_optional, repeated, required, texts};
use crate::v1;
use shoal_core::dispatcher::{TableEndpoint, TableNetwork, TableService, TableUse, TablesDiff};
use std::{collections::BTreeMap, str::FromStr};

impl From<TablesDiff> for v1::TablesDiff {
    fn from(diff: TablesDiff) -> Self {
        Self {
            pools: diff.pools.map(|pools| v1::StringList {
                values: texts(&pools),
            }),
            networks: diff
                .networks
                .into_iter()
                .map(|(id, network)| v1::TableNetworkChange {
                    id: id.to_string(),
                    network: network.map(Into::into),
                })
                .collect(),
            services: diff
                .services
                .into_iter()
                .map(|(id, service)| v1::TableServiceChange {
                    id: id.to_string(),
                    service: service.map(Into::into),
                })
                .collect(),
            endpoints: diff
                .endpoints
                .into_iter()
                .map(|(task, endpoint)| v1::TableEndpointChange {
                    task: task.to_string(),
                    endpoint: endpoint.map(Into::into),
                })
                .collect(),
        }
    }
}

impl TryFrom<v1::TablesDiff> for TablesDiff {
    type Error = Malformed;

    fn try_from(diff: v1::TablesDiff) -> Result<Self, Malformed> {
        let pools = diff.pools.map(|pools| parsed_list(&pools.values, "pools"));
        let networks = diff.networks.into_iter().map(|it| (it.id, it.network));
        let services = diff.services.into_iter().map(|it| (it.id, it.service));
        let endpoints = diff.endpoints.into_iter().map(|it| (it.task, it.endpoint));
        Ok(Self {
            pools: pools.transpose()?,
            networks: keyed(networks, "networks")?,
            services: keyed(services, "services")?,
            endpoints: keyed(endpoints, "endpoints")?,
        })
    }
}

/// Changes by key, each absent one a removal.
fn keyed<Id, Wire, Core>(
    changes: impl Iterator<Item = (String, Option<Wire>)>,
    field: &str,
) -> Result<BTreeMap<Id, Option<Core>>, Malformed>
where
    Id: FromStr<Err: ToString> + Ord,
    Wire: TryInto<Core, Error = Malformed>,
{
    let one = |(at, (id, value)): (usize, (String, Option<Wire>))| {
        let field = format!("{field}[{at}]");
        Ok((parsed(&id, &field)?, optional(value, &field)?))
    };
    changes.enumerate().map(one).collect()
}

impl From<TableNetwork> for v1::TableNetwork {
    fn from(network: TableNetwork) -> Self {
        Self {
            name: network.name,
            v4: network.v4.map(|range| range.to_string()),
            v6: network.v6.map(|range| range.to_string()),
            internal: network.internal,
            ingress: network.ingress,
        }
    }
}

impl TryFrom<v1::TableNetwork> for TableNetwork {
    type Error = Malformed;

    fn try_from(network: v1::TableNetwork) -> Result<Self, Malformed> {
        Ok(Self {
            name: network.name,
            v4: parsed_optional(network.v4.as_deref(), "v4")?,
            v6: parsed_optional(network.v6.as_deref(), "v6")?,
            internal: network.internal,
            ingress: network.ingress,
        })
    }
}

impl From<TableService> for v1::TableService {
    fn from(service: TableService) -> Self {
        Self {
            name: service.name,
            networks: service
                .networks
                .into_iter()
                .map(|(id, network)| (id.to_string(), network.into()))
                .collect(),
            ports: service.ports.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::TableService> for TableService {
    type Error = Malformed;

    fn try_from(service: v1::TableService) -> Result<Self, Malformed> {
        let networks = service.networks.into_iter().map(|(id, network)| {
            let network: TableUse = required(Some(network), &format!("networks.{id}"))?;
            Ok((parsed(&id, "networks")?, network))
        });
        Ok(Self {
            name: service.name,
            networks: networks.collect::<Result<_, Malformed>>()?,
            ports: repeated(service.ports, "ports")?,
        })
    }
}

impl From<TableUse> for v1::TableUse {
    fn from(network: TableUse) -> Self {
        Self {
            vip: network.vip.map(Into::into),
            aliases: network.aliases,
        }
    }
}

impl TryFrom<v1::TableUse> for TableUse {
    type Error = Malformed;

    fn try_from(network: v1::TableUse) -> Result<Self, Malformed> {
        Ok(Self {
            vip: optional(network.vip, "vip")?,
            aliases: network.aliases,
        })
    }
}

impl From<TableEndpoint> for v1::TableEndpoint {
    fn from(endpoint: TableEndpoint) -> Self {
        Self {
            service: endpoint.service.to_string(),
            slot: Some(endpoint.slot.into()),
            node: endpoint.node.to_string(),
            attachments: endpoint.attachments.into_iter().map(Into::into).collect(),
            draining: endpoint.draining,
            ports: endpoint.ports.map(|ports| v1::PublishedPortList {
                values: ports.into_iter().map(Into::into).collect(),
            }),
        }
    }
}

impl TryFrom<v1::TableEndpoint> for TableEndpoint {
    type Error = Malformed;

    fn try_from(endpoint: v1::TableEndpoint) -> Result<Self, Malformed> {
        Ok(Self {
            service: parsed(&endpoint.service, "service")?,
            slot: required(endpoint.slot, "slot")?,
            node: parsed(&endpoint.node, "node")?,
            attachments: repeated(endpoint.attachments, "attachments")?,
            draining: endpoint.draining,
            ports: endpoint
                .ports
                .map(|ports| repeated(ports.values, "ports"))
                .transpose()?,
        })
    }
}
