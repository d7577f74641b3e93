//! Hostile and broken image archives: each is refused with what is wrong, and leaves nothing.

use serde_json::json;

use crate::fixtures::{
    OciImage, TarBuilder, config, descriptor, docker_save, gzip, oci_archive, oci_image, oci_layout,
};
use crate::image::tests::{load, open, stored};
use crate::image::{Digest, ImportSpec, Progress, Reference};

fn layer() -> Vec<u8> {
    TarBuilder::new()
        .dir("bin/", 0o755)
        .file("bin/tool", b"tool")
        .end()
}

fn image() -> OciImage {
    oci_image(&[layer()], gzip)
}

/// All messages of an error's chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Loads `archive` into a store that holds an image already, and expects a refusal that says `words`.
async fn check(case: &str, archive: Vec<u8>, words: &[&str]) {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let known = docker_save(&[TarBuilder::new().file("known", b"1").end()], &["known:1"]);
    load(&images, known).await.expect("load");
    let before = stored(scratch.path());
    let error = load(&images, archive).await.expect_err(case);
    let text = chain(&error);
    for word in words {
        assert!(text.contains(word), "{case}: {text:?} should say {word:?}");
    }
    assert_eq!(stored(scratch.path()), before, "{case} left something behind");
    assert_eq!(images.list().await.expect("list").len(), 1, "{case}");
}

/// A `docker save` archive of one image with this list.
fn with_list(list: &serde_json::Value) -> Vec<u8> {
    let config = config(&[layer()]);
    TarBuilder::new()
        .file("c.json", &config)
        .file("layer.tar", &layer())
        .file("manifest.json", list.to_string().as_bytes())
        .end()
}

fn layout_of(manifest: &serde_json::Value, blobs: &[&[u8]]) -> Vec<u8> {
    let manifest = manifest.to_string().into_bytes();
    let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let mut all: Vec<&[u8]> = vec![&manifest];
    all.extend(blobs);
    oci_layout(&json!({"schemaVersion": 2, "manifests": [entry]}), &all)
}

#[tokio::test]
async fn what_is_no_image_archive_is_refused() {
    check("empty", Vec::new(), &["holds no image"]).await;
    check("text", b"hello".to_vec(), &["cut off"]).await;
    check("a root file system", layer(), &["holds no image", "image import"]).await;
    check("xz", b"\xfd7zXZ\0...".to_vec(), &["xz", "gzip and zstd"]).await;
    check("no images", with_list(&json!([])), &["holds no image"]).await;
    check(
        "list of nonsense",
        with_list(&json!({"a": 1})),
        &["manifest.json is not valid"],
    )
    .await;
    check(
        "layout of nothing",
        oci_layout(&json!({"manifests": []}), &[]),
        &["holds no image"],
    )
    .await;
    check(
        "broken index",
        oci_layout(&json!({"manifests": 3}), &[]),
        &["index.json is not valid"],
    )
    .await;
}

#[tokio::test]
async fn missing_parts_are_named() {
    let missing = json!([{"Config": "c.json", "RepoTags": null, "Layers": ["layer.tar", "other/layer.tar"]}]);
    check(
        "layer",
        with_list(&missing),
        &["other/layer.tar", "missing", "manifest.json"],
    )
    .await;
    let missing = json!([{"Config": "nowhere.json", "Layers": ["layer.tar"]}]);
    check("config", with_list(&missing), &["nowhere.json", "missing"]).await;
    let image = image();
    let hex = Digest::of(&image.blobs[0]).hex();
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).expect("json");
    check("blob", layout_of(&manifest, &[&image.config]), &[&hex, "missing"]).await;
    check(
        "config blob",
        layout_of(&manifest, &[&image.blobs[0]]),
        &["missing"],
    )
    .await;
    let few = json!([{"Config": "c.json", "Layers": []}]);
    check(
        "too few layers",
        with_list(&few),
        &["names 1 layers", "manifest has 0"],
    )
    .await;
}

