//! What is chosen and what is refused, by the host's routes and what was asked.

use super::*;

const RANDOM: [u8; 5] = [0x5a, 0x1b, 0x2c, 0x3d, 0x4e];

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn the_first_candidate_beside_the_routes_is_chosen() {
    for (routes, expect) in [
        (vec![], "10.128.0.0/12"),
        (vec!["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], "10.128.0.0/12"),
        (vec!["192.168.1.0/24", "172.17.0.0/16"], "10.128.0.0/12"),
        (vec!["10.130.0.0/16"], "10.144.0.0/12"),
        (vec!["10.128.0.0/9"], "10.112.0.0/12"),
        (vec!["10.0.0.0/8"], "172.16.0.0/12"),
        (vec!["10.0.0.0/8", "172.17.0.0/16"], "192.168.0.0/16"),
        // A laptop in an office: a VPN, Docker and a wireless network.
        (
            vec!["10.0.0.0/8", "172.17.0.0/16", "192.168.1.0/24"],
            "172.24.0.0/13",
        ),
        (
            vec!["10.0.0.0/8", "172.17.0.0/16", "172.24.0.0/16", "192.168.1.0/24"],
            "172.20.0.0/14",
        ),
        (
            vec!["10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/24"],
            "192.168.128.0/17",
        ),
        (
            vec![
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.1.0/24",
                "192.168.178.0/24",
            ],
            "192.168.192.0/18",
        ),
    ] {
        let pools = PoolsAsked::default().choose(&ranges(&routes), RANDOM).unwrap();
        assert_eq!(pools.v4, vec![expect.parse().unwrap()], "{routes:?}");
        assert_eq!(pools.v4_subnet_length, 22);
        assert_eq!(pools.v6, Some("fd5a:1b2c:3d4e::/48".parse().unwrap()));
    }
    let everything = ranges(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]);
    let found = PoolsAsked::default().choose(&everything, RANDOM).unwrap_err();
    assert_eq!(found, PoolsError::NoneFree);
    // What it says helps.
    let text = found.to_string();
    let (_, advice) = text.rsplit_once("--default-addr-pool ").unwrap();
    let asked = PoolsAsked::parse(&[advice.to_owned()], 0, "").unwrap();
    let pools = asked.choose(&everything, RANDOM).unwrap();
    assert_eq!(pools.v4, vec![advice.parse().unwrap()]);
}

#[test]
fn pools_have_room_for_two_networks() {
    for (v4, length, found) in [
        (vec!["10.0.0.0/22"], 0, Err(1)),
        (vec!["10.0.0.0/24"], 24, Err(1)),
        (vec!["10.0.0.0/24"], 25, Ok(())),
        (vec!["10.0.0.0/22", "10.1.0.0/22"], 0, Ok(())),
        (vec!["10.0.0.0/8"], 29, Ok(())),
    ] {
        let texts: Vec<String> = v4.iter().map(ToString::to_string).collect();
        let asked = PoolsAsked::parse(&texts, length, "").unwrap();
        let said = asked.choose(&[], RANDOM).map(drop).map_err(|error| match error {
            PoolsError::TooSmall { found, .. } => found,
            other => panic!("{other}"),
        });
        assert_eq!(said, found, "{v4:?} /{length}");
    }
}

#[test]
fn what_is_asked_for_is_taken() {
    let v4 = ["10.0.0.0/16".to_owned(), "10.1.0.0/16".to_owned()];
    let asked = PoolsAsked::parse(&v4, 24, "fdab:cdef:123::/48").unwrap();
    let pools = asked.choose(&ranges(&["10.2.0.0/16"]), RANDOM).unwrap();
    let found: Vec<String> = pools.iter().map(|pool| pool.to_string()).collect();
    assert_eq!(found, ["10.0.0.0/16", "10.1.0.0/16", "fdab:cdef:123::/48"]);
    assert_eq!(pools.v4_subnet_length, 24);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (v4, length, v6, expect) in [
        (vec!["10.0.0.1/16"], 24, "", "expected 10.0.0.0/16"),
        (vec!["127.0.0.0/8"], 24, "", "unicast"),
        (vec!["224.0.0.0/8"], 24, "", "unicast"),
        (vec!["0.0.0.0/0"], 24, "", "unicast"),
        (
            vec!["10.0.0.0/8", "10.1.0.0/16"],
            24,
            "",
            "10.0.0.0/8 and 10.1.0.0/16 overlap",
        ),
        (vec!["192.168.0.0/16"], 24, "", "overlaps 192.168.7.0/24"),
        (vec!["192.168.7.0/25"], 29, "", "overlaps 192.168.7.0/24"),
        (
            vec!["10.0.0.0/22"],
            0,
            "",
            "10.0.0.0/22 have room for 1 network with a prefix of /22: expected room for two",
        ),
        (
            vec!["10.0.0.0/24"],
            22,
            "",
            "/22 does not fit address pool 10.0.0.0/24",
        ),
        (
            vec!["10.0.0.0/24"],
            0,
            "",
            "/22 does not fit address pool 10.0.0.0/24",
        ),
        (vec!["10.0.0.0/24"], 30, "", "expected /24 to /29"),
        (vec![], 0, "fd00::/40", "no /48"),
        (vec![], 0, "fe80::/48", "unicast"),
        (vec![], 0, "ff02::/48", "unicast"),
        (vec!["10.0.0.0/16"; 17], 24, "", "at most 16"),
    ] {
        let texts: Vec<String> = v4.iter().map(ToString::to_string).collect();
        let asked = PoolsAsked::parse(&texts, length, v6).unwrap();
        let refusal = asked.choose(&ranges(&["192.168.7.0/24"]), RANDOM).unwrap_err();
        let text = refusal.to_string();
        assert!(text.contains(expect), "{v4:?} /{length} {v6}: {text}");
    }
}

#[test]
fn what_is_no_range_is_refused_with_its_field() {
    for (v4, length, v6, field) in [
        (vec!["10.0.0.0"], 0, "", "default_addr_pools"),
        (vec!["fd00::/48"], 0, "", "default_addr_pools"),
        (vec![], 300, "", "default_addr_pool_mask_length"),
        (vec![], 0, "10.0.0.0/8", "default_addr_pool_v6"),
    ] {
        let texts: Vec<String> = v4.iter().map(ToString::to_string).collect();
        assert_eq!(PoolsAsked::parse(&texts, length, v6).unwrap_err().field, field);
    }
}
