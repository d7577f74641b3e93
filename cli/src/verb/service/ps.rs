//! `shoal service ps`: the tasks of services, with their history.
//!
//! `stack ps` shows the same for a whole stack.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    filter::FilterArgs,
    output::{ListArgs, print},
    verb::now,
    view::task::{Look, Summary, desired_name, listing, name},
    wire::{collect, refused, task_summary},
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE", add = names(Names::Services))]
    services: Vec<String>,
    #[command(flatten)]
    show: TaskListArgs,
}

/// The flags of every list of tasks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TaskListArgs {
    /// Do not cut long texts
    #[arg(long)]
    no_trunc: bool,
    /// Show ids of nodes instead of names
    #[arg(long)]
    no_resolve: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

const FILTERS: &[&str] = &["current-state", "desired-state", "id", "name", "node", "service"];

pub(crate) async fn run(client: &Client, args: PsArgs) -> Result<()> {
    args.show.check()?;
    let connection = client.connect().await?;
    let (mut tasks, mut failures) = (Vec::new(), Failures::default());
    for service in args.services {
        let request = v1::ListTasksRequest {
            service,
            ..v1::ListTasksRequest::default()
        };
        let listed = failures.sort(list_tasks(&connection, request).await);
        tasks.extend(listed.into_iter().flatten());
    }
    args.show.show(tasks)?;
    failures.end()
}

pub(crate) async fn list_tasks(
    connection: &Connection,
    request: v1::ListTasksRequest,
) -> Result<Vec<Summary>> {
    let stream = connection
        .control()
        .list_tasks(request)
        .await
        .map_err(refused)?
        .into_inner();
    let tasks = collect(stream, |batch| batch.tasks).await?;
    tasks.into_iter().map(task_summary).collect()
}

impl TaskListArgs {
    pub(crate) fn check(&self) -> Result<()> {
        self.filter.check(FILTERS)
    }

    pub(crate) fn show(&self, mut tasks: Vec<Summary>) -> Result<()> {
        tasks.retain(|task| self.filter.pass(|key, value| matches(task, key, value)));
        let look = Look {
            // An id that is asked for alone is asked for by a script.
            whole: self.no_trunc || self.list.quiet,
            no_resolve: self.no_resolve,
        };
        // The mark of older tasks is for the eye.
        let indent = self.list.format.is_none();
        print(&listing(&tasks, look, now(), indent).render(&self.list)?)
    }
}

fn matches(summary: &Summary, key: &str, value: &str) -> bool {
    let task = &summary.task;
    match key {
        "id" => task.id.as_str().starts_with(value),
        "desired-state" => {
            desired_name(task.desired) == value
                || value == "accepted" && desired_name(task.desired) == "ready"
        }
        "current-state" => task.status.state.name() == value,
        "node" => {
            summary.node_name == value
                || task
                    .node
                    .as_ref()
                    .is_some_and(|node| node.as_str().starts_with(value))
        }
        "service" => summary.service_name == value || task.service.as_str().starts_with(value),
        _ => name(summary).contains(value),
    }
}
