//! One service of the file to one `ServiceSpec`.
//!
//! The keys are read into a `Draft`, a domain a file below `service/`; what depends on more than one key
//! (limits given twice, networks and ports) is settled in `finish`.

mod deploy;
mod environment;
mod health;
mod limits;
mod mounts;
mod names;
mod network;
mod ports;
mod program;

use crate::{
    keys,
    load::{Files, is_name},
    networks::Declared,
    reader::{Field, Reader},
    suggest::nearest,
};
use deploy::Deploy;
use environment::Environment;
use limits::Amounts;
use network::Network;
use shoal_core::model::{ContainerSpec, Labels, Mode, RestartPolicy, ServiceSpec, TaskSpec};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use mounts::{Volume, volumes};

/// What a service is read with.
pub(crate) struct Scope<'a> {
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) project_dir: &'a str,
    pub(crate) stack: &'a str,
    pub(crate) networks: &'a BTreeMap<String, Declared>,
    pub(crate) volumes: &'a BTreeMap<String, Volume>,
    pub(crate) profiles: &'a BTreeSet<String>,
    pub(crate) files: &'a mut dyn Files,
}

/// What the keys of a service said.
#[derive(Default)]
struct Draft<'a> {
    container: ContainerSpec,
    deploy: Deploy<'a>,
    environment: Environment<'a>,
    network: Network<'a>,
    amounts: Amounts<'a>,
    restart: Option<(RestartPolicy, Field<'a>)>,
    scale: Option<(u32, Field<'a>)>,
    build: Option<Field<'a>>,
    label_files: Option<Field<'a>>,
    labels: Labels,
}

/// The service's spec; `None` if no active profile names it or it cannot be read (then there is a message).
pub(crate) fn read(
    reader: &mut Reader<'_>,
    name: &str,
    field: &Field<'_>,
    scope: &mut Scope<'_>,
) -> Option<ServiceSpec> {
    if !is_name(name) {
        reader.error(
            field,
            format!("expected a service name of letters, digits, - and _, found {name:?}"),
        );
        return None;
    }
    if !field.is_mapping() {
        reader.error(field, format!("expected a mapping, found {}", field.node.kind()));
        return None;
    }
    if !active(reader, field, scope) {
        return None;
    }
    let mut draft = Draft::default();
    for (key, inner) in reader.entries(field, keys::SERVICE) {
        let taken = program::take(reader, &mut draft, key, &inner)
            || limits::take(reader, &mut draft, key, &inner)
            || draft.network.take(key, &inner)
            || names::take(reader, &mut draft.container, key, &inner)
            || draft.environment.take(key, &inner)
            || mounts::take(reader, &mut draft.container, key, (&inner, scope));
        if !taken {
            take_rest(reader, &mut draft, key, &inner);
        }
    }
    finish(reader, draft, (name, field), scope)
}

fn active(reader: &mut Reader<'_>, field: &Field<'_>, scope: &Scope<'_>) -> bool {
    let Some(profiles) = field.node.get("profiles") else {
        return true;
    };
    let listed = Field::new(profiles, format!("{}.profiles", field.path));
    let profiles = reader.texts(&listed);
    profiles.is_empty()
        || scope.profiles.contains("*")
        || profiles.iter().any(|name| scope.profiles.contains(name))
}

fn take_rest<'a>(reader: &mut Reader<'_>, draft: &mut Draft<'a>, key: &str, field: &Field<'a>) {
    match key {
        "build" => draft.build = Some(field.clone()),
        "deploy" => draft.deploy = deploy::read(reader, field),
        "depends_on" => depends_on(reader, field),
        "healthcheck" => draft.container.health = health::read(reader, field),
        "label_file" => draft.label_files = Some(field.clone()),
        "labels" => draft.labels = reader.plain_pairs(field),
        "restart" => {
            draft.restart = deploy::restart(reader, field).map(|policy| (policy, field.clone()));
        }
        "scale" => {
            draft.scale = reader
                .parsed(field, "a number of replicas")
                .map(|scale| (scale, field.clone()));
        }
        // `profiles` was read before anything else, `links` are settled once all services are known. In a network every
        // port is reached by its members, so that `expose` asks for what there is.
        _ => {}
    }
}

fn depends_on(reader: &mut Reader<'_>, field: &Field<'_>) {
    if !field.node.asks_nothing() {
        reader.warn(
            field,
            "not carried out yet: services start side by side; let the program wait or exit and be restarted",
        );
    }
}

