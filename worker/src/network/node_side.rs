//! What is a node's own in its network: the addresses of host and router, from the tag and the cluster's pools.
//!
//! Pure. Two Shoals on one machine have different tags and so do not meet; the same one has the same addresses after
//! every start, so that nothing of what runs is changed.

use ipnet::IpNet;
use shoal_overlay_net::address::{Addresses, Prefix};
use shoal_overlay_net::desired::{NodeNet, Protocol, Tag};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Link-local addresses that others use: the containers' gateway is 169.254.1.1, clouds answer at 169.254.169.254, and
/// RFC 3927 reserves the first and the last 256.
const TAKEN: [u8; 4] = [0, 1, 169, 255];

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct NodeSide {
    pub tag: Tag,
    /// Ports of the host itself that containers may reach.
    pub open_host_ports: BTreeSet<(Protocol, u16)>,
}

impl NodeSide {
    /// The host's own address towards containers: what `host-gateway` stands for.
    pub fn host_v4(&self) -> Ipv4Addr {
        self.pair()[0]
    }

    pub(super) fn node_net(&self, pools: &[IpNet]) -> NodeNet {
        let [host, router] = self.pair();
        let v6 = pools.iter().find_map(|pool| match pool {
            IpNet::V6(pool) => Some(pool.network()),
            IpNet::V4(_) => None,
        });
        NodeNet {
            pools: pools.iter().map(prefix).collect(),
            host: Addresses {
                v4: Some(host),
                v6: v6.map(|pool| self.in_first_subnet(pool, 1)),
            },
            router: Addresses {
                v4: Some(router),
                v6: v6.map(|pool| self.in_first_subnet(pool, 2)),
            },
            mtu: None,
            open_host_ports: self.open_host_ports.clone(),
        }
    }

    fn pair(&self) -> [Ipv4Addr; 2] {
        let [.., third, fourth] = self.seed().to_be_bytes();
        let third = if TAKEN.contains(&third) {
            third ^ 0x42
        } else {
            third
        };
        // An even number and the next one, neither 0 nor 255.
        let even = (fourth & 0xfe).clamp(2, 252);
        [even, even + 1].map(|last| Ipv4Addr::new(169, 254, third, last))
    }

    /// The first /64 of the pool is the nodes' own.
    fn in_first_subnet(&self, pool: Ipv6Addr, last: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits(pool.to_bits() | u128::from(self.seed()) << 16 | last)
    }

    fn seed(&self) -> u32 {
        // A tag is eight hexadecimal digits.
        u32::from_str_radix(self.tag.as_str(), 16).unwrap_or_default()
    }
}

/// The same range in the overlay's words.
pub(super) fn prefix(range: &IpNet) -> Prefix {
    Prefix::containing(range.network(), range.prefix_len())
}

/// And back.
pub(super) fn range(prefix: Prefix) -> Option<IpNet> {
    let address: IpAddr = prefix.address();
    IpNet::new(address, prefix.length()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(tag: &str) -> NodeSide {
        NodeSide {
            tag: tag.parse().unwrap(),
            open_host_ports: BTreeSet::new(),
        }
    }

    #[test]
    fn two_shoals_do_not_meet_and_nobody_takes_what_others_use() {
        let pools = [
            "10.128.0.0/12".parse().unwrap(),
            "fd12:3456:789a::/48".parse().unwrap(),
        ];
        let net = side("0badcafe").node_net(&pools);
        let text = |addresses: Addresses| addresses.iter().map(|a| a.to_string()).collect::<Vec<_>>();
        assert_eq!(text(net.host), ["169.254.202.252", "fd12:3456:789a::bad:cafe:1"]);
        assert_eq!(
            text(net.router),
            ["169.254.202.253", "fd12:3456:789a::bad:cafe:2"]
        );
        assert_eq!(net.pools.len(), 2);
        assert_ne!(side("0badcaf0").host_v4(), net.host.v4.unwrap());
        for third in TAKEN {
            for fourth in [0, 1, 254, 255_u32] {
                let tag = format!("{:08x}", u32::from(third) << 8 | fourth);
                let [_, _, found, last] = side(&tag).host_v4().octets();
                assert!(!TAKEN.contains(&found) && (2..=252).contains(&last), "{tag}");
            }
        }
    }

    #[test]
    fn without_pools_there_is_no_ipv6() {
        let net = side("00000000").node_net(&[]);
        assert_eq!((net.host.v6, net.pools.len()), (None, 0));
        assert!(net.host.v4.is_some() && net.router.v4 != net.host.v4);
    }

    #[test]
    fn ranges_go_there_and_back() {
        let given: IpNet = "10.128.4.0/22".parse().unwrap();
        assert_eq!(range(prefix(&given)), Some(given));
    }
}
