//! Which image a reference stands for: asked by the manager's control service, answered by this node's images
//! first and their registry second.

use shoal_agent_runtime::image::{Images, Reference, ResolveError as Failed};
use shoal_core::model::Platform;
use shoal_manager::{ImageResolver, ResolveError, ResolvedImage};
use std::time::Duration;

/// A registry that is silent for so long is not waited for by whoever creates a service.
const PATIENCE: Duration = Duration::from_secs(20);

/// Resolves with the images of this node.
#[derive(Debug)]
pub(crate) struct NodeResolver {
    images: Images,
}

impl NodeResolver {
    pub(crate) fn new(images: Images) -> Self {
        Self { images }
    }

    async fn platforms(&self, reference: &str) -> Vec<Platform> {
        let inspected = self.images.inspect(reference).await;
        inspected.map_or_else(
            |_absent| Vec::new(),
            |details| {
                vec![Platform {
                    os: details.os,
                    arch: details.architecture,
                }]
            },
        )
    }
}

#[tonic::async_trait]
impl ImageResolver for NodeResolver {
    async fn resolve(&self, reference: &str) -> Result<ResolvedImage, ResolveError> {
        let parsed: Reference = reference.parse().map_err(|error| ResolveError {
            message: crate::chain(&error),
            hint: "an image is named as repository[:tag] or repository@sha256:…".to_owned(),
        })?;
        let resolved = match tokio::time::timeout(PATIENCE, self.images.resolve(&parsed)).await {
            Ok(resolved) => resolved.map_err(|error| refuse(&error))?,
            Err(_) => {
                return Err(ResolveError {
                    message: format!("the registry of image {reference} did not answer within {PATIENCE:?}"),
                    hint: "load the image on this node with shoal image load, or try again".to_owned(),
                });
            }
        };
        let platforms = if resolved.local {
            self.platforms(reference).await
        } else {
            Vec::new()
        };
        Ok(ResolvedImage {
            digest: resolved.digest.to_string(),
            platforms,
        })
    }
}

fn refuse(error: &Failed) -> ResolveError {
    ResolveError {
        message: crate::chain(error),
        hint: "check the name and tag; load it with shoal image load, or name a plain HTTP registry with --insecure-registry".to_owned(),
    }
}
