//! An image as `docker save` would write it: one layer, one configuration, one reference.
//!
//! The same files always give the same archive: names sorted, owner root, no times.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path};

/// What is in the layer, by path without a leading `/`.
#[derive(Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
}

impl Layer {
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.folders_above(path);
        self.entries.insert(path.to_owned(), Entry::File { mode, bytes });
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.folders_above(path);
        self.entries
            .insert(path.to_owned(), Entry::Link(target.to_owned()));
    }

    pub(crate) fn folder(&mut self, path: &str) {
        self.folders_above(path);
        self.entries.insert(format!("{path}/"), Entry::Folder);
    }

    fn folders_above(&mut self, path: &str) {
        for parent in Path::new(path).ancestors().skip(1) {
            if parent != Path::new("") {
                self.entries
                    .insert(format!("{}/", parent.display()), Entry::Folder);
            }
        }
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = tar::Header::new_ustar();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let bytes = match entry {
                Entry::Folder => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(0o755);
                    &[][..]
                }
                Entry::File { mode, bytes } => {
                    header.set_mode(*mode);
                    bytes
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    builder.append_link(&mut header, path, target)?;
                    continue;
                }
            };
            header.set_size(bytes.len().try_into()?);
            builder.append_data(&mut header, path, bytes)?;
        }
        Ok(builder.into_inner()?)
    }
}

/// The archive of an image with this layer; `config` is the part that says how its program is run.
pub(crate) fn saved_image(reference: &str, config: &Value, layer: &Layer) -> Result<Vec<u8>> {
    let layer = layer.tar()?;
    let layer_id = hex::encode(Sha256::digest(&layer));
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_id}")] },
        "history": [{ "created_by": "cargo xtask image" }],
    }))?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let layer_name = format!("{layer_id}/layer.tar");
    let manifest = serde_json::to_vec(&json!([
        { "Config": config_name, "RepoTags": [reference], "Layers": [layer_name] }
    ]))?;
    let mut archive = Layer::default();
    archive.file(&layer_name, 0o644, layer);
    archive.file(&config_name, 0o644, config);
    archive.file("manifest.json", 0o644, manifest);
    archive.tar()
}
