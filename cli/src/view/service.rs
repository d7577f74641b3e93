//! A service as a row of `service ls`, as JSON, and for people (`inspect --pretty`).
//!
//! How many tasks run is the manager's count, taken from one view of its store.

use super::{
    labels_text, meta_json,
    network::addresses,
    short_id,
    spec::{endpoint_mode_name, endpoint_spec_json, port_json, spec_json},
};
use crate::{
    output::{Column, Listing},
    spec::{joined_text, ports_text},
    units::{ago, human_size, rfc3339},
};
use serde_json::{Value, json};
use shoal_core::model::{Mode, PublishedPort, Service, UpdateState, UpdateStatus, WallTime};

/// A service and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) service: Service,
    pub(crate) running: u32,
    pub(crate) desired: u32,
    /// The stack's name, empty without one.
    pub(crate) stack: String,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "ID"),
    Column::new("Name", "NAME"),
    Column::new("Mode", "MODE"),
    Column::new("Replicas", "REPLICAS"),
    Column::new("Image", "IMAGE"),
    Column::new("Ports", "PORTS"),
    Column::hidden("Labels", "LABELS"),
    Column::hidden("Stack", "STACK"),
];

pub(crate) fn listing(summaries: &[Summary], whole_ids: bool) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for summary in summaries {
        let spec = &summary.service.spec;
        listing.push(vec![
            short_id(summary.service.id.as_str(), whole_ids).into(),
            spec.name.as_str().into(),
            mode_name(&spec.mode).into(),
            replicas(summary).into(),
            spec.task.container.image.as_str().into(),
            ports_text(ports(&summary.service)).into(),
            labels_text(&spec.labels).into(),
            summary.stack.as_str().into(),
        ]);
    }
    listing
}

/// With the numbers that were chosen.
fn ports(service: &Service) -> &[PublishedPort] {
    if service.endpoint.ports.is_empty() {
        &service.spec.ports
    } else {
        &service.endpoint.ports
    }
}

pub(crate) fn mode_name(mode: &Mode) -> &'static str {
    match mode {
        Mode::Replicated { .. } => "replicated",
        Mode::Global => "global",
    }
}

fn replicas(summary: &Summary) -> String {
    let text = format!("{}/{}", summary.running, summary.desired);
    match summary.service.spec.task.placement.max_replicas_per_node {
        0 => text,
        most => format!("{text} (max {most} per node)"),
    }
}

pub(crate) fn json(summary: &Summary) -> Value {
    let service = &summary.service;
    let mut object = meta_json(service.id.as_str(), &service.meta);
    object.insert("Spec".to_owned(), spec_json(&service.spec));
    object.insert("Endpoint".to_owned(), endpoint_json(service));
    object.insert("Revision".to_owned(), json!(service.revision));
    object.insert(
        "ServiceStatus".to_owned(),
        json!({"RunningTasks": summary.running, "DesiredTasks": summary.desired}),
    );
    let stack = (!summary.stack.is_empty()).then_some(&summary.stack);
    object.insert("Stack".to_owned(), json!(stack));
    let update = service.update.as_ref().map(|update| {
        let mut status = json!({
            "State": update_state(update),
            "StartedAt": rfc3339(update.started_at),
            "Message": update.message,
        });
        if let Some(finished) = update.finished_at {
            status["CompletedAt"] = json!(rfc3339(finished));
        }
        status
    });
    object.insert("UpdateStatus".to_owned(), json!(update));
    Value::Object(object)
}

/// What the service was given to be reached by.
fn endpoint_json(service: &Service) -> Value {
    let endpoint = &service.endpoint;
    let ports: Vec<_> = endpoint.ports.iter().map(port_json).collect();
    let vips = endpoint.vips.iter().flat_map(|vip| {
        let entry =
            |address: std::net::IpAddr| json!({"NetworkID": vip.network.as_str(), "Addr": address.to_string()});
        vip.addresses.iter().map(entry)
    });
    json!({
        "Spec": endpoint_spec_json(&service.spec),
        "Ports": ports,
        "VirtualIPs": vips.collect::<Vec<_>>(),
    })
}

pub(crate) fn update_state(update: &UpdateStatus) -> &'static str {
    match update.state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
    }
}

