//! An image of this node as rows of `image ls` (one a reference) and as JSON.
//!
//! References of the default registry are shown without it.

use super::short_id;
use crate::{
    output::{Column, Listing},
    units::{ago, docker_time, human_size, rfc3339},
};
use serde_json::{Value, json};
use shoal_api::v1::{Image, ImageInspectResponse};
use shoal_core::model::WallTime;

const COLUMNS: &[Column] = &[
    Column::hidden("ID", "IMAGE ID"),
    Column::new("Repository", "REPOSITORY"),
    Column::new("Tag", "TAG"),
    Column::new("ImageID", "IMAGE ID"),
    Column::new("CreatedSince", "CREATED"),
    Column::new("Size", "SIZE"),
    Column::hidden("CreatedAt", "CREATED AT"),
    Column::hidden("Digest", "DIGEST"),
    Column::hidden("Containers", "CONTAINERS"),
];

pub(crate) fn listing(images: &[Image], whole: bool, now: WallTime) -> Listing {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.created_at));
    let mut listing = Listing::new(COLUMNS);
    for image in images {
        let id = if whole {
            image.id.clone()
        } else {
            short_id(image.id.trim_start_matches("sha256:"), false)
        };
        let created = WallTime(image.created_at);
        let none = vec![String::new()];
        let references = if image.references.is_empty() {
            &none
        } else {
            &image.references
        };
        for reference in references {
            let (repository, tag) = repository_and_tag(reference);
            listing.push(vec![
                id.as_str().into(),
                repository.into(),
                tag.into(),
                id.as_str().into(),
                if image.created_at > 0 {
                    ago(created, now).into()
                } else {
                    "N/A".into()
                },
                human_size(image.size_bytes).into(),
                docker_time(created).into(),
                image.digest.as_str().into(),
                image.containers.to_string().into(),
            ]);
        }
    }
    listing
}

/// As Docker shows a reference: the default registry's names without it.
fn repository_and_tag(reference: &str) -> (String, String) {
    if reference.is_empty() {
        return ("<none>".to_owned(), "<none>".to_owned());
    }
    let short = reference
        .strip_prefix("docker.io/library/")
        .or_else(|| reference.strip_prefix("docker.io/"))
        .unwrap_or(reference);
    let name = short.split('@').next().unwrap_or(short);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ => (name.to_owned(), "<none>".to_owned()),
    }
}

/// In the shape of `docker image inspect`, with the stored configuration's own keys.
pub(crate) fn json(inspected: &ImageInspectResponse) -> Value {
    let image = inspected.image.clone().unwrap_or_default();
    let config: Value = serde_json::from_slice(&inspected.config_json).unwrap_or_default();
    json!({
        "Id": image.id,
        "RepoTags": image.references,
        "Digest": image.digest,
        "Created": if image.created_at > 0 { rfc3339(WallTime(image.created_at)) } else { String::new() },
        "Architecture": image.arch,
        "Os": image.os,
        "Size": image.size_bytes,
        "Config": config.get("config").cloned().unwrap_or_default(),
        "RootFS": {"Type": "layers", "Layers": inspected.layers},
        "History": config.get("history").cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (reference, expect) in [
            ("docker.io/library/busybox:latest", ("busybox", "latest")),
            ("docker.io/org/app:1", ("org/app", "1")),
            ("localhost:5000/app", ("localhost:5000/app", "<none>")),
            ("localhost:5000/app:2@sha256:aa", ("localhost:5000/app", "2")),
            ("", ("<none>", "<none>")),
        ] {
            let (repository, tag) = repository_and_tag(reference);
            assert_eq!((repository.as_str(), tag.as_str()), expect);
        }
    }
}
