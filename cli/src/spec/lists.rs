//! The flags with many values: given whole by `service create`, added to and taken from by `service update`.
//!
//! As in Docker, what `--X-rm` names is the key: a variable's name, a label's key, a mount's target, a
//! port's target, a network's name.

use super::{
    networks::{self, NetworkArg, network},
    ports::{PortPattern, Ports, port_pattern, ports},
    values::{Pair, host, mount, pair, preference, ulimit},
};
use crate::{
    complete::{Names, names},
    failure::usage,
};
use anyhow::{Context, Result};
use clap::Args;
use shoal_core::model::{DnsSpec, Labels, Mount, Preference, ServiceSpec, Ulimit};
use std::{collections::BTreeMap, fs, net::IpAddr};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CreateLists {
    /// Environment variable; NAME alone takes the caller's own
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<Pair>,
    /// File of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Label of the service
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<Pair>,
    /// Label of the containers
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    container_label: Vec<Pair>,
    /// Mount: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_parser = mount)]
    mount: Vec<Mount>,
    /// Port to publish: [ADDRESS:][PUBLISHED:]TARGET[/udp], or published=…,target=…,protocol=…,mode=ingress|host
    #[arg(short, long, value_name = "PORT", value_parser = ports)]
    publish: Vec<Ports>,
    /// Network to join: its name, name=…,alias=…, or host or none
    #[arg(long, value_parser = network, add = names(Names::Networks))]
    network: Vec<NetworkArg>,
    /// Where tasks may run: node.labels.zone==a
    #[arg(long)]
    constraint: Vec<String>,
    /// Over what tasks are spread: spread=node.labels.zone
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref: Vec<Preference>,
    /// Supplementary group
    #[arg(long, alias = "group-add")]
    group: Vec<String>,
    /// Line of /etc/hosts: NAME:ADDRESS, or NAME:host-gateway for the host
    #[arg(long, value_name = "NAME:ADDRESS", alias = "add-host", value_parser = host)]
    host: Vec<(String, String)>,
    /// Resolver for names that are not the cluster's (the host's if not given)
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Domain in which short names are looked up
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver, as in resolv.conf
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Linux capability to add
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Linux capability to drop
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Kernel parameter
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    sysctl: Vec<Pair>,
    /// Limit of the process: NAME=SOFT[:HARD]
    #[arg(long, value_parser = ulimit)]
    ulimit: Vec<(String, Ulimit)>,
}

impl CreateLists {
    /// The variables of `--env-file`. As `docker run` takes them: the values as they stand.
    pub(crate) fn env_of_files(&self) -> Result<BTreeMap<String, String>> {
        let own = |name: &str| std::env::var(name).ok();
        let mut env = BTreeMap::new();
        for path in &self.env_file {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            let values = shoal_compose::parse_env_file(&text, true, &own);
            env.extend(values.map_err(|error| usage(format!("{path}: {error}")))?);
        }
        Ok(env)
    }

