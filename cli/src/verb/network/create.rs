//! `shoal network create NAME`.
//!
//! What of Docker's flags has no meaning here is refused with the reason.

use super::Client;
use crate::{
    failure::usage,
    output::print,
    spec::{Pair, not_built, pair},
    verb::{request_id, service::warn},
    wire::refused,
};
use anyhow::Result;
use clap::ValueEnum;
use ipnet::IpNet;
use shoal_api::v1;
use shoal_core::model::{NetworkDriver, NetworkSpec};
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Across nodes, or each node's members among themselves
    #[arg(short, long, default_value = "overlay")]
    driver: Driver,
    /// Range of its addresses, one of each family at most (one of the cluster's pools if not given)
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<IpNet>,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// Kept and shown: `shoal run` joins any network, since it starts a service
    #[arg(long)]
    attachable: bool,
    /// Members have IPv6 addresses too (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    ipv6: bool,
    /// Label of the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<Pair>,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    opt: Vec<Pair>,
    /// Taken for Docker's sake: a network is the cluster's
    #[arg(long, hide = true, value_parser = ["swarm", "cluster", "global", "local"])]
    scope: Option<String>,
    #[command(flatten)]
    refused: Refused,
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Overlay,
    Bridge,
}

/// Docker's flags that are known and not carried out.
#[derive(Clone, Debug, clap::Args)]
struct Refused {
    #[arg(long, hide = true, value_parser = not_built("the gateway is the node's own end of each container's link"))]
    gateway: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("addresses are given from the whole range"))]
    ip_range: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("addresses are given from the whole range"))]
    aux_address: Vec<String>,
    #[arg(long, hide = true, value_parser = not_built("addresses are given by the cluster"))]
    ipam_driver: Option<String>,
    #[arg(long, hide = true, value_parser = not_built("addresses are given by the cluster"))]
    ipam_opt: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = not_built("the network ingress exists from the start"))]
    ingress: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = not_built("a network's settings are the same on every node"))]
    config_only: Option<String>,
    #[arg(long, hide = true, value_parser = not_built("a network's settings are the same on every node"))]
    config_from: Option<String>,
    /// Every network has IPv4 addresses
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = ["true"])]
    ipv4: Option<String>,
}

pub(crate) async fn run(client: &Client, args: CreateArgs) -> Result<()> {
    let spec = spec(args).map_err(usage)?;
    let connection = client.connect().await?;
    let request = v1::CreateNetworkRequest {
        spec: Some(spec.into()),
        request_id: request_id(),
    };
    let made = connection
        .control()
        .create_network(request)
        .await
        .map_err(refused)?
        .into_inner();
    warn(&made.warnings);
    print(&format!("{}\n", made.id))
}

/// The spec that the flags ask for.
fn spec(args: CreateArgs) -> Result<NetworkSpec, String> {
    let with_v6 = args.subnet.iter().any(|subnet| subnet.addr().is_ipv6());
    if with_v6 && !args.ipv6 {
        return Err("--ipv6=false: the network is given an IPv6 subnet all the same".to_owned());
    }
    let plain = |pairs: Vec<Pair>| -> BTreeMap<String, String> {
        let pairs = pairs.into_iter();
        pairs
            .map(|pair| (pair.key, pair.value.unwrap_or_default()))
            .collect()
    };
    Ok(NetworkSpec {
        name: args.name,
        labels: plain(args.label),
        driver: match args.driver {
            Driver::Overlay => NetworkDriver::Overlay,
            Driver::Bridge => NetworkDriver::Bridge,
        },
        internal: args.internal,
        attachable: args.attachable,
        ipv6: args.ipv6,
        subnets: args.subnet,
        options: plain(args.opt),
        ingress: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn spec_of(line: &str) -> Result<NetworkSpec, String> {
        let words = ["create"].into_iter().chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        spec(line.args)
    }

    #[test]
    fn flags_make_a_spec() {
        let spec = spec_of(
            "--driver bridge --subnet 10.9.0.0/24 --subnet fd09::/64 --internal --attachable --label a=b --label c \
             -o encrypted --scope swarm --ipv4 back",
        )
        .unwrap();
        assert_eq!(spec.name, "back");
        assert_eq!(spec.driver, NetworkDriver::Bridge);
        let subnets: Vec<_> = spec.subnets.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["10.9.0.0/24", "fd09::/64"]);
        assert!(spec.internal && spec.attachable && spec.ipv6 && !spec.ingress);
        assert_eq!(spec.labels["a"], "b");
        assert_eq!(spec.options["encrypted"], "");
        let plain = spec_of("front").unwrap();
        assert!(plain.ipv6 && plain.subnets.is_empty() && plain.driver == NetworkDriver::Overlay);
        assert!(!spec_of("--ipv6=false front").unwrap().ipv6);
    }

    #[test]
    fn what_is_not_carried_out_says_why() {
        for (line, expect) in [
            ("--gateway 10.9.0.1 x", "the node's own end"),
            ("--ip-range 10.9.0.0/25 x", "from the whole range"),
            ("--ingress x", "exists from the start"),
            ("--config-only x", "the same on every node"),
            ("--ipv4=false x", "true"),
            ("--driver macvlan x", "overlay, bridge"),
            ("--subnet nonsense x", "subnet"),
            ("--subnet fd09::/64 --ipv6=false x", "IPv6 subnet all the same"),
        ] {
            let error = spec_of(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}