#[tokio::test]
async fn names_that_leave_the_archive_are_refused() {
    let escape = json!([{"Config": "../../etc/passwd", "Layers": ["/etc/shadow"]}]);
    check("list", with_list(&escape), &["../../etc/passwd", "missing"]).await;
    check(
        "entry",
        TarBuilder::new().file("../x", b"x").end(),
        &["../x", "\"..\""],
    )
    .await;
    let link = TarBuilder::new()
        .symlink("layer.tar", "../../../etc/passwd")
        .end();
    check("symbolic link", link, &["leaves the archive"]).await;
    check(
        "absolute link",
        TarBuilder::new().symlink("l", "/etc/passwd").end(),
        &["leaves the archive"],
    )
    .await;
    let device = TarBuilder::new().device("sda", tar::EntryType::Block, 8, 0).end();
    check("device", device, &["sda", "no entries of type"]).await;
    let circle = TarBuilder::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("manifest.json", br#"[{"Config":"a","Layers":[]}]"#)
        .end();
    check("links in a circle", circle, &["missing"]).await;
    let digest = json!({"schemaVersion": 2, "layers": [],
        "config": {"digest": "sha256:../../../../etc/passwd", "size": 1}});
    check("digest", layout_of(&digest, &[]), &["not valid", "not a digest"]).await;
}

#[tokio::test]
async fn lies_about_digests_and_sizes_are_found() {
    let image = image();
    let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).expect("json");
    let mut size = manifest.clone();
    size["layers"][0]["size"] = json!(1);
    check(
        "size",
        layout_of(&size, &[&image.config, &image.blobs[0]]),
        &["lies", "expected 1 bytes"],
    )
    .await;

    let hex = Digest::of(&image.blobs[0]).hex();
    let swapped = TarBuilder::new()
        .file("index.json", &{
            let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
            serde_json::to_vec(&json!({"manifests": [entry]})).expect("json")
        })
        .file(
            &format!("blobs/sha256/{}", Digest::of(&image.manifest).hex()),
            &image.manifest,
        )
        .file(
            &format!("blobs/sha256/{}", Digest::of(&image.config).hex()),
            &image.config,
        )
        .file(&format!("blobs/sha256/{hex}"), &vec![7; image.blobs[0].len()])
        .end();
    check("digest", swapped, &["lies", &hex]).await;

    let honest = docker_save(&[layer()], &["a:1"]);
    let text = String::from_utf8_lossy(&honest).into_owned();
    assert!(text.contains("/bin/sh"));
    let forged: Vec<u8> = text.replace("/bin/sh", "/bin/no").into_bytes();
    check("changed configuration", forged, &["lies", "sha256:"]).await;

    let other = config(&[TarBuilder::new().file("other", b"").end()]);
    let wrong = TarBuilder::new()
        .file("c.json", &other)
        .file("layer.tar", &layer())
        .file(
            "manifest.json",
            br#"[{"Config":"c.json","Layers":["layer.tar"]}]"#,
        )
        .end();
    check("diff id", wrong, &["is not what the image says", "expected"]).await;

    let twice = TarBuilder::new().file("a", b"1").file("a", b"2").end();
    check("two files of one name", twice, &["two different files"]).await;
}

#[tokio::test]
async fn broken_documents_are_refused() {
    let image = image();
    let garbage = b"{\"schemaVersion\": 2, ".to_vec();
    let entry = descriptor("application/vnd.oci.image.manifest.v1+json", &garbage);
    let archive = oci_layout(&json!({"manifests": [entry]}), &[&garbage]);
    check("manifest", archive, &["not valid"]).await;
    let windows =
        json!({"architecture": "amd64", "os": "windows", "rootfs": {"type": "layers", "diff_ids": []}});
    let windows = windows.to_string().into_bytes();
    let manifest = json!({"schemaVersion": 2, "layers": [],
        "config": descriptor("application/vnd.oci.image.config.v1+json", &windows)});
    check(
        "windows",
        layout_of(&manifest, &[&windows]),
        &["windows", "not linux"],
    )
    .await;
    let mut many: serde_json::Value = serde_json::from_slice(&image.manifest).expect("json");
    many["layers"] = json!(vec![many["layers"][0].clone(); 501]);
    check("layers", layout_of(&many, &[&image.config]), &["501 layers"]).await;
    let loops =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []});
    check("no platform", layout_of(&loops, &[]), &["no variant for linux/"]).await;
    let name = json!([{"Config": "c.json", "RepoTags": ["UPPER CASE"], "Layers": ["layer.tar"]}]);
    check(
        "name",
        with_list(&name),
        &["UPPER CASE", "not an image reference"],
    )
    .await;
    let big = json!([{"Config": "layer.tar", "Layers": []}]);
    check(
        "a layer as configuration",
        with_list(&big),
        &["configuration is not valid"],
    )
    .await;
}

#[tokio::test]
async fn hostile_and_truncated_layers_are_named() {
    let evil = TarBuilder::new().file("../../../tmp/evil", b"x").end();
    check(
        "escape",
        docker_save(&[evil], &["a:1"]),
        &["layer sha256:", "\"../../../tmp/evil\"", "\"..\""],
    )
    .await;
    let hex = Digest::of(&layer()).hex();
    let cut = layer()[..700].to_vec();
    check("cut layer", docker_save(&[layer(), cut], &["a:1"]), &["cut off"]).await;
    let mut archive = docker_save(&[layer()], &["a:1"]);
    archive.truncate(1000);
    check("cut archive", archive, &["cut off"]).await;
    let mut zipped = gzip(&docker_save(&[layer()], &["a:1"]));
    zipped.truncate(zipped.len() / 2);
    check("cut compressed archive", zipped, &["cannot load"]).await;
    drop(hex);
}

