//! A network as a row of `network ls` and as JSON; and addresses wherever they are shown.
//!
//! The keys are Docker's; `Scope` says cluster for what spans nodes.

use super::{labels_text, short_id};
use crate::{
    output::{Column, Listing},
    units::rfc3339,
};
use serde_json::{Map, Value, json};
use shoal_api::v1::NetworkService;
use shoal_core::model::{Addresses, Attachment, Network, NetworkDriver};

/// A network and who owns it.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) network: Network,
    /// The stack's name, empty without one.
    pub(crate) stack: String,
    pub(crate) services: u32,
    /// Those that hold an address and have not ended.
    pub(crate) tasks: u32,
}

impl Summary {
    /// May `prune` take it away?
    pub(crate) fn is_unused(&self) -> bool {
        !self.network.spec.ingress && self.stack.is_empty() && self.services == 0
    }
}

/// A service in a network.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Absent where its name stands for the addresses of all tasks.
    pub(crate) vip: Option<Addresses>,
    pub(crate) aliases: Vec<String>,
    pub(crate) running: u32,
    pub(crate) desired: u32,
}

impl TryFrom<NetworkService> for Member {
    type Error = anyhow::Error;

    fn try_from(service: NetworkService) -> Result<Self, Self::Error> {
        Ok(Self {
            id: service.id,
            name: service.name,
            vip: service.vip.map(TryInto::try_into).transpose()?,
            aliases: service.aliases,
            running: service.running,
            desired: service.desired,
        })
    }
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "NETWORK ID"),
    Column::new("Name", "NAME"),
    Column::new("Driver", "DRIVER"),
    Column::new("Scope", "SCOPE"),
    Column::hidden("IPv4", "IPV4"),
    Column::hidden("IPv6", "IPV6"),
    Column::hidden("Subnets", "SUBNETS"),
    Column::hidden("Internal", "INTERNAL"),
    Column::hidden("Attachable", "ATTACHABLE"),
    Column::hidden("Ingress", "INGRESS"),
    Column::hidden("Labels", "LABELS"),
    Column::hidden("Stack", "STACK"),
    Column::hidden("Services", "SERVICES"),
    Column::hidden("Tasks", "TASKS"),
    Column::hidden("CreatedAt", "CREATED AT"),
];

pub(crate) fn listing(networks: &[Summary], whole_ids: bool) -> Listing {
    let mut networks: Vec<_> = networks.iter().collect();
    networks.sort_by(|a, b| a.network.spec.name.cmp(&b.network.spec.name));
    let mut listing = Listing::new(COLUMNS);
    for summary in networks {
        let network = &summary.network;
        let spec = &network.spec;
        listing.push(vec![
            short_id(network.id.as_str(), whole_ids).into(),
            spec.name.as_str().into(),
            driver_name(spec.driver).into(),
            scope_name(spec.driver).into(),
            network.status.v4.is_some().into(),
            network.status.v6.is_some().into(),
            subnets(network).join(", ").into(),
            spec.internal.into(),
            spec.attachable.into(),
            spec.ingress.into(),
            labels_text(&spec.labels).into(),
            summary.stack.as_str().into(),
            summary.services.into(),
            summary.tasks.into(),
            rfc3339(network.meta.created_at).into(),
        ]);
    }
    listing
}

pub(crate) fn driver_name(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Overlay => "overlay",
        NetworkDriver::Bridge => "bridge",
    }
}

pub(crate) fn scope_name(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Overlay => "cluster",
        NetworkDriver::Bridge => "local",
    }
}

/// The ranges in force, IPv4 first.
pub(crate) fn subnets(network: &Network) -> Vec<String> {
    let v4 = network.status.v4.map(|subnet| subnet.to_string());
    let v6 = network.status.v6.map(|subnet| subnet.to_string());
    v4.into_iter().chain(v6).collect()
}

