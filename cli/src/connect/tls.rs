//! TCP to a manager: mutual TLS 1.3, with the cluster's root and a client certificate.
//!
//! Called by `connect` alone. The key never leaves this process; what is wrong with a file names the file.

use super::TlsFiles;
use crate::failure::{hinted, innermost, usage};
use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use shoal_api::identity::{Credentials, LiveCredentials, client_config, server_name_of};
use std::{io, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub(super) async fn connect(address: &str, files: &TlsFiles, timeout: Duration) -> Result<Channel> {
    let (Some(ca), Some(cert), Some(key)) = (&files.ca, &files.cert, &files.key) else {
        return Err(usage(format!(
            "tcp://{address} needs --tlscacert, --tlscert and --tlskey, or a context that has them:\n\
             `shoal cluster client-cert` on a manager writes one, `shoal context import` takes it in"
        )));
    };
    let credentials = Credentials {
        root_pem: ca.read()?,
        certificate_pem: cert.read()?,
        key_pem: key.read()?.into(),
    };
    // Which manager answers is the choice of address; that it is one of this cluster, TLS proves.
    let identity = credentials
        .identity()
        .with_context(|| format!("{cert} is no certificate of a Shoal cluster"))?;
    let name = server_name_of(&identity.cluster);
    let live = LiveCredentials::new(&credentials)
        .with_context(|| format!("root {ca}, certificate {cert} and key {key} do not go together"))?;
    let connector = TlsConnector::from(client_config(&live)?);
    let address = address.to_owned();
    let shown = address.clone();
    let service = tower::service_fn(move |_| {
        let (connector, name, address) = (connector.clone(), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://shoald.remote")
        .connect_timeout(timeout)
        .connect_with_connector(service)
        .await
        .map_err(|error| {
            hinted(
                format!("cannot reach the manager at {shown}: {}", innermost(&error)),
                "Is the address a manager's (port 2377), and are the certificates of its cluster and still valid?",
            )
        })
}
