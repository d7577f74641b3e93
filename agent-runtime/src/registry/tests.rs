//! Pulls from a real registry, and from one of our own that breaks, lies and stalls.

use std::io::BufRead;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixtures::{OciImage, TarBuilder, descriptor, gzip, oci_archive, oci_image, zstd};
use crate::image::tests::stored;
use crate::image::{Digest, ImageEvent, Images, ImagesConfig, Progress, PullError, Reference, Resolved};

/// A `docker-registry` of its own, ended with the value.
struct DockerRegistry {
    child: Child,
    address: String,
    scratch: tempfile::TempDir,
}

impl DockerRegistry {
    async fn start() -> Self {
        let scratch = tempfile::tempdir().expect("temporary directory");
        // Tried again with another port if somebody takes this one in between.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0")
                .and_then(|socket| socket.local_addr())
                .expect("free port")
                .port();
            let address = format!("127.0.0.1:{port}");
            let config = scratch.path().join("config.yml");
            let root = scratch.path().join("data");
            let text = format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
                root.display()
            );
            std::fs::write(&config, text).expect("write");
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("docker-registry is installed (package docker-registry)");
            if Self::answers(&mut child).await {
                return Self {
                    child,
                    address,
                    scratch,
                };
            }
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
        panic!("no docker-registry answered");
    }

    /// Waits until the registry says that it listens, or ends.
    async fn answers(child: &mut Child) -> bool {
        let log = child.stderr.take().expect("standard error is a pipe");
        let (listening, told) = tokio::sync::oneshot::channel();
        // Reads on to the end, so that the registry never waits for its log to be read.
        std::thread::spawn(move || {
            let mut listening = Some(listening);
            for line in std::io::BufReader::new(log).lines().map_while(Result::ok) {
                if line.contains("listening on")
                    && let Some(listening) = listening.take()
                {
                    listening.send(()).ok();
                }
            }
        });
        let limit = std::time::Duration::from_secs(30);
        matches!(tokio::time::timeout(limit, told).await, Ok(Ok(())))
    }

    /// Puts an image there by skopeo.
    fn push(&self, image: &OciImage, name: &str) {
        let archive = self.scratch.path().join("image.tar");
        std::fs::write(&archive, oci_archive(image, "x:1")).expect("write");
        let output = Command::new("skopeo")
            .args([
                "copy",
                "--insecure-policy",
                "--dest-tls-verify=false",
                "--preserve-digests",
            ])
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .expect("skopeo is installed (package skopeo)");
        assert!(
            output.status.success(),
            "skopeo: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.child.kill().expect("kill the registry");
        self.child.wait().expect("wait for the registry");
    }
}

async fn open(dir: &Path, insecure: &str) -> Images {
    let config = ImagesConfig {
        dir: dir.join("runtime"),
        insecure_registries: vec![insecure.to_owned()],
    };
    Images::open(config).await.expect("open the store")
}

