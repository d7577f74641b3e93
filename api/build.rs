//! Compiles the protos and turns each RPC's `allow` option into a static table of who may call it.
//!
//! The build fails for an RPC that names nobody, so that a new one cannot be forgotten.

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};
use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

const FILES: [&str; 12] = [
    "access",
    "bootstrap",
    "ca",
    "control",
    "dispatcher",
    "errors",
    "local",
    "nouns",
    "raft",
    "storage",
    "streams",
    "watch",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = out.join("shoal.bin");
    let protos: Vec<String> = FILES
        .iter()
        .map(|name| format!("proto/shoal/v1/{name}.proto"))
        .collect();
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".shoal.v1.RaftEnvelope")
        .file_descriptor_set_path(&descriptors)
        .compile_protos(&protos, &["proto".to_owned()])?;
    let pool = DescriptorPool::decode(fs::read(&descriptors)?.as_slice())?;
    fs::write(out.join("access_table.rs"), access_table(&pool)?)?;
    Ok(())
}

/// A Rust slice of (path, allowed roles), sorted by path for a binary search.
fn access_table(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let allow = pool
        .get_extension_by_name("shoal.v1.allow")
        .ok_or("option shoal.v1.allow is not declared")?;
    let mut rows = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let roles = allowed(&allow, &method)?;
            if roles.is_empty() {
                return Err(
                    format!("{path} names no role that may call it: add `option (allow) = …`").into(),
                );
            }
            rows.push((path, roles.join(", ")));
        }
    }
    rows.sort();
    let mut text = String::from("&[\n");
    for (path, roles) in rows {
        writeln!(text, "    (\"{path}\", &[{roles}]),")?;
    }
    text.push_str("]\n");
    Ok(text)
}

fn allowed(allow: &ExtensionDescriptor, method: &MethodDescriptor) -> Result<Vec<String>, Box<dyn Error>> {
    let options: DynamicMessage = method.options();
    let Value::List(values) = options.get_extension(allow).into_owned() else {
        return Err("option shoal.v1.allow is not a list".into());
    };
    values
        .iter()
        .map(|value| match value.as_enum_number() {
            Some(1) => Ok("Access::Anyone".to_owned()),
            Some(2) => Ok("Access::Worker".to_owned()),
            Some(3) => Ok("Access::Manager".to_owned()),
            Some(4) => Ok("Access::Admin".to_owned()),
            Some(5) => Ok("Access::Socket".to_owned()),
            other => Err(format!("{} allows an unknown role {other:?}", method.full_name()).into()),
        })
        .collect()
}
