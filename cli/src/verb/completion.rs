//! `shoal completion SHELL`: a script for the shell.
//!
//! It asks this program for every candidate, so that it never lags behind it and knows the cluster's names.

use crate::{complete::VARIABLE, output::print_bytes};
use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap_complete::env::Shells;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    #[arg(value_parser = PossibleValuesParser::new(Shells::builtins().names()))]
    shell: String,
}

pub(crate) fn run(args: &CompletionArgs) -> Result<()> {
    let shells = Shells::builtins();
    let shell = shells
        .completer(&args.shell)
        .context("a shell that is not known")?;
    let mut script = Vec::new();
    // By its name, as the shell finds it: the script outlives an upgrade and a move.
    shell
        .write_registration(VARIABLE, "shoal", "shoal", "shoal", &mut script)
        .context("cannot write the script")?;
    print_bytes(&script)
}
