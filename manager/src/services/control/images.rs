//! Pins image digests into specs before they become a request.
//!
//! A reference that the user did not change keeps its digest, so that scaling a service never moves its
//! image.

use crate::resolver::ImageResolver;
use futures::stream::{self, StreamExt, TryStreamExt};
use shoal_api::{
    convert::{Details, status},
    v1::ErrorCode,
};
use shoal_core::model::{ServiceSpec, StackSpec, TaskSpec};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::Status;

/// Registries asked at a time for one stack.
const AT_A_TIME: usize = 8;

/// A registry that has not answered by then will not be waited for by a user either.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Images(Arc<dyn ImageResolver>);

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Images")
    }
}

/// What a reference was found to stand for.
struct Found {
    digest: String,
    platforms: Vec<shoal_core::model::Platform>,
}

impl Images {
    pub(super) fn new(resolver: Arc<dyn ImageResolver>) -> Self {
        Self(resolver)
    }

    pub(super) async fn digest(&self, reference: &str) -> Result<String, Status> {
        Ok(self.find(reference, "reference").await?.digest)
    }

    /// Pins the image of one service. `old` is what it was made from, if it exists.
    pub(super) async fn pin(&self, spec: &mut ServiceSpec, old: Option<&ServiceSpec>) -> Result<(), Status> {
        let new = &mut spec.task;
        if let Some(old) = old.map(|old| &old.task)
            && old.container.image == new.container.image
            && old.container.image_digest.is_some()
        {
            new.container.image_digest.clone_from(&old.container.image_digest);
            new.placement.platforms.clone_from(&old.placement.platforms);
            return Ok(());
        }
        // An empty reference is a fault that validation names with everything else that is wrong.
        if !new.container.image.is_empty() {
            let found = self.find(&new.container.image, "task.container.image").await?;
            set(new, &found);
        }
        Ok(())
    }

    /// Pins the images of a stack, each reference asked for once.
    pub(super) async fn pin_stack(&self, stack: &mut StackSpec) -> Result<(), Status> {
        let mut wanted = BTreeMap::new();
        for (name, service) in &stack.services {
            let image = &service.task.container.image;
            if !image.is_empty() {
                wanted
                    .entry(image.clone())
                    .or_insert_with(|| format!("services.{name}.task.container.image"));
            }
        }
        let found: BTreeMap<String, Found> = stream::iter(wanted)
            .map(|(image, field)| async move {
                Ok::<_, Status>((image.clone(), self.find(&image, &field).await?))
            })
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        for service in stack.services.values_mut() {
            if let Some(found) = found.get(&service.task.container.image) {
                set(&mut service.task, found);
            }
        }
        Ok(())
    }

    async fn find(&self, reference: &str, field: &str) -> Result<Found, Status> {
        let failed = |message: String, hint: String| {
            status(
                Details::of(ErrorCode::Image, message)
                    .with_field(field)
                    .with_hint(hint),
            )
        };
        match timeout(PATIENCE, self.0.resolve(reference)).await {
            Ok(Ok(image)) => Ok(Found {
                digest: image.digest,
                platforms: image.platforms,
            }),
            Ok(Err(error)) => Err(failed(error.message, error.hint)),
            Err(_elapsed) => Err(failed(
                format!(
                    "image {reference:?}: its registry did not answer within {} s",
                    PATIENCE.as_secs()
                ),
                "try again, or load the image with `shoal image load`".to_owned(),
            )),
        }
    }
}

fn set(task: &mut TaskSpec, found: &Found) {
    task.container.image_digest = Some(found.digest.clone());
    task.placement.platforms.clone_from(&found.platforms);
}
