//! Every key of the Compose specification, and what is done with it: one table a mapping.
//!
//! `Done` is carried out. `Ignored` is a warning with its reason: the service runs without it as it would
//! with it, or nearly. `Refused` is an error with its reason: without it the service would be another one,
//! or less confined than the file says. A key in no table is unknown, unless it begins with `x-`.

/// What is done with a known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Done,
    Ignored(&'static str),
    Refused(&'static str),
}

use Rule::{Done, Ignored, Refused};

pub(crate) type Keys = &'static [(&'static str, Rule)];

const WINDOWS: &str = "means something on Windows only";
const GIVEN: &str = "the cluster gives the addresses; use names";
const OWN_GATEWAY: &str = "the gateway is the node's own end of each container's link";
const WHOLE_RANGE: &str = "addresses are given from the whole range";
const NO_BRIDGE: &str = "there is no bridge: containers' links are routed";

pub(crate) const TOP: Keys = &[
    ("configs", Ignored("configs are not built yet")),
    (
        "include",
        Refused("including other files is not built yet; name each with -c"),
    ),
    ("models", Ignored("models are not built yet")),
    ("name", Done),
    ("networks", Done),
    ("secrets", Ignored("secrets are not built yet")),
    ("services", Done),
    ("version", Done),
    ("volumes", Done),
];

pub(crate) const SERVICE: Keys = &[
    ("annotations", Ignored("containers have no annotations yet")),
    (
        "attach",
        Ignored("a stack runs detached; `shoal service logs -f` follows it"),
    ),
    (
        "blkio_config",
        Ignored("limits of disk bandwidth are not built yet"),
    ),
    ("build", Done),
    ("cap_add", Done),
    ("cap_drop", Done),
    (
        "cgroup",
        Refused("a container always has a cgroup namespace of its own"),
    ),
    (
        "cgroup_parent",
        Ignored("every container has a cgroup of its own under the node's"),
    ),
    (
        "cgroupns_mode",
        Refused("a container always has a cgroup namespace of its own"),
    ),
    ("command", Done),
    (
        "configs",
        Refused("configs are not built yet; bind a file instead"),
    ),
    (
        "container_name",
        Ignored("tasks are named after stack, service and slot"),
    ),
    ("cpu_count", Ignored(WINDOWS)),
    ("cpu_percent", Ignored(WINDOWS)),
    ("cpu_period", Ignored("use cpus or deploy.resources.limits.cpus")),
    ("cpu_quota", Ignored("use cpus or deploy.resources.limits.cpus")),
    ("cpu_rt_period", Ignored("real-time scheduling is not built yet")),
    ("cpu_rt_runtime", Ignored("real-time scheduling is not built yet")),
    ("cpu_shares", Ignored("cpu weights are not built yet; use cpus")),
    ("cpus", Done),
    ("cpuset", Ignored("pinning to cpus is not built yet; use cpus")),
    ("credential_spec", Refused(WINDOWS)),
    ("depends_on", Done),
    ("deploy", Done),
    ("develop", Ignored("`watch` is not built yet")),
    ("device_cgroup_rules", Refused("devices are not built yet")),
    ("devices", Refused("devices are not built yet")),
    ("dns", Done),
    ("dns_opt", Done),
    ("dns_search", Done),
    (
        "domainname",
        Ignored("write the whole name as hostname, such as web.example.com"),
    ),
    ("entrypoint", Done),
    ("env_file", Done),
    ("environment", Done),
    ("expose", Done),
    (
        "extends",
        Refused("extending other services is not built yet; use anchors and merge keys"),
    ),
    (
        "external_links",
        Ignored("a service outside the file is found by its name in a network that both join"),
    ),
    ("extra_hosts", Done),
    ("gpus", Refused("devices are not built yet")),
    ("group_add", Done),
    ("healthcheck", Done),
    ("hostname", Done),
    ("image", Done),
    ("init", Done),
    ("ipc", Refused("shared IPC namespaces are not built yet")),
    ("isolation", Ignored(WINDOWS)),
    ("label_file", Done),
    ("labels", Done),
    ("links", Done),
    (
        "logging",
        Ignored("logs are always kept by the node, rotated; `shoal service logs` shows them"),
    ),
    ("mac_address", Ignored("the node chooses it")),
    ("mem_limit", Done),
    ("mem_reservation", Done),
    ("mem_swappiness", Ignored("swap settings are not built yet")),
    ("memswap_limit", Ignored("swap settings are not built yet")),
    ("models", Refused("models are not built yet")),
    ("network_mode", Done),
    ("networks", Done),
    (
        "oom_kill_disable",
        Ignored("a container over its memory limit is always killed"),
    ),
    ("oom_score_adj", Done),
    ("pid", Refused("shared PID namespaces are not built yet")),
    ("pids_limit", Done),
    (
        "platform",
        Ignored("the image of the node's own platform is taken"),
    ),
    ("ports", Done),
    ("post_start", Refused("lifecycle hooks are not built yet")),
    ("pre_start", Refused("lifecycle hooks are not built yet")),
    ("pre_stop", Refused("lifecycle hooks are not built yet")),
    (
        "privileged",
        Refused("privileged containers are not built yet; cap_add gives single capabilities"),
    ),
    ("profiles", Done),
    (
        "provider",
        Refused("services run by a provider are not built yet"),
    ),
    (
        "pull_policy",
        Ignored("an image the node has is used, any other is pulled"),
    ),
    (
        "pull_refresh_after",
        Ignored("an image the node has is used, any other is pulled"),
    ),
    ("read_only", Done),
    ("restart", Done),
    ("runtime", Refused("there is one runtime, Shoal's own")),
    ("scale", Done),
    ("secrets", Refused("secrets are not built yet")),
    ("security_opt", Done),
    ("shm_size", Done),
    ("stdin_open", Done),
    ("stop_grace_period", Done),
    ("stop_signal", Done),
    (
        "storage_opt",
        Ignored("limits of a container's own disk space are not built yet"),
    ),
    ("sysctls", Done),
    ("tmpfs", Done),
    ("tty", Done),
    ("ulimits", Done),
    (
        "use_api_socket",
        Refused("handing the cluster's socket to a container is not built yet"),
    ),
    ("user", Done),
    ("userns_mode", Refused("user namespaces are not built yet")),
    ("uts", Refused("shared UTS namespaces are not built yet")),
    ("volumes", Done),
    (
        "volumes_from",
        Refused("mounting another container's volumes is not built; name the volumes"),
    ),
    ("working_dir", Done),
];

