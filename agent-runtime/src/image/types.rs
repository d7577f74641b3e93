//! What callers of `Images` pass in and get back.
//!
//! Values only; how they are shown is the caller's business.

use std::path::PathBuf;

use serde::Serialize;

use super::config::ImageConfig;
use super::digest::Digest;
use super::reference::Reference;

/// Where the images live and what may be fetched without TLS.
#[derive(Debug, Clone)]
pub struct ImagesConfig {
    /// `<state>/runtime`: metadata, blobs and snapshots, all on one file system.
    pub dir: PathBuf,
    /// `host[:port]` of registries that are spoken to by plain HTTP.
    pub insecure_registries: Vec<String>,
}

/// What `import` makes of a root file system.
#[derive(Debug, Clone, Default)]
pub struct ImportSpec {
    /// The name of the new image; without one it has only its id.
    pub reference: Option<Reference>,
    /// Dockerfile instructions, as `docker import --change` takes them.
    pub changes: Vec<String>,
    /// Kept in the image's history.
    pub message: Option<String>,
}

/// What a reference stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Digest of a manifest, or of an index from which each node picks its platform.
    pub digest: Digest,
    /// Whether the image is on this node; otherwise its registry answered.
    pub local: bool,
}

/// One line of `image ls`. Keys as in Docker's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Digest of the configuration: Docker's image id.
    pub id: Digest,
    /// Digest of the manifest: what tasks are pinned to.
    pub digest: Digest,
    /// Familiar names, for example `busybox:latest`; empty for a dangling image.
    pub repo_tags: Vec<String>,
    /// `name@digest`, of the manifest or index as its registry knows it.
    pub repo_digests: Vec<String>,
    /// Unix seconds, 0 where the image does not say.
    pub created: i64,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// Containers of this node that use it.
    pub containers: usize,
    /// The image's labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// `image inspect`. Keys as in Docker's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageDetails {
    pub id: Digest,
    /// Digest of the manifest: what tasks are pinned to.
    pub digest: Digest,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub comment: String,
    /// As the image says it (RFC 3339), or empty.
    pub created: String,
    pub author: String,
    pub config: ImageConfig,
    pub architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    pub graph_driver: ImageGraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: ImageRootfs,
}

/// How the layers are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageGraphDriver {
    pub name: String,
    /// Directories of the layers, topmost first.
    pub lower_dirs: Vec<PathBuf>,
}

/// The layers by the digests of their unpacked archives, bottom first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageRootfs {
    #[serde(rename = "Type")]
    pub kind: String,
    pub layers: Vec<Digest>,
}

/// One effect of a removal, in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// The image is gone, with what only it used.
    Deleted(Digest),
}
