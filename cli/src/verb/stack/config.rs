//! `shoal stack config`: needs no daemon.
//!
//! Shows what a deploy would read, with every message that it would give.

use crate::{
    compose_files::{ComposeArgs, Name},
    output::print,
};
use anyhow::Result;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    compose: ComposeArgs,
    /// Leave variables as they stand
    #[arg(long)]
    skip_interpolation: bool,
    /// Only say what is wrong
    #[arg(short, long)]
    quiet: bool,
    /// The stack's name (the file's `name` if not given)
    stack: Option<String>,
}

pub(crate) fn run(args: &ConfigArgs) -> Result<()> {
    // A file can be looked at without a name.
    let name = Name {
        given: args.stack.as_deref(),
        otherwise: Some("stack"),
    };
    let loaded = args.compose.load(name, args.skip_interpolation)?;
    if args.quiet { Ok(()) } else { print(&loaded.merged) }
}
