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
    terminal,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;
use shoal_core::model::REMOVE_AT_END;
pub(crate) use spec::RunArgs;

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
            Ok(()) if rm => remove_at_end(&connection, &made.id).await?,
            Err(_) if rm => remove(&connection, &made.id).await?,
            Ok(()) | Err(_) => {}
        }
        print(&format!("{}\n", made.id))?;
        return started;
    }
    let ended = match wait::until_ready(&connection, &made.id).await {
        Ok(task) => attach::to(&connection, task, caller, true).await,
        Err(error) => Err(error),
    };
    if let Ok(End::Detached) = ended {
        note(&format!(
            "\nLeft; the program goes on. `shoal attach {name}.1` comes back, `shoal service rm {name}` ends it."
        ));
        // Whoever comes back leaves the removal to the managers.
        return if rm {
            remove_at_end(&connection, &made.id).await
        } else {
            Ok(())
        };
    }
    if rm {
        remove(&connection, &made.id).await?;
    }
    match ended? {
        End::Exited(exit) => session::exited(&exit),
        End::Detached => Ok(()),
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
