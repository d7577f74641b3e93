//! What a failed request to a registry means for a user, and whether and when it is tried again.
//!
//! Pure: the caller waits and tries again.

use std::sync::Arc;
use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciErrorCode};
use reqwest::StatusCode;

use crate::image::{Digest, ImageEvent, Progress, Reference};

/// Failures in a row, without a byte in between, after which a request is given up.
const MAX_FAILURES: u32 = 5;

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Bytes of a registry's error message that are shown.
const MAX_MESSAGE_BYTES: usize = 300;

/// Why a registry did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke too often.
    #[error(
        "registry {registry} cannot be reached; if it speaks plain HTTP, name it as an insecure registry in the \
         settings"
    )]
    Unreachable {
        registry: String,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such image.
    #[error("registry {registry} has no {name}")]
    NotFound { registry: String, name: String },
    /// It needs a login, or does not want to tell whether it exists.
    #[error(
        "registry {registry} refuses {name}: it does not exist, or needs a login, which is not supported yet"
    )]
    Denied { registry: String, name: String },
    /// Another status.
    #[error("registry {registry} answers {status} for {name}: {message}")]
    Status {
        registry: String,
        name: String,
        status: u16,
        message: String,
    },
    /// The manifest is too large.
    #[error("registry {registry} sends a manifest of more than {limit} bytes for {name}")]
    TooLarge {
        registry: String,
        name: String,
        limit: u64,
    },
    /// The answer contradicts itself or the question.
    #[error("registry {registry} sends {found} for {name}, expected {expected}")]
    WrongDigest {
        registry: String,
        name: String,
        expected: String,
        found: String,
    },
    /// The client could not be made.
    #[error("the registry client cannot be set up")]
    Setup(#[source] OciDistributionError),
    /// The client could not be made.
    #[error("the registry client cannot be set up")]
    Http(#[source] reqwest::Error),
}

/// Why one attempt failed, and whether another may do better.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) error: RegistryError,
    pub(super) again: bool,
}

pub(super) fn unreachable(
    reference: &Reference,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Attempt {
    let error = RegistryError::Unreachable {
        registry: reference.registry().to_owned(),
        source: Arc::new(source),
    };
    Attempt { error, again: true }
}

pub(super) fn by_status(reference: &Reference, name: &str, status: u16, message: &str) -> Attempt {
    let (registry, name) = (reference.registry().to_owned(), name.to_owned());
    let again = status == StatusCode::TOO_MANY_REQUESTS.as_u16()
        || status == StatusCode::REQUEST_TIMEOUT.as_u16()
        || status >= 500;
    let error = match status {
        404 => RegistryError::NotFound { registry, name },
        401 | 403 => RegistryError::Denied { registry, name },
        _ => {
            let message = message.chars().take(MAX_MESSAGE_BYTES).collect();
            RegistryError::Status {
                registry,
                name,
                status,
                message,
            }
        }
    };
    Attempt { error, again }
}

/// What an error of `oci-client` means for a user, and whether to try again.
pub(super) fn classify(reference: &Reference, name: &str, error: OciDistributionError) -> Attempt {
    let (registry, text) = (reference.registry().to_owned(), name.to_owned());
    match error {
        OciDistributionError::ServerError { code, message, .. } => by_status(reference, name, code, &message),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            by_status(reference, name, 401, "")
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            let code = envelope.errors.first().map(|error| &error.code);
            match code {
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                    by_status(reference, name, 401, "")
                }
                Some(OciErrorCode::Toomanyrequests) => by_status(reference, name, 429, &envelope.to_string()),
                Some(
                    OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestUnknown
                    | OciErrorCode::ManifestBlobUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound,
                ) => by_status(reference, name, 404, ""),
                _ => {
                    let message = envelope.to_string().chars().take(MAX_MESSAGE_BYTES).collect();
                    let error = RegistryError::Status {
                        registry,
                        name: text,
                        status: 400,
                        message,
                    };
                    Attempt { error, again: false }
                }
            }
        }
        OciDistributionError::RequestError(source) => unreachable(reference, source),
        OciDistributionError::IoError(source) => unreachable(reference, source),
        other => {
            let error = RegistryError::Unreachable {
                registry,
                source: Arc::new(other),
            };
            Attempt { error, again: false }
        }
    }
}

/// Waits before the next attempt, or gives up with the error.
pub(super) async fn pause(
    attempt: Attempt,
    failures: &mut u32,
    digest: Option<&Digest>,
    progress: &Progress,
) -> Result<(), RegistryError> {
    *failures += 1;
    if !attempt.again || *failures >= MAX_FAILURES {
        return Err(attempt.error);
    }
    let event = ImageEvent::Retrying {
        digest: digest.cloned(),
        attempt: *failures,
        reason: attempt.error.to_string(),
    };
    progress.send(event);
    tracing::debug!(
        error = &attempt.error as &dyn std::error::Error,
        failures = *failures,
        "a request to a registry is tried again"
    );
    tokio::time::sleep(MAX_PAUSE.min(FIRST_PAUSE * 2_u32.pow(*failures - 1))).await;
    Ok(())
}
