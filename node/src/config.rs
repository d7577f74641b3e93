//! The settings of a node: flags over environment over file over defaults, checked before any socket is bound.
//!
//! A fault names where it was said and what was expected. Nothing here changes the machine.

use crate::args::NodeArgs;
use crate::programs::{NamedPrograms, ProgramError, Programs};
use serde::Deserialize;
use shoal_manager::PoolsAsked;
use shoal_overlay_net::desired::Protocol;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const DEFAULT_FILE: &str = "/etc/shoal/shoald.toml";
/// A settings file is a few lines; more is a mistake.
const FILE_LIMIT: u64 = 1024 * 1024;
/// The port of a cluster's managers, as Swarm's.
pub const PORT: u16 = 2377;
/// Longest path of a unix socket that Linux takes, its final zero not counted.
const SOCKET_PATH_LIMIT: usize = 107;

/// Validated settings.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    pub dev: bool,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    pub listen: SocketAddr,
    /// `host[:port]`, where given.
    pub advertise: Option<String>,
    pub insecure_registries: Vec<String>,
    pub log_level: String,
    pub log_json: bool,
    pub favordynmods: bool,
    pub programs: Programs,
    /// Ports of this host that containers may reach.
    pub open_host_ports: BTreeSet<(Protocol, u16)>,
    /// For a cluster that is made here by a request without pools of its own.
    pub pools: PoolsAsked,
}

/// A setting was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading settings from {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is larger than {FILE_LIMIT} bytes, which no settings file is")]
    TooLarge { path: PathBuf },
    #[error("{path} cannot be understood")]
    Parse {
        path: PathBuf,
        #[source]
        source: toml::de::Error,
    },
    #[error("{field}: expected {expected}, found {found:?}")]
    Value {
        field: &'static str,
        expected: &'static str,
        found: String,
    },
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// The settings file: every key optional, unknown ones refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SettingsFile {
    dev: Option<bool>,
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    advertise: Option<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
    log_level: Option<String>,
    log_json: Option<bool>,
    favordynmods: Option<bool>,
    shim: Option<PathBuf>,
    spawn: Option<PathBuf>,
    net: Option<PathBuf>,
    #[serde(default)]
    open_host_ports: Vec<String>,
    #[serde(default)]
    default_addr_pools: Vec<String>,
    default_addr_pool_mask_length: Option<u8>,
    default_addr_pool_ipv6: Option<String>,
}

impl NodeConfig {
    /// Reads the file, lays flags and environment over it, and checks the whole.
    ///
    /// # Errors
    /// The first setting that cannot be, with where it was said.
    pub fn load(args: NodeArgs) -> Result<Self, ConfigError> {
        let file = settings(&args, Path::new(DEFAULT_FILE))?;
        let own = std::env::current_exe().map_err(|source| ConfigError::Read {
            path: PathBuf::from("/proc/self/exe"),
            source,
        })?;
        Self::build(args, file, &own)
    }

    fn build(args: NodeArgs, file: SettingsFile, own: &Path) -> Result<Self, ConfigError> {
        let dev = args.dev.or(file.dev).unwrap_or(false);
        let suffix = if dev { "shoal-dev" } else { "shoal" };
        let default_listen = if dev {
            // A cluster of one needs no known port, and a free one disturbs nobody.
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
        } else {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)
        };
        let mut insecure_registries = args.insecure_registries;
        if insecure_registries.is_empty() {
            insecure_registries = file.insecure_registries;
        }
        let mut open_host_ports = args.open_host_ports;
        if open_host_ports.is_empty() {
            open_host_ports = file.open_host_ports;
        }
        let mut default_addr_pools = args.default_addr_pools;
        if default_addr_pools.is_empty() {
            default_addr_pools = file.default_addr_pools;
        }
        let mask_length = args
            .default_addr_pool_mask_length
            .or(file.default_addr_pool_mask_length);
        let v6 = args.default_addr_pool_ipv6.or(file.default_addr_pool_ipv6);
        let named = NamedPrograms {
            shim: args.shim.or(file.shim),
            spawn: args.spawn.or(file.spawn),
            net: args.net.or(file.net),
        };
        let config = Self {
            dev,
            state_dir: args
                .state_dir
                .or(file.state_dir)
                .unwrap_or_else(|| Path::new("/var/lib").join(suffix)),
            run_dir: args
                .run_dir
                .or(file.run_dir)
                .unwrap_or_else(|| Path::new("/run").join(suffix)),
            listen: args
                .listen
                .filter(|_| !(dev && args.ambient.listen))
                .or(file.listen)
                .unwrap_or(default_listen),
            advertise: args
                .advertise
                .filter(|_| !(dev && args.ambient.advertise))
                .or(file.advertise),
            insecure_registries,
            log_level: args
                .log_level
                .or(file.log_level)
                .unwrap_or_else(|| "info".to_owned()),
            log_json: args.log_json.or(file.log_json).unwrap_or(false),
            favordynmods: args.favordynmods.or(file.favordynmods).unwrap_or(false),
            programs: Programs::find(named, own)?,
            open_host_ports: open_host_ports
                .iter()
                .map(|text| host_port(text))
                .collect::<Result<_, _>>()?,
            pools: pools(&default_addr_pools, mask_length, v6.as_deref())?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (field, path) in [("state-dir", &self.state_dir), ("run-dir", &self.run_dir)] {
            if !path.is_absolute() || path.parent().is_none() {
                return Err(value(field, "an absolute path other than /", path.display()));
            }
        }
        if self.socket_path().as_os_str().len() > SOCKET_PATH_LIMIT {
            let expected = "a path so short that the socket in it has at most 107 characters";
            return Err(value("run-dir", expected, self.run_dir.display()));
        }
        if self.dev && !self.listen.ip().is_loopback() {
            return Err(value(
                "listen",
                "a loopback address, as --dev asks for",
                self.listen,
            ));
        }
        for registry in &self.insecure_registries {
            if registry.is_empty() || registry.contains('/') || registry.contains(char::is_whitespace) {
                return Err(value(
                    "insecure-registries",
                    "host[:port] without a scheme or path",
                    registry,
                ));
            }
        }
        if let Err(_unreadable) = self.log_level.parse::<tracing_subscriber::EnvFilter>() {
            let expected = "error, warn, info, debug, trace, or directives such as shoal_worker=debug";
            return Err(value("log-level", expected, &self.log_level));
        }
        Ok(())
    }

