//! What the control service asks of the node: which image a reference stands for.
//!
//! `node` implements it with the worker's runtime: images of this node first, then the registry. Asked
//! outside the leader loop, once per create or update; the answer is pinned in the revision.

use shoal_core::model::Platform;

/// An image as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// `sha256:…` of the OCI manifest.
    pub digest: String,
    /// What it was built for; empty when that is not known.
    pub platforms: Vec<Platform>,
}

/// Why a reference stands for no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// What was looked for, where, and what was found.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

#[tonic::async_trait]
pub trait ImageResolver: Send + Sync + 'static {
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage, ResolveError>;
}
