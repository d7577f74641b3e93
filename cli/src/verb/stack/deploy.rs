//! `shoal stack deploy`: a compose file becomes the stack, in one transaction.
//!
//! The manager makes the difference; `--plan` shows it and changes nothing. A network is never changed.

use super::Client;
use crate::{
    complete::{Names, names},
    compose_files::{ComposeArgs, Name},
    failure::usage,
    output::print,
    verb::{
        request_id,
        service::{WaitArgs, warn},
    },
    wire::refused,
};
use anyhow::{Context, Result};
use shoal_api::v1::{self, StackAction};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    compose: ComposeArgs,
    /// Remove services of the stack that the file no longer names
    #[arg(long)]
    prune: bool,
    /// Only show what would change
    #[arg(long)]
    plan: bool,
    /// Resolve images at the registry: always or never
    #[arg(long, default_value = "always", value_parser = ["always", "changed", "never"])]
    resolve_image: String,
    #[arg(long, hide = true)]
    with_registry_auth: bool,
    #[command(flatten)]
    wait: WaitArgs,
    /// The stack's name (the file's `name` if not given)
    #[arg(add = names(Names::Stacks))]
    stack: Option<String>,
}

pub(crate) async fn run(client: &Client, args: DeployArgs) -> Result<()> {
    if args.with_registry_auth {
        return Err(usage(
            "--with-registry-auth: credentials for registries are not built yet; load private images",
        ));
    }
    let name = Name {
        given: args.stack.as_deref(),
        otherwise: None,
    };
    let loaded = args.compose.load(name, false)?;
    let spec = loaded.stack.context("the compose file gave no stack")?;
    let connection = client.connect().await?;
    let request = v1::DeployStackRequest {
        spec: Some(spec.into()),
        prune: args.prune,
        plan: args.plan,
        request_id: request_id(),
        no_resolve_image: args.resolve_image == "never",
    };
    let done = connection
        .control()
        .deploy_stack(request)
        .await
        .map_err(refused)?
        .into_inner();
    warn(&done.warnings);
    print(&describe(&done, args.plan))?;
    let moving = done
        .changes
        .into_iter()
        .filter(|change| change.action() != StackAction::Remove);
    let ids: Vec<_> = moving.filter_map(|change| change.service_id).collect();
    if args.plan {
        Ok(())
    } else {
        args.wait.wait(&connection, ids).await
    }
}

/// One line a network and a service, and what differs below it.
fn describe(done: &v1::DeployStackResponse, plan: bool) -> String {
    let mut text = String::new();
    for change in &done.networks {
        let what = format!("network {}", change.network);
        describe_one(&mut text, change.action(), plan, (&what, &change.details));
    }
    for change in &done.changes {
        let what = format!("service {}", change.service);
        describe_one(&mut text, change.action(), plan, (&what, &change.details));
    }
    text
}

fn describe_one(text: &mut String, action: StackAction, plan: bool, (what, details): (&str, &[String])) {
    let verb = match (action, plan) {
        (StackAction::Create, false) => "Creating",
        (StackAction::Update, false) => "Updating",
        (StackAction::Remove, false) => "Removing",
        (StackAction::Keep | StackAction::Unspecified, false) => "Keeping",
        (StackAction::Create, true) => "Would create",
        (StackAction::Update, true) => "Would update",
        (StackAction::Remove, true) => "Would remove",
        (StackAction::Keep | StackAction::Unspecified, true) => "Would keep",
    };
    text.push_str(&format!("{verb} {what}\n"));
    for detail in details {
        text.push_str(&format!("    {detail}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_words() {
        let change = |service: &str, action: StackAction, details: &[&str]| v1::StackChange {
            service: service.to_owned(),
            action: action.into(),
            details: details.iter().map(|detail| (*detail).to_owned()).collect(),
            ..v1::StackChange::default()
        };
        let done = v1::DeployStackResponse {
            changes: vec![
                change("app_web", StackAction::Update, &["image: a -> b"]),
                change("app_db", StackAction::Keep, &[]),
            ],
            networks: vec![v1::StackNetworkChange {
                network: "app_default".to_owned(),
                action: StackAction::Create.into(),
                ..v1::StackNetworkChange::default()
            }],
            ..v1::DeployStackResponse::default()
        };
        assert_eq!(
            describe(&done, false),
            "Creating network app_default\nUpdating service app_web\n    image: a -> b\nKeeping service app_db\n"
        );
        assert!(describe(&done, true).contains("\nWould update service app_web\n"));
    }
}
