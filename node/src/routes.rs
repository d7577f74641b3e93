//! Where this host has routes to, as the kernel lists them, for the choice of a new cluster's address pools.
//!
//! Read once, before there is a network of Shoal's own; what happens later a node's description says.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Every destination of the main tables but those of the loopback device. What cannot be read is not there: a
/// host without IPv6 has no such file.
pub(crate) fn host_routes() -> Vec<IpNet> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = parse_v4(&read("/proc/net/route"));
    let v6 = parse_v6(&read("/proc/net/ipv6_route"));
    v4.into_iter().chain(v6).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses are hexadecimal, in the memory order of the host.
fn parse_v4(table: &str) -> Vec<IpNet> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = |field: usize| {
            let number = u32::from_str_radix(fields.get(field)?, 16).ok()?;
            Some(Ipv4Addr::from(number.to_ne_bytes()))
        };
        let range = Ipv4Net::with_netmask(address(1)?, address(7)?).ok()?;
        (fields.first() != Some(&"lo")).then_some(IpNet::V4(range))
    };
    table.lines().skip(1).filter_map(parse).collect()
}

/// `destination length source length next-hop metric references use flags device`.
fn parse_v6(table: &str) -> Vec<IpNet> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        let length = u8::from_str_radix(fields.get(1)?, 16).ok()?;
        let range = Ipv6Net::new(Ipv6Addr::from(address), length).ok()?;
        (fields.last() != Some(&"lo")).then_some(IpNet::V6(range))
    };
    table.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ranges: &[IpNet]) -> Vec<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_lists_are_read() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
            torn\t00\n";
        assert_eq!(texts(&parse_v4(table)), ["0.0.0.0/0", "172.17.0.0/16"]);
        let table = "fd0000000000000000000000000000aa 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\
            00000000000000000000000000000001 80 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000000 00000006 00000000 80200001       lo\n\
            torn\n";
        assert_eq!(texts(&parse_v6(table)), ["fd00::aa/64"]);
    }
}
