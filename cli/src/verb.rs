//! The verbs, one file each; here they meet what all of them need.
//!
//! A verb parses nothing and decides nothing about the cluster: it asks, converts, shows, waits.

pub(crate) mod attach;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod dev;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod ps;
mod rewrite;
pub(crate) mod run;
pub(crate) mod service;
mod session;
pub(crate) mod stack;
pub(crate) mod version;
pub(crate) mod volume;

use crate::{
    args::{Arguments, Command},
    connect::{Connection, HostArgs},
};
use anyhow::Result;
use shoal_core::model::WallTime;
use std::time::SystemTime;

#[cfg(test)]
pub(crate) use service::spec_of;

/// What every verb may need.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) host: HostArgs,
}

impl Client {
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(&self.host.resolve()?).await
    }
}

/// The caller's clock, for "5 minutes ago".
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    WallTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A name for one write, so that the transport may repeat it.
pub(crate) fn request_id() -> String {
    use std::hash::BuildHasher;
    let mut seed = [0; 32];
    for (index, part) in seed.chunks_exact_mut(8).enumerate() {
        // The standard library seeds this from the operating system.
        let draw = std::collections::hash_map::RandomState::new().hash_one((index, now().0));
        part.copy_from_slice(&draw.to_le_bytes());
    }
    shoal_core::model::RequestId::mint(&mut shoal_core::model::IdGen::new(seed)).to_string()
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client { host: arguments.host };
    match arguments.command {
        Command::Dev(verb) => dev::run(&client, verb).await,
        Command::Cluster(verb) => cluster::run(&client, verb).await,
        Command::Context(verb) => context::run(&client, verb),
        Command::Service(verb) => service::run(&client, verb).await,
        Command::Stack(verb) => stack::run(&client, verb).await,
        Command::Network(verb) => network::run(&client, verb).await,
        Command::Node(verb) => node::run(&client, verb).await,
        Command::Image(verb) => image::run(&client, verb).await,
        Command::Volume(verb) => volume::run(&client, verb).await,
        Command::Ps(args) => ps::run(&client, args).await,
        Command::Logs(args) => logs::run(&client, args).await,
        Command::Inspect(args) => inspect::run(&client, args).await,
        Command::Run(args) => run::run(&client, *args).await,
        Command::Attach(args) => attach::run(&client, args).await,
        Command::Exec(args) => exec::run(&client, args).await,
        Command::Version(args) => version::run(&client, args).await,
        Command::Completion(args) => completion::run(&args),
    }
}
