//! `shoal service update`: reads the spec, changes what was given, writes it back at its version.
//!
//! Somebody else's change in between is refused by the manager, not overwritten: the flags' changes are made anew from it.

use super::{Client, WaitArgs, warn};
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::usage,
    output::print,
    spec::{TaskFlags, UpdateLists, Words, words},
    verb::{request_id, rewrite::rewrite},
    wire::{refused, service_summary},
};
use anyhow::{Context, Result};
use shoal_api::v1;
use shoal_core::model::{Service, ServiceSpec};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// Run this image
    #[arg(long)]
    image: Option<String>,
    /// Replaces the command, split into words as a shell does
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    args: Option<Words>,
    /// Replace all tasks although nothing about them changed
    #[arg(long)]
    force: bool,
    /// Back to the spec before
    #[arg(long, hide = true)]
    rollback: bool,
    #[command(flatten)]
    flags: TaskFlags,
    #[command(flatten)]
    lists: UpdateLists,
    /// Take the image reference as it is
    #[arg(long)]
    no_resolve_image: bool,
    #[command(flatten)]
    wait: WaitArgs,
    /// Name or id
    #[arg(add = names(Names::Services))]
    service: String,
}

pub(crate) async fn run(client: &Client, args: UpdateArgs) -> Result<()> {
    if args.rollback {
        return Err(usage(
            "--rollback: going back to an earlier spec is not built yet",
        ));
    }
    let connection = client.connect().await?;
    let own = |name: &str| std::env::var(name).ok();
    let mut id = String::new();
    let done = rewrite(async || {
        let found = read(&connection, &args.service).await?;
        id = found.id.to_string();
        let spec = changed(args.clone(), found.spec, &own).map_err(usage)?;
        let request = v1::UpdateServiceRequest {
            reference: id.clone(),
            version: found.meta.version.0,
            spec: Some(spec.into()),
            force: args.force,
            request_id: request_id(),
            no_resolve_image: args.no_resolve_image,
        };
        Ok(connection.control().update_service(request).await)
    })
    .await?;
    warn(&done.warnings);
    print(&format!("{}\n", args.service))?;
    args.wait.wait(&connection, vec![id]).await
}

/// A service as it is now.
pub(crate) async fn read(connection: &Connection, reference: &str) -> Result<Service> {
    let request = v1::GetServiceRequest {
        reference: reference.to_owned(),
    };
    let answer = connection
        .control()
        .get_service(request)
        .await
        .map_err(refused)?
        .into_inner();
    let summary = answer.service.context("the manager sent no service")?;
    Ok(service_summary(summary)?.service)
}

