//! The command line as a tree: nouns, their verbs, and the flags that every command takes.
//!
//! Parsed by `main`, carried out by `verb`. Nothing is read or asked here.

use crate::{connect::HostArgs, verb};
use clap::{Parser, Subcommand};

/// Runs compose-style stacks on one machine or many.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "shoal",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// A one-node cluster on this machine
    #[command(subcommand)]
    Dev(verb::dev::Verb),
    /// The cluster as a whole
    #[command(subcommand)]
    Cluster(verb::cluster::Verb),
    /// The clusters that you reach by name
    #[command(subcommand)]
    Context(verb::context::Verb),
    /// Services
    #[command(subcommand)]
    Service(verb::service::Verb),
    /// Stacks: the services of a compose file
    #[command(subcommand)]
    Stack(verb::stack::Verb),
    /// Networks that services join
    #[command(subcommand)]
    Network(verb::network::Verb),
    /// The cluster's machines
    #[command(subcommand)]
    Node(verb::node::Verb),
    /// Images of this node
    #[command(subcommand)]
    Image(verb::image::Verb),
    /// Volumes of this node
    #[command(subcommand)]
    Volume(verb::volume::Verb),
    /// List this node's containers
    Ps(verb::ps::PsArgs),
    /// Fetch the logs of one task
    Logs(verb::logs::LogsArgs),
    /// Run a container, with its streams here
    Run(Box<verb::run::RunArgs>),
    /// Attach to the streams of a task
    Attach(verb::attach::AttachArgs),
    /// Run a command in a task's container
    Exec(verb::exec::ExecArgs),
    /// Show tasks, services, nodes or networks in full
    Inspect(verb::inspect::InspectArgs),
    /// Show the versions of client and daemon
    Version(verb::version::VersionArgs),
    /// Print a completion script for a shell
    Completion(verb::completion::CompletionArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage_errors_and_what_people_type() {
        for (line, valid) in [
            (
                "service create --name web -e A=1 -p 80:80 --mount type=tmpfs,dst=/x busybox sleep 9",
                true,
            ),
            ("service create busybox sh -c x", true),
            ("service create -p 8080:80 --network a --network b busybox", true),
            ("service create -p 8080:80/icmp busybox", false),
            ("service create --secret x busybox", false),
            ("service create --mode replicated-job busybox", false),
            ("service create", false),
            (
                "service update --image x --env-add A=1 --env-rm B --force web",
                true,
            ),
            ("service scale web=3 db=1", true),
            ("service scale web", false),
            ("service scale web=many", false),
            ("service logs -f --tail 5 web", true),
            ("service ps -q --filter desired-state=running web", true),
            ("service ps --filter nonsense web", false),
            ("service ls --format {{.Name}}", true),
            ("service ls --format {{.Name", false),
            ("stack deploy -c a.yaml -c b.yaml app", true),
            ("stack deploy", true),
            ("cluster client-cert --name me -o x.toml", true),
            ("context import prod -", true),
            ("context import prod", false),
            ("service rm --detach=false web", true),
            ("stack rm --detach=maybe app", false),
            ("node update --availability drain self", true),
            ("node update --availability gone self", false),
            (
                "network create -d overlay --subnet 10.1.0.0/24 --internal back",
                true,
            ),
            ("network create --gateway 10.1.0.1 back", false),
            ("network create --driver macvlan back", false),
            ("network create", false),
            ("network ls -q --filter driver=overlay", true),
            ("network rm", false),
            (
                "service update --network-add name=a,alias=b --network-rm c web",
                true,
            ),
            ("service update --network a web", false),
            ("image load --input x.tar", true),
            ("dev up --detach", true),
            ("dev down --purge", true),
            ("-H tcp://x:1 ps", true),
            ("ps --host tcp://x:1", false),
            ("-H tcp://x:1 service create --host db:10.0.0.1 img", true),
            ("--context a -H tcp://x:1 ps", false),
            ("nonsense", false),
        ] {
            check(line, valid);
        }
    }

    #[test]
    fn ways_into_a_container() {
        for (line, valid) in [
            (
                "run --rm -it --network front -e A=1 -v ./x:/x -p 8080:80 --name me img sh -c ls",
                true,
            ),
            ("run -ti --detach-keys ctrl-a,d img", true),
            ("run -d img", true),
            ("run -d --rm img", true),
            ("run -di img", true),
            ("run", false),
            ("attach --no-stdin web.1", true),
            ("attach --detach-keys ctrl- web.1", false),
            ("exec -it web.1 sh -c ls", true),
            ("exec web.1", false),
            ("exec -d web.1 sleep 9", true),
            ("exec -di web.1 sh", false),
        ] {
            check(line, valid);
        }
    }

    #[track_caller]
    fn check(line: &str, valid: bool) {
        let words = ["shoal"].into_iter().chain(line.split(' '));
        let parsed = Arguments::try_parse_from(words);
        assert_eq!(parsed.is_ok(), valid, "{line}: {parsed:?}");
    }
}
