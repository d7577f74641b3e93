//! `shoal context ls`.
//!
//! The one in use is marked, as in Docker.

use crate::{
    context::{Context, names},
    output::{Column, ListArgs, Listing, print},
    verb::Client,
};
use anyhow::Result;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
}

const COLUMNS: &[Column] = &[
    Column::hidden("Name", "NAME"),
    Column::new("MarkedName", "NAME"),
    Column::new("Endpoint", "ENDPOINT"),
    Column::hidden("Current", "CURRENT"),
    Column::new("Error", "ERROR"),
];

pub(crate) fn run(client: &Client, args: &LsArgs) -> Result<()> {
    let mut listing = Listing::new(COLUMNS);
    for name in names()? {
        let current = client.host.chosen_context().as_ref() == Some(&name);
        let (host, error) = match Context::read(&name) {
            Ok(context) => (context.host, String::new()),
            Err(error) => (String::new(), format!("{error:#}")),
        };
        let marked = if current {
            format!("{name} *")
        } else {
            name.clone()
        };
        listing.push(vec![
            name.into(),
            marked.into(),
            host.into(),
            current.into(),
            error.into(),
        ]);
    }
    print(&listing.render(&args.list)?)
}
