//! Networks, the addresses that they give, and the pools that they are from.
//!
//! Both directions. Ranges and addresses are text, as users write them, but for the addresses of holders: of those
//! there are as many as tasks.

use super::{
    Malformed, enumerated, parsed, parsed_list, parsed_optional, repeated, required, same_variants, texts,
};
use crate::v1;
use shoal_core::model::{
    AddressPools, Addresses, Attachment, Network, NetworkDriver, NetworkSpec, NetworkStatus, NetworkUse,
    ResolvedUse, Rest, ServiceEndpoint, Timestamp,
};
use std::net::{Ipv4Addr, Ipv6Addr};

same_variants!(NetworkDriver, v1::NetworkDriver, Overlay, Bridge);

impl From<Network> for v1::Network {
    fn from(network: Network) -> Self {
        Self {
            id: network.id.to_string(),
            meta: Some(network.meta.into()),
            spec: Some(network.spec.into()),
            stack: network.stack.map(|id| id.to_string()),
            status: Some(network.status.into()),
        }
    }
}

impl TryFrom<v1::Network> for Network {
    type Error = Malformed;

    fn try_from(network: v1::Network) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&network.id, "id")?,
            meta: network.meta.unwrap_or_default().into(),
            spec: required(network.spec, "spec")?,
            stack: parsed_optional(network.stack.as_deref(), "stack")?,
            status: required(network.status, "status")?,
        })
    }
}

impl From<NetworkSpec> for v1::NetworkSpec {
    fn from(spec: NetworkSpec) -> Self {
        Self {
            name: spec.name,
            labels: spec.labels,
            driver: v1::NetworkDriver::from(spec.driver).into(),
            internal: spec.internal,
            attachable: spec.attachable,
            ipv6: spec.ipv6,
            subnets: texts(&spec.subnets),
            options: spec.options,
            ingress: spec.ingress,
        }
    }
}

impl TryFrom<v1::NetworkSpec> for NetworkSpec {
    type Error = Malformed;

    fn try_from(spec: v1::NetworkSpec) -> Result<Self, Malformed> {
        Ok(Self {
            name: spec.name,
            labels: spec.labels,
            driver: enumerated::<v1::NetworkDriver, _>(spec.driver, "driver")?,
            internal: spec.internal,
            attachable: spec.attachable,
            ipv6: spec.ipv6,
            subnets: parsed_list(&spec.subnets, "subnets")?,
            options: spec.options,
            ingress: spec.ingress,
        })
    }
}

impl From<NetworkStatus> for v1::NetworkStatus {
    fn from(status: NetworkStatus) -> Self {
        Self {
            v4: status.v4.map(|range| range.to_string()),
            v6: status.v6.map(|range| range.to_string()),
            last: status.last,
            resting: status.resting.into_iter().map(Into::into).collect(),
            removed: status.removed,
        }
    }
}

impl TryFrom<v1::NetworkStatus> for NetworkStatus {
    type Error = Malformed;

    fn try_from(status: v1::NetworkStatus) -> Result<Self, Malformed> {
        Ok(Self {
            v4: parsed_optional(status.v4.as_deref(), "v4")?,
            v6: parsed_optional(status.v6.as_deref(), "v6")?,
            last: status.last,
            resting: status.resting.into_iter().map(Into::into).collect(),
            removed: status.removed,
        })
    }
}

impl From<Rest> for v1::Rest {
    fn from(rest: Rest) -> Self {
        Self {
            first: rest.first,
            last: rest.last,
            until: rest.until.0,
        }
    }
}

impl From<v1::Rest> for Rest {
    fn from(rest: v1::Rest) -> Self {
        Self {
            first: rest.first,
            last: rest.last,
            until: Timestamp(rest.until),
        }
    }
}

impl From<AddressPools> for v1::AddressPools {
    fn from(pools: AddressPools) -> Self {
        Self {
            v4: texts(&pools.v4),
            v4_subnet_length: pools.v4_subnet_length.into(),
            v6: pools.v6.map(|pool| pool.to_string()),
        }
    }
}

