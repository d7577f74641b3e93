//! The direction of dependencies, read from cargo.
//!
//! The table is the design's picture: a crate may name the house's crates listed for it and no other,
//! and the pure crates have no path to a runtime, a socket, a clock or an OS random source.

use super::Finding;
use crate::command::cargo;
use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Which of the house's crates each one may name.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("shoal-core", &[]),
    ("shoal-compose", &["shoal-core"]),
    ("shoal-api", &["shoal-core"]),
    ("shoal-manager", &["shoal-api", "shoal-core"]),
    (
        "shoal-worker",
        &[
            "shoal-agent-runtime",
            "shoal-api",
            "shoal-core",
            "shoal-overlay-net",
        ],
    ),
    ("shoal-run-dir", &[]),
    ("shoal-shim", &["shoal-run-dir"]),
    ("shoal-spawn", &["shoal-run-dir"]),
    ("shoal-agent-runtime", &["shoal-run-dir"]),
    ("shoal-overlay-net", &[]),
    (
        "shoal-node",
        &[
            "shoal-agent-runtime",
            "shoal-api",
            "shoal-core",
            "shoal-manager",
            "shoal-overlay-net",
            "shoal-worker",
        ],
    ),
    ("shoal-cli", &["shoal-api", "shoal-compose", "shoal-core"]),
    ("shoal-tests", &[]),
    ("hello", &[]),
    ("xtask", &["shoal-tests"]),
];

/// Crates with no path, however long, to any of these in an ordinary build.
const PURE: [&str; 2] = ["shoal-core", "shoal-compose"];
const IMPURE: [&str; 10] = [
    "tokio",
    "tonic",
    "prost",
    "nix",
    "rustix",
    "mio",
    "socket2",
    "getrandom",
    "rand",
    "jiff",
];

/// Only `api` knows protobuf; the Raft library's own messages are named through it.
const PROTOBUF: [&str; 3] = ["prost", "prost-types", "tonic-prost"];
const PROTOBUF_HOME: &str = "shoal-api";

pub(super) fn check() -> Result<Vec<Finding>> {
    let metadata = MetadataCommand::new().exec().context("cargo metadata")?;
    let mut findings = house_edges(&metadata);
    findings.extend(pure_crates()?);
    findings.extend(protobuf(&metadata));
    Ok(findings)
}

fn fatal(place: &str, what: String) -> Finding {
    Finding {
        place: place.to_owned(),
        what,
        fatal: true,
    }
}

fn house_edges(metadata: &Metadata) -> Vec<Finding> {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let ours: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(list) = allowed.get(package.name.as_str()) else {
            findings.push(fatal(
                &package.name,
                "a crate that the table of edges does not have".to_owned(),
            ));
            continue;
        };
        let named = package
            .dependencies
            .iter()
            .filter(|edge| edge.kind == DependencyKind::Normal);
        for edge in
            named.filter(|edge| ours.contains(edge.name.as_str()) && !list.contains(&edge.name.as_str()))
        {
            findings.push(fatal(&package.name, format!("may not name {}", edge.name)));
        }
    }
    findings
}

/// Asks `cargo tree` rather than the metadata's graph, which joins the features of the whole workspace.
fn pure_crates() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for pure in PURE {
        let mut tree = cargo(["tree", "--package", pure, "--edges", "normal", "--prefix", "none"]);
        let output = tree.args(["--format", "{p}"]).output().context("cargo tree")?;
        if !output.status.success() {
            bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let reached: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        findings.extend(
            IMPURE
                .iter()
                .filter(|name| reached.contains(**name))
                .map(|name| fatal(pure, format!("is pure and has a path to {name}"))),
        );
    }
    Ok(findings)
}

fn protobuf(metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata
        .workspace_packages()
        .into_iter()
        .filter(|package| package.name != PROTOBUF_HOME)
    {
        for edge in package
            .dependencies
            .iter()
            .filter(|edge| PROTOBUF.contains(&edge.name.as_str()))
        {
            findings.push(fatal(
                &package.name,
                format!("names {}: only api knows protobuf", edge.name),
            ));
        }
    }
    findings
}
