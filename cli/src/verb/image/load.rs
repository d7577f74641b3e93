//! `shoal image load`.
//!
//! An archive may hold several images; each is named when it is there.

use super::{Client, progress, upload::Upload};
use crate::{output::print, wire::refused};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The archive (standard input if not given)
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    input: String,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(client: &Client, args: LoadArgs) -> Result<()> {
    let connection = client.connect().await?;
    let message = |data: Vec<u8>| v1::ImageLoadRequest { data };
    let (upload, stream) = Upload::start(&args.input, None, message).await?;
    let answer = match connection.local().image_load(stream).await {
        Ok(answer) => progress::show(answer.into_inner(), args.quiet).await,
        Err(status) => Err(refused(status)),
    };
    // A file that could not be read explains why the archive ended early.
    upload.finish().await?;
    let lines = answer?.into_iter().map(|image| match image.reference.as_str() {
        "" => format!("Loaded image ID: {}\n", image.id),
        reference => format!("Loaded image: {reference}\n"),
    });
    print(&lines.collect::<String>())
}
