//! Questions of all kinds, and anything else that a container may send.

use std::net::IpAddr;
use std::str::FromStr as _;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use proptest::prelude::*;

use super::{Outcome, Transport, answer, answers, failed};
use crate::desired::NetworkId;
use crate::message::{GroupNames, Update};
use crate::serve::names::Names;

fn names() -> Names {
    let mut names = Names::default();
    let many: Vec<IpAddr> = (1..=100).map(|host| IpAddr::from([10, 0, 1, host])).collect();
    let records = [
        (
            "web",
            vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        ),
        ("old", vec!["10.0.0.9".parse().unwrap()]),
        ("gone", vec![]),
        ("tasks.many", many),
    ];
    let group = GroupNames {
        network: "blue".parse().unwrap(),
        records: records
            .into_iter()
            .map(|(name, list)| (name.parse().unwrap(), list))
            .collect(),
    };
    names.apply(&Update {
        pools: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        networks: vec![
            ("blue".parse().unwrap(), Some(false)),
            ("inner".parse().unwrap(), Some(true)),
        ],
        groups: vec![("g".parse().unwrap(), Some(group))],
        ..Update::default()
    });
    names
}

fn question(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn ask(network: &str, question: &[u8], transport: Transport) -> Outcome {
    let network: NetworkId = network.parse().unwrap();
    answer(&names(), &[network], question, transport, 0)
}

/// The code and the data of an answer, in words.
fn said(outcome: Outcome) -> String {
    match outcome {
        Outcome::Forward => "forward".to_owned(),
        Outcome::Ignore => "ignore".to_owned(),
        Outcome::Answer(bytes) => {
            let message = Message::from_vec(&bytes).unwrap();
            assert_eq!(message.metadata.id, 7);
            assert!(message.metadata.recursion_available);
            let data = message.answers.iter().map(|record| match &record.data {
                RData::A(a) => a.to_string(),
                RData::AAAA(a) => a.to_string(),
                RData::PTR(name) => name.to_string(),
                other => format!("{other:?}"),
            });
            let mut words = vec![format!("{:?}", message.metadata.response_code)];
            words.extend(data);
            words.join(" ")
        }
    }
}

#[test]
fn each_kind_of_question_has_its_answer() {
    use RecordType as T;
    for (network, name, kind, expect) in [
        ("blue", "web.", T::A, "NoError 10.0.0.1"),
        ("blue", "WeB", T::A, "NoError 10.0.0.1"),
        ("blue", "web", T::AAAA, "NoError fd00::1"),
        ("blue", "web", T::ANY, "NoError 10.0.0.1 fd00::1"),
        ("blue", "old", T::AAAA, "NoError"),
        ("blue", "web", T::MX, "NoError"),
        ("blue", "gone", T::A, "NoError"),
        ("blue", "other", T::A, "forward"),
        ("blue", "other.example.com.", T::TXT, "forward"),
        ("inner", "web", T::A, "NXDomain"),
        ("inner", "example.com.", T::A, "NXDomain"),
        ("nowhere", "example.com.", T::A, "NXDomain"),
        ("blue", "9.0.0.10.in-addr.arpa.", T::PTR, "NoError old."),
        ("blue", "8.0.0.10.in-addr.arpa.", T::PTR, "NXDomain"),
        ("blue", "8.8.8.8.in-addr.arpa.", T::PTR, "forward"),
        ("blue", "_tcp.web", T::SRV, "forward"),
        ("blue", "9.web", T::A, "NXDomain"),
        ("blue", "9.WEB.", T::AAAA, "NXDomain"),
        ("blue", "web-9.web", T::A, "NXDomain"),
        ("blue", "9.gone", T::A, "NXDomain"),
        ("blue", "9.other", T::A, "forward"),
        ("blue", "old-9.web", T::A, "forward"),
        ("blue", "x9.web", T::A, "forward"),
        ("blue", "www.web", T::A, "forward"),
        ("blue", "9.www.web", T::A, "forward"),
    ] {
        let outcome = ask(network, &question(name, kind, None), Transport::Udp);
        assert_eq!(said(outcome), expect, "{network} {name} {kind}");
    }
}

#[test]
fn long_answers_are_cut_for_datagrams_alone() {
    for (payload, transport, whole) in [
        (None, Transport::Udp, false),
        (Some(1232), Transport::Udp, false),
        (Some(4096), Transport::Udp, true),
        (None, Transport::Tcp, true),
    ] {
        let asked = question("tasks.many", RecordType::A, payload);
        let Outcome::Answer(bytes) = ask("blue", &asked, transport) else {
            panic!("no answer");
        };
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!(message.metadata.truncation, !whole, "{payload:?} {transport:?}");
        assert_eq!(message.answers.len(), if whole { 100 } else { 0 });
        assert_eq!(message.edns.is_some(), payload.is_some());
        if transport == Transport::Udp {
            assert!(bytes.len() <= usize::from(payload.unwrap_or(512)));
        }
    }
}

#[test]
fn addresses_take_turns() {
    let asked = question("tasks.many", RecordType::A, Some(4096));
    let network: NetworkId = "blue".parse().unwrap();
    let first = |turn| {
        let outcome = answer(
            &names(),
            std::slice::from_ref(&network),
            &asked,
            Transport::Udp,
            turn,
        );
        said(outcome).split(' ').nth(1).map(str::to_owned).unwrap()
    };
    assert_eq!(
        [first(0), first(1), first(100)],
        ["10.0.1.1", "10.0.1.2", "10.0.1.1"]
    );
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let good = question("web", RecordType::A, None);
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        said(ask("blue", &bytes, Transport::Udp))
    };
    assert_eq!(changed(|b| b[2] |= 0x80), "ignore");
    assert_eq!(changed(|b| b[2] |= 0x28), "NotImp");
    assert_eq!(changed(|b| b.truncate(11)), "ignore");
    assert_eq!(changed(|b| b.truncate(14)), "FormErr");
    assert_eq!(changed(|b| b[5] = 0), "FormErr");
    // A pointer to itself.
    assert_eq!(changed(|b| b[12..14].copy_from_slice(&[0xc0, 12])), "FormErr");
    assert_eq!(said(Outcome::Answer(failed(&good).unwrap())), "ServFail");
}

