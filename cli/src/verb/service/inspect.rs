//! `shoal service inspect`.
//!
//! JSON in the shape of Docker's API, or `--pretty` for people.

use super::Client;
use crate::{
    complete::{Names, names},
    connect::Connection,
    failure::Failures,
    output::{Template, inspected, print},
    verb::now,
    view::service::{Summary, json, pretty},
    wire::{refused, service_summary},
};
use anyhow::{Context, Result};
use shoal_api::v1;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names or ids
    #[arg(required = true, value_name = "SERVICE", add = names(Names::Services))]
    services: Vec<String>,
    /// A template such as '{{.Spec.Name}}', or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "json",
        hide_default_value = true
    )]
    format: InspectFormat,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

/// A template; `json` is what is shown anyway.
#[derive(Clone, Debug)]
pub(crate) struct InspectFormat(pub(crate) Option<Template>);

impl std::str::FromStr for InspectFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" | "" => Ok(Self(None)),
            template => template.parse().map(|template| Self(Some(template))),
        }
    }
}

pub(crate) async fn run(client: &Client, args: InspectArgs) -> Result<()> {
    let connection = client.connect().await?;
    let (mut found, mut failures) = (Vec::new(), Failures::default());
    for reference in args.services {
        found.extend(failures.sort(find(&connection, reference).await));
    }
    if args.pretty {
        let texts: Vec<_> = found.iter().map(|summary| pretty(summary, now())).collect();
        print(&texts.join("\n"))?;
    } else {
        let values: Vec<_> = found.iter().map(json).collect();
        print(&inspected(&values, args.format.0.as_ref())?)?;
    }
    failures.end()
}

async fn find(connection: &Connection, reference: String) -> Result<Summary> {
    let request = v1::GetServiceRequest { reference };
    let answer = connection.control().get_service(request).await;
    let found = answer.map_err(refused)?.into_inner().service;
    service_summary(found.context("the manager sent no service")?)
}
