//! `shoal context rm`.
//!
//! The certificate that it held stays good until it expires.

use crate::{
    complete::{Names, names},
    context::remove,
    output::print,
};
use anyhow::Result;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArgs {
    #[arg(required = true, value_name = "CONTEXT", add = names(Names::Contexts))]
    contexts: Vec<String>,
}

pub(crate) fn run(args: &RmArgs) -> Result<()> {
    for name in &args.contexts {
        remove(name)?;
        print(&format!("{name}\n"))?;
    }
    Ok(())
}
