//! Archives for tests, built in memory: layers with any kind of entry, `docker save` and OCI layout archives.
//!
//! Used by unit tests only; never compiled into the product.

use std::io::Write;

use serde_json::json;
use tar::{EntryType, Header};

use crate::image::Digest;

/// Builds one tar archive, entry by entry, without any of the checks of an honest tool.
#[derive(Default)]
pub(crate) struct TarBuilder(Vec<u8>);

impl TarBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A header for any name, type and size, honest or not.
    pub(crate) fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(size);
        header
    }

    pub(crate) fn raw(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        let header = Self::header(name.as_bytes(), EntryType::Regular, data.len() as u64);
        self.raw(header, data)
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        let mut header = Self::header(name.as_bytes(), EntryType::Directory, 0);
        header.set_mode(mode);
        self.raw(header, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub(crate) fn hardlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), kind, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    pub(crate) fn device(self, name: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let mut header = Self::header(name.as_bytes(), kind, 0);
        header.set_device_major(major).expect("ustar");
        header.set_device_minor(minor).expect("ustar");
        self.raw(header, b"")
    }

    /// PAX records for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length.to_string().len() + body != length {
                length = length.to_string().len() + body;
            }
            write!(data, "{length} {key}=").expect("memory");
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        let header = Self::header(b"pax", EntryType::XHeader, data.len() as u64);
        self.raw(header, &data)
    }

    /// The bytes so far, without an end mark.
    pub(crate) fn cut(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).expect("memory")
}

/// A configuration for these unpacked layers.
pub(crate) fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let architecture = crate::image::platform::host().architecture;
    serde_json::to_vec(&json!({
        "architecture": architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": {"a": "b"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
    .expect("json")
}

/// What `docker save` wrote before version 25: layers first, the list last.
pub(crate) fn docker_save(layers: &[Vec<u8>], tags: &[&str]) -> Vec<u8> {
    let config = config(layers);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut tar = TarBuilder::new();
    let mut names = Vec::new();
    for layer in layers {
        let id = Digest::of(layer).hex();
        let name = format!("{id}/layer.tar");
        tar = tar.dir(&format!("{id}/"), 0o755).file(&name, layer);
        names.push(name);
    }
    let list = json!([{"Config": config_name, "RepoTags": tags, "Layers": names}]);
    tar.file(&config_name, &config)
        .file("manifest.json", list.to_string().as_bytes())
        .end()
}

/// The parts of an OCI image: manifest first, then configuration and layers as given.
pub(crate) struct OciImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) blobs: Vec<Vec<u8>>,
}

/// An OCI image of unpacked layers, stored through `pack`.
pub(crate) fn oci_image(layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) -> OciImage {
    let config = config(layers);
    let blobs: Vec<Vec<u8>> = layers.iter().map(|layer| pack(layer)).collect();
    let descriptors: Vec<_> = blobs
        .iter()
        .map(|blob| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": descriptors,
    });
    OciImage {
        manifest: serde_json::to_vec(&manifest).expect("json"),
        config,
        blobs,
    }
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// An OCI layout archive with this `index.json` and blobs.
pub(crate) fn oci_layout(index: &serde_json::Value, blobs: &[&[u8]]) -> Vec<u8> {
    let mut tar = TarBuilder::new()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", index.to_string().as_bytes());
    for blob in blobs {
        tar = tar.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    tar.end()
}

/// An OCI layout archive of one image under `name`.
pub(crate) fn oci_archive(image: &OciImage, name: &str) -> Vec<u8> {
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let mut blobs: Vec<&[u8]> = vec![&image.manifest, &image.config];
    blobs.extend(image.blobs.iter().map(Vec::as_slice));
    oci_layout(&json!({"schemaVersion": 2, "manifests": [entry]}), &blobs)
}
