//! Reading, changing and writing back, again while somebody else writes in between.
//!
//! For changes that are relative to what is there: made anew from what is there now, none of the two is lost. The system
//! itself is somebody else too, as an update that goes on notes how far it is.

use crate::wire::{is_stale, refused};
use anyhow::Result;
use tonic::{Response, Status};

/// More often than that nobody comes in between by chance.
const TRIES: usize = 10;

/// Calls `once`, which reads, changes and writes, until nothing was changed in between. Its inner result is the write's.
pub(super) async fn rewrite<T>(
    mut once: impl AsyncFnMut() -> Result<Result<Response<T>, Status>>,
) -> Result<T> {
    let mut tried = 1;
    loop {
        match once().await? {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_stale(&status) && tried < TRIES => tried += 1,
            Err(status) => return Err(refused(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_api::{
        convert::{Details, status},
        v1::ErrorCode,
    };

    /// What comes of it if the first `refusals` writes are refused with this code, and how many there were.
    async fn check(code: ErrorCode, refusals: usize) -> (Result<&'static str>, usize) {
        let mut writes = 0;
        let outcome = rewrite(async || {
            writes += 1;
            let refusal = || status(Details::of(code, "refused"));
            Ok(if writes <= refusals {
                Err(refusal())
            } else {
                Ok(Response::new("done"))
            })
        });
        (outcome.await, writes)
    }

    #[tokio::test]
    async fn a_stale_write_is_made_anew_and_no_other() {
        for (code, refusals, done, writes) in [
            (ErrorCode::Stale, 0, true, 1),
            (ErrorCode::Stale, 3, true, 4),
            (ErrorCode::Stale, usize::MAX, false, TRIES),
            (ErrorCode::Invalid, 1, false, 1),
            (ErrorCode::OutcomeUnknown, 1, false, 1),
        ] {
            let (outcome, tried) = check(code, refusals).await;
            assert_eq!((outcome.is_ok(), tried), (done, writes), "{code:?} {refusals}");
        }
    }
}
