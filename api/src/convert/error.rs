//! Refusals on the wire: `ErrorDetails` in the details of a gRPC status.
//!
//! Servers make a status with `status`; clients get the details back with `details_of`, whatever the
//! other side was.

use super::Malformed;
use crate::v1;
use prost::Message;
use shoal_core::refusal::{FieldFault, Refusal, RefusalCode};
use tonic::{Code, Status};

/// What an answer tells a client to do that may simply ask again.
pub const HINT_RETRY: &str = "try again";

/// Faults beyond these are counted, not listed: a status travels in a header of at most 8 KiB.
const MAX_FAULTS: usize = 16;

/// Characters kept of a message or hint, for the same reason.
const MAX_TEXT: usize = 2048;

pub use v1::ErrorDetails as Details;

impl From<RefusalCode> for v1::ErrorCode {
    fn from(code: RefusalCode) -> Self {
        match code {
            RefusalCode::Invalid => Self::Invalid,
            RefusalCode::NotFound => Self::NotFound,
            RefusalCode::Conflict => Self::Conflict,
            RefusalCode::Stale => Self::Stale,
            RefusalCode::Unsupported => Self::Unsupported,
            RefusalCode::TooLarge => Self::TooLarge,
            RefusalCode::InUse => Self::InUse,
            RefusalCode::Exhausted => Self::Exhausted,
        }
    }
}

fn grpc_code(code: v1::ErrorCode) -> Code {
    use v1::ErrorCode as E;
    match code {
        E::Invalid | E::TooLarge | E::Image => Code::InvalidArgument,
        E::NotFound => Code::NotFound,
        E::Conflict => Code::AlreadyExists,
        E::Stale => Code::Aborted,
        E::InUse | E::Exhausted => Code::FailedPrecondition,
        E::Unsupported => Code::Unimplemented,
        E::NotLeader | E::OutcomeUnknown | E::Unavailable | E::Disk => Code::Unavailable,
        E::Unauthenticated => Code::Unauthenticated,
        E::Forbidden => Code::PermissionDenied,
        E::Busy => Code::ResourceExhausted,
        E::Internal | E::Unspecified => Code::Internal,
    }
}

impl v1::ErrorDetails {
    /// Details with a code and a message; the rest by the `with_` functions.
    pub fn of(code: v1::ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }
}

pub fn refusal_details(refusal: Refusal) -> Details {
    let fault = |fault: FieldFault| v1::FieldFault {
        field: fault.field,
        message: fault.message,
    };
    let code: v1::ErrorCode = refusal.code.into();
    v1::ErrorDetails {
        code: code.into(),
        field: refusal.field.unwrap_or_default(),
        message: refusal.message,
        hint: refusal.hint.unwrap_or_default(),
        request_id: String::new(),
        faults: refusal.faults.into_iter().map(fault).collect(),
    }
}

pub fn malformed_details(malformed: Malformed) -> Details {
    Details::of(v1::ErrorCode::Invalid, malformed.reason).with_field(malformed.field)
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        status(malformed_details(malformed))
    }
}

/// The status that carries these details; its message alone says the essential too.
pub fn status(mut details: Details) -> Status {
    let hidden = details.faults.len().saturating_sub(MAX_FAULTS);
    details.faults.truncate(MAX_FAULTS);
    if hidden > 0 {
        details
            .message
            .push_str(&format!(" (and {hidden} further faults)"));
    }
    shorten(&mut details.message);
    shorten(&mut details.hint);
    let text = if details.field.is_empty() {
        details.message.clone()
    } else {
        format!("{}: {}", details.field, details.message)
    };
    Status::with_details(grpc_code(details.code()), text, details.encode_to_vec().into())
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
}

/// The details of any status: as its server wrote them, else made from its code and message.
pub fn details_of(status: &Status) -> Details {
    if let Some(details) = Some(status.details())
        .filter(|bytes| !bytes.is_empty())
        .and_then(|bytes| Details::decode(bytes).ok())
    {
        return details;
    }
    use v1::ErrorCode as E;
    let code = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => E::Invalid,
        Code::NotFound => E::NotFound,
        Code::AlreadyExists => E::Conflict,
        Code::Aborted => E::Stale,
        Code::FailedPrecondition => E::InUse,
        Code::Unimplemented => E::Unsupported,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => E::Unavailable,
        Code::Unauthenticated => E::Unauthenticated,
        Code::PermissionDenied => E::Forbidden,
        Code::ResourceExhausted => E::Busy,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => E::Internal,
    };
    Details::of(code, status.message())
}
