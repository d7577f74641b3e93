//! `shoal service create IMAGE [COMMAND…]`.
//!
//! Makes the spec, prints the id, and waits until the tasks run.

use super::{Client, WaitArgs, warn};
use crate::{
    complete::{Names, names},
    failure::usage,
    output::print,
    spec::{CreateLists, TaskFlags, invented_name},
    verb::request_id,
    wire::refused,
};
use anyhow::Result;
use clap::ValueEnum;
use shoal_api::v1;
use shoal_core::model::{EndpointMode, Mode, ServiceSpec, TaskSpec, UpdateConfig};
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Name (made up if not given)
    #[arg(long)]
    name: Option<String>,
    /// replicated or global
    #[arg(long, default_value = "replicated", value_parser = mode)]
    mode: ModeArg,
    #[command(flatten)]
    flags: TaskFlags,
    #[command(flatten)]
    lists: CreateLists,
    /// Take the image reference as it is
    #[arg(long)]
    no_resolve_image: bool,
    #[command(flatten)]
    wait: WaitArgs,
    /// Image to run
    #[arg(add = names(Names::Images))]
    image: String,
    /// Replaces the image's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Replicated,
    Global,
}

fn mode(text: &str) -> Result<ModeArg, String> {
    match text {
        "replicated-job" | "global-job" => Err("jobs are not built yet".to_owned()),
        _ => ModeArg::from_str(text, false)
            .map_err(|_error| format!("expected replicated or global, found {text:?}")),
    }
}

pub(crate) async fn run(client: &Client, args: CreateArgs) -> Result<()> {
    let wait = args.wait;
    let no_resolve_image = args.no_resolve_image;
    let own = |name: &str| std::env::var(name).ok();
    let env = args.lists.env_of_files()?;
    let spec = spec(args, env, &own).map_err(usage)?;
    let connection = client.connect().await?;
    let request = v1::CreateServiceRequest {
        spec: Some(spec.into()),
        request_id: request_id(),
        no_resolve_image,
    };
    let made = connection
        .control()
        .create_service(request)
        .await
        .map_err(refused)?
        .into_inner();
    warn(&made.warnings);
    print(&format!("{}\n", made.id))?;
    wait.wait(&connection, vec![made.id]).await
}

