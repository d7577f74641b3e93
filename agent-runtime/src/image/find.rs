//! Looking images up: by name, digest or the beginning of an id; lists and details as Docker shows them.
//!
//! Called by `Images`; reads the records in memory and never the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{ConfigBlob, ImageConfig};
use super::digest::Digest;
use super::manifest::{DocumentError, MAX_DOCUMENT_BYTES, parse_config};
use super::records::{ImageRecord, RecordError};
use super::reference::Reference;
use super::store::ImageStore;
use super::types::{ImageDetails, ImageGraphDriver, ImageRootfs, ImageSummary};
use crate::content::BlobError;
use crate::content::disk::DiskError;
use crate::snapshot::lease;

/// Why an image was not found or not read.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Nothing has this name.
    #[error("no image {name:?} on this node; \"image ls\" shows what there is")]
    NotFound { name: String },
    /// The beginning of an id fits several.
    #[error("{name:?} is the beginning of {count} image ids; give more digits")]
    Ambiguous { name: String, count: usize },
    /// A blob of the image cannot be read.
    #[error("the image cannot be read")]
    Blob(#[from] BlobError),
    /// A document of the image is broken.
    #[error("the image cannot be read")]
    Document(#[from] DocumentError),
    /// The metadata cannot be read.
    #[error("the image store cannot be read")]
    Records(#[from] RecordError),
    /// The containers' directories cannot be read.
    #[error("the image store cannot be read")]
    Disk(#[from] DiskError),
    /// The daemon is stopping.
    #[error("interrupted because the daemon is stopping")]
    Stopped,
}

/// What a text of the user's stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A name, and the image behind it.
    Name(Reference, Digest),
    /// An image by its id or digest.
    Id(Digest),
}

impl Found {
    pub(crate) fn image(&self) -> &Digest {
        match self {
            Self::Name(_, image) | Self::Id(image) => image,
        }
    }
}

/// The manifest digest that a reference stands for here. A tag beside a digest is not looked at, as in Docker.
pub(crate) fn resolve(store: &ImageStore, reference: &Reference) -> Result<Option<Digest>, LookupError> {
    if let Some(digest) = reference.digest() {
        if let Some(image) = store.records.named(&reference.with_digest(digest.clone()))? {
            return Ok(Some(image));
        }
        return Ok(store.image_by_digest(digest)?.map(|image| image.manifest));
    }
    Ok(store.records.named(reference)?)
}

/// The digest to pin for a reference that is known here: the one that its registry knows it by, so that other nodes
/// can pull it and choose their own platform; else the manifest's.
pub(crate) fn resolve_shared(
    store: &ImageStore,
    reference: &Reference,
) -> Result<Option<Digest>, LookupError> {
    let Some(image) = resolve(store, reference)? else {
        return Ok(None);
    };
    if let Some(digest) = reference.digest() {
        return Ok(Some(digest.clone()));
    }
    let names = store.records.names()?.into_iter();
    let shared = names.filter(|(name, of)| {
        *of == image && (name.registry(), name.repository()) == (reference.registry(), reference.repository())
    });
    // Of several, the one that is an index: it serves every platform.
    let mut digests: Vec<Digest> = shared.filter_map(|(name, _)| name.digest().cloned()).collect();
    digests.sort_by_key(|digest| *digest == image);
    Ok(Some(digests.into_iter().next().unwrap_or(image)))
}

/// Finds what the user named.
pub(crate) fn find(store: &ImageStore, text: &str) -> Result<Found, LookupError> {
    let not_found = || LookupError::NotFound {
        name: text.chars().take(300).collect(),
    };
    let reference: Option<Reference> = text.parse().ok();
    if let Some(reference) = &reference
        && let Some(image) = resolve(store, reference)?
    {
        let name = match reference.digest() {
            Some(digest) => reference.with_digest(digest.clone()),
            None => reference.clone(),
        };
        return Ok(Found::Name(name, image));
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id =
        (1..=64).contains(&prefix.len()) && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id {
        return Err(not_found());
    }
    let fits = |digest: &Digest| digest.hex().starts_with(prefix);
    let mut found: Vec<Digest> = Vec::new();
    for image in store.records.images()? {
        if fits(&image.config) || fits(&image.manifest) || image.indexes.iter().any(fits) {
            found.push(image.manifest);
        }
    }
    match found.len() {
        0 => Err(not_found()),
        1 => found.pop().map(Found::Id).ok_or_else(not_found),
        count => Err(LookupError::Ambiguous {
            name: text.to_owned(),
            count,
        }),
    }
}

pub(crate) fn config(store: &ImageStore, digest: &Digest) -> Result<ImageConfig, LookupError> {
    let image = store.image_by_digest(digest)?;
    let image = image.ok_or_else(|| LookupError::NotFound {
        name: digest.to_string(),
    })?;
    Ok(config_blob(store, &image)?.config)
}

/// The configuration and the manifest, byte for byte.
pub(crate) fn documents(store: &ImageStore, digest: &Digest) -> Result<(Vec<u8>, Vec<u8>), LookupError> {
    let image = store.image_by_digest(digest)?;
    let image = image.ok_or_else(|| LookupError::NotFound {
        name: digest.to_string(),
    })?;
    let config = store.content.read(&image.config, MAX_DOCUMENT_BYTES)?;
    let manifest = store.content.read(&image.manifest, MAX_DOCUMENT_BYTES)?;
    Ok((config, manifest))
}

fn config_blob(store: &ImageStore, image: &ImageRecord) -> Result<ConfigBlob, LookupError> {
    let bytes = store.content.read(&image.config, MAX_DOCUMENT_BYTES)?;
    Ok(parse_config(
        &bytes,
        &format!("configuration {}", image.config),
        image.layers.len(),
    )?)
}

/// Names by image: those with tags, those with digests.
type Names = BTreeMap<Digest, (Vec<String>, Vec<String>)>;

fn names(store: &ImageStore) -> Result<Names, LookupError> {
    let mut by_image: Names = BTreeMap::new();
    for (name, image) in store.records.names()? {
        let (tags, digests) = by_image.entry(image).or_default();
        if name.digest().is_some() {
            digests.push(name.familiar());
        } else {
            tags.push(name.familiar());
        }
    }
    Ok(by_image)
}

pub(crate) fn list(store: &Arc<ImageStore>) -> Result<Vec<ImageSummary>, LookupError> {
    let mut names = names(store)?;
    let leases = lease::list(&store.containers_dir())?;
    let mut summaries = Vec::new();
    for image in store.records.images()? {
        let (repo_tags, repo_digests) = names.remove(&image.manifest).unwrap_or_default();
        let config = config_blob(store, &image)?;
        summaries.push(ImageSummary {
            id: image.config,
            containers: leases
                .iter()
                .filter(|(_, lease)| lease.image == image.manifest)
                .count(),
            digest: image.manifest,
            repo_tags,
            repo_digests,
            created: unix_seconds(config.created.as_deref()),
            size: image.layers.iter().map(|layer| layer.bytes).sum(),
            labels: config.config.labels,
        });
    }
    summaries.sort_by(|a, b| (&a.repo_tags, &a.id).cmp(&(&b.repo_tags, &b.id)));
    Ok(summaries)
}

pub(crate) fn inspect(store: &Arc<ImageStore>, name: &str) -> Result<ImageDetails, LookupError> {
    let manifest = find(store, name)?.image().clone();
    let image = store.image_by_digest(&manifest)?;
    let image = image.ok_or_else(|| LookupError::NotFound {
        name: name.to_owned(),
    })?;
    let (repo_tags, repo_digests) = names(store)?.remove(&image.manifest).unwrap_or_default();
    let config = config_blob(store, &image)?;
    let comment = config
        .history
        .last()
        .and_then(|last| last.comment.clone())
        .unwrap_or_default();
    Ok(ImageDetails {
        id: image.config,
        digest: image.manifest,
        repo_tags,
        repo_digests,
        comment,
        created: config.created.unwrap_or_default(),
        author: config.author,
        config: config.config,
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        size: image.layers.iter().map(|layer| layer.bytes).sum(),
        graph_driver: ImageGraphDriver {
            name: "overlay".to_owned(),
            lower_dirs: image
                .layers
                .iter()
                .rev()
                .map(|layer| store.layer_dir(&layer.chain_id))
                .collect(),
        },
        root_fs: ImageRootfs {
            kind: "layers".to_owned(),
            layers: image.layers.into_iter().map(|layer| layer.diff_id).collect(),
        },
    })
}

/// Seconds of an RFC 3339 time; images without one, or with nonsense, are from 1970.
fn unix_seconds(created: Option<&str>) -> i64 {
    let parsed: Option<jiff::Timestamp> = created.and_then(|text| text.parse().ok());
    parsed.map_or(0, |time| time.as_second())
}
