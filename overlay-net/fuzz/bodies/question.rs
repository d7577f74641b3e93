//! What a container sends to its nameserver: any bytes have an answer of a bounded length, are passed on, or ignored.
//! Names of a few kinds are known, so that all ways of answering are gone.

use std::net::IpAddr;
use std::sync::LazyLock;

use shoal_overlay_net::desired::NetworkId;
use shoal_overlay_net::message::{GroupNames, Update};
use shoal_overlay_net::serve::answer::{Outcome, Transport, answer, answers, failed};
use shoal_overlay_net::serve::names::Names;

static NAMES: LazyLock<(Names, [NetworkId; 2])> = LazyLock::new(names);

/// Called by the fuzz target, and with random input by `tests/fuzz.rs`.
pub(crate) fn question(bytes: &[u8]) {
    let (names, networks) = &*NAMES;
    for (transport, most) in [(Transport::Udp, 4096), (Transport::Tcp, usize::from(u16::MAX))] {
        for network in networks {
            let outcome = answer(names, std::slice::from_ref(network), bytes, transport, 3);
            if let Outcome::Answer(answer) = outcome {
                assert!(answer.len() <= most, "{} bytes", answer.len());
                assert_eq!(answer[..2], bytes[..2], "another question's number");
                assert!(answer[2] & 0x80 != 0, "not marked as an answer");
            }
        }
    }
    answers(bytes, bytes, 7);
    failed(bytes);
}

/// Two networks, of which one has no way out; names with many addresses, with few and with none.
fn names() -> (Names, [NetworkId; 2]) {
    let networks: [NetworkId; 2] = ["blue", "inner"].map(|name| name.parse().expect("an id"));
    let many: Vec<IpAddr> = (1..=250).map(|host| [10, 0, 0, host].into()).collect();
    let records = [
        ("tasks.web", many),
        ("web", vec![[10, 0, 1, 1].into()]),
        ("none", Vec::new()),
    ];
    let group = GroupNames {
        network: networks[0].clone(),
        records: records
            .map(|(name, addresses)| (name.parse().expect("a name"), addresses))
            .into(),
    };
    let mut names = Names::default();
    names.apply(&Update {
        pools: Some(vec!["10.0.0.0/8".parse().expect("a subnet")]),
        networks: vec![
            (networks[0].clone(), Some(false)),
            (networks[1].clone(), Some(true)),
        ],
        groups: vec![("g".parse().expect("an id"), Some(group))],
        ..Update::default()
    });
    (names, networks)
}
