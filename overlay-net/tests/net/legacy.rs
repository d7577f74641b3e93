//! A firewall by `iptables-legacy`, whose tables nftables does not show: it is named, with what would help, until it
//! lets containers' packets pass.

use std::net::IpAddr;
use std::process::Command;

use shoal_overlay_net::desired::{PortKey, Protocol};

use crate::world::{HOST, World, ask, in_a_host, until};

/// Runs a line of commands in the test's host.
fn run(line: &str) {
    let done = Command::new("sh").args(["-ec", line]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{line} (of the package iptables): {said}");
}

async fn named(world: &World, expect: usize) -> Vec<String> {
    let status = world.net().status();
    until("as many problems are named", || async {
        status.borrow().problems.len() == expect
    })
    .await;
    let problems = status.borrow().problems.clone();
    for problem in &problems {
        assert!(problem.what.starts_with("the chain FORWARD of ip"), "{problem:?}");
    }
    problems.into_iter().map(|problem| problem.remedy).collect()
}

#[test]
fn a_firewall_that_nftables_does_not_show_is_named_until_it_lets_us_pass() {
    in_a_host(|mut world| async move {
        let container = world.container(11, &["blue"]).await;
        container.serve(80, "here");
        let key = PortKey {
            protocol: Protocol::Tcp,
            address: None,
            port: 8080,
        };
        world.publish(key, Some(100), &[(&container, 80)]).await;
        for (program, host) in ["iptables-legacy", "ip6tables-legacy"].into_iter().zip(HOST) {
            let host: IpAddr = host.parse().unwrap();
            // A table that is there and drops nothing is none of our business.
            run(&format!(
                "{program} -A FORWARD -i lo -j DROP; {program} -A FORWARD -o eth9 -j ACCEPT"
            ));
            assert!(ask(&world.outside, host, 8080).await.is_ok());
            assert!(named(&world, 0).await.is_empty());
            run(&format!("{program} -P FORWARD DROP"));
            let remedies = named(&world, 1).await;
            assert!(ask(&world.outside, host, 8080).await.is_err());
            run(&remedies[0]);
            assert!(named(&world, 0).await.is_empty());
            assert!(
                ask(&world.outside, host, 8080)
                    .await
                    .unwrap()
                    .starts_with("here ")
            );
        }
        run("iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F; iptables-legacy -A FORWARD -j REJECT");
        named(&world, 1).await;
    });
}
