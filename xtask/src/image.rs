//! `cargo xtask image`: the demo's image, written as `docker save` would write it.
//!
//! One layer with one static file, so that the demo needs no registry. The same file always gives the
//! same archive.

use crate::{build::build_hello, command::root};
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// The reference under which the archive's image is loaded.
const REFERENCE: &str = "hello:1";

pub(crate) fn run() -> Result<()> {
    let program = build_hello()?;
    let archive = root().join("target/dist/hello.tar");
    fs::create_dir_all(root().join("target/dist"))?;
    fs::write(&archive, saved_image(&program)?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    println!("{}", archive.display());
    Ok(())
}

fn saved_image(program: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let layer = tar_of(&[("hello", 0o755, &bytes)])?;
    let layer_id = hex::encode(Sha256::digest(&layer));
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/hello"], "Cmd": ["about"], "Env": ["PATH=/"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_id}")] },
        "history": [{ "created_by": "shoal demo image" }],
    }))?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let layer_name = format!("{layer_id}/layer.tar");
    let manifest = serde_json::to_vec(&json!([
        { "Config": config_name, "RepoTags": [REFERENCE], "Layers": [layer_name] }
    ]))?;
    tar_of(&[
        (&layer_name, 0o644, &layer),
        (&config_name, 0o644, &config),
        ("manifest.json", 0o644, &manifest),
    ])
}

fn tar_of(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len().try_into()?);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, name, *bytes)?;
    }
    Ok(builder.into_inner()?)
}
