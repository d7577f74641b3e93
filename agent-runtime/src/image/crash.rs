//! SIGKILL at every step that changes the store: afterwards an operation has happened whole or not at all, nothing
//! else is left, and doing it again works.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tests::{load, open, stored, tree};
use super::{Digest, Images};
use crate::content::step::{DIE_AT, STEPS};
use crate::fixtures::{TarBuilder, docker_save};
use crate::volumes::Volumes;

/// Where the child works; without it the child test does nothing.
const DIR: &str = "SHOAL_TEST_CRASH_DIR";

fn archive() -> Vec<u8> {
    let bottom = TarBuilder::new().dir("data/", 0o755).file("data/one", b"1").end();
    docker_save(
        &[bottom, TarBuilder::new().file("data/two", b"2").end()],
        &["app:1"],
    )
}

fn container() -> String {
    "c".repeat(64)
}

async fn volumes(dir: &Path) -> Volumes {
    Volumes::open(&dir.join("volumes"))
        .await
        .expect("open the volumes")
}

/// A life from load to removal; each part is skipped if it has happened already.
async fn life(dir: &Path) {
    let images = open(dir).await;
    let volumes = volumes(dir).await;
    let digest = match loaded(&images).await {
        Some(digest) => digest,
        None => load(&images, archive()).await.expect("load")[0].digest.clone(),
    };
    let rootfs = images
        .snapshots()
        .prepare(&digest, &container())
        .await
        .expect("prepare");
    volumes.ensure("v", BTreeMap::new()).await.expect("ensure");
    volumes
        .populate("v", &rootfs.lowers, Path::new("/data"))
        .await
        .expect("populate");
    let filled = dir.join("volumes/v/_data");
    assert_eq!(tree(&filled), ["one", "two"]);
    drop(rootfs);
    images.snapshots().release(&container()).await.expect("release");
    images.snapshots().swept().await;
    volumes.remove("v", &[]).await.expect("remove the volume");
    images.remove("app:1", false).await.expect("remove the image");
}

async fn loaded(images: &Images) -> Option<Digest> {
    images
        .resolve_local(&"app:1".parse().expect("reference"))
        .await
        .expect("resolve")
}

#[tokio::test]
async fn child_that_dies() {
    if let Some(dir) = std::env::var_os(DIR) {
        life(&PathBuf::from(dir)).await;
    }
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_whole_things_only() {
    for step in STEPS {
        let scratch = tempfile::tempdir().expect("temporary directory");
        drop(open(scratch.path()).await);
        let empty = stored(scratch.path());
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "image::crash::child_that_dies", "--test-threads=1"])
            .env(DIE_AT, step)
            .env(DIR, scratch.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .expect("run the child");
        assert_eq!(status.signal(), Some(9), "{step} was not reached: {status:?}");

        let images = open(scratch.path()).await;
        let left = stored(scratch.path());
        assert!(
            !left.iter().any(|name| name.starts_with("tmp/")),
            "{step}: {left:?}"
        );
        let held = images.snapshots().leases().await.expect("leases");
        let image = loaded(&images).await;
        if image.is_none() {
            assert_eq!(left, empty, "{step} left parts of an image");
            assert!(held.is_empty(), "{step}");
        } else {
            assert_eq!(images.list().await.expect("list").len(), 1, "{step}");
            let layers = left.iter().filter(|name| name.starts_with("layers/")).count();
            assert_eq!(layers, 2 + 4, "{step}: {left:?}");
        }
        drop(images);
        let kept = volumes(scratch.path()).await.list().await.expect("list");
        if kept.is_empty() {
            assert!(
                tree(&scratch.path().join("volumes")).is_empty(),
                "{step} left parts of a volume"
            );
        }
        life(scratch.path()).await;
        assert_eq!(stored(scratch.path()), empty, "{step}");
        assert!(tree(&scratch.path().join("volumes")).is_empty(), "{step}");
    }
}
