//! Which images an archive holds: OCI's `index.json`, or the `manifest.json` of `docker save`.
//!
//! Newer versions of Docker write both. The OCI one is then followed, because it has the real manifests; the tags
//! come from either.

use serde::Deserialize;

use super::spool::Spool;
use super::{Found, LoadError};
use crate::content::StagedBlob;
use crate::image::manifest::{
    Compression, Descriptor, Document, DocumentError, Index, MAX_LAYERS, build_manifest, parse_document,
};
use crate::image::{Reference, platform};

/// Images of one archive.
const MAX_IMAGES: usize = 1000;

/// Indexes inside indexes.
const MAX_DEPTH: usize = 3;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// The images of the archive, at least one.
pub(super) fn find_images(spool: &Spool) -> Result<Vec<Found>, LoadError> {
    let saved = match spool.file("manifest.json") {
        Some(blob) => parse::<Vec<SavedImage>>(&spool.bytes(blob)?, "manifest.json")?,
        None => Vec::new(),
    };
    let index = match spool.file("index.json") {
        Some(blob) => Some(parse::<Index>(&spool.bytes(blob)?, "index.json")?),
        None => None,
    };
    let found = match index {
        Some(index) if !index.manifests.is_empty() => from_layout(spool, &index, &saved)?,
        _ => saved
            .iter()
            .map(|image| from_saved(spool, image))
            .collect::<Result<_, _>>()?,
    };
    match found.len() {
        0 => Err(LoadError::NoImage),
        1..=MAX_IMAGES => Ok(found),
        count => Err(unusable(
            "the archive",
            format!("it holds {count} images, more than {MAX_IMAGES}"),
        )),
    }
}

fn from_layout(spool: &Spool, index: &Index, saved: &[SavedImage]) -> Result<Vec<Found>, LoadError> {
    let mut found: Vec<Found> = Vec::new();
    // Several unnamed variants of one image are one image; each named entry is an image of its own.
    let variants = index.manifests.len() > 1
        && index
            .manifests
            .iter()
            .all(|entry| entry.platform.is_some() && name_of(entry).is_none());
    let chosen: Vec<&Descriptor> = if variants {
        vec![platform::choose(&index.manifests, &platform::host())?]
    } else {
        index
            .manifests
            .iter()
            .filter(|entry| !is_attestation(entry))
            .collect()
    };
    if chosen.len() > MAX_IMAGES {
        return Err(unusable(
            "index.json",
            format!("it lists {} images", chosen.len()),
        ));
    }
    for entry in chosen {
        let mut image = resolve(spool, entry, "index.json", 0)?;
        let name = name_of(entry).map(str::parse::<Reference>).transpose()?;
        image.names.extend(name);
        for tag in tags_of(spool, &image, saved)? {
            if !image.names.contains(&tag) {
                image.names.push(tag);
            }
        }
        // One image under several names is listed once a name.
        match found.iter_mut().find(|known| known.manifest == image.manifest) {
            Some(known) => known.names.extend(image.names),
            None => found.push(image),
        }
    }
    for image in &mut found {
        image.names.sort();
        image.names.dedup();
    }
    Ok(found)
}

/// Follows a descriptor to the manifest for this node.
fn resolve(spool: &Spool, entry: &Descriptor, wanted_by: &str, depth: usize) -> Result<Found, LoadError> {
    let blob = spool.blob(entry, wanted_by)?;
    let bytes = spool.bytes(blob)?;
    let what = format!("{}", entry.digest);
    match parse_document(&bytes, &what)? {
        Document::Manifest(_) => Ok(Found {
            manifest: bytes,
            index: None,
            names: Vec::new(),
        }),
        Document::Index(_) if depth >= MAX_DEPTH => Err(unusable(
            &what,
            "it is an index inside too many others".to_owned(),
        )),
        Document::Index(index) => {
            let chosen = platform::choose(&index.manifests, &platform::host())?;
            let mut found = resolve(spool, chosen, &what, depth + 1)?;
            found.index = Some(bytes);
            Ok(found)
        }
    }
}

/// The image's full name, by the annotations of containerd, BuildKit and skopeo.
fn name_of(entry: &Descriptor) -> Option<&str> {
    let full = entry.annotations.get("io.containerd.image.name");
    let short = entry.annotations.get("org.opencontainers.image.ref.name");
    // OCI says that this is a tag; skopeo and podman put whole references there.
    full.or(short.filter(|name| name.contains([':', '/'])))
        .map(String::as_str)
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown")
}

/// The tags that `manifest.json` gives to the image with the same configuration.
fn tags_of(spool: &Spool, image: &Found, saved: &[SavedImage]) -> Result<Vec<Reference>, LoadError> {
    let Document::Manifest(manifest) = parse_document(&image.manifest, "the image's manifest")? else {
        return Ok(Vec::new());
    };
    let same = |entry: &&SavedImage| {
        spool
            .file(&entry.config)
            .is_some_and(|blob| blob.digest == manifest.config.digest)
    };
    let tags = saved
        .iter()
        .filter(same)
        .flat_map(|entry| entry.repo_tags.iter().flatten());
    Ok(tags.map(|tag| tag.parse()).collect::<Result<_, _>>()?)
}

/// An image of `docker save` before Docker wrote OCI layouts: its manifest is made here.
fn from_saved(spool: &Spool, image: &SavedImage) -> Result<Found, LoadError> {
    let missing = |name: &str| LoadError::Missing {
        name: name.to_owned(),
        wanted_by: "manifest.json".to_owned(),
    };
    let config = spool.file(&image.config).ok_or_else(|| missing(&image.config))?;
    check_name(&image.config, config)?;
    let names = image.layers.as_deref().unwrap_or_default();
    if names.len() > MAX_LAYERS {
        return Err(unusable(
            "manifest.json",
            format!("it names {} layers", names.len()),
        ));
    }
    let mut layers = Vec::new();
    for name in names {
        let blob = spool.file(name).ok_or_else(|| missing(name))?;
        layers.push((blob.digest.clone(), blob.size, Compression::of_file(&blob.path)?));
    }
    let manifest = build_manifest((config.digest.clone(), config.size), &layers).map_err(|source| {
        DocumentError::Json {
            what: "the manifest made for the image".to_owned(),
            source,
        }
    })?;
    let tags = image
        .repo_tags
        .iter()
        .flatten()
        .map(|tag| tag.parse())
        .collect::<Result<_, _>>()?;
    Ok(Found {
        manifest,
        index: None,
        names: tags,
    })
}

/// `docker save` names a configuration by its digest; one that is something else was changed.
fn check_name(name: &str, blob: &StagedBlob) -> Result<(), LoadError> {
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".json");
    let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest && stem != blob.digest.hex() {
        return Err(LoadError::Lie {
            name: name.to_owned(),
            expected: format!("sha256:{stem}"),
            found: blob.digest.to_string(),
        });
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json {
        what: what.to_owned(),
        source,
    })
}

fn unusable(what: &str, problem: String) -> LoadError {
    DocumentError::Unusable {
        what: what.to_owned(),
        problem,
    }
    .into()
}
