//! Volumes on a real disk: made once, filled once, removed when nobody uses them.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::fixtures::TarBuilder;
use crate::unpack::{UnpackLimits, unpack};

async fn open(scratch: &tempfile::TempDir) -> Volumes {
    Volumes::open(&scratch.path().join("volumes"))
        .await
        .expect("open")
}

fn layer(scratch: &tempfile::TempDir, name: &str, archive: Vec<u8>) -> PathBuf {
    let path = scratch.path().join(name);
    std::fs::create_dir(&path).expect("mkdir");
    unpack(&archive[..], &path, UnpackLimits::default()).expect("unpack");
    path
}

#[tokio::test]
async fn a_volume_is_made_once_and_kept_until_removed() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let volumes = open(&scratch).await;
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let made = volumes.ensure("data", labels).await.expect("ensure");
    std::fs::write(made.mountpoint.join("file"), b"x").expect("write");
    let again = volumes
        .ensure("data", BTreeMap::new())
        .await
        .expect("ensure again");
    assert_eq!(again, made);
    let volumes = open(&scratch).await;
    assert_eq!(volumes.list().await.expect("list"), std::slice::from_ref(&made));
    assert_eq!(volumes.inspect("data").await.expect("inspect"), made);
    let refused = volumes.remove("data", &["c1".to_owned()]).await;
    assert!(matches!(refused, Err(VolumeError::InUse { .. })));
    volumes.remove("data", &[]).await.expect("remove");
    assert!(matches!(
        volumes.remove("data", &[]).await,
        Err(VolumeError::NotFound { .. })
    ));
    assert_eq!(
        std::fs::read_dir(scratch.path().join("volumes"))
            .expect("list")
            .count(),
        0
    );
}

#[tokio::test]
async fn names_that_are_paths_are_refused() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let volumes = open(&scratch).await;
    let long = "a".repeat(201);
    for name in [
        "", ".", "..", "../x", "a/b", "/etc", "-a", ".hidden", "a b", "ä", "a\0", &long,
    ] {
        let refused = volumes.ensure(name, BTreeMap::new()).await;
        assert!(matches!(refused, Err(VolumeError::Name { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn a_new_volume_takes_what_the_image_has_and_only_once() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let mut special = TarBuilder::header(b"srv/data/tool", tar::EntryType::Regular, 4);
    special.set_uid(5);
    special.set_mode(0o4755);
    let bottom = TarBuilder::new()
        .dir("srv/", 0o755)
        .dir("srv/data/", 0o1770)
        .raw(special, b"tool")
        .hardlink("srv/data/second", "srv/data/tool")
        .symlink("srv/data/link", "/etc/passwd")
        .file("srv/data/hidden", b"old")
        .symlink("srv/alias", "/srv/data")
        .file("srv/file", b"x")
        .end();
    let top = TarBuilder::new()
        .file("srv/data/.wh.hidden", b"")
        .file("srv/data/top", b"new")
        .end();
    let lowers = [layer(&scratch, "top", top), layer(&scratch, "bottom", bottom)];
    let volumes = open(&scratch).await;
    let made = volumes.ensure("v", BTreeMap::new()).await.expect("ensure");
    volumes
        .populate("v", &lowers, Path::new("/srv/alias"))
        .await
        .expect("populate");
    let mut names: Vec<_> = std::fs::read_dir(&made.mountpoint)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    assert_eq!(names, ["link", "second", "tool", "top"]);
    let tool = made.mountpoint.join("tool").metadata().expect("tool");
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.nlink(), tool.mtime()),
        (0o4755, 5, 2, 1_000_000_000)
    );
    assert_eq!(
        std::fs::read_link(made.mountpoint.join("link")).expect("link"),
        Path::new("/etc/passwd")
    );

    std::fs::remove_file(made.mountpoint.join("top")).expect("remove");
    volumes
        .populate("v", &lowers, Path::new("/srv/data"))
        .await
        .expect("populate again");
    assert!(!made.mountpoint.join("top").exists(), "a volume is filled once");

    volumes.ensure("w", BTreeMap::new()).await.expect("ensure");
    let refused = volumes.populate("w", &lowers, Path::new("/srv/file")).await;
    assert!(
        matches!(refused, Err(PopulateError::NotADirectory { .. })),
        "{refused:?}"
    );
    volumes
        .populate("w", &lowers[1..], Path::new("/nowhere"))
        .await
        .expect("nothing to copy");
}

#[tokio::test]
async fn what_a_crash_left_is_swept() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    drop(open(&scratch).await);
    std::fs::create_dir_all(scratch.path().join("volumes/.unfinished-x/_data")).expect("mkdir");
    let volumes = open(&scratch).await;
    assert!(volumes.list().await.expect("list").is_empty());
    assert_eq!(
        std::fs::read_dir(scratch.path().join("volumes"))
            .expect("list")
            .count(),
        0
    );
}