pub(crate) const DEPLOY: Keys = &[
    ("endpoint_mode", Done),
    ("labels", Done),
    ("mode", Done),
    ("placement", Done),
    ("replicas", Done),
    ("resources", Done),
    ("restart_policy", Done),
    ("rollback_config", Ignored("automatic rollback is not built yet")),
    ("update_config", Done),
];

pub(crate) const PLACEMENT: Keys = &[
    ("constraints", Done),
    ("max_replicas_per_node", Done),
    ("preferences", Done),
];

pub(crate) const PREFERENCE: Keys = &[("spread", Done)];

pub(crate) const RESOURCES: Keys = &[("limits", Done), ("reservations", Done)];

pub(crate) const LIMITS: Keys = &[("cpus", Done), ("memory", Done), ("pids", Done)];

pub(crate) const RESERVATIONS: Keys = &[
    ("cpus", Done),
    ("devices", Refused("devices are not built yet")),
    (
        "generic_resources",
        Refused("generic resources are not built yet"),
    ),
    ("memory", Done),
];

pub(crate) const RESTART_POLICY: Keys = &[
    ("condition", Done),
    ("delay", Done),
    ("max_attempts", Done),
    ("window", Done),
];

pub(crate) const UPDATE_CONFIG: Keys = &[
    ("delay", Done),
    ("failure_action", Done),
    ("max_failure_ratio", Done),
    ("monitor", Done),
    ("order", Done),
    ("parallelism", Done),
];

pub(crate) const HEALTHCHECK: Keys = &[
    ("disable", Done),
    ("interval", Done),
    ("retries", Done),
    ("start_interval", Done),
    ("start_period", Done),
    ("test", Done),
    ("timeout", Done),
];

pub(crate) const PORT: Keys = &[
    ("app_protocol", Ignored("nothing reads it yet")),
    ("host_ip", Done),
    ("mode", Done),
    ("name", Ignored("nothing reads it yet")),
    ("protocol", Done),
    ("published", Done),
    ("target", Done),
];

pub(crate) const MOUNT: Keys = &[
    ("bind", Done),
    ("cluster", Refused("cluster volumes are not built yet")),
    ("consistency", Ignored("means something on macOS only")),
    ("image", Refused("mounting an image is not built yet")),
    ("read_only", Done),
    ("source", Done),
    ("target", Done),
    ("tmpfs", Done),
    ("type", Done),
    ("volume", Done),
];

pub(crate) const MOUNT_BIND: Keys = &[
    ("create_host_path", Done),
    ("propagation", Done),
    (
        "recursive",
        Refused("a bind takes what is mounted below it; other choices are not built yet"),
    ),
    ("selinux", Ignored("SELinux labels are not built yet")),
];

pub(crate) const MOUNT_VOLUME: Keys = &[
    ("labels", Ignored("volumes have no labels yet")),
    ("nocopy", Done),
    ("subpath", Refused("mounting a part of a volume is not built yet")),
];

pub(crate) const MOUNT_TMPFS: Keys = &[("mode", Done), ("size", Done)];