fn finish(
    reader: &mut Reader<'_>,
    mut draft: Draft<'_>,
    (name, field): (&str, &Field<'_>),
    scope: &mut Scope<'_>,
) -> Option<ServiceSpec> {
    image(reader, &draft, field);
    let container = &mut draft.container;
    container.env = draft.environment.finish(reader, scope);
    container.labels = environment::label_files(reader, draft.label_files.as_ref(), scope);
    container.labels.append(&mut draft.labels);
    let network = draft.network.settle(reader, scope);
    container.network = network.mode;
    let (limits, reservations) = limits::settle(reader, &draft.amounts, &draft.deploy.amounts);
    container.limits = limits;
    templates(reader, container, field);
    let mode = mode(reader, &draft.deploy, draft.scale.as_ref());
    let restart = match (draft.deploy.restart, draft.restart) {
        (Some(policy), Some((_, compose))) => {
            reader.warn(
                &compose,
                "not carried out: deploy.restart_policy stands beside it and wins",
            );
            policy
        }
        (Some(policy), None) | (None, Some((policy, _))) => policy,
        (None, None) => RestartPolicy::default(),
    };
    Some(ServiceSpec {
        name: format!("{}_{name}", scope.stack),
        labels: draft.deploy.labels,
        mode,
        task: TaskSpec {
            container: draft.container,
            networks: network.networks,
            reservations,
            placement: draft.deploy.placement,
            restart,
            force_update: 0,
        },
        ports: network.ports,
        endpoint_mode: draft.deploy.endpoint_mode,
        update: draft.deploy.update.unwrap_or_default(),
    })
}

fn image(reader: &mut Reader<'_>, draft: &Draft<'_>, field: &Field<'_>) {
    const WAY: &str = "images are not built here; build it elsewhere and hand it over with `docker save IMAGE | shoal image load`";
    match (&draft.build, draft.container.image.is_empty()) {
        (Some(build), false) => {
            reader.warn(
                build,
                format!(
                    "not carried out: {WAY}; the service runs {}",
                    draft.container.image
                ),
            );
        }
        (Some(build), true) => {
            reader.error(build, format!("not supported: {WAY}, then name it with `image:`"));
        }
        (None, false) => {}
        (None, true) => {
            // An `image:` that is there and empty was already reported.
            if field.node.get("image").is_none_or(crate::tree::Node::is_null) {
                reader.error(field, "the service names no image");
            }
        }
    }
}

fn mode(reader: &mut Reader<'_>, deploy: &Deploy<'_>, scale: Option<&(u32, Field<'_>)>) -> Mode {
    let replicas = match (&deploy.replicas, scale) {
        (Some((replicas, _)), Some((scale, field))) if replicas != scale => {
            reader.error(
                field,
                format!("deploy.replicas says {replicas}, scale says {scale}"),
            );
            None
        }
        (Some(given), _) | (None, Some(given)) => Some(given),
        (None, None) => None,
    };
    match (deploy.global, replicas) {
        (true, Some((_, field))) => {
            reader.error(
                field,
                "a global service has one task on every node; it takes no number of replicas",
            );
            Mode::Global
        }
        (true, None) => Mode::Global,
        (false, replicas) => Mode::Replicated {
            replicas: replicas.map_or(1, |(replicas, _)| *replicas),
        },
    }
}

/// Swarm's placeholders would reach the program as they stand: refused rather than passed on.
fn templates(reader: &mut Reader<'_>, container: &ContainerSpec, field: &Field<'_>) {
    let is_template = |text: &str| {
        text.split("{{").skip(1).any(|rest| {
            let rest = rest.trim_start();
            [".Node.", ".Service.", ".Task."]
                .iter()
                .any(|name| rest.starts_with(name))
        })
    };
    let env = container.env.iter().map(|(name, value)| (name.as_str(), value));
    let hostname = container.hostname.iter().map(|hostname| ("hostname", hostname));
    for (name, value) in env.chain(hostname) {
        if is_template(value) {
            let message = format!("{name} holds the placeholder {value:?}; placeholders are not built yet");
            reader.error(field, message);
        }
    }
}

/// "Did you mean" for the names a file declares itself.
pub(crate) fn meant<'a>(name: &str, declared: impl IntoIterator<Item = &'a String>) -> String {
    nearest(name, declared.into_iter().map(String::as_str))
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
