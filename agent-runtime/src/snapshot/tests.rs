//! The probe on real file systems, and what a full disk does to every operation.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

use super::probe::ProbeError;
use super::*;
use crate::content::Content;
use crate::fixtures::{TarBuilder, docker_save};
use crate::image::tests::{load, open, stored};
use crate::image::{Images, ImagesConfig, ImportSpec, Progress};

/// A file system of its own, unmounted with the value.
pub(crate) struct Disk {
    scratch: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn tmpfs(options: &str) -> Self {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let options = std::ffi::CString::new(options).expect("options");
        rustix::mount::mount(
            "tmpfs",
            scratch.path(),
            "tmpfs",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .expect("mounting a tmpfs needs root");
        Self { scratch }
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.scratch.path(), UnmountFlags::DETACH).expect("unmount");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[test]
fn this_disk_and_a_tmpfs_will_do() {
    for disk in [None, Some(Disk::tmpfs("size=4m"))] {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let dir = disk.as_ref().map_or(scratch.path(), |disk| disk.path());
        let content = Content::open(dir).expect("open");
        probe::probe(&content.stage().expect("stage")).expect("suitable");
        assert_eq!(std::fs::read_dir(dir.join("tmp")).expect("list").count(), 0);
    }
}

#[test]
fn a_file_system_without_what_layers_need_is_named() {
    // Overlay on overlay on overlay is one too many for the kernel; here the file system is an overlay itself.
    let disk = Disk::tmpfs("size=4m,nr_inodes=200");
    for name in [
        "lower", "upper", "work", "lower2", "upper2", "work2", "merged", "merged2",
    ] {
        std::fs::create_dir(disk.path().join(name)).expect("mkdir");
    }
    let mount = |lower: &str, upper: &str, work: &str, at: &str| {
        let path = |name: &str| disk.path().join(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            path(lower),
            path(upper),
            path(work)
        );
        let options = std::ffi::CString::new(options).expect("options");
        let at = disk.path().join(at);
        rustix::mount::mount(
            "overlay",
            at.as_path(),
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .expect("mount an overlay");
    };
    mount("lower", "upper", "work", "merged");
    let dir = disk.path().join("merged");
    let content = Content::open(&dir).expect("open");
    let refused = probe::probe(&content.stage().expect("stage"));
    rustix::mount::unmount(&dir, UnmountFlags::DETACH).expect("unmount");
    let error = refused.expect_err("an overlay cannot carry the upper layer of another");
    assert!(matches!(error, ProbeError::Unsuitable { .. }), "{error:?}");
    let text = chain(&error);
    assert!(
        text.contains("overlay, mounted at") && text.contains("ext4"),
        "{text}"
    );
}

#[tokio::test]
async fn removing_an_image_frees_a_full_disk() {
    let disk = Disk::tmpfs("size=24m");
    let images = open(disk.path()).await;
    let empty = stored(disk.path());
    load(&images, docker_save(&[big(3)], &["big:1"]))
        .await
        .expect("load");
    let filler = disk.path().join("filler");
    let mut file = File::create(&filler).expect("create");
    while std::io::Write::write(&mut file, &[0; 4096]).is_ok_and(|written| written > 0) {}
    images
        .remove("big:1", false)
        .await
        .expect("remove on a full disk");
    assert!(images.list().await.expect("list").is_empty());
    assert_eq!(stored(disk.path()), empty);
    drop(file);
    std::fs::remove_file(&filler).expect("remove");
    load(&images, docker_save(&[big(3)], &["big:1"]))
        .await
        .expect("load again");
}

fn big(megabytes: usize) -> Vec<u8> {
    TarBuilder::new()
        .file("small", b"x")
        .file("big", &vec![7; megabytes << 20])
        .end()
}

#[tokio::test]
async fn a_full_disk_is_named_and_changes_nothing() {
    let disk = Disk::tmpfs("size=24m");
    let images = open(disk.path()).await;
    load(&images, docker_save(&[big(1)], &["known:1"]))
        .await
        .expect("load");
    let before = stored(disk.path());
    let mounted = format!("mounted at {}", disk.path().display());
    let check = |case: &str, text: String| {
        assert!(
            text.contains("is full") && text.contains(&mounted),
            "{case}: {text}"
        );
        assert_eq!(stored(disk.path()), before, "{case} left something behind");
    };
    // While the archive is read, and while a layer is unpacked beside its own archive.
    let error = load(&images, docker_save(&[big(30)], &["new:1"]))
        .await
        .expect_err("full");
    check("spooling", chain(&error));
    let error = load(&images, docker_save(&[big(13)], &["new:1"]))
        .await
        .expect_err("full");
    check("unpacking", chain(&error));
    let spec = ImportSpec::default();
    let error = images
        .import(std::io::Cursor::new(big(14)), spec, &Progress::none())
        .await
        .expect_err("full");
    check("importing", chain(&error));
    // What is here goes on working, and the disk heals by itself.
    assert_eq!(images.list().await.expect("list").len(), 1);
    let again = load(&images, docker_save(&[big(2)], &["new:1"]))
        .await
        .expect("load something smaller");
    images
        .snapshots()
        .prepare(&again[0].digest, &"d".repeat(64))
        .await
        .expect("prepare");
}

#[tokio::test]
async fn a_disk_without_inodes_is_full_too() {
    let disk = Disk::tmpfs("size=24m,nr_inodes=120");
    let images = open(disk.path()).await;
    let before = stored(disk.path());
    let mut many = TarBuilder::new();
    for number in 0..200 {
        many = many.file(&format!("f{number}"), b"");
    }
    let error = load(&images, docker_save(&[many.end()], &["many:1"]))
        .await
        .expect_err("full");
    assert!(chain(&error).contains("is full"), "{}", chain(&error));
    assert_eq!(stored(disk.path()), before);
    let small = load(
        &images,
        docker_save(&[TarBuilder::new().file("a", b"x").end()], &["a:1"]),
    )
    .await;
    let image = small.expect("load")[0].digest.clone();
    let filler = disk.path().join("filler");
    std::fs::create_dir(&filler).expect("mkdir");
    let mut number = 0;
    while std::fs::write(filler.join(number.to_string()), b"").is_ok() {
        number += 1;
    }
    let before = stored(disk.path());
    let error = images
        .snapshots()
        .prepare(&image, &"a".repeat(64))
        .await
        .expect_err("full");
    assert!(chain(&error).contains("is full"), "{}", chain(&error));
    assert_eq!(stored(disk.path()), before);
    assert!(images.snapshots().leases().await.expect("leases").is_empty());
}

#[tokio::test]
async fn an_unsuitable_disk_is_refused_at_open() {
    let config = ImagesConfig {
        dir: "/proc/shoal".into(),
        insecure_registries: Vec::new(),
    };
    let error = Images::open(config)
        .await
        .expect_err("no directory can be made there");
    assert!(chain(&error).contains("/proc/shoal"), "{}", chain(&error));
}