/// The spec that the flags ask for.
fn spec(
    args: CreateArgs,
    env: BTreeMap<String, String>,
    own: &dyn Fn(&str) -> Option<String>,
) -> Result<ServiceSpec, String> {
    let mut spec = ServiceSpec {
        name: args.name.unwrap_or_else(invented_name),
        labels: BTreeMap::new(),
        mode: match args.mode {
            ModeArg::Replicated => Mode::Replicated { replicas: 1 },
            ModeArg::Global => Mode::Global,
        },
        task: TaskSpec::default(),
        ports: Vec::new(),
        endpoint_mode: EndpointMode::default(),
        update: UpdateConfig::default(),
    };
    let container = &mut spec.task.container;
    container.image = args.image;
    container.env = env;
    if !args.command.is_empty() {
        container.args = Some(args.command);
    }
    args.lists.apply(&mut spec, own)?;
    args.flags.apply(&mut spec)?;
    Ok(spec)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::spec::ports_text;
    use clap::Parser;
    use shoal_core::model::{NetworkMode, NetworkUse};
    use std::net::Ipv4Addr;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    /// The spec of a command line.
    pub(crate) fn spec_of(line: &str) -> Result<ServiceSpec, String> {
        let words = ["create"].into_iter().chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        spec(line.args, BTreeMap::new(), &|name| {
            (name == "OWN").then(|| "mine".to_owned())
        })
    }

    #[test]
    fn flags_make_a_spec() {
        let spec = spec_of(
            "--name web --replicas 3 -e A=1 -e OWN -e NONE -l a=b --container-label c -u 1:2 -w /x --hostname h \
             --mount type=bind,src=/a,dst=/b,ro --mount src=v,dst=/v -p 8080:80 -p 90-91:90-91/udp --constraint node.role==worker \
             --placement-pref spread=node.labels.z --limit-cpu 0.5 --limit-memory 64m --reserve-memory 32m \
             --restart-condition on-failure --restart-max-attempts 3 --health-cmd true --health-interval 2s \
             --stop-grace-period 1m30s --ulimit nofile=1:2 --sysctl a.b=1 --init --read-only \
             --network front --network name=back,alias=w,alias=www --endpoint-mode dnsrr --host a:host-gateway \
             --host six:[::1] --dns 192.0.2.1 --dns-search x.example --dns-option ndots:2 --cap-add NET_ADMIN --entrypoint /e img cmd -x",
        )
        .unwrap();
        let container = &spec.task.container;
        assert_eq!(spec.name, "web");
        assert_eq!(spec.mode, Mode::Replicated { replicas: 3 });
        assert_eq!(
            container.env,
            BTreeMap::from([("A".into(), "1".into()), ("OWN".into(), "mine".into())])
        );
        assert_eq!(container.labels, BTreeMap::from([("c".into(), String::new())]));
        assert_eq!(container.command, Some(vec!["/e".to_owned()]));
        assert_eq!(container.args, Some(vec!["cmd".to_owned(), "-x".to_owned()]));
        assert_eq!(container.mounts.len(), 2);
        assert!(container.mounts[0].read_only && container.init && container.read_only);
        assert_eq!(container.limits.memory.unwrap().0, 64 << 20);
        assert_eq!(spec.task.reservations.memory.0, 32 << 20);
        assert_eq!(spec.task.restart.max_attempts, Some(3));
        assert_eq!(container.stop_grace.unwrap().as_secs(), 90);
        assert_eq!(ports_text(&spec.ports), "*:8080->80/tcp, *:90-91->90-91/udp");
        assert_eq!(spec.endpoint_mode, EndpointMode::DnsRoundRobin);
        let networks = [
            ("front", vec![]),
            ("back", vec!["w".to_owned(), "www".to_owned()]),
        ];
        let networks = networks.map(|(network, aliases)| NetworkUse {
            network: network.to_owned(),
            aliases,
        });
        assert_eq!(spec.task.networks, networks);
        assert_eq!(container.network, NetworkMode::Networks);
        let hosts = [("a", "host-gateway"), ("six", "::1")];
        assert_eq!(
            container.extra_hosts,
            hosts.map(|(name, address)| (name.to_owned(), address.to_owned()))
        );
        let dns = &container.dns;
        assert_eq!(dns.servers, [Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(
            (dns.search[0].as_str(), dns.options[0].as_str()),
            ("x.example", "ndots:2")
        );
        assert_eq!(container.user.as_deref(), Some("1:2"));
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for (line, expect) in [
            (
                "--mode global --replicas 2 img",
                "a global service has one task on every node",
            ),
            ("-p 8080:80:90:1 img", "expected an address of the host"),
            ("-p 53:53/sctp img", "the protocol tcp or udp"),
            ("--network host --network front img", "host and none stand alone"),
            ("--network name=host,alias=a img", "no aliases"),
            ("--endpoint-mode dns img", "vip, dnsrr"),
            ("--dns resolver img", "resolver"),
            ("--host a:b img", "expected NAME:ADDRESS"),
            ("--mount dst=/a --mount dst=/a img", "/a is mounted twice"),
            (
                "--mount type=bind,src=a,dst=/b img",
                "expected an absolute source",
            ),
            (
                "--mount type=tape,dst=/b img",
                "expected the type bind, volume or tmpfs",
            ),
            ("--config x img", "configs are not built yet"),
            ("--mode replicated-job img", "jobs are not built yet"),
            ("--oom-score-adj 2000 img", "2000"),
        ] {
            let error = spec_of(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}
