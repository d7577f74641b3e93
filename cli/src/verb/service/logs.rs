//! `shoal service logs SERVICE|TASK`.
//!
//! Each line has its origin before it; `shoal logs` is the same without.

use super::Client;
use crate::{
    complete::{Names, names},
    verb::logs::{LogOptions, Origin, show},
};
use anyhow::Result;
use shoal_api::v1::{self, logs_request::Of};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// Do not show where a line is from
    #[arg(long)]
    raw: bool,
    /// Do not show ids of tasks
    #[arg(long)]
    no_task_ids: bool,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show ids of nodes instead of names
    #[arg(long)]
    no_resolve: bool,
    #[command(flatten)]
    options: LogOptions,
    /// A service's name or id, or a task's id
    #[arg(value_name = "SERVICE|TASK")]
    #[arg(add = names(Names::Services))]
    reference: String,
}

pub(crate) async fn run(client: &Client, args: LogsArgs) -> Result<()> {
    let origin = Origin {
        raw: args.raw,
        no_task_ids: args.no_task_ids,
        no_trunc: args.no_trunc,
        no_resolve: args.no_resolve,
    };
    let connection = client.connect().await?;
    let request = v1::GetServiceRequest {
        reference: args.reference.clone(),
    };
    let of = match connection.control().get_service(request).await {
        Ok(_) => Of::Service(args.reference),
        Err(status) if status.code() == tonic::Code::NotFound => {
            let task = v1::GetTaskRequest {
                reference: args.reference.clone(),
            };
            // A name that is neither is reported as the service it most likely was.
            match connection.control().get_task(task).await {
                Ok(_) => Of::Task(args.reference),
                Err(_) => return Err(crate::wire::refused(status)),
            }
        }
        Err(status) => return Err(crate::wire::refused(status)),
    };
    show(client, of, &args.options, origin).await
}
