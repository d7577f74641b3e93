//! `shoal context import NAME FILE|-`.
//!
//! What it takes in must be a context; it replaces none.

use crate::{context::Context, output::print};
use anyhow::{Context as _, Result};
use std::{fs, io::Read};

/// A context is three certificates and a line: more is something else.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// What the cluster shall be called here
    name: String,
    /// The context's file, or - for standard input
    #[arg(value_name = "FILE|-")]
    file: String,
}

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let mut text = String::new();
    let read = if args.file == "-" {
        std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text)
    } else {
        fs::File::open(&args.file).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", args.file))?;
    let context = Context::parse(&text).with_context(|| format!("{} is not a context", args.file))?;
    context.save(&args.name)?;
    print(&format!("{}\n", args.name))
}
