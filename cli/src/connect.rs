//! Which manager is asked, and how it is reached.
//!
//! `--host` or `--context`, else `SHOAL_HOST`, else `SHOAL_CONTEXT`, else the socket of this machine's daemon (the installed
//! one, else the one of `dev up`). A socket is local and needs no certificate; TCP is mutual TLS. What
//! fails here says why and what to do.

mod patience;
mod tls;

use crate::{
    complete::{Names, names},
    context::{Context as Named, Pem},
    failure::hinted,
};
use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use patience::Patient;
use shoal_api::{
    limits::MAX_MESSAGE_BYTES,
    v1::{
        bootstrap_client::BootstrapClient, ca_client::CaClient, control_client::ControlClient,
        exec_client::ExecClient, local_client::LocalClient, logs_client::LogsClient,
        watch_client::WatchClient,
    },
};
use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tonic::transport::{Channel, Endpoint};

/// The socket of an installed daemon, and the one of `dev up`.
pub(crate) const SOCKET: &str = "/run/shoal/shoal.sock";
pub(crate) const DEV_SOCKET: &str = "/run/shoal-dev/shoal.sock";

/// Longest wait for a connection: a manager across the world answers in less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Socket(PathBuf),
    Tcp { address: String, files: TlsFiles },
}

/// The client's certificate, its key and the cluster's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<Pem>,
    pub(crate) cert: Option<Pem>,
    pub(crate) key: Option<Pem>,
}

/// The flags that choose; as Docker's they stand before the command (`service create` has a --host of its own).
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct HostArgs {
    /// Daemon to ask: unix:///path or tcp://host:2377 [env: SHOAL_HOST]
    #[arg(short = 'H', long, value_name = "HOST", conflicts_with = "context")]
    pub(crate) host: Option<String>,
    /// Context to use (`shoal context ls` shows them) [env: SHOAL_CONTEXT]
    #[arg(long, value_name = "NAME", add = names(Names::Contexts))]
    pub(crate) context: Option<String>,
    /// The cluster's root certificate, for tcp://
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The client's certificate, for tcp://
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The client's key, for tcp://
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
}

impl HostArgs {
    /// The daemon that is meant.
    pub(crate) fn resolve(&self) -> Result<Host> {
        let mut files = TlsFiles {
            ca: self.tlscacert.clone().map(Pem::File),
            cert: self.tlscert.clone().map(Pem::File),
            key: self.tlskey.clone().map(Pem::File),
        };
        if let Some(host) = self.chosen_host() {
            return parse(&host, files);
        }
        if let Some(name) = self.chosen_context() {
            let context = Named::read(&name)?;
            files.ca = files.ca.or(context.ca);
            files.cert = files.cert.or(context.cert);
            files.key = files.key.or(context.key);
            return parse(&context.host, files);
        }
        if let Some(run) = env::var_os("SHOAL_RUN_DIR") {
            return Ok(Host::Socket(PathBuf::from(run).join("shoal.sock")));
        }
        let installed = Path::new(SOCKET);
        let dev = Path::new(DEV_SOCKET);
        let chosen = if !installed.exists() && dev.exists() {
            dev
        } else {
            installed
        };
        Ok(Host::Socket(chosen.to_owned()))
    }
}

impl HostArgs {
    /// What was typed wins over the environment, a context over `SHOAL_HOST` too: else a command would
    /// reach another cluster than the one that its line names.
    fn chosen_host(&self) -> Option<String> {
        let from_env = || variable("SHOAL_HOST").filter(|_| self.context.is_none());
        self.host.clone().or_else(from_env)
    }

    /// The context in use, if it is one that decides.
    pub(crate) fn chosen_context(&self) -> Option<String> {
        let chosen = self.context.clone().or_else(|| variable("SHOAL_CONTEXT"));
        chosen.filter(|_| self.chosen_host().is_none())
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// `unix:///path`, `/path`, `tcp://host:port`, `host:port`.
fn parse(text: &str, files: TlsFiles) -> Result<Host> {
    if let Some(path) = text
        .strip_prefix("unix://")
        .or(text.starts_with('/').then_some(text))
    {
        if path.starts_with('/') {
            return Ok(Host::Socket(path.into()));
        }
    } else {
        let address = text.strip_prefix("tcp://").unwrap_or(text);
        let port = address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let bare = !address.contains(':') || address.ends_with(']');
        if !address.is_empty() && !address.contains('/') && (port.is_some() || bare) {
            let address = if port.is_some() {
                address.to_owned()
            } else {
                format!("{address}:2377")
            };
            return Ok(Host::Tcp { address, files });
        }
    }
    Err(crate::failure::usage(format!(
        "--host: expected unix:///path or tcp://host:port, found {text:?}"
    )))
}

/// The connection of a command.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    channel: Patient<Channel>,
}

impl Connection {
    pub(crate) async fn open(host: &Host) -> Result<Self> {
        let (channel, daemon) = match host {
            Host::Socket(path) => (socket(path).await?, path.display().to_string()),
            Host::Tcp { address, files } => {
                let channel = tls::connect(address, files, CONNECT_TIMEOUT).await?;
                (channel, address.clone())
            }
        };
        Ok(Self {
            channel: Patient::new(channel, daemon),
        })
    }