    /// `own` is the caller's environment, for variables named without a value.
    pub(crate) fn apply(
        self,
        spec: &mut ServiceSpec,
        own: &dyn Fn(&str) -> Option<String>,
    ) -> std::result::Result<(), String> {
        let container = &mut spec.task.container;
        for Pair { key, value } in self.env {
            match value.or_else(|| own(&key)) {
                Some(value) => container.env.insert(key, value),
                None => container.env.remove(&key),
            };
        }
        add_labels(&mut spec.labels, self.label);
        add_labels(&mut container.labels, self.container_label);
        add_labels(&mut container.sysctls, self.sysctl);
        for mount in self.mount {
            if container.mounts.iter().any(|other| other.target == mount.target) {
                return Err(format!("--mount: {} is mounted twice", mount.target));
            }
            container.mounts.push(mount);
        }
        container.groups = self.group;
        container.extra_hosts = self.host;
        container.dns = DnsSpec {
            servers: self.dns,
            search: self.dns_search,
            options: self.dns_option,
        };
        container.cap_add = self.cap_add;
        container.cap_drop = self.cap_drop;
        container.ulimits.extend(self.ulimit);
        spec.ports = self.publish.into_iter().flat_map(|ports| ports.0).collect();
        spec.task.placement.constraints = self.constraint;
        spec.task.placement.preferences = self.placement_pref;
        networks::change(spec, &[], self.network)
    }
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpdateLists {
    /// Add or change an environment variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env_add: Vec<Pair>,
    /// Remove an environment variable
    #[arg(long, value_name = "NAME")]
    env_rm: Vec<String>,
    /// Add or change a label of the service
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label_add: Vec<Pair>,
    /// Remove a label of the service
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Add or change a label of the containers
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    container_label_add: Vec<Pair>,
    /// Remove a label of the containers
    #[arg(long, value_name = "KEY")]
    container_label_rm: Vec<String>,
    /// Add a mount, or replace the one with its target
    #[arg(long, value_name = "MOUNT", value_parser = mount)]
    mount_add: Vec<Mount>,
    /// Remove a mount by its target
    #[arg(long, value_name = "TARGET")]
    mount_rm: Vec<String>,
    /// Publish another port
    #[arg(long, value_name = "PORT", value_parser = ports)]
    publish_add: Vec<Ports>,
    /// Remove published ports by their target
    #[arg(long, value_name = "PORT", value_parser = port_pattern)]
    publish_rm: Vec<PortPattern>,
    /// Join a network, or change the aliases in one
    #[arg(long, value_name = "NETWORK", value_parser = network, add = names(Names::Networks))]
    network_add: Vec<NetworkArg>,
    /// Leave a network
    #[arg(long, value_name = "NETWORK", add = names(Names::Networks))]
    network_rm: Vec<String>,
    /// Add a placement constraint
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_add: Vec<String>,
    /// Remove a placement constraint
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_rm: Vec<String>,
    /// Add a placement preference
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref_add: Vec<Preference>,
    /// Remove a placement preference
    #[arg(long, value_name = "PREFERENCE", value_parser = preference)]
    placement_pref_rm: Vec<Preference>,
    /// Add a supplementary group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Remove a supplementary group
    #[arg(long, value_name = "GROUP")]
    group_rm: Vec<String>,
    /// Add a line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = host)]
    host_add: Vec<(String, String)>,
    /// Remove a line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = host)]
    host_rm: Vec<(String, String)>,
    /// Add a resolver
    #[arg(long, value_name = "ADDRESS")]
    dns_add: Vec<IpAddr>,
    /// Remove a resolver
    #[arg(long, value_name = "ADDRESS")]
    dns_rm: Vec<IpAddr>,
    /// Add a domain in which short names are looked up
    #[arg(long, value_name = "DOMAIN")]
    dns_search_add: Vec<String>,
    /// Remove a domain in which short names are looked up
    #[arg(long, value_name = "DOMAIN")]
    dns_search_rm: Vec<String>,
    /// Add an option of the resolver
    #[arg(long, value_name = "OPTION")]
    dns_option_add: Vec<String>,
    /// Remove an option of the resolver
    #[arg(long, value_name = "OPTION")]
    dns_option_rm: Vec<String>,
    /// Add a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Add or change a kernel parameter
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    sysctl_add: Vec<Pair>,
    /// Remove a kernel parameter
    #[arg(long, value_name = "NAME")]
    sysctl_rm: Vec<String>,
    /// Add or change a limit of the process
    #[arg(long, value_name = "ULIMIT", value_parser = ulimit)]
    ulimit_add: Vec<(String, Ulimit)>,
    /// Remove a limit of the process
    #[arg(long, value_name = "NAME")]
    ulimit_rm: Vec<String>,
}

impl UpdateLists {
    pub(crate) fn apply(
        self,
        spec: &mut ServiceSpec,
        own: &dyn Fn(&str) -> Option<String>,
    ) -> std::result::Result<(), String> {
        let container = &mut spec.task.container;
        container.env.retain(|name, _| !self.env_rm.contains(name));
        for Pair { key, value } in self.env_add {
            match value.or_else(|| own(&key)) {
                Some(value) => container.env.insert(key, value),
                None => container.env.remove(&key),
            };
        }
        spec.labels.retain(|key, _| !self.label_rm.contains(key));
        add_labels(&mut spec.labels, self.label_add);
        container
            .labels
            .retain(|key, _| !self.container_label_rm.contains(key));
        add_labels(&mut container.labels, self.container_label_add);
        container.sysctls.retain(|name, _| !self.sysctl_rm.contains(name));
        add_labels(&mut container.sysctls, self.sysctl_add);
        container.ulimits.retain(|name, _| !self.ulimit_rm.contains(name));
        container.ulimits.extend(self.ulimit_add);
        container
            .mounts
            .retain(|mount| !self.mount_rm.contains(&mount.target));
        replace(&mut container.mounts, self.mount_add, |mount| {
            mount.target.clone()
        });
        change(&mut container.groups, &self.group_rm, self.group_add);
        change(&mut container.extra_hosts, &self.host_rm, self.host_add);
        let dns = &mut container.dns;
        change(&mut dns.servers, &self.dns_rm, self.dns_add);
        change(&mut dns.search, &self.dns_search_rm, self.dns_search_add);
        change(&mut dns.options, &self.dns_option_rm, self.dns_option_add);
        // What is added is no longer dropped, and the other way round.
        container.cap_drop.retain(|name| !self.cap_add.contains(name));
        container.cap_add.retain(|name| !self.cap_drop.contains(name));
        change(&mut container.cap_add, &[], self.cap_add);
        change(&mut container.cap_drop, &[], self.cap_drop);
        let removed = self.publish_rm;
        spec.ports
            .retain(|port| !removed.iter().any(|pattern| pattern.matches(port)));
        let added = self.publish_add.into_iter().flat_map(|ports| ports.0);
        change(&mut spec.ports, &[], added.collect());
        let placement = &mut spec.task.placement;
        change(
            &mut placement.constraints,
            &self.constraint_rm,
            self.constraint_add,
        );
        change(
            &mut placement.preferences,
            &self.placement_pref_rm,
            self.placement_pref_add,
        );
        networks::change(spec, &self.network_rm, self.network_add)
    }
}

fn add_labels(labels: &mut Labels, pairs: Vec<Pair>) {
    for Pair { key, value } in pairs {
        labels.insert(key, value.unwrap_or_default());
    }
}

fn change<T: PartialEq>(list: &mut Vec<T>, removed: &[T], added: Vec<T>) {
    list.retain(|item| !removed.contains(item));
    for item in added {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn replace<T, K: PartialEq>(list: &mut Vec<T>, added: Vec<T>, key: impl Fn(&T) -> K) {
    for item in added {
        match list.iter_mut().find(|old| key(old) == key(&item)) {
            Some(old) => *old = item,
            None => list.push(item),
        }
    }
}
