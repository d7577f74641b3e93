//! Log and exec streams: a client asks here, the task's worker is asked in its session, dials back, and
//! bytes flow through.
//!
//! The dispatcher takes each node's requests from the broker; the three gRPC services (`Logs`, `Exec`,
//! `Streams`) use it from both sides. Nothing is stored: a stream lives as long as both its ends.

mod attach;
mod broker;
mod exec;
mod logs;
mod tail;
#[cfg(test)]
mod tests;

pub use attach::{CallerNode, StreamsService};
pub use broker::{Broker, OpenError};
pub use exec::ExecService;
pub use logs::LogsService;

use shoal_api::{
    convert::{Details, HINT_RETRY, refusal_details, status},
    v1::ErrorCode,
};
use shoal_core::refusal::Refusal;
use tonic::Status;

/// A refusal of core's as an answer.
fn refused(refusal: Refusal) -> Status {
    status(refusal_details(refusal))
}

impl From<OpenError> for Status {
    fn from(error: OpenError) -> Self {
        status(Details::of(ErrorCode::Unavailable, error.to_string()).with_hint(HINT_RETRY))
    }
}