    pub(crate) fn control(&self) -> ControlClient<Patient<Channel>> {
        ControlClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn watch(&self) -> WatchClient<Patient<Channel>> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn logs(&self) -> LogsClient<Patient<Channel>> {
        LogsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn exec(&self) -> ExecClient<Patient<Channel>> {
        ExecClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn local(&self) -> LocalClient<Patient<Channel>> {
        LocalClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn ca(&self) -> CaClient<Patient<Channel>> {
        CaClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn bootstrap(&self) -> BootstrapClient<Patient<Channel>> {
        BootstrapClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[cfg(unix)]
async fn socket(path: &Path) -> Result<Channel> {
    let first = tokio::net::UnixStream::connect(path)
        .await
        .map_err(|error| explain(path, &error))?;
    // The first connection is the one that was tried; a lost one is made anew.
    let first = std::sync::Arc::new(std::sync::Mutex::new(Some(first)));
    let path = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let kept = first.lock().ok().and_then(|mut first| first.take());
        let path = path.clone();
        async move {
            let stream = match kept {
                Some(stream) => stream,
                None => tokio::net::UnixStream::connect(path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The address is only a name: the connector knows the way.
    Endpoint::from_static("http://shoald.local")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .context("the daemon's socket answers, but does not speak Shoal's protocol")
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "the other systems' form awaits")]
async fn socket(path: &Path) -> Result<Channel> {
    Err(hinted(
        format!("there are no sockets such as {} on this system", path.display()),
        "name a manager: --host tcp://host:2377",
    ))
}

/// Why a socket cannot be used, and what to do about it.
#[cfg_attr(not(unix), expect(dead_code, reason = "sockets are Unix'"))]
fn explain(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => hinted(
            format!("no daemon serves {shown}: there is no such socket"),
            "Start a one-node cluster on this machine with `shoal dev up`, or the daemon of a server, `shoald`;\n\
             or name another daemon with --host or SHOAL_HOST.",
        ),
        io::ErrorKind::ConnectionRefused => hinted(
            format!("nobody answers on {shown}: the daemon that made the socket is gone"),
            "Start it again as it was started: `shoal dev up` or `shoald`. Its containers went on without it.",
        ),
        io::ErrorKind::PermissionDenied => hinted(
            format!("you may not use {shown}"),
            "Run the command as root (sudo), or let the group shoal use it: as root `groupadd -f shoal` and \
             `usermod -aG shoal USER`;\nthen start the daemon again, which gives its socket to that group, and log in again.",
        ),
        _ => hinted(format!("cannot connect to {shown}: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_written() {
        for (text, expect) in [
            ("unix:///run/x.sock", "unix /run/x.sock"),
            ("/run/x.sock", "unix /run/x.sock"),
            ("tcp://10.0.0.1:99", "tcp 10.0.0.1:99"),
            ("tcp://[::1]:99", "tcp [::1]:99"),
            ("tcp://[::1]", "tcp [::1]:2377"),
            ("example.org", "tcp example.org:2377"),
            ("unix://relative", "usage"),
            ("tcp://", "usage"),
            ("http://x", "usage"),
            ("x:port", "usage"),
        ] {
            let got = match parse(text, TlsFiles::default()) {
                Ok(Host::Socket(path)) => format!("unix {}", path.display()),
                Ok(Host::Tcp { address, .. }) => format!("tcp {address}"),
                Err(_) => "usage".to_owned(),
            };
            assert_eq!(got, expect, "{text}");
        }
    }

    #[test]
    fn each_failure_says_what_to_do() {
        for (kind, expect) in [
            (io::ErrorKind::NotFound, "shoal dev up"),
            (io::ErrorKind::ConnectionRefused, "went on without it"),
            // The group is not made by anybody else.
            (io::ErrorKind::PermissionDenied, "groupadd -f shoal"),
        ] {
            let said = explain(Path::new("/run/shoal/shoal.sock"), &kind.into()).to_string();
            assert!(
                said.contains("/run/shoal/shoal.sock") && said.contains(expect),
                "{said}"
            );
        }
    }
}
