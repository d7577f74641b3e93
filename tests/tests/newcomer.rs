//! What helps a newcomer at the client: names on Tab, a pull that says how far it is, pools that are chosen.

use anyhow::{Context, Result, ensure};
use shoal_tests::{Host, HostOptions, PATIENCE, Registry, SLEEP, Typist, dist, until};
use std::collections::BTreeSet;

/// Sources the script, completes the line as bash would on Tab, and prints the candidates one a line.
const ASK: &str = r#"
source <(shoal completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
function=$(complete -p shoal | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" shoal "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Where the programs are found by their names.
fn path() -> Result<String> {
    Ok(format!(
        "{}:{}",
        dist().join("dev").display(),
        std::env::var("PATH")?
    ))
}

#[test]
fn names_of_a_living_cluster_are_offered() -> Result<()> {
    let host = Host::with_busybox("tab")?;
    host.shoal(&["network", "create", "blue"])?;
    for name in ["web-one", "web-two", "other"] {
        host.create(name, &["--network", "blue"], &SLEEP)?;
    }
    for (words, expected) in [
        (&["service", "rm", "we"][..], &["web-one", "web-two"][..]),
        (&["service", "logs", "o"], &["other"]),
        (&["exec", "web-o"], &["web-one.1"]),
        (&["network", "inspect", "b"], &["blue"]),
        (&["service", "create", "--network", "b"], &["blue"]),
        (&["image", "rm", "busy"], &["busybox:1"]),
    ] {
        // A machine that is busy may take longer than somebody who types waits.
        until(&format!("names for {words:?}"), PATIENCE, || {
            let mut bash = host.command("bash");
            bash.args(["-c", ASK, "bash", "shoal"])
                .args(words)
                .env("PATH", path()?);
            let output = bash.output()?;
            ensure!(output.status.success(), "{output:?}");
            let said = String::from_utf8(output.stdout)?;
            let offered: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
            ensure!(offered == expected, "{offered:?}");
            Ok(())
        })?;
    }
    host.finish()
}

#[test]
fn a_pull_says_how_far_it_is() -> Result<()> {
    let options = HostOptions {
        daemon_args: Registry::daemon_args(),
        ..Default::default()
    };
    let mut host = Host::new("pull", options)?;
    host.start_daemon()?;
    let registry = Registry::start(&host)?;
    registry.slowly(&host)?;
    let mut typist = Typist::new(&host, "/", &[("PATH", path()?)])?;
    let (code, said) = typist.line("shoal image pull 127.0.0.1:5001/hello:1")?;
    ensure!(code == 0 && said.contains(": Done"), "{code} {said}");
    // Frames of one line that is drawn again and again, each with what is there and what is to come.
    let amounts = said.split("Downloading").skip(1).map(|frame| {
        let (_, amount) = frame.split_once("] ").context("no bar")?;
        let end = amount.find(|sign: char| sign.is_control());
        Ok(amount[..end.unwrap_or(amount.len())].trim_end())
    });
    let amounts: BTreeSet<_> = amounts.collect::<Result<_>>().with_context(|| said.clone())?;
    let totals: BTreeSet<_> = amounts
        .iter()
        .filter_map(|amount| Some(amount.split_once('/')?.1))
        .collect();
    ensure!(
        amounts.len() >= 3 && totals.len() == 1,
        "{amounts:?} of {totals:?}: {said:?}"
    );
    drop(typist);
    drop(registry);
    host.finish()
}

#[test]
fn a_cluster_gives_addresses_of_the_pools_that_were_asked_for() -> Result<()> {
    let options = HostOptions {
        dev: false,
        ..Default::default()
    };
    let mut host = Host::new("pools", options)?;
    host.spawn_daemon()?;
    until("the daemon to answer", PATIENCE, || {
        let said = host.shoal_fails(1, &["cluster", "info"])?;
        ensure!(said.contains("cluster init"), "{said}");
        Ok(())
    })
    .with_context(|| host.daemon_log())?;
    let init = [
        "cluster",
        "init",
        "--advertise-addr",
        "127.0.0.1:2377",
        "--default-addr-pool",
        "10.77.0.0/16",
        "--default-addr-pool-mask-length",
        "24",
        "--default-addr-pool-ipv6",
        "fd77:77:77::/48",
    ];
    let said = host.shoal(&init)?;
    ensure!(said.contains("10.77.0.0/16 in subnets of /24"), "{said}");
    // They are fixed from now on.
    host.shoal_fails(1, &init)?;
    host.import_busybox("busybox:1")?;
    host.shoal(&["network", "create", "blue"])?;
    host.create("a", &["--network", "blue"], &SLEEP)?;
    let network = host.inspect("network", "blue")?;
    let subnets = network["IPAM"]["Config"].as_array().context("no subnets")?;
    let subnets: Vec<_> = subnets
        .iter()
        .filter_map(|entry| entry["Subnet"].as_str())
        .collect();
    ensure!(
        matches!(subnets[..], [v4, v6] if v4.starts_with("10.77.") && v4.ends_with(".0/24")
            && v6.starts_with("fd77:77:77:") && v6.ends_with("/64")),
        "{subnets:?}"
    );
    let own = host.task_net(&host.running("a", 1)?[0])?.addresses()?;
    ensure!(
        own.iter().all(|address| {
            let text = address.to_string();
            text.starts_with("10.77.") || text.starts_with("fd77:77:77:")
        }) && own.len() == 2,
        "{own:?}"
    );
    host.finish()
}
