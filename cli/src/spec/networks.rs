//! `--network` and its like: which networks a service joins, and under which further names.
//!
//! `host` and `none` are no networks but the container's network mode: they stand alone.

use shoal_core::model::{NetworkMode, NetworkUse, ServiceSpec};

/// One value of `--network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NetworkArg {
    Mode(NetworkMode),
    Join(NetworkUse),
}

/// `NAME`, `host`, `none`, or `name=NAME,alias=ALIAS,…`.
pub(crate) fn network(text: &str) -> Result<NetworkArg, String> {
    let mut wanted = NetworkUse::default();
    if text.contains('=') {
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("name", name)) => name.clone_into(&mut wanted.network),
                Some(("alias", alias)) if !alias.is_empty() => wanted.aliases.push(alias.to_owned()),
                Some(("driver-opt", _)) => {
                    return Err("there are no driver options for a service's place in a network".to_owned());
                }
                _ => return Err(format!("expected name= or alias=, found {part:?}")),
            }
        }
    } else {
        text.clone_into(&mut wanted.network);
    }
    if wanted.network.is_empty() {
        return Err(format!("expected a network's name, host or none, found {text:?}"));
    }
    match (mode_named(&wanted.network), wanted.aliases.is_empty()) {
        (Some(mode), true) => Ok(NetworkArg::Mode(mode)),
        (Some(_), false) => Err(format!("{} has no names, so no aliases", wanted.network)),
        (None, _) => Ok(NetworkArg::Join(wanted)),
    }
}

fn mode_named(name: &str) -> Option<NetworkMode> {
    match name {
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        _ => None,
    }
}

pub(crate) fn mode_name(mode: NetworkMode) -> Option<&'static str> {
    match mode {
        NetworkMode::Networks => None,
        NetworkMode::Host => Some("host"),
        NetworkMode::None => Some("none"),
    }
}

/// Takes networks away and adds others; one that is there already gets the new aliases.
pub(crate) fn change(
    spec: &mut ServiceSpec,
    removed: &[String],
    added: Vec<NetworkArg>,
) -> Result<(), String> {
    let has = joined_text(spec);
    let task = &mut spec.task;
    for name in removed {
        let before = task.networks.len();
        task.networks.retain(|place| place.network != *name);
        if mode_named(name) == Some(task.container.network) {
            task.container.network = NetworkMode::Networks;
        } else if task.networks.len() == before {
            return Err(format!(
                "--network-rm: the service does not join {name}; it joins {has}"
            ));
        }
    }
    for wanted in added {
        let current = (mode_name(task.container.network), task.networks.first());
        match (wanted, current) {
            (NetworkArg::Mode(mode), (None, None)) => task.container.network = mode,
            (NetworkArg::Mode(mode), _) if mode == task.container.network => {}
            (NetworkArg::Join(place), (None, _)) => {
                match task.networks.iter_mut().find(|old| old.network == place.network) {
                    Some(old) => *old = place,
                    None => task.networks.push(place),
                }
            }
            (NetworkArg::Mode(_), _) | (NetworkArg::Join(_), (Some(_), _)) => {
                return Err(
                    "host and none stand alone: a service joins networks, or has one of them".to_owned(),
                );
            }
        }
    }
    Ok(())
}

/// What a service joins, in words.
pub(crate) fn joined_text(spec: &ServiceSpec) -> String {
    if let Some(mode) = mode_name(spec.task.container.network) {
        return mode.to_owned();
    }
    let names: Vec<&str> = spec
        .task
        .networks
        .iter()
        .map(|place| place.network.as_str())
        .collect();
    match names.as_slice() {
        [] => shoal_core::model::INGRESS.to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_flag() {
        let place = |name: &str, aliases: &[&str]| {
            NetworkArg::Join(NetworkUse {
                network: name.to_owned(),
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            })
        };
        for (text, expect) in [
            ("front", Ok(place("front", &[]))),
            ("host", Ok(NetworkArg::Mode(NetworkMode::Host))),
            ("name=none", Ok(NetworkArg::Mode(NetworkMode::None))),
            ("name=front,alias=a,alias=b", Ok(place("front", &["a", "b"]))),
            ("alias=a,name=front", Ok(place("front", &["a"]))),
            ("", Err("expected a network's name")),
            ("alias=a", Err("expected a network's name")),
            ("name=host,alias=a", Err("no aliases")),
            ("name=x,ip=10.0.0.1", Err("expected name= or alias=")),
            ("name=x,driver-opt=a=b", Err("no driver options")),
        ] {
            match (network(text), expect) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
