//! How a script shows networks: who has which address, and what nodes know of it.

use super::Script;
use shoal_core::model::*;

impl Script {
    fn network_name(&self, id: &NetworkId) -> String {
        let network = self.world.view().network(id);
        network.map_or("(gone)".to_owned(), |network| network.spec.name.clone())
    }

    fn place(&self, place: &Attachment) -> String {
        let addresses: Vec<String> = place.addresses.iter().map(|a| a.to_string()).collect();
        format!("{} {}", self.network_name(&place.network), addresses.join(" "))
    }

    pub(super) fn networks(&self) -> String {
        let view = self.world.view();
        let mut lines: Vec<_> = view
            .networks()
            .map(|network| {
                let status = &network.status;
                let ranges = [
                    status.v4.map(|net| net.to_string()),
                    status.v6.map(|net| net.to_string()),
                ];
                let ranges: Vec<String> = ranges.into_iter().flatten().collect();
                let resting: u32 = status
                    .resting
                    .iter()
                    .filter(|rest| rest.until > self.world.now)
                    .map(|rest| rest.last - rest.first + 1)
                    .sum();
                let removed = if status.removed { " removed" } else { "" };
                format!(
                    "{:<12} {} held {} resting {resting}{removed}",
                    network.spec.name,
                    ranges.join(" "),
                    view.holders(&network.id).count(),
                )
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    /// What services are reached by.
    pub(super) fn endpoints(&self) -> String {
        let view = self.world.view();
        let mut lines: Vec<_> = view
            .services()
            .map(|service| {
                let mut words = vec![service.spec.name.clone()];
                for used in &service.endpoint.networks {
                    words.push(format!("in {}", self.network_name(&used.network)));
                    words
                        .extend((!used.aliases.is_empty()).then(|| format!("as {}", used.aliases.join(" "))));
                }
                for vip in &service.endpoint.vips {
                    words.push(format!("vip {}", self.place(vip)));
                }
                for port in &service.endpoint.ports {
                    let mode = format!("{:?}", port.mode).to_lowercase();
                    let protocol = port.protocol.name();
                    words.push(format!("{mode} {}:{}/{protocol}", port.published, port.target));
                }
                words.join(", ")
            })
            .collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    /// What a node's worker holds.
    pub(super) fn tables(&self, node: &str) -> String {
        let tables = &self.world.workers[&self.nodes[node]].tables;
        let mut lines = Vec::new();
        for network in tables.networks.values() {
            lines.push(format!("network {}", network.name));
        }
        for service in tables.services.values() {
            let networks: Vec<String> = service
                .networks
                .iter()
                .map(|(id, used)| {
                    let vip: Vec<String> = used
                        .vip
                        .iter()
                        .flat_map(|vip| vip.iter())
                        .map(|a| a.to_string())
                        .collect();
                    format!(
                        "{} [{}] {}",
                        self.network_name(id),
                        vip.join(" "),
                        used.aliases.join(" ")
                    )
                })
                .map(|text| text.trim_end().to_owned())
                .collect();
            let ports: Vec<String> = service
                .ports
                .iter()
                .map(|port| port.published.to_string())
                .collect();
            let line = format!(
                "service {} {} {}",
                service.name,
                networks.join(", "),
                ports.join(" ")
            );
            lines.push(line.trim_end().to_owned());
        }
        for (id, endpoint) in &tables.endpoints {
            let name = self.world.view().service(&endpoint.service);
            let name = name.map_or("(removed)".to_owned(), |service| service.spec.name.clone());
            let slot = match &endpoint.slot {
                Slot::Replica(number) => number.to_string(),
                Slot::Node(node) => self.hostname(node),
            };
            let places: Vec<String> = endpoint
                .attachments
                .iter()
                .map(|place| self.place(place))
                .collect();
            let draining = if endpoint.draining { " draining" } else { "" };
            let sequence = self.world.view().task(id).map_or(0, |task| task.sequence);
            let own = endpoint.ports.iter().flatten();
            let own: String = own
                .map(|port| format!(" at {}:{}", port.published, port.target))
                .collect();
            lines.push(format!(
                "endpoint {name}.{slot}#{sequence} on {} {}{draining}{own}",
                self.hostname(&endpoint.node),
                places.join(", ")
            ));
        }
        lines.sort();
        lines.join("\n") + "\n"
    }
}