pub(crate) const VOLUME: Keys = &[
    ("driver", Done),
    (
        "driver_opts",
        Refused("volumes with options are not built yet; mount on the node and bind that"),
    ),
    ("external", Done),
    ("labels", Ignored("volumes have no labels yet")),
    ("name", Done),
];

pub(crate) const NETWORK: Keys = &[
    ("attachable", Done),
    ("driver", Done),
    ("driver_opts", Done),
    ("enable_ipv4", Done),
    ("enable_ipv6", Done),
    ("external", Done),
    ("internal", Done),
    ("ipam", Done),
    ("labels", Done),
    ("name", Done),
];

/// Of `driver_opts`. What would leave a network or port more open than the file says is refused.
pub(crate) const NETWORK_OPTIONS: Keys = &[
    ("com.docker.network.bridge.default_bridge", Ignored(NO_BRIDGE)),
    (
        "com.docker.network.bridge.enable_icc",
        Refused("members of a network reach each other; give each service a network of its own"),
    ),
    (
        "com.docker.network.bridge.enable_ip_masquerade",
        Ignored("connections that leave a node have its address"),
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv4",
        Refused("use internal: true for a network without a way out"),
    ),
    (
        "com.docker.network.bridge.gateway_mode_ipv6",
        Refused("use internal: true for a network without a way out"),
    ),
    (
        "com.docker.network.bridge.host_binding_ipv4",
        Refused("name the host's address at each port"),
    ),
    ("com.docker.network.bridge.name", Ignored(NO_BRIDGE)),
    (
        "com.docker.network.container_iface_prefix",
        Ignored("interfaces are eth0, eth1 and so on"),
    ),
    (
        "com.docker.network.driver.mtu",
        Ignored("it is derived from the path"),
    ),
    (
        "com.docker.network.driver.overlay.vxlanid_list",
        Ignored("the cluster chooses it"),
    ),
    ("encrypted", Done),
];

pub(crate) const IPAM: Keys = &[
    ("config", Done),
    ("driver", Done),
    ("options", Ignored("there is one way of giving addresses")),
];

pub(crate) const IPAM_CONFIG: Keys = &[
    ("aux_addresses", Ignored(WHOLE_RANGE)),
    ("gateway", Ignored(OWN_GATEWAY)),
    ("ip_range", Ignored(WHOLE_RANGE)),
    ("subnet", Done),
];

/// Of a service's place in a network.
pub(crate) const NETWORK_USE: Keys = &[
    ("aliases", Done),
    (
        "driver_opts",
        Ignored("there are none for a service's place in a network"),
    ),
    ("gw_priority", Done),
    (
        "interface_name",
        Ignored("interfaces are eth0, eth1 and so on, in the order of the networks"),
    ),
    ("ipv4_address", Ignored(GIVEN)),
    ("ipv6_address", Ignored(GIVEN)),
    ("link_local_ips", Ignored(GIVEN)),
    ("mac_address", Ignored("the node chooses it")),
    ("priority", Done),
];

pub(crate) const EXTERNAL: Keys = &[("name", Done)];

pub(crate) const ENV_FILE: Keys = &[("format", Done), ("path", Done), ("required", Done)];

pub(crate) const ULIMIT: Keys = &[("hard", Done), ("soft", Done)];

pub(crate) fn rule(keys: Keys, key: &str) -> Option<Rule> {
    keys.binary_search_by(|(name, _)| (*name).cmp(key))
        .ok()
        .map(|index| keys[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_so_that_they_can_be_searched() {
        for keys in [
            TOP,
            SERVICE,
            DEPLOY,
            PLACEMENT,
            RESOURCES,
            LIMITS,
            RESERVATIONS,
            RESTART_POLICY,
            UPDATE_CONFIG,
            HEALTHCHECK,
            PORT,
            MOUNT,
            MOUNT_BIND,
            MOUNT_VOLUME,
            MOUNT_TMPFS,
            VOLUME,
            NETWORK,
            NETWORK_OPTIONS,
            IPAM,
            IPAM_CONFIG,
            NETWORK_USE,
            ENV_FILE,
            ULIMIT,
        ] {
            assert!(keys.windows(2).all(|pair| pair[0].0 < pair[1].0), "{keys:?}");
        }
    }

    /// The keys of the specification's schema (August 2026), and `pre_start` of its prose.
    const SPECIFICATION: &str = "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent \
        command configs container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime \
        cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt \
        dns_search domainname entrypoint env_file environment expose extends external_links extra_hosts gpus \
        group_add healthcheck hostname image init ipc isolation label_file labels links logging mac_address \
        mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable \
        oom_score_adj pid pids_limit platform ports post_start pre_start pre_stop privileged profiles provider \
        pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size stdin_open \
        stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts \
        volumes volumes_from working_dir";

    #[test]
    fn every_key_of_the_specification_is_known() {
        for key in SPECIFICATION.split_whitespace() {
            assert!(rule(SERVICE, key).is_some(), "{key}");
        }
    }
}