/// The spec with the flags' changes.
fn changed(
    args: UpdateArgs,
    mut spec: ServiceSpec,
    own: &dyn Fn(&str) -> Option<String>,
) -> Result<ServiceSpec, String> {
    let container = &mut spec.task.container;
    if let Some(image) = args.image {
        container.image = image;
        // Resolved anew: a tag may have moved.
        container.image_digest = None;
    }
    if let Some(Words(words)) = args.args {
        container.args = (!words.is_empty()).then_some(words);
    }
    args.lists.apply(&mut spec, own)?;
    args.flags.apply(&mut spec)?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::service::create::tests::spec_of;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn check(create: &str, update: &str, expect: &str) {
        let mut before = spec_of(create).unwrap();
        before.task.container.image_digest = Some("sha256:aa".to_owned());
        let words = ["update"].into_iter().chain(update.split(' ')).chain(["web"]);
        let args = Line::try_parse_from(words).unwrap().args;
        let after = changed(args, before, &|_| None).unwrap();
        // Written as the create that it should equal.
        let mut expected = spec_of(expect).unwrap();
        expected.task.container.image_digest = after.task.container.image_digest.clone();
        assert_eq!(after, expected, "{update}");
    }

    #[test]
    fn deltas_give_what_create_would_have_made() {
        const BASE: &str = "--name web -e A=1 -e B=2 -l x=1 --mount dst=/a --mount dst=/b -p 80:80 --constraint c1 --cap-add X";
        for (update, expect) in [
            ("--replicas 5", "--replicas 5 "),
            ("--env-add A=9 --env-add C=3 --env-rm B", ""),
        ] {
            let expect = match update {
                "--replicas 5" => format!("{expect}{BASE} img"),
                _ => format!("{BASE} img").replace("-e A=1 -e B=2", "-e A=9 -e C=3"),
            };
            check(&format!("{BASE} img"), update, &expect);
        }
        for (update, from, to) in [
            ("--label-rm x --label-add y=2", "-l x=1", "-l y=2"),
            (
                "--mount-rm /a --mount-add type=tmpfs,dst=/b",
                "--mount dst=/a --mount dst=/b",
                "--mount type=tmpfs,dst=/b",
            ),
            ("--publish-rm 80 --publish-add 90:91", "-p 80:80", "-p 90:91"),
            ("--publish-add 81:80", "-p 80:80", "-p 80:80 -p 81:80"),
            ("--publish-rm 80:80", "-p 80:80 ", ""),
            ("--publish-rm 80/udp", "", ""),
            ("--network-add front", "-e A=1", "--network front -e A=1"),
            ("--network-add host", "-e A=1", "--network host -e A=1"),
            ("--endpoint-mode dnsrr", "-e A=1", "--endpoint-mode dnsrr -e A=1"),
            (
                "--dns-add 1.1.1.1 --dns-search-add x --dns-option-add use-vc",
                "-e A=1",
                "--dns 1.1.1.1 --dns-search x --dns-option use-vc -e A=1",
            ),
            (
                "--constraint-rm c1 --constraint-add c2",
                "--constraint c1",
                "--constraint c2",
            ),
            ("--cap-drop X", "--cap-add X", "--cap-drop X"),
            ("--args 9", " img", " img 9"),
            ("--image new", " img", " new"),
            (
                "--user 5 --limit-memory 1g",
                "-e A=1",
                "--user 5 --limit-memory 1g -e A=1",
            ),
            ("--no-healthcheck", "-e A=1", "--no-healthcheck -e A=1"),
            ("--tty=false --init", "-e A=1", "--init -e A=1"),
        ] {
            let create = format!("{BASE} img");
            check(&create, update, &create.replace(from, to));
        }
    }

    #[test]
    fn networks_are_left_joined_and_renamed() {
        for (before, update, after) in [
            (
                "--network a --network b",
                "--network-rm a --network-add c",
                "--network b --network c",
            ),
            ("--network a", "--network-rm a", ""),
            (
                "--network a",
                "--network-add name=a,alias=x",
                "--network name=a,alias=x",
            ),
            (
                "--network host",
                "--network-rm host --network-add a",
                "--network a",
            ),
            (
                "--network a",
                "--network-rm a --network-add none",
                "--network none",
            ),
            (
                "--dns 1.1.1.1 --host a:1.1.1.2",
                "--dns-rm 1.1.1.1 --host-rm a:1.1.1.2",
                "",
            ),
        ] {
            let line = |flags: &str| format!("--name web {flags} img").replace("  ", " ");
            check(&line(before), update, &line(after));
        }
        for (before, update, expect) in [
            ("--network a", "--network-rm b", "does not join b; it joins a"),
            ("--network a", "--network-add host", "stand alone"),
            ("--network host", "--network-add a", "stand alone"),
        ] {
            let before = spec_of(&format!("--name web {before} img")).unwrap();
            let words = ["update"].into_iter().chain(update.split(' ')).chain(["web"]);
            let args = Line::try_parse_from(words).unwrap().args;
            let error = changed(args, before, &|_| None).unwrap_err();
            assert!(error.contains(expect), "{update}: {error}");
        }
    }

    #[test]
    fn a_new_image_is_resolved_anew_and_an_old_one_is_not() {
        for (update, expect) in [
            ("--image other", None),
            ("--env-add A=1", Some("sha256:aa".to_owned())),
        ] {
            let mut before = spec_of("--name web img").unwrap();
            before.task.container.image_digest = Some("sha256:aa".to_owned());
            let words = ["update"].into_iter().chain(update.split(' ')).chain(["web"]);
            let args = Line::try_parse_from(words).unwrap().args;
            let after = changed(args, before, &|_| None).unwrap();
            assert_eq!(after.task.container.image_digest, expect);
        }
    }
}