pub(crate) fn json(summary: &Summary, members: &[Member]) -> Value {
    let network = &summary.network;
    let spec = &network.spec;
    let subnets = subnets(network);
    let config: Vec<_> = subnets.iter().map(|subnet| json!({"Subnet": subnet})).collect();
    json!({
        "Name": spec.name,
        "Id": network.id.as_str(),
        "Created": rfc3339(network.meta.created_at),
        "Scope": scope_name(spec.driver),
        "Driver": driver_name(spec.driver),
        "EnableIPv4": network.status.v4.is_some(),
        "EnableIPv6": network.status.v6.is_some(),
        "IPAM": {"Driver": "default", "Config": config},
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": spec.ingress,
        "Options": spec.options,
        "Labels": spec.labels,
        "Services": members.iter().map(member_json).collect::<Map<_, _>>(),
        "Tasks": summary.tasks,
        "Stack": (!summary.stack.is_empty()).then_some(&summary.stack),
    })
}

fn member_json(member: &Member) -> (String, Value) {
    let vips = member.vip.into_iter().flat_map(Addresses::iter);
    let vips: Vec<_> = vips.map(|address| address.to_string()).collect();
    let shown = json!({
        "ID": member.id,
        "VirtualIPs": vips,
        "Aliases": member.aliases,
        "RunningTasks": member.running,
        "DesiredTasks": member.desired,
    });
    (member.name.clone(), shown)
}

/// Every address of these attachments.
pub(crate) fn addresses(attachments: &[Attachment]) -> Vec<String> {
    let all = attachments
        .iter()
        .flat_map(|attachment| attachment.addresses.iter());
    all.map(|address| address.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::ListArgs;
    use shoal_core::model::{IdGen, Meta, NetworkId, NetworkSpec, NetworkStatus};

    fn summary() -> Summary {
        let mut ids = IdGen::from_number(1);
        Summary {
            network: Network {
                id: NetworkId::mint(&mut ids),
                meta: Meta::default(),
                spec: NetworkSpec {
                    name: "app_front".to_owned(),
                    internal: true,
                    ipv6: true,
                    ..NetworkSpec::default()
                },
                stack: None,
                status: NetworkStatus {
                    v4: Some("10.128.4.0/22".parse().unwrap()),
                    v6: Some("fd00:1::/64".parse().unwrap()),
                    ..NetworkStatus::default()
                },
            },
            stack: "app".to_owned(),
            services: 1,
            tasks: 3,
        }
    }

    #[test]
    fn a_network_has_dockers_keys() {
        let summary = summary();
        let member = Member {
            id: "s1".to_owned(),
            name: "app_web".to_owned(),
            vip: Some(Addresses {
                v4: Some([10, 128, 4, 2].into()),
                v6: None,
            }),
            aliases: vec!["web".to_owned()],
            running: 2,
            desired: 3,
        };
        let shown = json(&summary, &[member]);
        for (key, expect) in [
            ("Name", json!("app_front")),
            ("Id", json!(summary.network.id.as_str())),
            ("Scope", json!("cluster")),
            ("Driver", json!("overlay")),
            ("EnableIPv6", json!(true)),
            ("Internal", json!(true)),
            ("Ingress", json!(false)),
            ("Stack", json!("app")),
            (
                "IPAM",
                json!({"Driver": "default", "Config": [{"Subnet": "10.128.4.0/22"}, {"Subnet": "fd00:1::/64"}]}),
            ),
            (
                "Services",
                json!({"app_web": {
                    "ID": "s1", "VirtualIPs": ["10.128.4.2"], "Aliases": ["web"], "RunningTasks": 2, "DesiredTasks": 3,
                }}),
            ),
        ] {
            assert_eq!(shown[key], expect, "{key}");
        }
        let short = short_id(summary.network.id.as_str(), false);
        let table = listing(&[summary], false).render(&ListArgs::default()).unwrap();
        let words: Vec<_> = table.split_whitespace().collect();
        let expect = [
            "NETWORK",
            "ID",
            "NAME",
            "DRIVER",
            "SCOPE",
            short.as_str(),
            "app_front",
            "overlay",
            "cluster",
        ];
        assert_eq!(words, expect);
    }
}
