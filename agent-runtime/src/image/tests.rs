//! The store end to end: load, list, configuration, containers' directories.

use std::path::Path;

use super::*;
use crate::fixtures::{TarBuilder, docker_save, gzip, oci_archive, oci_image, zstd};
use crate::snapshot::SnapshotError;

pub(crate) async fn open(dir: &Path) -> Images {
    let config = ImagesConfig {
        dir: dir.join("runtime"),
        insecure_registries: Vec::new(),
    };
    Images::open(config).await.expect("open the store")
}

pub(crate) async fn load(images: &Images, archive: Vec<u8>) -> Result<Vec<LoadedImage>, LoadError> {
    images
        .load(std::io::Cursor::new(archive), &Progress::none())
        .await
}

fn layers() -> [Vec<u8>; 2] {
    let bottom = TarBuilder::new()
        .dir("./", 0o755)
        .dir("bin/", 0o750)
        .file("bin/tool", b"first")
        .file("etc/conf", b"old")
        .end();
    let top = TarBuilder::new()
        .file("bin/extra", b"second")
        .file("etc/.wh.conf", b"")
        .end();
    [bottom, top]
}

/// Names of everything under a directory, sorted.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(here) = todo.pop() {
        for entry in std::fs::read_dir(&here).expect("list") {
            let entry = entry.expect("entry");
            found.push(
                entry
                    .path()
                    .strip_prefix(dir)
                    .expect("below")
                    .display()
                    .to_string(),
            );
            if entry.file_type().expect("type").is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// What the store holds besides its database.
pub(crate) fn stored(dir: &Path) -> Vec<String> {
    tree(&dir.join("runtime"))
        .into_iter()
        .filter(|name| !name.starts_with("meta"))
        .collect()
}

#[tokio::test]
async fn every_form_of_an_image_loads_to_the_same_layers() {
    let image = oci_image(&layers(), gzip);
    for archive in [
        docker_save(&layers(), &["app:1"]),
        gzip(&docker_save(&layers(), &["app:1"])),
        oci_archive(&image, "app:1"),
        zstd(&oci_archive(&oci_image(&layers(), zstd), "app:1")),
    ] {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        let loaded = load(&images, archive).await.expect("load");
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].names, ["app:1".parse().expect("reference")]);
        assert_eq!(loaded[0].id, Digest::of(&image.config));

        let reference: Reference = "docker.io/library/app:1".parse().expect("reference");
        let digest = images.resolve_local(&reference).await.expect("resolve");
        assert_eq!(digest.as_ref(), Some(&loaded[0].digest));
        let config = images.config(&loaded[0].digest).await.expect("config");
        assert_eq!(config.cmd, Some(vec!["/bin/sh".to_owned()]));

        let list = images.list().await.expect("list");
        assert_eq!(list[0].repo_tags, ["app:1"]);
        assert_eq!(list[0].size, 5 + 3 + 6);
        let details = images
            .inspect(&loaded[0].id.hex()[..12])
            .await
            .expect("inspect by id");
        assert_eq!(details.root_fs.layers.len(), 2);
        assert_eq!(details.created, "2024-01-02T03:04:05Z");
    }
}

#[tokio::test]
async fn the_same_archive_has_the_same_digest_on_every_node() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        digests.push(
            load(&images, docker_save(&layers(), &["app:1"]))
                .await
                .expect("load")[0]
                .digest
                .clone(),
        );
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn a_container_gets_layers_topmost_first_and_an_upper_of_its_own() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let loaded = load(&images, docker_save(&layers(), &["app:1"]))
        .await
        .expect("load");
    let snapshots = images.snapshots();
    let id = "a".repeat(64);
    let rootfs = snapshots.prepare(&loaded[0].digest, &id).await.expect("prepare");
    assert_eq!(rootfs.lowers.len(), 2);
    let [top, bottom] = [&rootfs.lowers[0], &rootfs.lowers[1]];
    assert_eq!(std::fs::read(top.join("bin/extra")).expect("read"), b"second");
    assert_eq!(std::fs::read(bottom.join("bin/tool")).expect("read"), b"first");
    let whiteout = std::fs::symlink_metadata(top.join("etc/conf")).expect("whiteout");
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    // The upper layer implies bin/, and takes its mode from the layer below.
    assert_eq!(top.join("bin").metadata().expect("bin").mode() & 0o7777, 0o750);
    assert_eq!(rootfs.upper.metadata().expect("upper").mode() & 0o7777, 0o755);

    // One user per upper; the same container again once the lock is free.
    let second = snapshots.prepare(&loaded[0].digest, &id).await;
    assert!(matches!(second, Err(SnapshotError::InUse { .. })), "{second:?}");
    assert!(matches!(
        snapshots.release(&id).await,
        Err(SnapshotError::InUse { .. })
    ));
    std::fs::write(rootfs.upper.join("mine"), b"x").expect("write");
    drop(rootfs.lock);
    let again = snapshots
        .prepare(&loaded[0].digest, &id)
        .await
        .expect("prepare again");
    assert!(again.upper.join("mine").exists());
    drop(again);
    snapshots.release(&id).await.expect("release");
    snapshots.release(&id).await.expect("release again");
    assert!(snapshots.leases().await.expect("leases").is_empty());
    snapshots.swept().await;
    assert!(
        !stored(scratch.path())
            .iter()
            .any(|name| name.starts_with("containers/"))
    );
}

#[tokio::test]
async fn bad_ids_and_unknown_images_are_refused() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let snapshots = images.snapshots();
    for id in ["", "../x", &"A".repeat(64), &"a".repeat(63)] {
        let refused = snapshots.prepare(&Digest::of(b"x"), id).await;
        assert!(matches!(refused, Err(SnapshotError::ContainerId { .. })), "{id}");
    }
    let refused = snapshots.prepare(&Digest::of(b"x"), &"a".repeat(64)).await;
    assert!(matches!(refused, Err(SnapshotError::NoImage { .. })));
    assert!(matches!(
        images.inspect("nothing").await,
        Err(LookupError::NotFound { .. })
    ));
}

#[tokio::test]
async fn what_a_crash_left_is_swept_at_open() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    load(&images, docker_save(&layers(), &["app:1"]))
        .await
        .expect("load");
    let before = stored(scratch.path());
    let runtime = scratch.path().join("runtime");
    drop(images);
    let stray = Digest::of(b"stray").hex();
    std::fs::write(runtime.join("blobs/sha256").join(&stray), b"stray").expect("write");
    std::fs::create_dir_all(runtime.join("layers").join(&stray).join("x/y")).expect("mkdir");
    std::fs::create_dir_all(runtime.join("tmp/7/half")).expect("mkdir");
    std::fs::write(runtime.join("blobs/sha256/not-a-digest"), b"").expect("write");
    let images = open(scratch.path()).await;
    assert_eq!(stored(scratch.path()), before);
    assert_eq!(images.list().await.expect("list").len(), 1);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let _images = open(scratch.path()).await;
    let config = ImagesConfig {
        dir: scratch.path().join("runtime"),
        insecure_registries: Vec::new(),
    };
    let refused = Images::open(config).await;
    assert!(
        matches!(refused, Err(StoreError::Records(RecordError::Locked { .. }))),
        "{refused:?}"
    );
}