    /// `<state>/<name>`.
    pub fn state(&self, name: &str) -> PathBuf {
        self.state_dir.join(name)
    }

    /// Holds the daemon's pid while it runs.
    pub fn pid_path(&self) -> PathBuf {
        self.run_dir.join("shoald.pid")
    }

    /// The local socket.
    pub fn socket_path(&self) -> PathBuf {
        self.run_dir.join("shoal.sock")
    }
}

fn pools(v4: &[String], v4_subnet_length: Option<u8>, v6: Option<&str>) -> Result<PoolsAsked, ConfigError> {
    let v4 = v4.iter();
    let v4 = v4.map(|text| range(text, "default-addr-pools", "a range such as 10.128.0.0/12"));
    let expected = "a /48 such as fd5a:1b2c:3d4e::/48";
    let v6 = v6.map(|text| range(text, "default-addr-pool-ipv6", expected));
    Ok(PoolsAsked {
        v4: v4.collect::<Result<_, _>>()?,
        v4_subnet_length,
        v6: v6.transpose()?,
    })
}

/// `8080`, `8080/tcp` or `53/udp`.
fn host_port(text: &str) -> Result<(Protocol, u16), ConfigError> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    };
    let port = port.parse().ok().filter(|port| *port != 0);
    protocol.zip(port).ok_or_else(|| {
        let expected = "a port from 1 to 65535, with /tcp or /udp behind it where it matters";
        value("open-host-ports", expected, text)
    })
}

fn range<T: FromStr>(text: &str, field: &'static str, expected: &'static str) -> Result<T, ConfigError> {
    text.parse().map_err(|_unreadable| value(field, expected, text))
}

fn value(field: &'static str, expected: &'static str, found: impl ToString) -> ConfigError {
    ConfigError::Value {
        field,
        expected,
        found: found.to_string(),
    }
}

/// The file that was named; else the default one, which is the installed node's: one of `--dev` is another.
fn settings(args: &NodeArgs, default: &Path) -> Result<SettingsFile, ConfigError> {
    match &args.config {
        Some(named) => read_file(named, false),
        None if args.dev == Some(true) => Ok(SettingsFile::default()),
        None => read_file(default, true),
    }
}