impl TryFrom<v1::AddressPools> for AddressPools {
    type Error = Malformed;

    fn try_from(pools: v1::AddressPools) -> Result<Self, Malformed> {
        let length = pools.v4_subnet_length;
        let Some(v4_subnet_length) = u8::try_from(length).ok().filter(|length| *length <= 32) else {
            let reason = format!("{length} is no length of a prefix: at most 32");
            return Err(Malformed::new("v4_subnet_length", reason));
        };
        Ok(Self {
            v4: parsed_list(&pools.v4, "v4")?,
            v4_subnet_length,
            v6: parsed_optional(pools.v6.as_deref(), "v6")?,
        })
    }
}

impl From<Addresses> for v1::Addresses {
    fn from(addresses: Addresses) -> Self {
        Self {
            v4: addresses.v4.map(u32::from),
            v6: addresses.v6.map(|address| address.octets().to_vec()),
        }
    }
}

impl TryFrom<v1::Addresses> for Addresses {
    type Error = Malformed;

    fn try_from(addresses: v1::Addresses) -> Result<Self, Malformed> {
        let v6 = |octets: Vec<u8>| match <[u8; 16]>::try_from(octets) {
            Ok(octets) => Ok(Ipv6Addr::from(octets)),
            Err(octets) => Err(Malformed::new(
                "v6",
                format!("has {} bytes, not 16", octets.len()),
            )),
        };
        Ok(Self {
            v4: addresses.v4.map(Ipv4Addr::from),
            v6: addresses.v6.map(v6).transpose()?,
        })
    }
}

impl From<Attachment> for v1::Attachment {
    fn from(attachment: Attachment) -> Self {
        Self {
            network: attachment.network.to_string(),
            number: attachment.number,
            addresses: Some(attachment.addresses.into()),
        }
    }
}

impl TryFrom<v1::Attachment> for Attachment {
    type Error = Malformed;

    fn try_from(attachment: v1::Attachment) -> Result<Self, Malformed> {
        Ok(Self {
            network: parsed(&attachment.network, "network")?,
            number: attachment.number,
            addresses: required(attachment.addresses, "addresses")?,
        })
    }
}

impl From<NetworkUse> for v1::NetworkUse {
    fn from(network: NetworkUse) -> Self {
        Self {
            network: network.network,
            aliases: network.aliases,
        }
    }
}

impl From<v1::NetworkUse> for NetworkUse {
    fn from(network: v1::NetworkUse) -> Self {
        Self {
            network: network.network,
            aliases: network.aliases,
        }
    }
}

impl From<ResolvedUse> for v1::ResolvedUse {
    fn from(network: ResolvedUse) -> Self {
        Self {
            network: network.network.to_string(),
            aliases: network.aliases,
        }
    }
}

impl TryFrom<v1::ResolvedUse> for ResolvedUse {
    type Error = Malformed;

    fn try_from(network: v1::ResolvedUse) -> Result<Self, Malformed> {
        Ok(Self {
            network: parsed(&network.network, "network")?,
            aliases: network.aliases,
        })
    }
}

impl From<ServiceEndpoint> for v1::ServiceEndpoint {
    fn from(endpoint: ServiceEndpoint) -> Self {
        Self {
            networks: endpoint.networks.into_iter().map(Into::into).collect(),
            vips: endpoint.vips.into_iter().map(Into::into).collect(),
            ports: endpoint.ports.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::ServiceEndpoint> for ServiceEndpoint {
    type Error = Malformed;

    fn try_from(endpoint: v1::ServiceEndpoint) -> Result<Self, Malformed> {
        Ok(Self {
            networks: repeated(endpoint.networks, "networks")?,
            vips: repeated(endpoint.vips, "vips")?,
            ports: repeated(endpoint.ports, "ports")?,
        })
    }
}
