//! What constraints read and which nodes they match: tables of texts against one node. How the
//! scheduler uses them is in its scenario scripts.

use super::*;
use crate::model::{
    Availability, Labels, Meta, NodeDescription, NodeSpec, NodeState, NodeStatus, Platform, Timestamp,
    WallTime,
};

fn node() -> Node {
    let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
    Node {
        id: "0123456789abcdefghijklmno".parse().unwrap(),
        meta: Meta::default(),
        spec: NodeSpec {
            labels: labels("Zone", "East"),
            role: Role::Worker,
            availability: Availability::Active,
        },
        description: Some(NodeDescription {
            hostname: "n1".to_owned(),
            platform: Platform {
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
            },
            engine_labels: labels("disk", "ssd"),
            address: "10.1.2.3".to_owned(),
            ..NodeDescription::default()
        }),
        status: NodeStatus {
            state: NodeState::Ready,
            message: String::new(),
            since: WallTime(0),
            at: Timestamp::ZERO,
        },
        manager: None,
    }
}

#[test]
fn matches_as_swarm_does() {
    for (text, expect) in [
        ("node.id==0123456789abcdefghijklmno", true),
        ("node.id != 0123456789abcdefghijklmno", false),
        ("node.hostname==N1", true),
        ("node.role == worker", true),
        ("node.role==manager", false),
        ("node.role!=manager", true),
        ("node.platform.os==Linux", true),
        ("node.platform.arch==amd64", true),
        ("node.platform.arch==arm64", false),
        ("node.labels.Zone==east", true),
        ("node.labels.zone==east", false),
        ("node.labels.none!=east", true),
        ("engine.labels.disk==SSD", true),
        ("engine.labels.disk!=ssd", false),
        ("node.ip==10.1.2.3", true),
        ("node.ip==10.0.0.0/8", true),
        ("node.ip==10.1.3.0/24", false),
        ("node.ip!=192.168.0.0/16", true),
        ("node.ip==0.0.0.0/0", true),
        ("node.ip==fe80::/10", false),
    ] {
        let constraint: Constraint = text.parse().unwrap();
        assert_eq!(constraint.matches(&node()), expect, "{text}");
        assert_eq!(constraint.to_string().parse(), Ok(constraint), "{text}");
    }
}

#[test]
fn refuses_what_it_cannot_read() {
    for text in [
        "",
        "node.role",
        "node.role=manager",
        "node.rule==manager",
        "node.labels.==x",
        "node.labels.a==",
        "node.labels.a==a;b",
        "node.ip==10.0.0.0/33",
        "node.ip==here",
        "role==manager",
    ] {
        assert!(text.parse::<Constraint>().is_err(), "{text:?}");
    }
}
