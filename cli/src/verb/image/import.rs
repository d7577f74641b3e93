//! `shoal image import`: a root file system as a tar archive becomes an image.
//!
//! The options go first, then the archive in chunks.

use super::{Client, progress, upload::Upload};
use crate::{failure::usage, output::print, wire::refused};
use anyhow::Result;
use shoal_api::v1::{self, image_import_request::Request};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Dockerfile instruction for the image: CMD, ENTRYPOINT, ENV, USER, WORKDIR, LABEL, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// os/arch (this node's if not given)
    #[arg(long, default_value = "", hide_default_value = true)]
    platform: String,
    /// The archive, or - for standard input
    file: String,
    #[arg(
        value_name = "REPOSITORY[:TAG]",
        default_value = "",
        hide_default_value = true
    )]
    reference: String,
}

pub(crate) async fn run(client: &Client, args: ImportArgs) -> Result<()> {
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        return Err(usage(
            "fetching an archive is not built: download it and name the file",
        ));
    }
    let (os, arch) = args
        .platform
        .split_once('/')
        .unwrap_or((args.platform.as_str(), ""));
    let options = v1::ImageImportOptions {
        reference: args.reference.clone(),
        changes: args.change.clone(),
        message: args.message.clone(),
        os: os.to_owned(),
        arch: arch.to_owned(),
    };
    let connection = client.connect().await?;
    let first = v1::ImageImportRequest {
        request: Some(Request::Options(options)),
    };
    let message = |data: Vec<u8>| v1::ImageImportRequest {
        request: Some(Request::Data(data)),
    };
    let (upload, stream) = Upload::start(&args.file, Some(first), message).await?;
    let answer = match connection.local().image_import(stream).await {
        Ok(answer) => progress::show(answer.into_inner(), false).await,
        Err(status) => Err(refused(status)),
    };
    upload.finish().await?;
    let lines = answer?.into_iter().map(|image| format!("{}\n", image.id));
    print(&lines.collect::<String>())
}