fn layers() -> Vec<Vec<u8>> {
    let big: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    vec![
        TarBuilder::new()
            .dir("bin/", 0o755)
            .file("bin/tool", b"tool")
            .end(),
        TarBuilder::new().file("big", &big).end(),
        TarBuilder::new().file("bin/extra", b"extra").end(),
    ]
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

/// Every layer waits, comes byte by byte, is unpacked if it has to be, and is done; then the image is.
fn check_events(events: &[ImageEvent], image: &OciImage, digest: &Digest, unpacked: bool) {
    assert!(
        matches!(&events[0], ImageEvent::Resolved { digest: found, .. } if found == digest),
        "{events:?}"
    );
    for (place, blob) in image.blobs.iter().enumerate() {
        let (layer, size) = (Digest::of(blob), blob.len() as u64);
        let mut steps = Vec::new();
        let mut last = 0;
        for (number, event) in events.iter().enumerate() {
            match event {
                ImageEvent::LayerWaiting { digest, total } if *digest == layer => {
                    assert_eq!((*total, number < 4), (size, true), "{place}");
                    steps.push("waiting");
                }
                ImageEvent::LayerProgress { digest, bytes, total } if *digest == layer => {
                    assert!(*bytes > last && *bytes <= size && *total == size, "{event:?}");
                    last = *bytes;
                }
                ImageEvent::LayerUnpacking { digest } if *digest == layer => {
                    assert_eq!(last, size);
                    steps.push("unpacking");
                }
                ImageEvent::LayerDone { digest } if *digest == layer => steps.push("done"),
                _ => {}
            }
        }
        let expected: &[&str] = match unpacked {
            true => &["waiting", "unpacking", "done"],
            false => &["waiting", "done"],
        };
        assert_eq!((steps.as_slice(), last), (expected, size), "layer {place}");
    }
    let end = &events[events.len() - 2..];
    assert!(
        matches!(end, [ImageEvent::Committing, ImageEvent::Done { image, .. }] if image == digest),
        "{end:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_real_registry_are_resolved_pulled_and_run() {
    let registry = DockerRegistry::start().await;
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path(), &registry.address).await;
    for (name, pack) in [("gz:1", gzip as fn(&[u8]) -> Vec<u8>), ("zst:1", zstd)] {
        let image = oci_image(&layers(), pack);
        registry.push(&image, name);
        let reference: Reference = format!("{}/{name}", registry.address).parse().expect("reference");
        let digest = Digest::of(&image.manifest);
        let resolved = images.resolve(&reference).await.expect("resolve");
        assert_eq!(
            resolved,
            Resolved {
                digest: digest.clone(),
                local: false
            }
        );

        let (progress, events) = Progress::channel();
        let pulled = images.pull(&reference, &progress).await.expect("pull");
        drop(progress);
        let events: Vec<ImageEvent> = tokio_stream::StreamExt::collect(events).await;
        // The second image has the same layers, packed in another way: they are fetched, and here already.
        check_events(&events, &image, &pulled.digest, name == "gz:1");
        let (progress, again) = Progress::channel();
        images.pull(&reference, &progress).await.expect("pull again");
        drop(progress);
        let again: Vec<ImageEvent> = tokio_stream::StreamExt::collect(again).await;
        let here = |digest: Digest| ImageEvent::LayerExists { digest };
        let all = image.blobs.iter().map(|blob| here(Digest::of(blob)));
        assert_eq!(again[1..4], all.collect::<Vec<_>>());
        assert_eq!((&pulled.digest, &pulled.resolved), (&digest, &digest));
        let resolved = images.resolve(&reference).await.expect("resolve");
        assert_eq!(
            resolved,
            Resolved {
                digest: digest.clone(),
                local: true
            }
        );
        let details = images.inspect(&reference.to_string()).await.expect("inspect");
        assert_eq!(
            details.repo_digests,
            [reference.with_digest(digest.clone()).familiar()]
        );
        let rootfs = images
            .snapshots()
            .prepare(&digest, &"e".repeat(64))
            .await
            .expect("prepare");
        assert_eq!(
            std::fs::read(rootfs.lowers[2].join("bin/tool")).expect("read"),
            b"tool"
        );
        drop(rootfs);
        images
            .snapshots()
            .release(&"e".repeat(64))
            .await
            .expect("release");
    }
    // By digest, when the registry has gone: nothing is asked.
    let image = oci_image(&layers(), gzip);
    let pinned = format!("{}/gz@{}", registry.address, Digest::of(&image.manifest));
    drop(registry);
    images
        .pull(&pinned.parse().expect("reference"), &Progress::none())
        .await
        .expect("pull what is here");
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_skopeo_writes_load_to_the_same_image() {
    let registry = DockerRegistry::start().await;
    let image = oci_image(&layers(), gzip);
    registry.push(&image, "app:1");
    let id = Digest::of(&image.config);
    for form in ["docker-archive", "oci-archive"] {
        let path = registry.scratch.path().join(form);
        let target = format!("{form}:{}:docker.io/library/app:1", path.display());
        let output = Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--src-tls-verify=false"])
            .args([format!("docker://{}/app:1", registry.address), target])
            .output()
            .expect("skopeo");
        assert!(
            output.status.success(),
            "skopeo: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let scratch = tempfile::tempdir().expect("temporary directory");
        let images = open(scratch.path(), "none").await;
        let file = tokio::fs::File::open(&path).await.expect("open");
        let loaded = images
            .load(file, &Progress::none())
            .await
            .map_err(|error| chain(&error))
            .expect(form);
        assert_eq!(loaded[0].id, id, "{form}");
        assert_eq!(loaded[0].names, ["app:1".parse().expect("reference")], "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_images_and_unreachable_registries_are_named() {
    let registry = DockerRegistry::start().await;
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path(), &registry.address).await;
    let unknown: Reference = format!("{}/nothing:1", registry.address)
        .parse()
        .expect("reference");
    let before = stored(scratch.path());
    let error = images
        .pull(&unknown, &Progress::none())
        .await
        .expect_err("unknown");
    assert!(chain(&error).contains("has no"), "{}", chain(&error));
    let error = images.resolve(&unknown).await.expect_err("unknown");
    assert!(chain(&error).contains("not on this node"), "{}", chain(&error));
    // HTTPS to a plain registry that is not configured as such.
    let strict = tempfile::tempdir().expect("temporary directory");
    let images = open(strict.path(), "other:5000").await;
    let error = images.resolve(&unknown).await.expect_err("no TLS there");
    assert!(chain(&error).contains("insecure registry"), "{}", chain(&error));
    assert_eq!(stored(scratch.path()), before);
}

/// How the registry of our own misbehaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Cuts every blob's first answer in the middle.
    CutOnce,
    /// The same, and ignores offsets.
    CutOnceWithoutRanges,
    /// Cuts always at the same place.
    CutAlways,
    /// Answers the first requests with 503.
    Busy,
    /// Changes a byte of each layer.
    Corrupt,
    /// Sends another manifest than its digest says.
    OtherManifest,
    /// Sends a manifest without end.
    EndlessManifest,
    /// Sends more of each layer than the manifest says.
    TooMuch,
    /// Wants a login.
    Login,
    /// Gives its contents only for a token, and tokens to anybody.
    Token,
}

/// Serves one image over HTTP, badly.
struct Liar {
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    async fn serve(documents: Vec<(String, Vec<u8>)>, blobs: Vec<Vec<u8>>, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let seen = std::sync::Arc::new(std::sync::Mutex::new(
            std::collections::HashMap::<String, usize>::new(),
        ));
        let (documents, blobs) = (std::sync::Arc::new(documents), std::sync::Arc::new(blobs));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, documents, blobs) = (seen.clone(), documents.clone(), blobs.clone());
                tokio::spawn(async move {
                    // A client that hangs up is its own business.
                    drop(answer(socket, &documents, &blobs, fault, &seen).await);
                });
            }
        });
        Self { address, task }
    }
}

