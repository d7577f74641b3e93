//! Other firewalls of the host: those that are known are opened, another one is named with the command that helps.

use crate::with_blue;
use anyhow::{Context, Result, ensure};
use shoal_tests::{HOST_V4, HOST_V6, Host, OUTSIDE_V4, Outside, PATIENCE, until};
use std::time::Duration;

/// After a change of rules.
const SOON: Duration = Duration::from_secs(5);

fn world(name: &str) -> Result<(Host, Outside)> {
    let host = with_blue(name)?;
    let outside = Outside::new(&host)?;
    outside.serve(8000)?;
    Ok((host, outside))
}

/// In by the published port, and out.
fn passes(host: &Host, outside: &Outside) -> Result<()> {
    for place in [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")] {
        outside.net.get(&place).context("in")?;
    }
    let task = host.task_net(&host.running("web", 1)?[0])?;
    task.get(&format!("{OUTSIDE_V4}:8000")).context("out")?;
    Ok(())
}

#[test]
fn a_forward_policy_of_drop_is_opened_whenever_it_comes() -> Result<()> {
    let (host, outside) = world("iptables")?;
    // Docker's way, before there is anything of ours.
    for tool in ["iptables-nft", "ip6tables-nft"] {
        host.run(tool, "-P FORWARD DROP")?;
    }
    host.create_web("web", &["--network", "blue", "-p", "8080:80"])?;
    until("the way in and out", PATIENCE, || passes(&host, &outside))?;
    // Whoever reloads his rules throws ours away.
    for tool in ["iptables-nft", "ip6tables-nft"] {
        host.run(tool, "-F FORWARD")?;
    }
    until("the way in and out again", SOON, || passes(&host, &outside))?;
    // As Docker has it: a chain of the user's own is where others' rules belong.
    for tool in ["iptables-nft", "ip6tables-nft"] {
        host.run(tool, "-F FORWARD")?;
        host.run(tool, "-N DOCKER-USER")?;
        host.run(tool, "-A FORWARD -j DOCKER-USER")?;
        host.run(tool, "-A FORWARD -j DROP")?;
    }
    until("the way through Docker's rules", SOON, || passes(&host, &outside))?;
    host.finish()
}

#[test]
fn a_firewall_of_an_unknown_tool_is_named_with_what_helps() -> Result<()> {
    let (host, outside) = world("unknown")?;
    host.create_web("web", &["--network", "blue", "-p", "8080:80"])?;
    until("the way in and out", PATIENCE, || passes(&host, &outside))?;
    host.run("nft", "add table inet wall")?;
    host.run(
        "nft",
        "add chain inet wall gate { type filter hook forward priority 0 ; policy drop ; }",
    )?;
    let node = host.shoal(&["node", "ls", "-q"])?;
    let help = until("the node to say so", SOON, || {
        let said = host.shoal(&["node", "inspect", node.trim()])?;
        ensure!(said.contains("wall") && said.contains("gate"), "{said}");
        ensure!(outside.net.get(&format!("{HOST_V4}:8080")).is_err(), "it passes");
        remedies(&said)
    })?;
    for command in help {
        let status = host.command("sh").args(["-c", &command]).output()?;
        ensure!(status.status.success(), "{command}: {status:?}");
    }
    until("what was said to help", SOON, || passes(&host, &outside))?;
    until("the node to be content", SOON, || {
        let said = host.shoal(&["node", "inspect", node.trim()])?;
        ensure!(!said.contains("gate"), "{said}");
        Ok(())
    })?;
    // What the user typed stays until the user takes it away.
    host.run("nft", "delete table inet wall")?;
    host.finish()
}

/// The commands that a node's problems name.
fn remedies(inspected: &str) -> Result<Vec<String>> {
    let value: serde_json::Value = serde_json::from_str(inspected)?;
    let mut found = Vec::new();
    let mut open = vec![&value];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Object(fields) => open.extend(fields.values()),
            serde_json::Value::Array(values) => open.extend(values),
            serde_json::Value::String(text) if text.starts_with("nft ") => found.push(text.clone()),
            _ => {}
        }
    }
    ensure!(!found.is_empty(), "no command is named: {inspected}");
    Ok(found)
}
