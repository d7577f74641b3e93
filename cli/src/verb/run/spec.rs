//! The flags of `run`, and the service that they ask for.
//!
//! Those of `docker run` that a service has too are meant alike.

use crate::{
    complete::{Names, names},
    spec::{CreateLists, Words, run_name, volume, words},
    terminal::DetachKeys,
    units::parse_cpus,
};
use shoal_core::model::{
    AWAITS_CLIENT, Bytes, CpuNanos, EndpointMode, Mode, Mount, RestartCondition, RestartPolicy, ServiceSpec,
    TaskSpec, UpdateConfig,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Name of the service (made up if not given)
    #[arg(long)]
    name: Option<String>,
    /// Remove the service when its program has ended
    #[arg(long)]
    pub(super) rm: bool,
    /// Pass standard input on
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Leave it to itself and print its id
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Keys that leave the program to itself
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(super) detach_keys: DetachKeys,
    /// Folder of the host or volume: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "VOLUME", value_parser = volume)]
    volume: Vec<Mount>,
    /// User name or id, and perhaps a group
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<String>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    entrypoint: Option<Words>,
    /// Host name in the container
    #[arg(long)]
    hostname: Option<String>,
    /// An init as the container's first process
    #[arg(long)]
    init: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Limit of memory
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Limit of cpus
    #[arg(long, value_parser = parse_cpus)]
    cpus: Option<CpuNanos>,
    #[command(flatten)]
    pub(super) lists: CreateLists,
    /// Image to run
    #[arg(add = names(Names::Images))]
    image: String,
    /// Replaces the image's command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// A service of one task that ends when its program does. `env` is of files: flags win over it.
pub(super) fn service(args: RunArgs, env: BTreeMap<String, String>) -> Result<ServiceSpec, String> {
    let mut spec = ServiceSpec {
        name: args.name.unwrap_or_else(run_name),
        labels: BTreeMap::new(),
        mode: Mode::Replicated { replicas: 1 },
        task: TaskSpec {
            restart: RestartPolicy {
                condition: RestartCondition::None,
                ..RestartPolicy::default()
            },
            ..TaskSpec::default()
        },
        ports: Vec::new(),
        endpoint_mode: EndpointMode::default(),
        update: UpdateConfig::default(),
    };
    spec.task.container.env = env;
    args.lists.apply(&mut spec, &|name| std::env::var(name).ok())?;
    let container = &mut spec.task.container;
    container.image = args.image;
    container.args = (!args.command.is_empty()).then_some(args.command);
    container.command = args
        .entrypoint
        .map(|Words(words)| words)
        .filter(|words| !words.is_empty());
    container.user = args.user;
    container.workdir = args.workdir;
    container.hostname = args.hostname;
    container.init = args.init;
    container.read_only = args.read_only;
    container.tty = args.tty;
    container.stdin_open = args.interactive;
    container.limits.memory = args.memory;
    container.limits.cpu = args.cpus;
    for mount in args.volume {
        if container.mounts.iter().any(|other| other.target == mount.target) {
            return Err(format!("--volume: {} is mounted twice", mount.target));
        }
        container.mounts.push(mount);
    }
    if !args.detach {
        spec.task
            .container
            .labels
            .insert(AWAITS_CLIENT.to_owned(), String::new());
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use shoal_core::model::MountSource;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn spec_of(line: &str) -> Result<ServiceSpec, String> {
        let words = ["run"].into_iter().chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        service(line.args, BTreeMap::from([("A".to_owned(), "file".to_owned())]))
    }

    #[test]
    fn a_run_is_a_service_of_one_task_that_waits_for_its_caller() {
        let spec = spec_of("--rm -ti --name me -e B=2 -v data:/data:ro -v ./x:/x -v /anon --network front -p 8080:80 -m 64m img sh -c ls").unwrap();
        let container = &spec.task.container;
        assert_eq!(spec.name, "me");
        assert_eq!(spec.mode, Mode::Replicated { replicas: 1 });
        assert_eq!(spec.task.restart.condition, RestartCondition::None);
        assert!(container.tty && container.stdin_open);
        assert!(container.labels.contains_key(AWAITS_CLIENT));
        assert_eq!(
            container.args,
            Some(["sh", "-c", "ls"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            (container.env["A"].as_str(), container.env["B"].as_str()),
            ("file", "2")
        );
        assert_eq!(container.limits.memory, Some(Bytes(64 << 20)));
        assert_eq!(spec.task.networks[0].network, "front");
        assert_eq!(spec.ports[0].published, 8080);
        let [data, folder, anonymous] = container.mounts.as_slice() else {
            panic!("{:?}", container.mounts)
        };
        assert!(data.read_only && !folder.read_only);
        assert!(matches!(&data.source, MountSource::Volume { name: Some(name), .. } if name == "data"));
        assert!(matches!(&folder.source, MountSource::Bind { path, create: true } if path.starts_with('/')));
        assert!(matches!(
            &anonymous.source,
            MountSource::Volume { name: None, .. }
        ));
        let alone = spec_of("-d img").unwrap();
        assert!(!alone.task.container.labels.contains_key(AWAITS_CLIENT));
        assert!(alone.name.starts_with("run-"));
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for (line, expect) in [
            ("-v x:y img", "expected SOURCE:TARGET"),
            ("-v /a:/b:/c img", "expected SOURCE:TARGET"),
            ("-v :/b img", "expected SOURCE:TARGET"),
            ("-v a:/x -v b:/x img", "/x is mounted twice"),
        ] {
            let error = spec_of(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}
