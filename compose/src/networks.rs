//! The file's top-level `networks`: the stack's own, other people's, and Docker's predefined ones.
//!
//! A service names a network by its key here. One that no service names is not made, as with Docker. The
//! network `default` is always declared, since a service that names none joins it.

use crate::{
    keys::{self, Rule},
    reader::{Field, Reader},
    suggest::nearest,
};
use ipnet::IpNet;
use shoal_core::model::{NetworkDriver, NetworkSpec, StackNetwork, StackSpec};
use std::collections::{BTreeMap, BTreeSet};

/// What a service joins that names no network.
pub(crate) const DEFAULT: &str = "default";

/// Docker's networks that exist without being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predefined {
    Host,
    None,
    Bridge,
}

impl Predefined {
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Self::Host),
            "none" => Some(Self::None),
            "bridge" => Some(Self::Bridge),
            _ => None,
        }
    }
}

/// What a key of `networks` stands for.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    Network(StackNetwork),
    Predefined(Predefined),
}

impl Declared {
    /// Is it known to have no way out?
    pub(crate) fn is_internal(&self) -> bool {
        matches!(self, Self::Network(StackNetwork::Own(spec)) if spec.internal)
    }
}

/// Reads the top-level `networks`; `default` is always among what it gives.
pub(crate) fn declared(reader: &mut Reader<'_>, field: Option<&Field<'_>>) -> BTreeMap<String, Declared> {
    let mut networks = BTreeMap::new();
    for (name, inner) in field.map(|field| reader.named(field)).unwrap_or_default() {
        let network = read(reader, name, &inner);
        networks.insert(name.to_owned(), network);
    }
    networks
        .entry(DEFAULT.to_owned())
        .or_insert_with(|| Declared::Network(StackNetwork::Own(own())));
    networks
}

/// A network without any key: IPv6 too, which Docker gives only when asked.
fn own() -> NetworkSpec {
    NetworkSpec {
        ipv6: true,
        ..NetworkSpec::default()
    }
}

/// Those of the declared networks that a service joins.
pub(crate) fn joined(
    declared: BTreeMap<String, Declared>,
    stack: &StackSpec,
) -> BTreeMap<String, StackNetwork> {
    let places = stack.services.values().flat_map(|service| &service.task.networks);
    let names: BTreeSet<&String> = places.map(|place| &place.network).collect();
    let networks = declared.into_iter().filter_map(|(name, network)| match network {
        Declared::Network(network) if names.contains(&name) => Some((name, network)),
        Declared::Network(_) | Declared::Predefined(_) => None,
    });
    networks.collect()
}

fn read(reader: &mut Reader<'_>, name: &str, field: &Field<'_>) -> Declared {
    let mut spec = own();
    let mut external = None;
    let mut ipv6 = None;
    let mut shaping: Vec<&str> = Vec::new();
    for (key, value) in reader.entries(field, keys::NETWORK) {
        if !matches!(key, "name" | "external") && !value.node.asks_nothing() {
            shaping.push(key);
        }
        match key {
            "name" => spec.name = reader.text(&value).unwrap_or_default(),
            "external" => external = read_external(reader, &value),
            "driver" => spec.driver = driver(reader, &value),
            "driver_opts" => spec.options = driver_options(reader, &value),
            "internal" => spec.internal = reader.boolean(&value).unwrap_or_default(),
            "attachable" => spec.attachable = reader.boolean(&value).unwrap_or_default(),
            "enable_ipv4" => {
                if reader.boolean(&value) == Some(false) {
                    reader.error(&value, "not supported: every network has IPv4 addresses");
                }
            }
            "enable_ipv6" => ipv6 = reader.boolean(&value).map(|wanted| (wanted, value)),
            "ipam" => ipam(reader, &value, &mut spec),
            // labels
            _ => spec.labels = reader.plain_pairs(&value),
        }
    }
    if let Some((wanted, value)) = ipv6 {
        spec.ipv6 = wanted;
        if !wanted && spec.subnets.iter().any(|subnet| subnet.addr().is_ipv6()) {
            reader.error(&value, "the network is given an IPv6 subnet all the same");
        }
    }
    let Some(real) = external else {
        return Declared::Network(StackNetwork::Own(spec));
    };
    if let [first, ..] = shaping.as_slice() {
        let message = format!("an external network is used as it is; {first} has no meaning beside external");
        reader.error(field, message);
    }
    let real = [real, spec.name].into_iter().find(|name| !name.is_empty());
    let real = real.unwrap_or_else(|| name.to_owned());
    match Predefined::named(&real) {
        Some(predefined) => Declared::Predefined(predefined),
        None => Declared::Network(StackNetwork::External(real)),
    }
}