fn read_file(path: &Path, may_miss: bool) -> Result<SettingsFile, ConfigError> {
    let fail = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        // The default file may be missing, one that was asked for may not.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_miss => {
            return Ok(SettingsFile::default());
        }
        Err(error) => return Err(fail(error)),
    };
    let mut text = String::new();
    let read = file
        .take(FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_LIMIT {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Ambient;
    use clap::Parser;

    fn programs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["shoald", "shoal-shim", "shoal-spawn", "shoal-net"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    fn build(flags: &[&str], file: &str) -> Result<NodeConfig, ConfigError> {
        let dir = programs();
        let args = NodeArgs::try_parse_from([&["shoald"], flags].concat()).unwrap();
        NodeConfig::build(args, toml::from_str(file).unwrap(), &dir.path().join("shoald"))
    }

    #[test]
    fn flags_win_over_the_file_over_defaults() {
        let config = build(&[], "").unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:2377");
        assert_eq!(config.socket_path(), Path::new("/run/shoal/shoal.sock"));
        let config = build(&["--dev"], "").unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/shoal-dev"));
        assert_eq!(config.listen.to_string(), "127.0.0.1:0");
        let file = "state-dir = '/a'\nrun-dir = '/b'\ninsecure-registries = ['x:5000']";
        let config = build(&["--state-dir", "/c"], file).unwrap();
        assert_eq!(
            (config.state_dir.to_str(), config.run_dir.to_str()),
            (Some("/c"), Some("/b"))
        );
        assert_eq!(config.insecure_registries, ["x:5000"]);
        let config = build(&["--open-host-port", "8080,53/udp"], "open-host-ports = ['1']").unwrap();
        let open = BTreeSet::from([(Protocol::Tcp, 8080), (Protocol::Udp, 53)]);
        assert_eq!(config.open_host_ports, open);
        let file = "default-addr-pools = ['10.8.0.0/16']\ndefault-addr-pool-mask-length = 24";
        let config = build(&["--default-addr-pool", "10.9.0.0/16,10.7.0.0/16"], file).unwrap();
        let pools = PoolsAsked {
            v4: ["10.9.0.0/16", "10.7.0.0/16"]
                .map(|pool| pool.parse().unwrap())
                .into(),
            v4_subnet_length: Some(24),
            v6: None,
        };
        assert_eq!(config.pools, pools);
    }

    #[test]
    fn an_installed_nodes_settings_are_not_those_of_dev() {
        let dir = tempfile::tempdir().unwrap();
        let installed = dir.path().join("shoald.toml");
        std::fs::write(&installed, "listen = '0.0.0.0:2377'\nadvertise = '10.0.0.7'").unwrap();
        let args = |flags: &[&str]| NodeArgs::try_parse_from([&["shoald"], flags].concat()).unwrap();
        let listen = |args: &NodeArgs| settings(args, &installed).unwrap().listen;
        assert!(listen(&args(&[])).is_some() && listen(&args(&["--dev=false"])).is_some());
        assert_eq!(listen(&args(&["--dev"])), None);
        let named = args(&["--dev", "--config", installed.to_str().unwrap()]);
        assert!(listen(&named).is_some(), "asked for, it is read");

        let programs = programs();
        let from_environment = |flags: &[&str]| {
            let ambient = Ambient {
                listen: true,
                advertise: true,
            };
            let args = NodeArgs {
                ambient,
                ..args(flags)
            };
            let own = programs.path().join("shoald");
            NodeConfig::build(args, SettingsFile::default(), &own).unwrap()
        };
        let said = ["--listen", "0.0.0.0:2377", "--advertise", "10.0.0.7"];
        let config = from_environment(&said);
        assert_eq!((config.listen.port(), config.advertise.is_some()), (PORT, true));
        let config = from_environment(&[&["--dev"], &said[..]].concat());
        assert_eq!(
            (config.listen.to_string().as_str(), config.advertise),
            ("127.0.0.1:0", None)
        );
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_was_expected() {
        let long = format!("/{}", "x".repeat(120));
        for (flags, expect) in [
            (
                vec!["--state-dir", "relative"],
                "state-dir: expected an absolute path",
            ),
            (
                vec!["--run-dir", long.as_str()],
                "run-dir: expected a path so short",
            ),
            (
                vec!["--dev", "--listen", "0.0.0.0:1"],
                "listen: expected a loopback address",
            ),
            (
                vec!["--insecure-registry", "http://x"],
                "insecure-registries: expected host[:port]",
            ),
            (vec!["--log-level", "=="], "log-level: expected error, warn"),
            (
                vec!["--open-host-port", "0"],
                "open-host-ports: expected a port from 1",
            ),
            (
                vec!["--default-addr-pool", "10.9.0.0"],
                "default-addr-pools: expected a range such as",
            ),
            (
                vec!["--default-addr-pool-ipv6", "10.9.0.0/16"],
                "default-addr-pool-ipv6: expected a /48",
            ),
            (
                vec!["--open-host-port", "80/sctp"],
                "open-host-ports: expected a port from 1",
            ),
        ] {
            let error = build(&flags, "").unwrap_err().to_string();
            assert!(error.starts_with(expect), "{error}");
        }
        assert!(
            toml::from_str::<SettingsFile>("stat-dir = 'x'").is_err(),
            "unknown keys are refused"
        );
        let missing = read_file(Path::new("/nonexistent/shoald.toml"), false)
            .unwrap_err()
            .to_string();
        assert_eq!(missing, "reading settings from /nonexistent/shoald.toml");
    }
}
