//! Removing names and images, as `docker rmi` does.
//!
//! A name goes alone while the image has others; with its last tag the image goes, unless a container uses it. The
//! records change in one step, and what they no longer name is collected after it: a removal that a crash cuts off
//! is either not begun or finished at the next start.

use super::digest::Digest;
use super::find::{self, Found, LookupError};
use super::records::{Changes, RecordError};
use super::reference::Reference;
use super::store::{ImageStore, StoreError};
use super::types::Removed;
use crate::content::disk::DiskError;
use crate::content::step::step;
use crate::snapshot::lease;

/// Why an image was not removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageRemoveError {
    /// It was not found.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Containers need it.
    #[error(
        "image {name} is in use by {} on this node ({}); remove them first",
        count(containers.len()),
        shorten(containers)
    )]
    InUse { name: String, containers: Vec<String> },
    /// An id stands for several names.
    #[error("image {id} has several names ({}); name one of them, or remove them all with --force", names.join(", "))]
    SeveralNames { id: String, names: Vec<String> },
    /// The metadata could not be written.
    #[error("cannot remove the image")]
    Records(#[from] RecordError),
    /// The containers' directories cannot be read.
    #[error("cannot tell whether the image is in use")]
    Disk(#[from] DiskError),
    /// The image is removed, but its files could not all be.
    #[error("the image is removed, but not all of its files could be; they are at the next start")]
    Files(#[source] StoreError),
    /// The daemon is stopping.
    #[error("interrupted because the daemon is stopping")]
    Stopped,
}

fn count(containers: usize) -> String {
    if containers == 1 {
        "a container".to_owned()
    } else {
        format!("{containers} containers")
    }
}

fn shorten(containers: &[String]) -> String {
    let mut shown: Vec<&str> = containers
        .iter()
        .take(5)
        .map(|id| id.get(..12).unwrap_or(id))
        .collect();
    if containers.len() > shown.len() {
        shown.push("…");
    }
    shown.join(", ")
}

/// Removes what `text` names.
pub(crate) fn remove(store: &ImageStore, text: &str, force: bool) -> Result<Vec<Removed>, ImageRemoveError> {
    let guard = store.commit_lock();
    let found = find::find(store, text)?;
    let image = found.image().clone();
    let names: Vec<Reference> = store
        .records
        .names()?
        .into_iter()
        .filter(|(_, of)| *of == image)
        .map(|(name, _)| name)
        .collect();
    let tags: Vec<&Reference> = names.iter().filter(|name| name.digest().is_none()).collect();
    let alone = match &found {
        Found::Name(name, _) => !tags.iter().any(|tag| *tag != name),
        Found::Id(_) if !force && repositories(&tags) > 1 => {
            let names = tags.iter().map(|tag| tag.familiar()).collect();
            return Err(ImageRemoveError::SeveralNames {
                id: text.to_owned(),
                names,
            });
        }
        Found::Id(_) => true,
    };
    let mut changes = Changes::default();
    let mut removed = Vec::new();
    if let (Found::Name(name, _), false) = (&found, alone) {
        changes.remove_name(name);
        removed.push(Removed::Untagged(name.familiar()));
        store.records.apply_removal(changes)?;
        return Ok(removed);
    }
    check_unused(store, text, &image)?;
    step("remove.1-found");
    for name in &names {
        changes.remove_name(name);
        removed.push(Removed::Untagged(name.familiar()));
    }
    changes.remove_image(&image);
    let id = store.records.image(&image)?.map_or(image, |record| record.config);
    removed.push(Removed::Deleted(id));
    store.records.apply_removal(changes)?;
    step("remove.2-recorded");
    drop(guard);
    store.collect().map_err(ImageRemoveError::Files)?;
    store.records.freed();
    Ok(removed)
}

fn repositories(tags: &[&Reference]) -> usize {
    let mut names: Vec<String> = tags.iter().map(|tag| tag.familiar_name()).collect();
    names.sort();
    names.dedup();
    names.len()
}

fn check_unused(store: &ImageStore, text: &str, image: &Digest) -> Result<(), ImageRemoveError> {
    let leases = lease::list(&store.containers_dir())?.into_iter();
    let containers: Vec<String> = leases
        .filter(|(_, lease)| lease.image == *image)
        .map(|(id, _)| id)
        .collect();
    if containers.is_empty() {
        return Ok(());
    }
    Err(ImageRemoveError::InUse {
        name: text.to_owned(),
        containers,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, open, stored};
    use super::*;
    use crate::fixtures::{TarBuilder, docker_save};

    fn layer(name: &str) -> Vec<u8> {
        TarBuilder::new().file(name, b"x").end()
    }

    #[tokio::test]
    async fn names_go_one_by_one_and_the_image_with_the_last() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        let empty = stored(scratch.path());
        let loaded = load(&images, docker_save(&[layer("a")], &["app:1", "other:2"]))
            .await
            .expect("load");
        let id = loaded[0].id.clone();

        let several = images.remove(&id.hex(), false).await;
        assert!(
            matches!(several, Err(ImageRemoveError::SeveralNames { .. })),
            "{several:?}"
        );
        assert_eq!(
            images.remove("other:2", false).await.expect("untag"),
            [Removed::Untagged("other:2".into())]
        );
        assert!(matches!(
            images.inspect("other:2").await,
            Err(LookupError::NotFound { .. })
        ));
        let removed = images.remove("app:1", false).await.expect("remove");
        assert_eq!(removed, [Removed::Untagged("app:1".into()), Removed::Deleted(id)]);
        assert_eq!(stored(scratch.path()), empty);
        let again = images.remove("app:1", false).await;
        assert!(matches!(
            again,
            Err(ImageRemoveError::Lookup(LookupError::NotFound { .. }))
        ));
    }

    #[tokio::test]
    async fn an_image_in_use_stays_and_shared_layers_outlive_it() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        let shared = layer("shared");
        let one = load(&images, docker_save(&[shared.clone(), layer("1")], &["one:1"]))
            .await
            .expect("load");
        load(&images, docker_save(&[shared, layer("2")], &["two:1"]))
            .await
            .expect("load");
        let container = "a".repeat(64);
        drop(
            images
                .snapshots()
                .prepare(&one[0].digest, &container)
                .await
                .expect("prepare"),
        );
        let refused = images.remove("one:1", true).await.expect_err("in use");
        assert!(refused.to_string().contains(&container[..12]), "{refused}");
        images.remove("two:1", false).await.expect("remove");
        let rootfs = images
            .snapshots()
            .prepare(&one[0].digest, &container)
            .await
            .expect("prepare");
        assert!(rootfs.lowers.iter().all(|lower| lower.is_dir()));
        drop(rootfs);
        images.snapshots().release(&container).await.expect("release");
        images.remove("one:1", false).await.expect("remove");
        assert!(images.list().await.expect("list").is_empty());
        assert!(
            !stored(scratch.path())
                .iter()
                .any(|name| name.starts_with("layers/"))
        );
    }

    #[tokio::test]
    async fn a_name_that_moves_leaves_the_old_image_without_one() {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        let old = load(&images, docker_save(&[layer("old")], &["app:1"]))
            .await
            .expect("load");
        load(&images, docker_save(&[layer("new")], &["app:1"]))
            .await
            .expect("load");
        let list = images.list().await.expect("list");
        assert_eq!(list.len(), 2);
        assert!(
            list.iter()
                .any(|image| image.id == old[0].id && image.repo_tags.is_empty())
        );
        images
            .remove(&old[0].id.hex()[..12], false)
            .await
            .expect("remove by id");
        assert_eq!(images.list().await.expect("list").len(), 1);
    }
}