#[test]
fn only_the_answer_to_a_question_is_one() {
    let asked = question("www.example.com.", RecordType::A, None);
    let mut reply = Message::from_vec(&asked).unwrap().into_response();
    reply.metadata.response_code = ResponseCode::NXDomain;
    let bytes = reply.to_vec().unwrap();
    assert!(answers(&bytes, &asked, 7));
    assert!(answers(&bytes.to_ascii_uppercase(), &asked.to_ascii_lowercase(), 7) || bytes[2] & 0x20 != 0);
    assert!(!answers(&bytes, &asked, 8));
    assert!(!answers(&asked, &asked, 7));
    assert!(!answers(
        &bytes,
        &question("www.example.org.", RecordType::A, None),
        7
    ));
    assert!(!answers(
        &bytes,
        &question("www.example.com.", RecordType::AAAA, None),
        7
    ));
    assert!(!answers(&bytes[..12], &asked, 7));
    assert!(!answers(&[], &asked, 7));
}

proptest! {
    #[test]
    fn any_bytes_have_an_outcome(
        bytes in proptest::collection::vec(any::<u8>(), 0..600), tcp in any::<bool>(),
    ) {
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let most = if tcp { usize::from(u16::MAX) } else { 4096 };
        for network in ["blue", "inner"] {
            if let Outcome::Answer(answer) = ask(network, &bytes, transport) {
                prop_assert!(answer.len() <= most);
                prop_assert_eq!(&answer[..2], &bytes[..2]);
            }
        }
        answers(&bytes, &bytes, 7);
        failed(&bytes);
    }

    /// Near to a question is more telling than far from it.
    #[test]
    fn a_question_with_a_few_other_bytes_has_an_outcome(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in 0_usize..60,
    ) {
        let mut bytes = question("web-3.tasks.many", RecordType::A, Some(1232));
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 4));
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Outcome::Answer(answer) = ask("blue", &bytes, transport) {
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert!(answer[2] & 0x80 != 0);
            }
        }
    }
}
