//! `links`: names by which a service wants to find others.
//!
//! Services of a network find each other by their names anyway. A link under another name (`db:database`)
//! becomes an alias of the linked service in the networks that both join, for everybody there.

use crate::{
    reader::{Field, Reader},
    service::meant,
};
use shoal_core::model::{NetworkMode, NetworkUse, ServiceSpec, StackSpec};
use std::collections::BTreeSet;

/// Settles the links of the stack's services, once all of them are read.
pub(crate) fn settle(reader: &mut Reader<'_>, services: &[(&str, Field<'_>)], stack: &mut StackSpec) {
    for (name, service) in services {
        let links = service.node.get("links").filter(|links| !links.is_null());
        let (Some(links), true) = (links, stack.services.contains_key(*name)) else {
            continue;
        };
        for item in reader.list(&Field::new(links, format!("{}.links", service.path))) {
            let Some(text) = reader.text(&item) else { continue };
            let (target, alias) = text.split_once(':').unwrap_or((&text, &text));
            link(reader, stack, &item, (name, target, alias));
        }
    }
}

fn link(
    reader: &mut Reader<'_>,
    stack: &mut StackSpec,
    field: &Field<'_>,
    (name, target, alias): (&str, &str, &str),
) {
    let Some(linked) = stack.services.get(target) else {
        let hint = meant(target, stack.services.keys());
        reader.error(field, format!("there is no service {target:?} to link to{hint}"));
        return;
    };
    let own = stack.services.get(name).map(joined).unwrap_or_default();
    let shared: BTreeSet<String> = joined(linked).intersection(&own).cloned().collect();
    if shared.is_empty() {
        let message = format!("not carried out: {name} and {target} have no network in common");
        reader.warn(field, message);
        return;
    }
    if alias == target {
        return;
    }
    let is_taken = |(other, spec): (&String, &ServiceSpec)| {
        let known = |place: &NetworkUse| other == alias || place.aliases.iter().any(|known| known == alias);
        other != target
            && spec
                .task
                .networks
                .iter()
                .any(|place| shared.contains(&place.network) && known(place))
    };
    if stack.services.iter().any(is_taken) {
        let message = format!("{alias:?} is the name of another service in the network that both join");
        reader.error(field, message);
        return;
    }
    let Some(linked) = stack.services.get_mut(target) else {
        return;
    };
    for place in &mut linked.task.networks {
        if shared.contains(&place.network) && !place.aliases.iter().any(|known| known == alias) {
            place.aliases.push(alias.to_owned());
        }
    }
}

/// The networks that a service joins, by their names in the file.
fn joined(spec: &ServiceSpec) -> BTreeSet<String> {
    match spec.task.container.network {
        NetworkMode::Networks => {
            let networks = spec.task.networks.iter();
            networks.map(|place| place.network.clone()).collect()
        }
        NetworkMode::Host | NetworkMode::None => BTreeSet::new(),
    }
}
