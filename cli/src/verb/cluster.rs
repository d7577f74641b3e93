//! `shoal cluster …`: the cluster as a whole.
//!
//! `init` needs the node's own socket; the others any manager.

mod client_cert;
mod info;
mod init;

use super::Client;
use anyhow::Result;
use ipnet::{Ipv4Net, Ipv6Net};
use shoal_api::v1;
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
#[derive(Clone, Debug, Default, clap::Args)]
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

    /// The same flags for the daemon.
    pub(super) fn flags(&self) -> Vec<String> {
        let v4 = self.default_addr_pool.iter();
        let v4 = v4.map(|pool| format!("--default-addr-pool={pool}"));
        let length = self.default_addr_pool_mask_length.into_iter();
        let length = length.map(|length| format!("--default-addr-pool-mask-length={length}"));
        let v6 = self.default_addr_pool_ipv6.into_iter();
        let v6 = v6.map(|pool| format!("--default-addr-pool-ipv6={pool}"));
        v4.chain(length).chain(v6).collect()
    }

    /// Are these the pools that were asked for? What was not asked for may be anything.
    pub(super) fn met_by(&self, pools: &AddressPools) -> bool {
        let length = u32::from(pools.v4_subnet_length);
        (self.default_addr_pool.is_empty() || self.default_addr_pool == pools.v4)
            && self
                .default_addr_pool_mask_length
                .is_none_or(|asked| asked == length)
            && self
                .default_addr_pool_ipv6
                .is_none_or(|asked| Some(asked) == pools.v6)
    }
}

pub(super) fn pools_text(pools: &AddressPools) -> String {
    let v4 = pools.v4.iter();
    let mut texts: Vec<_> = v4
        .map(|pool| format!("{pool} in subnets of /{}", pools.v4_subnet_length))
        .collect();
    texts.extend(pools.v6.map(|pool| format!("{pool} in subnets of /64")));
    texts.join(", ")
}

/// Where networks' subnets come from.
pub(super) fn pools(spec: &v1::ClusterSpec) -> Result<AddressPools> {
    match spec.pools.clone() {
        Some(pools) => Ok(pools.try_into()?),
        None => Ok(AddressPools::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_passed_on_and_known_again() {
        let pools = |v4: &str, length: u8| AddressPools {
            v4: vec![v4.parse().unwrap()],
            v4_subnet_length: length,
            v6: None,
        };
        let asked = PoolArgs {
            default_addr_pool: vec!["10.9.0.0/16".parse().unwrap()],
            default_addr_pool_mask_length: Some(24),
            default_addr_pool_ipv6: None,
        };
        assert_eq!(
            asked.flags(),
            [
                "--default-addr-pool=10.9.0.0/16",
                "--default-addr-pool-mask-length=24"
            ]
        );
        assert!(asked.met_by(&pools("10.9.0.0/16", 24)));
        assert!(!asked.met_by(&pools("10.8.0.0/16", 24)));
        assert!(!asked.met_by(&pools("10.9.0.0/16", 22)));
        assert!(PoolArgs::default().met_by(&pools("10.8.0.0/16", 22)));
        assert!(PoolArgs::default().flags().is_empty());
    }
}
