//! `network_mode` and `networks`: which networks a service joins, and in which order.
//!
//! The first network has the way out. Their order is that of `gw_priority`, then of `priority`, then of the
//! file; one that is known to be internal comes last, since it has no way out.

use super::{Scope, meant, ports};
use crate::{
    keys,
    networks::{DEFAULT, Declared, Predefined},
    reader::{Field, Reader},
    tree::Value,
};
use shoal_core::model::{NetworkMode, NetworkUse, PublishedPort};

/// The keys as they were found; what they mean depends on each other and on the file's `networks`.
#[derive(Default)]
pub(super) struct Network<'a> {
    mode: Option<Field<'a>>,
    networks: Option<Field<'a>>,
    ports: Option<Field<'a>>,
}

/// What came of them.
pub(super) struct Settled {
    pub(super) mode: NetworkMode,
    pub(super) networks: Vec<NetworkUse>,
    pub(super) ports: Vec<PublishedPort>,
}

/// A network that a service names, before they are put in order.
struct Place<'a> {
    name: String,
    field: Field<'a>,
    aliases: Vec<String>,
    gateway_priority: i64,
    priority: i64,
}

impl<'a> Network<'a> {
    /// Takes the keys of this file; says whether `key` was one of them.
    pub(super) fn take(&mut self, key: &str, field: &Field<'a>) -> bool {
        let place = match key {
            "network_mode" => &mut self.mode,
            "networks" => &mut self.networks,
            "ports" => &mut self.ports,
            _ => return false,
        };
        *place = Some(field.clone());
        true
    }

    pub(super) fn settle(self, reader: &mut Reader<'_>, scope: &Scope<'_>) -> Settled {
        let named = self
            .networks
            .as_ref()
            .map(|field| places(reader, field))
            .unwrap_or_default();
        let (mode, networks) = match (&self.mode, named.is_empty()) {
            (Some(mode), true) => (network_mode(reader, mode), Vec::new()),
            (Some(mode), false) => {
                reader.error(mode, "a service has either network_mode or networks");
                (NetworkMode::Networks, Vec::new())
            }
            (None, true) => in_default(scope),
            (None, false) => in_networks(reader, named, scope),
        };
        let ports = self.ports.map(|field| ports::read(reader, &field, mode));
        Settled {
            mode,
            networks,
            ports: ports.unwrap_or_default(),
        }
    }
}

fn network_mode(reader: &mut Reader<'_>, field: &Field<'_>) -> NetworkMode {
    let Some(text) = reader.text(field) else {
        return NetworkMode::Networks;
    };
    if let Some(predefined) = Predefined::named(&text) {
        return in_predefined(reader, field, predefined);
    }
    if text.starts_with("service:") || text.starts_with("container:") {
        reader.error(
            field,
            "not supported: sharing another container's network is not built yet",
        );
    } else {
        reader.error(field, format!("expected host, none or bridge, found {text:?}"));
    }
    NetworkMode::Networks
}

fn in_predefined(reader: &mut Reader<'_>, field: &Field<'_>, predefined: Predefined) -> NetworkMode {
    match predefined {
        Predefined::Host => NetworkMode::Host,
        Predefined::None => NetworkMode::None,
        Predefined::Bridge => {
            reader.warn(
                field,
                "carried out as the network ingress: a way out and published ports, \
                 but its members do not reach each other",
            );
            NetworkMode::Networks
        }
    }
}

fn in_default(scope: &Scope<'_>) -> (NetworkMode, Vec<NetworkUse>) {
    match scope.networks.get(DEFAULT) {
        Some(Declared::Predefined(Predefined::Host)) => (NetworkMode::Host, Vec::new()),
        Some(Declared::Predefined(Predefined::None)) => (NetworkMode::None, Vec::new()),
        Some(Declared::Predefined(Predefined::Bridge)) => (NetworkMode::Networks, Vec::new()),
        Some(Declared::Network(_)) | None => {
            let network = NetworkUse {
                network: DEFAULT.to_owned(),
                aliases: Vec::new(),
            };
            (NetworkMode::Networks, vec![network])
        }
    }
}

/// The networks as the file lists or maps them.
fn places<'a>(reader: &mut Reader<'_>, field: &Field<'a>) -> Vec<Place<'a>> {
    if !field.is_mapping() {
        let items = reader.list(field);
        return items
            .into_iter()
            .filter_map(|item| Some(Place::new(&reader.text(&item)?, item)))
            .collect();
    }
    let mut places = Vec::new();
    for (name, inner) in reader.named(field) {
        let mut place = Place::new(name, inner.clone());
        // A merge writes the list's form as keys with nothing in them.
        let keys = match &inner.node.value {
            Value::Scalar(_) | Value::Sequence(_) if inner.node.asks_nothing() => Vec::new(),
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
                reader.entries(&inner, keys::NETWORK_USE)
            }
        };
        for (key, value) in keys {
            const NUMBER: &str = "a number";
            match key {
                "aliases" => place.aliases = reader.texts(&value),
                "priority" => place.priority = reader.parsed(&value, NUMBER).unwrap_or(0),
                // gw_priority
                _ => place.gateway_priority = reader.parsed(&value, NUMBER).unwrap_or(0),
            }
        }
        places.push(place);
    }
    places
}

impl<'a> Place<'a> {
    fn new(name: &str, field: Field<'a>) -> Self {
        Self {
            name: name.to_owned(),
            field,
            aliases: Vec::new(),
            gateway_priority: 0,
            priority: 0,
        }
    }
}

fn in_networks(
    reader: &mut Reader<'_>,
    mut places: Vec<Place<'_>>,
    scope: &Scope<'_>,
) -> (NetworkMode, Vec<NetworkUse>) {
    let internal = |name: &str| scope.networks.get(name).is_some_and(Declared::is_internal);
    places.sort_by_key(|place| {
        let wanted = (-place.gateway_priority, -place.priority);
        (internal(&place.name), wanted)
    });
    let alone = places.len() == 1;
    let mut uses: Vec<NetworkUse> = Vec::new();
    for place in places {
        match scope.networks.get(&place.name) {
            Some(Declared::Predefined(predefined)) if alone => {
                return (in_predefined(reader, &place.field, *predefined), uses);
            }
            Some(Declared::Predefined(_)) => {
                reader.error(
                    &place.field,
                    "Docker's own networks host, none and bridge cannot be joined beside others",
                );
            }
            Some(Declared::Network(_)) if uses.iter().any(|other| other.network == place.name) => {
                reader.error(&place.field, format!("{} is joined twice", place.name));
            }
            Some(Declared::Network(_)) => uses.push(NetworkUse {
                network: place.name,
                aliases: place.aliases,
            }),
            None => undeclared(reader, &place, scope),
        }
    }
    (NetworkMode::Networks, uses)
}

fn undeclared(reader: &mut Reader<'_>, place: &Place<'_>, scope: &Scope<'_>) {
    let name = &place.name;
    let hint = match Predefined::named(name) {
        Some(_) => format!("; did you mean network_mode: {name}?"),
        None => meant(name, scope.networks.keys()),
    };
    let message = format!("the network {name:?} is not declared under `networks:`{hint}");
    reader.error(&place.field, message);
}
