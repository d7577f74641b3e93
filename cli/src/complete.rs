//! What a shell offers on Tab: commands, flags, and the names that the cluster knows.
//!
//! A shell that sourced `shoal completion SHELL` runs this program for each Tab. Somebody is typing, so names are waited
//! for only a moment, and whatever goes wrong is no candidate and no message.

use crate::{
    args::Arguments,
    connect::{Connection, HostArgs},
    verb::{network, node, service, stack},
    view,
    wire::refused,
};
use anyhow::{Context, Result};
use clap::{Args, CommandFactory, FromArgMatches};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCandidates, CompletionCandidate},
};
use shoal_api::v1;
use std::{env, time::Duration};

/// Says to this program that a shell asks, and which one.
pub(crate) const VARIABLE: &str = "SHOAL_COMPLETE";

/// Longest wait for names; a manager on this machine answers in a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(400);

/// Of what the names are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    Contexts,
    Images,
    Networks,
    Nodes,
    Services,
    Stacks,
    Tasks,
    Volumes,
}

/// For `#[arg(add = names(…))]`.
pub(crate) fn names(of: Names) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let found = found(of).unwrap_or_default().into_iter();
        found
            .map(|(name, what)| CompletionCandidate::new(name).help((!what.is_empty()).then(|| what.into())))
            .collect()
    })
}

/// Answers a shell, if it is one that asks. Before anything is written or started.
pub(crate) fn answered() -> Result<bool> {
    let folder = env::current_dir().ok();
    let answer = CompleteEnv::with_factory(Arguments::command)
        .var(VARIABLE)
        .try_complete(env::args_os(), folder.as_deref());
    answer.context("cannot answer the shell")
}

fn found(of: Names) -> Result<Vec<(String, String)>> {
    if matches!(of, Names::Contexts) {
        let names = crate::context::names()?.into_iter();
        return Ok(names.map(|name| (name, String::new())).collect());
    }
    let host = typed_host().resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = async {
        let connection = Connection::open(&host).await?;
        ask(&connection, of).await
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    answer.context("the daemon took too long")?
}

/// The flags that choose a daemon, as far as they are typed. The line stands behind a `--`.
fn typed_host() -> HostArgs {
    let words = env::args_os().skip_while(|word| word != "--").skip(1);
    let command = HostArgs::augment_args(clap::Command::new("shoal"))
        .ignore_errors(true)
        .allow_external_subcommands(true);
    let matches = command.try_get_matches_from(words);
    let host = matches.and_then(|matches| HostArgs::from_arg_matches(&matches));
    host.unwrap_or_default()
}

/// Names, and a word on each.
async fn ask(connection: &Connection, of: Names) -> Result<Vec<(String, String)>> {
    Ok(match of {
        Names::Contexts => Vec::new(),
        Names::Services => {
            let services = service::list_services(connection, String::new())
                .await?
                .into_iter();
            services
                .map(|summary| {
                    (
                        summary.service.spec.name,
                        summary.service.spec.task.container.image,
                    )
                })
                .collect()
        }
        Names::Tasks => {
            let tasks = service::list_tasks(connection, v1::ListTasksRequest::default()).await?;
            let live = tasks
                .iter()
                .filter(|summary| !summary.task.status.state.is_terminal());
            live.map(|summary| (view::task::name(summary), summary.image.clone()))
                .collect()
        }
        Names::Nodes => {
            let nodes = node::list_nodes(connection).await?.into_iter();
            let named = nodes.filter_map(|summary| summary.node.description);
            named
                .map(|description| (description.hostname, description.engine_version))
                .collect()
        }
        Names::Networks => {
            let networks = network::list_networks(connection).await?.into_iter();
            networks
                .map(|summary| {
                    let subnets = view::network::subnets(&summary.network).join(", ");
                    (summary.network.spec.name, subnets)
                })
                .collect()
        }
        Names::Stacks => {
            let stacks = stack::list_stacks(connection).await?.into_iter();
            stacks.map(|stack| (stack.name, String::new())).collect()
        }
        Names::Images => {
            let request = v1::ImageListRequest::default();
            let answer = connection.local().image_list(request).await.map_err(refused)?;
            let images = answer.into_inner().images.into_iter();
            images
                .flat_map(|image| image.references)
                .map(|name| (name, String::new()))
                .collect()
        }
        Names::Volumes => {
            let request = v1::VolumeListRequest {};
            let answer = connection.local().volume_list(request).await.map_err(refused)?;
            let volumes = answer.into_inner().volumes.into_iter();
            volumes.map(|volume| (volume.name, String::new())).collect()
        }
    })
}
