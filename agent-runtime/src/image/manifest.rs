//! Manifests and indexes: reading them with bounds, and making a manifest for archives that have none.
//!
//! Called by pull, load and import; never trusts a size or a digest that it has not checked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::ConfigBlob;
use super::digest::Digest;
use crate::content::disk::{DiskError, DiskResult};

/// Bytes of one manifest, index or configuration. Registries refuse larger manifests; configurations carry history.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// Layers of one image: overlayfs refuses more than 500 lower directories.
pub(crate) const MAX_LAYERS: usize = 500;

/// Entries of an index, many times the number of platforms there are.
const MAX_INDEX_ENTRIES: usize = 1000;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Why a document about an image is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON that it should be.
    #[error("{what} is not valid")]
    Json {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    /// A manifest of another kind than an image's.
    #[error("{what} has the media type {media_type:?}, which is not that of an image")]
    MediaType { what: String, media_type: String },
    /// The parts contradict each other or a bound.
    #[error("{what} is not usable: {problem}")]
    Unusable { what: String, problem: String },
    /// No variant of the image runs here.
    #[error("the image has no variant for {wanted}; it has {found}")]
    NoPlatform { wanted: String, found: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(
        default,
        deserialize_with = "nullable_map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

/// An image's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// Several manifests, one a platform.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// What a document fetched by reference turned out to be.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest or index; `what` names it in errors.
pub(crate) fn parse_document(bytes: &[u8], what: &str) -> Result<Document, DocumentError> {
    let json = |source| DocumentError::Json {
        what: what.to_owned(),
        source,
    };
    let shape: Shape = serde_json::from_slice(bytes).map_err(json)?;
    let unusable = |problem: String| DocumentError::Unusable {
        what: what.to_owned(),
        problem,
    };
    if shape.schema_version == Some(1) {
        return Err(unusable(
            "it is of Docker's schema 1, which is no longer in use; push the image again".into(),
        ));
    }
    let media_type = shape.media_type.unwrap_or_default();
    let is_index = match media_type.as_str() {
        OCI_INDEX | DOCKER_INDEX => true,
        OCI_MANIFEST | DOCKER_MANIFEST => false,
        "" if shape.config.is_some() != shape.manifests.is_some() => shape.manifests.is_some(),
        _ => {
            return Err(DocumentError::MediaType {
                what: what.to_owned(),
                media_type,
            });
        }
    };
    if is_index {
        let index: Index = serde_json::from_slice(bytes).map_err(json)?;
        if index.manifests.len() > MAX_INDEX_ENTRIES {
            return Err(unusable(format!("it lists {} manifests", index.manifests.len())));
        }
        return Ok(Document::Index(index));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
    let config_type = manifest.config.media_type.as_str();
    if !matches!(config_type, OCI_CONFIG | DOCKER_CONFIG | "") {
        return Err(DocumentError::MediaType {
            what: what.to_owned(),
            media_type: config_type.to_owned(),
        });
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(unusable(format!(
            "it has {} layers, more than {MAX_LAYERS}",
            manifest.layers.len()
        )));
    }
    Ok(Document::Manifest(manifest))
}

/// Reads a configuration and checks that it fits the number of layers.
pub(crate) fn parse_config(bytes: &[u8], what: &str, layers: usize) -> Result<ConfigBlob, DocumentError> {
    let json = |source| DocumentError::Json {
        what: what.to_owned(),
        source,
    };
    let config: ConfigBlob = serde_json::from_slice(bytes).map_err(json)?;
    let unusable = |problem: String| DocumentError::Unusable {
        what: what.to_owned(),
        problem,
    };
    if config.os != "linux" {
        return Err(unusable(format!(
            "it is for the operating system {:?}, not linux",
            config.os
        )));
    }
    if config.rootfs.diff_ids.len() != layers {
        let named = config.rootfs.diff_ids.len();
        return Err(unusable(format!(
            "it names {named} layers where the manifest has {layers}"
        )));
    }
    Ok(config)
}

/// The manifest of an image that came without one. The same parts always give the same bytes, so that an image
/// loaded on two nodes has one digest.
pub(crate) fn build_manifest(
    config: (Digest, u64),
    layers: &[(Digest, u64, Compression)],
) -> Result<Vec<u8>, serde_json::Error> {
    let descriptor = |media_type: String, digest: &Digest, size: u64| Descriptor {
        media_type,
        digest: digest.clone(),
        size,
        platform: None,
        annotations: BTreeMap::new(),
    };
    let layers = layers.iter().map(|(digest, size, compression)| {
        descriptor(format!("{OCI_LAYER}{}", compression.suffix()), digest, *size)
    });
    serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config: descriptor(OCI_CONFIG.to_owned(), &config.0, config.1),
        layers: layers.collect(),
    })
}

/// How a layer's blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// From the first bytes of the blob.
    fn detect(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// From the first bytes of a file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, DiskError> {
        let mut first = Vec::new();
        let file = std::fs::File::open(path).on("open", path)?;
        file.take(4).read_to_end(&mut first).on("read", path)?;
        Ok(Self::detect(&first))
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

fn nullable_map<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::<BTreeMap<String, String>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_manifests_are_the_same_bytes_every_time() {
        let layers = [
            (Digest::of(b"l1"), 10, Compression::None),
            (Digest::of(b"l2"), 20, Compression::Gzip),
        ];
        let bytes = build_manifest((Digest::of(b"c"), 5), &layers).expect("build");
        // Pinned: a change here changes the digest of every loaded image.
        assert_eq!(
            Digest::of(&bytes).to_string(),
            "sha256:b3c977c3f0616d93c5aa91aa1ec603016ab653cff4a07bdac090fd4034f703dc"
        );
        let Document::Manifest(manifest) = parse_document(&bytes, "it").expect("parse") else {
            unreachable!("a manifest is no index");
        };
        assert_eq!(
            manifest.layers[1].media_type,
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
    }

    #[test]
    fn refuses_what_is_no_image() {
        let digest = Digest::of(b"x");
        let config = format!(
            r#"{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{digest}","size":1}}"#
        );
        for bad in [
            "".to_owned(),
            "{".to_owned(),
            "[]".to_owned(),
            r#"{"schemaVersion":1,"history":[]}"#.to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            r#"{"schemaVersion":2,"config":{},"manifests":[]}"#.to_owned(),
            r#"{"schemaVersion":2,"mediaType":"text/plain"}"#.to_owned(),
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":-1}},"layers":[]}}"#),
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#.to_owned(),
        ] {
            assert!(parse_document(bad.as_bytes(), "it").is_err(), "{bad}");
        }
    }
}
