//! The command line of `shoald`, raw: what was said and nothing more.
//!
//! Every flag has an environment variable and, except for the settings file itself, a key in that file.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The daemon of a Shoal node.
///
/// A flag wins over its environment variable, which wins over the settings file.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "shoald", version, about)]
pub struct NodeArgs {
    /// Run a one-node cluster for this machine alone: made on the first start, taken up on every later one.
    ///
    /// It listens on 127.0.0.1 and its socket only, and keeps its own state beside that of a real node. It does not read
    /// that one's settings: a settings file must be named, and SHOAL_LISTEN and SHOAL_ADVERTISE are left alone.
    #[arg(long, global = true, env = "SHOAL_DEV", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub dev: Option<bool>,

    /// Settings file [default: /etc/shoal/shoald.toml, if it exists; with --dev none]
    #[arg(long, global = true, env = "SHOAL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where state is kept [default: /var/lib/shoal, with --dev /var/lib/shoal-dev]
    #[arg(long, global = true, env = "SHOAL_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where run-time files are kept [default: /run/shoal, with --dev /run/shoal-dev]
    #[arg(long, global = true, env = "SHOAL_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,

    /// Where a manager listens [default: 0.0.0.0:2377, with --dev 127.0.0.1 and a free port]
    #[arg(long, env = "SHOAL_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// The address by which other nodes reach this one [default: the listen address]
    #[arg(long, env = "SHOAL_ADVERTISE", value_name = "ADDRESS[:PORT]")]
    pub advertise: Option<String>,

    /// A registry that is spoken to over plain HTTP; may be repeated
    #[arg(
        long = "insecure-registry",
        env = "SHOAL_INSECURE_REGISTRIES",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    pub insecure_registries: Vec<String>,

    /// What is logged: error, warn, info, debug, trace, or directives as of tracing's EnvFilter [default: info]
    #[arg(long, env = "SHOAL_LOG", value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Log lines as JSON
    #[arg(long, env = "SHOAL_LOG_JSON", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub log_json: Option<bool>,

    /// Remount cgroup2 with favordynmods: containers start faster, for the whole machine
    #[arg(long, env = "SHOAL_FAVORDYNMODS", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub favordynmods: Option<bool>,

    /// The shoal-shim program [default: beside shoald, else in ../libexec/shoal]
    #[arg(long, global = true, env = "SHOAL_SHIM", value_name = "FILE")]
    pub shim: Option<PathBuf>,

    /// The shoal-spawn program [default: beside shoald, else in ../libexec/shoal]
    #[arg(long, global = true, env = "SHOAL_SPAWN", value_name = "FILE")]
    pub spawn: Option<PathBuf>,

    /// The shoal-net program [default: beside shoald, else in ../libexec/shoal]
    #[arg(long, global = true, env = "SHOAL_NET", value_name = "FILE")]
    pub net: Option<PathBuf>,

    /// A port of this host that containers may reach under host-gateway; may be repeated [default: none]
    #[arg(
        long = "open-host-port",
        env = "SHOAL_OPEN_HOST_PORTS",
        value_name = "PORT[/tcp|/udp]",
        value_delimiter = ','
    )]
    pub open_host_ports: Vec<String>,

    /// A range of IPv4 addresses that the networks of a cluster made here get theirs from; may be repeated [default: a
    /// free one]
    #[arg(
        long = "default-addr-pool",
        env = "SHOAL_DEFAULT_ADDR_POOLS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub default_addr_pools: Vec<String>,

    /// The length of the prefix of each such network's IPv4 subnet [default: 22]
    #[arg(long, env = "SHOAL_DEFAULT_ADDR_POOL_MASK_LENGTH", value_name = "LENGTH")]
    pub default_addr_pool_mask_length: Option<u8>,

    /// A /48 of IPv6 addresses for them [default: a random one]
    #[arg(long, env = "SHOAL_DEFAULT_ADDR_POOL_IPV6", value_name = "CIDR")]
    pub default_addr_pool_ipv6: Option<String>,

    /// What the environment alone says.
    #[arg(skip)]
    pub ambient: Ambient,

    #[command(subcommand)]
    pub command: Option<NodeCommand>,
}

/// Which settings come from the environment. It may be that of an installed node, with which a node of `--dev` has
/// nothing to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ambient {
    pub listen: bool,
    pub advertise: bool,
}

impl NodeArgs {
    /// The command line of this process. Ends it where that cannot be understood, or asks for help only.
    pub fn of_process() -> Self {
        let matches = Self::command().get_matches();
        Self::of_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn of_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let ambient = |id| matches.value_source(id) == Some(ValueSource::EnvVariable);
        Ok(Self {
            ambient: Ambient {
                listen: ambient("listen"),
                advertise: ambient("advertise"),
            },
            ..Self::from_arg_matches(matches)?
        })
    }
}

/// What `shoald` does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum NodeCommand {
    /// End every container of a stopped daemon and take away what it left at run time.
    ///
    /// Refused while the daemon runs. Images, volumes and the cluster's state stay, unless --purge is given.
    Down {
        /// Remove the state directory too: images, volumes, logs and the cluster itself
        #[arg(long)]
        purge: bool,
    },
    /// Print the names of all points at which this test build can be made to end, one a line.
    #[cfg(feature = "crash-points")]
    CrashPoints,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set for the process whose environment speaks of listening.
    const AMBIENT: &str = "SHOAL_TEST_AMBIENT";

    #[test]
    fn what_the_environment_says_is_known_as_such() {
        let read = |words: &[&str]| {
            let matches = NodeArgs::command().get_matches_from([&["shoald"], words].concat());
            let args = NodeArgs::of_matches(&matches).unwrap();
            (args.listen.map(|listen| listen.port()), args.ambient.listen)
        };
        if std::env::var_os(AMBIENT).is_some() {
            assert_eq!(read(&[]), (Some(7), true));
            assert_eq!(read(&["--listen", "127.0.0.1:8"]), (Some(8), false));
            return;
        }
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "args::tests::what_the_environment_says_is_known_as_such",
            ])
            .env(AMBIENT, "1")
            .env("SHOAL_LISTEN", "127.0.0.1:7")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    }
}
