//! `shoal run IMAGE [COMMAND…]`: one container, with the caller at its streams.
//!
//! It is a service of one task that is never restarted. The task waits for its caller before it starts, so that nothing
//! it writes is missed; its exit code is this command's.

mod leftover;
mod spec;
mod wait;
mod waiting;

use super::{
    Client, attach, request_id,
    service::warn,
    session::{self, Caller, End},
};
use crate::{
    failure::{Exit, usage},
    output::{note, print},
    terminal,
    wire::refused,
};
use anyhow::Result;
use leftover::{Leftover, both};
use shoal_api::v1;
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
    let left = Leftover {
        connection: &connection,
        service: &made.id,
        name: &name,
        rm,
    };
    if detach {
        let started = wait::until_started(&connection, &made.id).await;
        let cleared = match &started {
            // Not before: with the service gone nobody could say why its program did not start.
            Ok(()) => left.remove_at_end().await,
            Err(_) => left.remove().await,
        };
        print(&format!("{}\n", made.id))?;
        return both(started, cleared);
    }
    let task = match wait::until_ready(&connection, &made.id).await {
        Ok(task) => task,
        Err(error) => return both(Err(error), left.remove().await),
    };
    let session = Box::pin(attach::to(&connection, task, caller, true));
    match left.labelled_beside(session).await {
        Ok(End::Detached) => {
            note(&format!(
                "\nLeft; the program goes on. `shoal attach {name}.1` comes back, `shoal service rm {name}` ends it."
            ));
            left.remove_at_end().await
        }
        Ok(End::GivenUp(exit)) => {
            left.given_up().await;
            Err(exit.into())
        }
        Ok(End::Exited(exit)) => both(session::exited(&exit), left.remove().await),
        // Nobody listens any more.
        Err(error) if error.is::<Exit>() => both(Err(error), left.remove().await),
        // It is the session that ended: the program may still run.
        Err(error) => both(Err(error), left.remove_at_end().await),
    }
}