/// What `inspect --pretty` prints.
pub(crate) fn pretty(summary: &Summary, now: WallTime) -> String {
    let service = &summary.service;
    let spec = &service.spec;
    let container = &spec.task.container;
    let mut lines = vec![("ID", service.id.to_string()), ("Name", spec.name.clone())];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            lines.push((name, value));
        }
    };
    add("Stack", summary.stack.clone());
    add("Labels", labels_text(&spec.labels));
    add("Mode", mode_name(&spec.mode).to_owned());
    add("Running", replicas(summary));
    if let Some(update) = &service.update {
        add(
            "Update",
            format!(
                "{}, started {}: {}",
                update_state(update),
                ago(update.started_at, now),
                update.message
            ),
        );
    }
    add("Revision", service.revision.to_string());
    add("Constraints", spec.task.placement.constraints.join(", "));
    add("Image", container.image.clone());
    add("Digest", container.image_digest.clone().unwrap_or_default());
    add(
        "Entrypoint",
        container.command.clone().unwrap_or_default().join(" "),
    );
    add("Args", container.args.clone().unwrap_or_default().join(" "));
    let names: Vec<_> = container.env.keys().map(String::as_str).collect();
    add("Environment", names.join(", "));
    add("User", container.user.clone().unwrap_or_default());
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| mount.target.as_str())
        .collect();
    add("Mounts", mounts.join(", "));
    let limits = &container.limits;
    add(
        "Memory limit",
        limits.memory.map(|bytes| human_size(bytes.0)).unwrap_or_default(),
    );
    add(
        "Pids limit",
        limits.pids.map(|pids| pids.to_string()).unwrap_or_default(),
    );
    add("Networks", joined_text(spec));
    add("Endpoint mode", endpoint_mode_name(spec.endpoint_mode).to_owned());
    add("Addresses", addresses(&service.endpoint.vips).join(", "));
    add("Ports", ports_text(ports(service)));
    add("Created", ago(service.meta.created_at, now));
    let mut out = String::new();
    for (name, value) in lines {
        out.push_str(&format!("{:<15}{value}\n", format!("{name}:")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::spec_of;
    use shoal_core::model::{
        Addresses, Attachment, IdGen, Meta, NetworkId, PortMode, ServiceEndpoint, ServiceId,
    };

    fn summary() -> Summary {
        let mut ids = IdGen::from_number(1);
        let spec =
            spec_of("--name web --network front --network name=back,alias=w -p 80 -p 8443:443 img").unwrap();
        let mut ports = spec.ports.clone();
        ports[0].published = 30_000;
        let vip = Attachment {
            network: NetworkId::mint(&mut ids),
            number: 2,
            addresses: Addresses {
                v4: Some([10, 128, 4, 2].into()),
                v6: Some("fd00:1::2".parse().unwrap()),
            },
        };
        Summary {
            service: Service {
                id: ServiceId::mint(&mut ids),
                meta: Meta::default(),
                spec,
                revision: 1,
                stack: None,
                endpoint: ServiceEndpoint {
                    vips: vec![vip],
                    ports,
                    ..ServiceEndpoint::default()
                },
                update: None,
            },
            running: 1,
            desired: 1,
            stack: String::new(),
        }
    }

    #[test]
    fn an_endpoint_has_dockers_keys_and_chosen_numbers() {
        let mut summary = summary();
        let shown = json(&summary);
        let network = summary.service.endpoint.vips[0].network.to_string();
        let port = |published: u16, target: u16| json!({"Protocol": "tcp", "TargetPort": target, "PublishedPort": published, "PublishMode": "ingress"});
        assert_eq!(
            shown["Endpoint"],
            json!({
                "Spec": {"Mode": "vip", "Ports": [port(0, 80), port(8443, 443)]},
                "Ports": [port(30_000, 80), port(8443, 443)],
                "VirtualIPs": [
                    {"NetworkID": network, "Addr": "10.128.4.2"},
                    {"NetworkID": network, "Addr": "fd00:1::2"},
                ],
            })
        );
        assert_eq!(
            shown["Spec"]["TaskTemplate"]["Networks"],
            json!([{"Target": "front"}, {"Target": "back", "Aliases": ["w"]}])
        );
        let ports = &mut summary.service.endpoint.ports;
        ports[0].mode = PortMode::Host;
        ports[0].host_ip = Some([127, 0, 0, 1].into());
        let shown = json(&summary);
        assert_eq!(shown["Endpoint"]["Ports"][0]["PublishMode"], "host");
        assert_eq!(shown["Endpoint"]["Ports"][0]["HostIP"], "127.0.0.1");
    }

    #[test]
    fn people_see_networks_addresses_and_ports() {
        let text = pretty(&summary(), WallTime(0));
        for line in [
            "Networks:      front, back\n",
            "Endpoint mode: vip\n",
            "Addresses:     10.128.4.2, fd00:1::2\n",
            "Ports:         *:8443->443/tcp, *:30000->80/tcp\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