#[tokio::test]
async fn old_archives_with_links_and_double_layers_load() {
    let config = config(&[layer(), layer()]);
    let archive = TarBuilder::new()
        .file("one/layer.tar", &layer())
        .symlink("two/layer.tar", "../one/layer.tar")
        .file("c.json", &config)
        .file(
            "manifest.json",
            br#"[{"Config":"c.json","RepoTags":["a:1","b:2"],"Layers":["one/layer.tar","two/layer.tar"]}]"#,
        )
        .end();
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let loaded = load(&images, archive).await.expect("load");
    let rootfs = images
        .snapshots()
        .prepare(&loaded[0].digest, &"c".repeat(64))
        .await
        .expect("prepare");
    assert_eq!(rootfs.lowers.len(), 2);
    assert_ne!(rootfs.lowers[0], rootfs.lowers[1]);
    assert_eq!(images.list().await.expect("list")[0].repo_tags, ["a:1", "b:2"]);
}

#[tokio::test]
async fn an_index_gives_this_nodes_platform_and_its_digest_stands_for_it() {
    let image = image();
    let host = crate::image::platform::host();
    let mut ours = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
    ours["platform"] = json!({"os": "linux", "architecture": host.architecture});
    let mut foreign = descriptor(
        "application/vnd.oci.image.manifest.v1+json",
        b"not in the archive",
    );
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [foreign, ours]});
    let index = index.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.index.v1+json", &index);
    entry["annotations"] = json!({"io.containerd.image.name": "docker.io/library/multi:1"});
    let archive = oci_layout(
        &json!({"manifests": [entry]}),
        &[&index, &image.manifest, &image.config, &image.blobs[0]],
    );
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let loaded = load(&images, archive).await.expect("load");
    assert_eq!(loaded[0].digest, Digest::of(&image.manifest));
    let pinned: Reference = format!("multi@{}", Digest::of(&index))
        .parse()
        .expect("reference");
    assert_eq!(
        images.resolve_local(&pinned).await.expect("resolve"),
        Some(loaded[0].digest.clone())
    );
    images
        .config(&Digest::of(&index))
        .await
        .expect("by the index's digest");
}

async fn import(images: &crate::image::Images, rootfs: Vec<u8>, changes: &[&str]) -> Result<Digest, String> {
    let spec = ImportSpec {
        reference: Some("made:1".parse().expect("reference")),
        changes: changes.iter().map(|change| (*change).to_owned()).collect(),
        message: None,
    };
    let imported = images
        .import(std::io::Cursor::new(rootfs), spec, &Progress::none())
        .await;
    imported.map(|image| image.digest).map_err(|error| chain(&error))
}

#[tokio::test]
async fn a_root_file_system_becomes_the_same_image_everywhere() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path()).await;
        let digest = import(&images, layer(), &["CMD [\"tool\"]", "ENV A=b"])
            .await
            .expect("import");
        let config = images.config(&digest).await.expect("config");
        assert_eq!(
            (config.cmd, config.env),
            (Some(vec!["tool".to_owned()]), vec!["A=b".to_owned()])
        );
        let details = images.inspect("made:1").await.expect("inspect");
        assert_eq!(details.created, "2001-09-09T01:46:40Z");
        digests.push(digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn broken_root_file_systems_leave_nothing() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let before = stored(scratch.path());
    for (rootfs, changes, word) in [
        (Vec::new(), &[][..], "empty"),
        (TarBuilder::new().file("a", b"x").cut(), &[], "cut off"),
        (TarBuilder::new().file("../a", b"x").end(), &[], "\"..\""),
        (layer(), &["RUN make"], "RUN"),
        (b"junk".to_vec(), &[], "cut off"),
        (gzip(&layer())[..60].to_vec(), &[], "cannot import"),
    ] {
        let error = import(&images, rootfs, changes).await.expect_err(word);
        assert!(error.contains(word), "{error} should say {word}");
        assert_eq!(stored(scratch.path()), before);
    }
}

#[tokio::test]
async fn an_archive_for_containers_still_open_is_whole() {
    // Read through the same path as a stream from the network: many small reads.
    let archive = oci_archive(&image(), "stream:1");
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path()).await;
    let (mut writer, reader) = tokio::io::duplex(700);
    let send = async move {
        for part in archive.chunks(333) {
            tokio::io::AsyncWriteExt::write_all(&mut writer, part)
                .await
                .expect("write");
        }
    };
    let (progress, events) = Progress::channel();
    let load = images.load(reader, &progress);
    let (loaded, ()) = tokio::join!(load, send);
    assert_eq!(
        loaded.expect("load")[0].names,
        ["stream:1".parse().expect("reference")]
    );
    drop(progress);
    let events: Vec<_> = tokio_stream::StreamExt::collect(events).await;
    assert!(
        matches!(events.last(), Some(crate::image::ImageEvent::Done { .. })),
        "{events:?}"
    );
}
