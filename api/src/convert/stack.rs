//! Stacks, and what a deploy changes.
//!
//! Both directions for the noun; changes go to the client only.

use super::{Malformed, parsed, required};
use crate::v1;
use shoal_core::{
    model::{ServiceSpec, Stack, StackNetwork, StackSpec},
    request::{StackAction, StackChange, StackNetworkChange},
};

impl From<Stack> for v1::Stack {
    fn from(stack: Stack) -> Self {
        Self {
            id: stack.id.to_string(),
            meta: Some(stack.meta.into()),
            spec: Some(stack.spec.into()),
            revision: stack.revision,
        }
    }
}

impl TryFrom<v1::Stack> for Stack {
    type Error = Malformed;

    fn try_from(stack: v1::Stack) -> Result<Self, Malformed> {
        Ok(Self {
            id: parsed(&stack.id, "id")?,
            meta: stack.meta.unwrap_or_default().into(),
            spec: required(stack.spec, "spec")?,
            revision: stack.revision,
        })
    }
}

impl From<StackSpec> for v1::StackSpec {
    fn from(spec: StackSpec) -> Self {
        Self {
            name: spec.name,
            services: spec
                .services
                .into_iter()
                .map(|(name, service)| (name, service.into()))
                .collect(),
            networks: spec
                .networks
                .into_iter()
                .map(|(name, network)| (name, network.into()))
                .collect(),
        }
    }
}

impl TryFrom<v1::StackSpec> for StackSpec {
    type Error = Malformed;

    fn try_from(spec: v1::StackSpec) -> Result<Self, Malformed> {
        let services = spec.services.into_iter().map(|(name, service)| {
            let field = format!("services.{name}");
            let service = ServiceSpec::try_from(service).map_err(|e| e.within(&field))?;
            Ok((name, service))
        });
        let networks = spec.networks.into_iter().map(|(name, network)| {
            let field = format!("networks.{name}");
            let network = StackNetwork::try_from(network).map_err(|e| e.within(&field))?;
            Ok((name, network))
        });
        Ok(Self {
            name: spec.name,
            services: services.collect::<Result<_, Malformed>>()?,
            networks: networks.collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<StackNetwork> for v1::StackNetwork {
    fn from(network: StackNetwork) -> Self {
        use v1::stack_network::Network;
        let network = match network {
            StackNetwork::Own(spec) => Network::Own(spec.into()),
            StackNetwork::External(name) => Network::External(name),
        };
        Self {
            network: Some(network),
        }
    }
}

impl TryFrom<v1::StackNetwork> for StackNetwork {
    type Error = Malformed;

    fn try_from(network: v1::StackNetwork) -> Result<Self, Malformed> {
        use v1::stack_network::Network;
        match network.network {
            Some(Network::Own(spec)) => Ok(Self::Own(required(Some(spec), "own")?)),
            Some(Network::External(name)) => Ok(Self::External(name)),
            None => Err(Malformed::new("", "is of a kind not known here")),
        }
    }
}

impl From<StackAction> for v1::StackAction {
    fn from(action: StackAction) -> Self {
        match action {
            StackAction::Create => Self::Create,
            StackAction::Update => Self::Update,
            StackAction::Remove => Self::Remove,
            StackAction::Keep => Self::Keep,
        }
    }
}

impl From<StackChange> for v1::StackChange {
    fn from(change: StackChange) -> Self {
        Self {
            service: change.service,
            service_id: change.service_id.map(|id| id.to_string()),
            action: v1::StackAction::from(change.action).into(),
            details: change.details,
        }
    }
}

impl From<StackNetworkChange> for v1::StackNetworkChange {
    fn from(change: StackNetworkChange) -> Self {
        Self {
            network: change.network,
            network_id: Some(change.network_id.to_string()),
            action: v1::StackAction::from(change.action).into(),
            details: change.details,
        }
    }
}
