//! `shoal run IMAGE [COMMAND…]`: one container, with the caller at its streams.
//!
//! It is a service of one task that is never restarted. The task waits for its caller before it starts, so that nothing
//! it writes is missed; its exit code is this command's.

mod spec;
mod wait;

use super::{
    Client, attach, request_id,
    rewrite::rewrite,
    service::{read, warn},
    session::{self, Caller, End},
};
use crate::{
    connect::Connection,
    failure::usage,
    output::{note, print},
    signals::ended_by,
    terminal,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;
use shoal_core::model::REMOVE_AT_END;
pub(crate) use spec::RunArgs;
use std::time::Duration;

/// Longest wait for the removal for a caller who wants to leave.
const REMOVAL: Duration = Duration::from_secs(5);

pub(crate) async fn run(client: &Client, args: RunArgs) -> Result<()> {
    if args.tty && args.interactive && !args.detach && !terminal::stdin_is_terminal() {
        return Err(usage("the input is not a terminal: leave -t away"));
    }
    let (detach, rm) = (args.detach, args.rm);
    let caller = Caller {
        interactive: args.interactive,
        tty: args.tty,
        detach: args.tty.then(|| args.detach_keys.clone()),
    };
    let env = args.lists.env_of_files()?;
    let spec = spec::service(args, env).map_err(usage)?;
    let name = spec.name.clone();
    let connection = client.connect().await?;
    let request = v1::CreateServiceRequest {
        spec: Some(spec.into()),
        request_id: request_id(),
        no_resolve_image: false,
    };
    let made = connection
        .control()
        .create_service(request)
        .await
        .map_err(refused)?
        .into_inner();
    warn(&made.warnings);
    if detach {
        let started = wait::until_started(&connection, &made.id).await;
        // Not before: with the service gone nobody could say why its program did not start.
        match &started {
            Ok(()) if rm => unless_ended(Box::pin(remove_at_end(&connection, &made.id))).await?,
            Err(_) if rm => unless_ended(remove(&connection, &made.id)).await?,
            Ok(()) | Err(_) => {}
        }
        print(&format!("{}\n", made.id))?;
        return started;
    }
    let ended = match wait::until_ready(&connection, &made.id).await {
        Ok(task) => attach::to(&connection, task, caller, true).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(End::Detached) => {
            note(&format!(
                "\nLeft; the program goes on. `shoal attach {name}.1` comes back, `shoal service rm {name}` ends it."
            ));
            // Whoever comes back leaves the removal to the managers.
            if rm {
                unless_ended(Box::pin(remove_at_end(&connection, &made.id))).await?;
            }
            Ok(())
        }
        Ok(End::GivenUp(exit)) => {
            given_up(&connection, &made.id, &name, rm).await;
            Err(exit.into())
        }
        ended => {
            if rm {
                unless_ended(remove(&connection, &made.id)).await?;
            }
            match ended? {
                End::Exited(exit) => session::exited(&exit),
                End::Detached | End::GivenUp(_) => Ok(()),
            }
        }
    }
}

/// The caller wants to leave: what `--rm` asks for is tried, and what stays is said.
async fn given_up(connection: &Connection, service: &str, name: &str, rm: bool) {
    let removal = async {
        let removed = tokio::time::timeout(REMOVAL, remove(connection, service)).await;
        matches!(removed, Ok(Ok(())))
    };
    note(&if rm && removal.await {
        format!("shoal: left; {name} is removed.")
    } else {
        format!("shoal: left; the program goes on. `shoal service rm {name}` ends it.")
    });
}

/// Until it is done, or the caller does not want to wait for it.
async fn unless_ended(done: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        done = done => done,
        exit = ended_by() => Err(exit?.into()),
    }
}

async fn remove_at_end(connection: &Connection, service: &str) -> Result<()> {
    rewrite(async || {
        let found = read(connection, service).await?;
        let mut spec = found.spec;
        spec.labels.insert(REMOVE_AT_END.to_owned(), String::new());
        let request = v1::UpdateServiceRequest {
            reference: service.to_owned(),
            version: found.meta.version.0,
            spec: Some(spec.into()),
            request_id: request_id(),
            ..v1::UpdateServiceRequest::default()
        };
        Ok(connection.control().update_service(request).await)
    })
    .await?;
    Ok(())
}

async fn remove(connection: &Connection, service: &str) -> Result<()> {
    let request = v1::RemoveServiceRequest {
        reference: service.to_owned(),
        request_id: request_id(),
    };
    connection
        .control()
        .remove_service(request)
        .await
        .map_err(refused)?;
    Ok(())
}
