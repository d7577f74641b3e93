//! `shoal completion SHELL`: a script for the shell.
//!
//! Made from the command tree, so that it never lags behind it.

use crate::{args::Arguments, output::print_bytes};
use anyhow::Result;
use clap::CommandFactory;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &CompletionArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "shoal", &mut script);
    print_bytes(&script)
}
