//! Stacks on networks: each has names of its own, and a second deploy changes what changed.

use crate::client;
use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, PATIENCE, dist, until};
use std::{collections::BTreeSet, fs};

/// Two services of which the second finds the first by the name that the file gives it.
const STACK: &str = "
services:
  web:
    image: busybox:1
    command: [sh, -c, 'mkdir -p /www && echo $$COLOR > /www/index.html && exec httpd -f -p 80 -h /www']
    stop_signal: SIGKILL
    environment: { COLOR: ${COLOR} }
    deploy: { update_config: { monitor: 100ms } }
    networks:
      default: { aliases: [site] }
  reader:
    image: busybox:1
    command: [sleep, '100000']
    stop_signal: SIGKILL
";

fn deploy(host: &Host, stack: &str, color: &str) -> Result<String> {
    let file = host.folder().join("stack.yaml");
    fs::write(&file, STACK.replace("${COLOR}", color))?;
    host.shoal(&[
        "stack",
        "deploy",
        "--detach=false",
        "-c",
        &file.display().to_string(),
        stack,
    ])
}

fn reads(host: &Host, stack: &str, url: &str, expected: &str) -> Result<()> {
    let task = host.running(&format!("{stack}_reader"), 1)?.remove(0);
    until(&format!("{url} to say {expected}"), PATIENCE, || {
        let said = host.shoal(&["exec", &task, "wget", "-q", "-O-", url])?;
        ensure!(said.trim() == expected, "{said}");
        Ok(())
    })
}

#[test]
fn stacks_have_names_of_their_own_and_change_what_changed() -> Result<()> {
    let host = Host::with_busybox("stacks")?;
    deploy(&host, "one", "red")?;
    deploy(&host, "two", "green")?;
    for (stack, color) in [("one", "red"), ("two", "green")] {
        for name in ["web".to_owned(), "site".to_owned(), format!("{stack}_web")] {
            reads(&host, stack, &format!("http://{name}/"), color)?;
        }
    }
    let networks = host.shoal(&["network", "ls"])?;
    ensure!(
        networks.contains("one_default") && networks.contains("two_default"),
        "{networks}"
    );

    let before = tasks(&host)?;
    deploy(&host, "one", "red")?;
    ensure!(tasks(&host)? == before, "a deploy of the same replaced a task");
    deploy(&host, "one", "blue")?;
    reads(&host, "one", "http://web/", "blue")?;
    let after = tasks(&host)?;
    ensure!(
        before.difference(&after).count() == 1,
        "{before:?} became {after:?}"
    );
    reads(&host, "two", "http://web/", "green")?;

    host.shoal(&["stack", "rm", "--detach=false", "one"])?;
    until("its network to go", PATIENCE, || {
        let networks = host.shoal(&["network", "ls"])?;
        ensure!(
            !networks.contains("one_default") && networks.contains("two_default"),
            "{networks}"
        );
        Ok(())
    })?;
    reads(&host, "two", "http://web/", "green")?;
    host.finish()
}

fn tasks(host: &Host) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for service in ["one_web", "one_reader", "two_web", "two_reader"] {
        found.extend(host.running(service, 1)?);
    }
    Ok(found)
}

#[test]
fn a_stack_joins_a_network_that_is_there_and_publishes_ports() -> Result<()> {
    let host = Host::with_busybox("external")?;
    host.shoal(&["network", "create", "shared"])?;
    let file = host.folder().join("stack.yaml");
    fs::write(
        &file,
        "
services:
  web:
    image: busybox:1
    command: [sh, -c, 'mkdir -p /www && hostname > /www/index.html && exec httpd -f -p 80 -h /www']
    stop_signal: SIGKILL
    networks: [shared, inner]
    ports: ['8080:80']
networks:
  shared: { external: true }
  inner:
    internal: true
    ipam: { config: [ { subnet: 10.55.0.0/24 } ] }
",
    )?;
    let file = file.display().to_string();
    host.shoal(&["stack", "deploy", "--detach=false", "-c", &file, "app"])?;
    let asker = client(&host, "asker", &["shared"])?;
    crate::addresses(&asker, "web", 2)?;
    let task = host.running("app_web", 1)?.remove(0);
    let own = host.task_net(&task)?.addresses()?;
    ensure!(
        own.iter()
            .any(|address| address.to_string().starts_with("10.55.0.")),
        "{own:?}"
    );
    let page = until("its port", PATIENCE, || host.net()?.get("127.0.0.1:8080"))?;
    ensure!(page == host.page_of(&task)?, "{page}");
    host.shoal(&["stack", "rm", "--detach=false", "app"])?;
    ensure!(
        host.shoal(&["network", "ls"])?.contains("shared"),
        "another's network is gone"
    );
    host.finish()
}

#[test]
fn the_example_counts_its_visits() -> Result<()> {
    let host = Host::with_cluster("visits")?;
    for archive in ["web.tar", "redis.tar"] {
        let path = dist().join(archive);
        host.shoal(&["image", "load", "--input", &path.display().to_string()])
            .context("`cargo xtask image` makes it")?;
    }
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../compose-examples/web-and-redis/compose.yaml"
    );
    host.shoal(&["stack", "deploy", "--detach=false", "-c", file, "visits"])?;
    let here = host.net()?;
    until("the first visit", PATIENCE, || {
        let page = here.get("127.0.0.1:8080")?;
        ensure!(page.starts_with("Visit 1,"), "{page}");
        Ok(())
    })?;
    let page = here.get("127.0.0.1:8080")?;
    ensure!(page.starts_with("Visit 2,"), "{page}");
    host.shoal(&["stack", "rm", "--detach=false", "visits"])?;
    host.finish()
}
