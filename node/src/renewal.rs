//! Renewal of the node's certificate, at a random point between half and four fifths of its life.
//!
//! It is asked for over the old one and for the same key, which also wraps the manager's data key: so one file
//! is replaced, whole. A failure is tried again; the old one is good for a fifth of its life yet.

use crate::identity::Identity;
use shoal_api::identity::{IdentityError, LiveCredentials, NewKey, renewal_time};
use shoal_api::v1;
use shoal_worker::dial::{Dial, DialError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between tries: a life is 90 days, and an hour is the shortest that a cluster's settings allow.
const PAUSE: Duration = Duration::from_secs(60);
/// A timer runs no longer than this, so that a changed wall clock or a slept laptop is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the manager refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Disk(#[from] crate::identity::IdentityError),
}

/// Renews for as long as it is polled.
pub(crate) async fn keep_renewed(
    mut identity: Identity,
    dir: PathBuf,
    live: Arc<LiveCredentials>,
    dial: Arc<dyn Dial>,
) {
    loop {
        let due = match identity.credentials.validity() {
            Ok(validity) => renewal_time(validity, rand::random()),
            Err(error) => {
                tracing::error!(error = %crate::chain(&error), "this node's certificate cannot be read");
                return;
            }
        };
        wait_until(due.0).await;
        loop {
            match renew(&mut identity, &dir, &live, &*dial).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "the certificate was not renewed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        tracing::info!("the certificate was renewed");
    }
}

async fn wait_until(wall: i64) {
    loop {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let left = wall.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        let Ok(left @ 1..) = u64::try_from(left) else {
            return;
        };
        tokio::time::sleep(Duration::from_nanos(left).min(LOOK_AGAIN)).await;
    }
}

async fn renew(
    identity: &mut Identity,
    dir: &std::path::Path,
    live: &LiveCredentials,
    dial: &dyn Dial,
) -> Result<(), RenewalError> {
    let key = NewKey::again(&identity.credentials.key_pem)?;
    let dialled = dial.dial().await?;
    let mut client = v1::ca_client::CaClient::new(dialled.channel);
    let request = v1::RenewRequest {
        csr: key.csr_pem.clone(),
    };
    let answer = client.renew(request).await;
    let answer = answer
        .map_err(|status| RenewalError::Refused(status.message().to_owned()))?
        .into_inner();
    let renewed = Identity {
        credentials: key.certified(answer.certificate, answer.root_certificate),
        membership: identity.membership.clone(),
    };
    // Only what can be used replaces what is used.
    live.replace(&renewed.credentials)?;
    renewed.save_certificate(dir)?;
    *identity = renewed;
    Ok(())
}