type Seen = std::sync::Mutex<std::collections::HashMap<String, usize>>;

async fn answer(
    mut socket: TcpStream,
    documents: &[(String, Vec<u8>)],
    blobs: &[Vec<u8>],
    fault: Fault,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).to_lowercase();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let offset: usize = request
        .split("range: bytes=")
        .nth(1)
        .and_then(|range| range.split('-').next()?.parse().ok())
        .unwrap_or(0);
    let count = {
        let mut seen = seen.lock().expect("lock");
        let count = seen.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let end = "connection: close\r\n\r\n";
    if fault == Fault::Login {
        return socket
            .write_all(format!("HTTP/1.1 401 no\r\ncontent-length: 0\r\n{end}").as_bytes())
            .await;
    }
    if fault == Fault::Token && !request.contains("authorization: bearer sesame") {
        return give_token(&mut socket, &request, &path).await;
    }
    if fault == Fault::Busy && count <= 2 {
        return socket
            .write_all(format!("HTTP/1.1 503 busy\r\ncontent-length: 0\r\n{end}").as_bytes())
            .await;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    if let Some((_, body)) = documents
        .iter()
        .find(|(tag, body)| name == tag || name == Digest::of(body).to_string())
    {
        return send_document(&mut socket, body, !request.starts_with("head"), fault).await;
    }
    if path == "/v2/" {
        return socket
            .write_all(format!("HTTP/1.1 200 ok\r\ncontent-length: 2\r\n{end}{{}}").as_bytes())
            .await;
    }
    let Some(blob) = blobs.iter().find(|blob| Digest::of(blob).to_string() == name) else {
        return socket
            .write_all(format!("HTTP/1.1 404 no\r\ncontent-length: 0\r\n{end}").as_bytes())
            .await;
    };
    let offset = if fault == Fault::CutOnceWithoutRanges {
        0
    } else {
        offset
    };
    send_blob(&mut socket, blob, offset, fault, count).await
}

/// The challenge of a registry that wants a token, and the token.
async fn give_token(socket: &mut TcpStream, request: &str, path: &str) -> std::io::Result<()> {
    let host = request
        .split("host: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next())
        .unwrap_or_default();
    let answer = if path.starts_with("/token?") && path.contains("scope=repository%3aapp%3apull") {
        let body = r#"{"token":"sesame"}"#;
        format!(
            "HTTP/1.1 200 ok\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    } else {
        format!(
            "HTTP/1.1 401 no\r\nwww-authenticate: Bearer realm=\"http://{host}/token\",service=\"test\"\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        )
    };
    socket.write_all(answer.as_bytes()).await
}

async fn send_document(
    socket: &mut TcpStream,
    body: &[u8],
    with_body: bool,
    fault: Fault,
) -> std::io::Result<()> {
    let end = "connection: close\r\n\r\n";
    if fault == Fault::EndlessManifest {
        socket
            .write_all(format!("HTTP/1.1 200 ok\r\n{end}").as_bytes())
            .await?;
        loop {
            socket.write_all(&[b' '; 65536]).await?;
        }
    }
    let mut body = body.to_vec();
    let digest = Digest::of(&body);
    if fault == Fault::OtherManifest {
        body.push(b' ');
    }
    let head = format!(
        "HTTP/1.1 200 ok\r\ndocker-content-digest: {digest}\r\ncontent-length: {}\r\n{end}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    if with_body {
        socket.write_all(&body).await?;
    }
    Ok(())
}

async fn send_blob(
    socket: &mut TcpStream,
    blob: &[u8],
    offset: usize,
    fault: Fault,
    count: usize,
) -> std::io::Result<()> {
    let mut body = blob[offset.min(blob.len())..].to_vec();
    let is_layer = blob.first() != Some(&b'{');
    if is_layer && fault == Fault::Corrupt {
        let middle = body.len() / 2;
        body[middle] ^= 1;
    }
    if is_layer && fault == Fault::TooMuch {
        body.extend_from_slice(&[0; 100]);
    }
    let status = if offset > 0 { "206 partial" } else { "200 ok" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    let cut = match fault {
        Fault::CutOnce | Fault::CutOnceWithoutRanges if count == 1 => body.len() / 2,
        Fault::CutAlways if is_layer => 10_usize.saturating_sub(offset),
        _ => body.len(),
    };
    socket.write_all(&body[..cut]).await?;
    socket.shutdown().await
}

/// Pulls from a registry with this fault.
async fn pull_with(fault: Fault) -> (Result<Digest, PullError>, usize) {
    let image = oci_image(&layers(), gzip);
    let mut blobs = image.blobs.clone();
    blobs.push(image.config.clone());
    let liar = Liar::serve(vec![("1".to_owned(), image.manifest.clone())], blobs, fault).await;
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path(), &liar.address).await;
    let before = stored(scratch.path());
    let reference: Reference = format!("{}/app:1", liar.address).parse().expect("reference");
    let (progress, events) = Progress::channel();
    let pulled = images.pull(&reference, &progress).await;
    drop(progress);
    let events: Vec<ImageEvent> = tokio_stream::StreamExt::collect(events).await;
    let retries = events
        .iter()
        .filter(|event| matches!(event, ImageEvent::Retrying { .. }))
        .count();
    if pulled.is_err() {
        assert_eq!(stored(scratch.path()), before, "{fault:?} left something behind");
        assert!(images.list().await.expect("list").is_empty());
    }
    (pulled.map(|pulled| pulled.digest), retries)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_and_broken_connections_resumed() {
    let digest = Digest::of(&oci_image(&layers(), gzip).manifest);
    for (fault, retried) in [
        (Fault::None, false),
        (Fault::Token, false),
        (Fault::CutOnce, true),
        (Fault::CutOnceWithoutRanges, true),
        (Fault::Busy, true),
    ] {
        let (pulled, retries) = pull_with(fault).await;
        assert_eq!(
            pulled.map_err(|error| chain(&error)),
            Ok(digest.clone()),
            "{fault:?}"
        );
        assert_eq!(retries > 0, retried, "{fault:?}: {retries} retries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_registries_are_found_out() {
    for (fault, word) in [
        (Fault::Corrupt, "sha256:"),
        (Fault::OtherManifest, "expected sha256:"),
        (Fault::EndlessManifest, "more than 8388608 bytes"),
        (Fault::TooMuch, "lies"),
        (Fault::Login, "needs a login"),
    ] {
        let (pulled, _) = pull_with(fault).await;
        let text = chain(&pulled.expect_err("refused"));
        assert!(text.contains(word), "{fault:?}: {text:?} should say {word:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_always_breaks_is_given_up() {
    let (pulled, retries) = pull_with(Fault::CutAlways).await;
    let text = chain(&pulled.expect_err("given up"));
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(retries >= 4, "{retries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_kept_under_its_digest_and_pulled_for_this_platform() {
    let image = oci_image(&layers(), gzip);
    let mut ours = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
    ours["platform"] = json!({"os": "linux", "architecture": crate::image::platform::host().architecture});
    let mut foreign = descriptor("application/vnd.oci.image.manifest.v1+json", b"elsewhere");
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [foreign, ours]});
    let index = index.to_string().into_bytes();
    let mut blobs = image.blobs.clone();
    blobs.push(image.config.clone());
    let documents = vec![
        ("1".to_owned(), index.clone()),
        (String::new(), image.manifest.clone()),
    ];
    let liar = Liar::serve(documents, blobs, Fault::None).await;
    let scratch = tempfile::tempdir().expect("temporary directory");
    let images = open(scratch.path(), &liar.address).await;
    let reference: Reference = format!("{}/app:1", liar.address).parse().expect("reference");
    let none = Progress::none();
    // Two tasks want it at once: it is fetched once and both get it.
    let (one, two) = tokio::join!(images.pull(&reference, &none), images.pull(&reference, &none));
    let (one, two) = (one.expect("pull"), two.expect("pull"));
    assert_eq!(one, two);
    assert_eq!(
        (&one.digest, &one.resolved),
        (&Digest::of(&image.manifest), &Digest::of(&index))
    );
    let resolved = images.resolve(&reference).await.expect("resolve");
    assert_eq!(
        resolved,
        Resolved {
            digest: Digest::of(&index),
            local: true
        }
    );
    images
        .config(&Digest::of(&index))
        .await
        .expect("config by the index's digest");
}
