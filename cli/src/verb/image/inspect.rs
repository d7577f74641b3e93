//! `shoal image inspect`.
//!
//! In the shape of `docker image inspect`, as far as images here have the same parts.

use super::Client;
use crate::{
    complete::{Names, names},
    failure::Failures,
    output::{inspected, print},
    verb::service::InspectFormat,
    view::image::json,
    wire::refused,
};
use anyhow::Result;
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// References or ids
    #[arg(required = true, value_name = "IMAGE", add = names(Names::Images))]
    images: Vec<String>,
    /// A template such as '{{.Config.Cmd}}', or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    format: InspectFormat,
}

pub(crate) async fn run(client: &Client, args: InspectArgs) -> Result<()> {
    let connection = client.connect().await?;
    let (mut values, mut failures) = (Vec::new(), Failures::default());
    for reference in args.images {
        let request = v1::ImageInspectRequest { reference };
        let answer = connection.local().image_inspect(request).await;
        let answer = failures.sort(answer.map_err(refused));
        values.extend(answer.map(|answer| json(&answer.into_inner())));
    }
    print(&inspected(&values, args.format.0.as_ref())?)?;
    failures.end()
}