/// The name that `external` itself gives, empty for none; `None` if the network is not external.
fn read_external(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<String> {
    if !field.is_mapping() {
        return reader.boolean(field)?.then(String::new);
    }
    let names = reader.entries(field, keys::EXTERNAL);
    let name = names.iter().find_map(|(_, name)| reader.text(name));
    Some(name.unwrap_or_default())
}

fn driver(reader: &mut Reader<'_>, field: &Field<'_>) -> NetworkDriver {
    match reader.text(field).as_deref() {
        None | Some("" | "default" | "overlay") => NetworkDriver::Overlay,
        Some("bridge") => NetworkDriver::Bridge,
        Some(name @ ("host" | "none")) => {
            reader.error(
                field,
                format!("not supported: write network_mode: {name} at the service instead"),
            );
            NetworkDriver::Overlay
        }
        Some(name @ ("macvlan" | "ipvlan")) => {
            reader.error(
                field,
                format!("not supported: with {name} a container would bypass names, virtual addresses and published ports"),
            );
            NetworkDriver::Overlay
        }
        Some(other) => {
            reader.error(field, format!("expected overlay or bridge, found {other:?}"));
            NetworkDriver::Overlay
        }
    }
}

/// The options that are carried out; each other one is reported, also where its value is false.
fn driver_options(reader: &mut Reader<'_>, field: &Field<'_>) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for (name, inner) in reader.named(field) {
        let rule = keys::rule(keys::NETWORK_OPTIONS, name);
        match rule {
            Some(Rule::Done) => {
                let value = if inner.node.is_null() {
                    Some(String::new())
                } else {
                    reader.text(&inner)
                };
                options.extend(value.map(|value| (name.to_owned(), value)));
            }
            Some(Rule::Ignored(reason)) => reader.warn(&inner, format!("not carried out: {reason}")),
            Some(Rule::Refused(reason)) => reader.error(&inner, format!("not supported: {reason}")),
            None => {
                let known = keys::NETWORK_OPTIONS.iter().map(|(name, _)| *name);
                let hint = nearest(name, known).map(|name| format!("; did you mean {name}?"));
                let hint = hint.unwrap_or_default();
                reader.error(&inner, format!("unknown option of a network's driver{hint}"));
            }
        }
    }
    options
}

fn ipam(reader: &mut Reader<'_>, field: &Field<'_>, spec: &mut NetworkSpec) {
    for (key, inner) in reader.entries(field, keys::IPAM) {
        if key == "driver" {
            if reader.text(&inner).is_some_and(|driver| driver != "default") {
                reader.error(
                    &inner,
                    "not supported: addresses are given by the cluster (driver default)",
                );
            }
            continue;
        }
        for item in reader.list(&inner) {
            for (_, subnet) in reader.entries(&item, keys::IPAM_CONFIG) {
                read_subnet(reader, &subnet, spec);
            }
        }
    }
}

fn read_subnet(reader: &mut Reader<'_>, field: &Field<'_>, spec: &mut NetworkSpec) {
    let Some(text) = reader.text(field) else { return };
    let Ok(subnet) = text.parse::<IpNet>() else {
        reader.error(
            field,
            format!("expected a range such as 10.5.0.0/24, found {text:?}"),
        );
        return;
    };
    let same_family = |other: &&IpNet| other.addr().is_ipv6() == subnet.addr().is_ipv6();
    if let Some(other) = spec.subnets.iter().find(same_family) {
        let message =
            format!("not supported: a network has one range of each family, and {other} is there already");
        reader.error(field, message);
        return;
    }
    if subnet.trunc() != subnet {
        let message = format!(
            "expected a range, found an address in it; write {}",
            subnet.trunc()
        );
        reader.error(field, message);
        return;
    }
    spec.subnets.push(subnet);
}
