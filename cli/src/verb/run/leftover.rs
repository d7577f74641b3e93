//! What stays of a `run` at its end: the service, which `--rm` asks to be removed.
//!
//! Where that fails, what is left is said beside how the run ended, never in its place.

use crate::{
    connect::Connection,
    failure::{Exit, hinted, report},
    output::note,
    signals::ended_by,
    verb::{request_id, rewrite::rewrite, service::read},
    wire::refused,
};
use anyhow::Result;
use futures::future::{Either, select};
use shoal_api::v1;
use shoal_core::model::REMOVE_AT_END;
use std::time::Duration;
use tonic::Code;

/// Longest wait for the removal for a caller who wants to leave.
const REMOVAL: Duration = Duration::from_secs(5);

/// The service of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leftover<'a> {
    pub(super) connection: &'a Connection,
    /// Its id.
    pub(super) service: &'a str,
    pub(super) name: &'a str,
    /// Nothing is removed without it.
    pub(super) rm: bool,
}

impl Leftover<'_> {
    /// Now, whatever its program does.
    pub(super) async fn remove(&self) -> Result<()> {
        if !self.rm {
            return Ok(());
        }
        self.unless_left(remove(self.connection, self.service)).await
    }

    /// By the managers, once its program has ended.
    pub(super) async fn remove_at_end(&self) -> Result<()> {
        if !self.rm {
            return Ok(());
        }
        let labelled = Box::pin(remove_at_end(self.connection, self.service));
        self.unless_left(labelled).await
    }

    /// The session, and beside it what a client that is killed could no longer ask for. Not before there is a container: why
    /// there is none, only the tasks of the service tell.
    pub(super) async fn labelled_beside<T>(&self, session: impl Future<Output = T> + Unpin) -> T {
        let label = async {
            if self.rm {
                // If the label is still wanted at the end of the session, it is asked for again.
                remove_at_end(self.connection, self.service).await.ok();
            }
        };
        match select(session, Box::pin(label)).await {
            Either::Left((ended, _)) => ended,
            Either::Right(((), session)) => session.await,
        }
    }

    /// The caller wants to leave: what `--rm` asks for is tried, and what stays is said.
    pub(super) async fn given_up(&self) {
        let removal = async {
            let removed = tokio::time::timeout(REMOVAL, remove(self.connection, self.service)).await;
            matches!(removed, Ok(Ok(())))
        };
        let name = self.name;
        note(&if self.rm && removal.await {
            format!("shoal: left; {name} is removed.")
        } else {
            format!("shoal: left; the program goes on. `shoal service rm {name}` ends it.")
        });
    }

    /// Until it is done, or the caller does not want to wait for it.
    async fn unless_left(&self, done: impl Future<Output = Result<()>>) -> Result<()> {
        let done = tokio::select! {
            done = done => done,
            exit = ended_by() => Err(exit?.into()),
        };
        done.map_err(|error| left(self.name, error))
    }
}

fn left(name: &str, error: anyhow::Error) -> anyhow::Error {
    let hint = format!("`shoal service rm {name}` removes it.");
    if error.is::<Exit>() {
        note(&format!("shoal: {name} is left. {hint}"));
        return error;
    }
    hinted(format!("{name} is left, despite --rm: {error}"), hint)
}

/// How the run ended, and what came of the removal. The first decides; both are said.
pub(super) fn both(ended: Result<()>, cleared: Result<()>) -> Result<()> {
    match (ended, cleared) {
        (ended, Ok(())) => ended,
        (Ok(()), cleared) => cleared,
        (Err(ended), Err(left)) => {
            let (said, code) = report(&ended);
            let texts = [said, report(&left).0];
            texts.iter().flatten().for_each(|text| note(text));
            Err(Exit(code).into())
        }
    }
}

async fn remove_at_end(connection: &Connection, service: &str) -> Result<()> {
    let request = v1::GetServiceRequest {
        reference: service.to_owned(),
    };
    let there = connection.control().get_service(request).await;
    if there.is_err_and(|status| status.code() == Code::NotFound) {
        return Ok(());
    }
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
    match connection.control().remove_service(request).await {
        // Somebody else was faster.
        Err(status) if status.code() != Code::NotFound => Err(refused(status)),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::usage;

    #[test]
    fn how_it_ended_decides_and_a_failed_removal_is_one() {
        let code = |ended: Result<()>, cleared: Result<()>| match both(ended, cleared) {
            Ok(()) => 0,
            Err(error) => report(&error).1,
        };
        let exit = |code: u8| Err(Exit(code).into());
        for (ended, cleared, expect) in [
            (Ok(()), Ok(()), 0),
            (exit(7), Ok(()), 7),
            (Ok(()), exit(130), 130),
            (Ok(()), Err(hinted("gone", "")), 1),
            (exit(7), Err(hinted("gone", "")), 7),
            (Err(usage("flags")), exit(130), 2),
        ] {
            let shown = format!("{ended:?} {cleared:?}");
            assert_eq!(code(ended, cleared), expect, "{shown}");
        }
    }

    #[test]
    fn what_is_left_is_named() {
        let said = left("box", hinted("the daemon went", "Try again.")).to_string();
        for part in ["box is left", "the daemon went", "`shoal service rm box`"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(left("box", Exit(130).into()).is::<Exit>());
    }
}
