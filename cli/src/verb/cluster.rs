//! `shoal cluster …`: the cluster as a whole.
//!
//! `init` needs the node's own socket; the others any manager.

mod client_cert;
mod info;
mod init;

use super::Client;
use anyhow::Result;
use ipnet::{Ipv4Net, Ipv6Net};
use shoal_core::model::AddressPools;

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make this node the first of a cluster
    Init(init::InitArgs),
    /// Make an administrator's certificate for use from another machine
    ClientCert(client_cert::ClientCertArgs),
    /// Show the cluster
    Info(info::InfoArgs),
}

pub(crate) async fn run(client: &Client, verb: Verb) -> Result<()> {
    match verb {
        Verb::Init(args) => init::run(client, args).await,
        Verb::ClientCert(args) => client_cert::run(client, args).await,
        Verb::Info(args) => info::run(client, args).await,
    }
}

/// Where networks' subnets come from; fixed when the cluster is made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PoolArgs {
    /// Range of IPv4 addresses that networks get theirs from; may be repeated
    #[arg(long, value_name = "CIDR")]
    default_addr_pool: Vec<Ipv4Net>,
    /// Length of the prefix of each network's IPv4 subnet (default 22)
    #[arg(long, value_name = "LENGTH", value_parser = clap::value_parser!(u32).range(8..=29))]
    default_addr_pool_mask_length: Option<u32>,
    /// A /48 of IPv6 addresses that networks get theirs from (a random one if not given)
    #[arg(long, value_name = "CIDR")]
    default_addr_pool_ipv6: Option<Ipv6Net>,
}

impl PoolArgs {
    fn v4(&self) -> Vec<String> {
        self.default_addr_pool.iter().map(ToString::to_string).collect()
    }

    fn v6(&self) -> String {
        self.default_addr_pool_ipv6
            .map(|pool| pool.to_string())
            .unwrap_or_default()
    }
}

fn pools_text(pools: &AddressPools) -> String {
    let v4 = pools.v4.iter();
    let mut texts: Vec<_> = v4
        .map(|pool| format!("{pool} in subnets of /{}", pools.v4_subnet_length))
        .collect();
    texts.extend(pools.v6.map(|pool| format!("{pool} in subnets of /64")));
    texts.join(", ")
}
