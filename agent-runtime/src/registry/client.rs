//! Talking to registries: tokens and blobs through `oci-client`, manifests by requests of our own.
//!
//! `oci-client` reads manifests of any size into memory, so they are asked for here, with a bound. Every request that
//! may succeed later is tried again a few times, with growing pauses.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, RegistryError, by_status, classify, pause, unreachable};
use futures::StreamExt;
use futures::stream::BoxStream;
use oci_client::RegistryOperation;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use reqwest::{Method, header};

use crate::image::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, MAX_DOCUMENT_BYTES, OCI_INDEX, OCI_MANIFEST};
use crate::image::{Digest, Progress, Reference};

/// A connection that takes longer is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A registry that sends nothing for so long is given up; a slow one is not.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A manifest or index as the registry sent it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

/// A client for every registry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Registry {
    oci: Client,
    http: reqwest::Client,
    insecure: Arc<[String]>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(insecure: &[String]) -> Result<Self, RegistryError> {
        // Whoever came first has set the same provider.
        drop(rustls::crypto::ring::default_provider().install_default());
        let oci = Client::try_from(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(insecure.to_vec()),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("shoal/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            oci: oci.map_err(RegistryError::Setup)?,
            http: http.map_err(RegistryError::Http)?,
            insecure: insecure.into(),
        })
    }

    /// The digest that the registry has for a reference.
    pub(crate) async fn resolve(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        let (progress, mut failures) = (Progress::none(), 0);
        loop {
            match self.try_resolve(reference).await {
                Ok(digest) => return Ok(digest),
                Err(attempt) => pause(attempt, &mut failures, None, &progress).await?,
            }
        }
    }

    /// A manifest or index, verified against its digest.
    pub(super) async fn manifest(
        &self,
        reference: &Reference,
        progress: &Progress,
    ) -> Result<Fetched, RegistryError> {
        let mut failures = 0;
        loop {
            match self.try_manifest(reference).await {
                Ok(fetched) => return Ok(fetched),
                Err(attempt) => pause(attempt, &mut failures, None, progress).await?,
            }
        }
    }

    /// A blob from an offset on; the offset at which the stream really begins comes with it.
    pub(super) async fn blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        offset: u64,
    ) -> Result<(u64, BoxStream<'static, std::io::Result<bytes::Bytes>>), Attempt> {
        let (image, name) = (oci_reference(reference), digest.to_string());
        self.oci
            .store_auth_if_needed(image.resolve_registry(), &RegistryAuth::Anonymous)
            .await;
        let failed = |error| classify(reference, &name, error);
        if offset == 0 {
            let stream = self
                .oci
                .pull_blob_stream(&image, name.as_str())
                .await
                .map_err(failed)?;
            return Ok((0, stream.stream));
        }
        let answer = self
            .oci
            .pull_blob_stream_partial(&image, name.as_str(), offset, None)
            .await;
        Ok(match answer.map_err(failed)? {
            BlobResponse::Partial(stream) => (offset, stream.stream),
            BlobResponse::Full(stream) => (0, stream.stream.boxed()),
        })
    }

    async fn try_resolve(&self, reference: &Reference) -> Result<Digest, Attempt> {
        let response = self.request(Method::HEAD, reference).await?;
        match header_digest(&response) {
            Some(digest) => Ok(digest),
            // The header is not obligatory; the contents always tell.
            None => Ok(self.try_manifest(reference).await?.digest),
        }
    }

    async fn try_manifest(&self, reference: &Reference) -> Result<Fetched, Attempt> {
        let mut response = self.request(Method::GET, reference).await?;
        let (registry, name) = (reference.registry().to_owned(), reference.familiar());
        let limit = MAX_DOCUMENT_BYTES;
        let too_large = || Attempt {
            error: RegistryError::TooLarge {
                registry: registry.clone(),
                name: name.clone(),
                limit,
            },
            again: false,
        };
        let expected = reference.digest().cloned().or_else(|| header_digest(&response));
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|source| unreachable(reference, source))?
        {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        let digest = Digest::of(&bytes);
        match expected {
            Some(expected) if expected != digest => {
                let (expected, found) = (expected.to_string(), digest.to_string());
                let error = RegistryError::WrongDigest {
                    registry,
                    name,
                    expected,
                    found,
                };
                Err(Attempt { error, again: false })
            }
            _ => Ok(Fetched { bytes, digest }),
        }
    }

    /// Asks for a manifest, with a token where the registry wants one.
    async fn request(&self, method: Method, reference: &Reference) -> Result<reqwest::Response, Attempt> {
        let image = oci_reference(reference);
        let host = image.resolve_registry();
        let scheme = if self.insecure.iter().any(|known| known == host) {
            "http"
        } else {
            "https"
        };
        let target = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let url = format!("{scheme}://{host}/v2/{}/manifests/{target}", image.repository());
        let token = self
            .oci
            .auth(&image, &RegistryAuth::Anonymous, RegistryOperation::Pull)
            .await;
        let token = token.map_err(|error| classify(reference, &reference.familiar(), error))?;
        let mut request = self.http.request(method, url);
        for accepted in [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST] {
            request = request.header(header::ACCEPT, accepted);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request
            .send()
            .await
            .map_err(|source| unreachable(reference, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(by_status(reference, &reference.familiar(), status.as_u16(), ""))
    }
}

fn oci_reference(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.to_string()),
        (None, tag) => {
            oci_client::Reference::with_tag(registry, repository, tag.unwrap_or("latest").to_owned())
        }
    }
}

fn header_digest(response: &reqwest::Response) -> Option<Digest> {
    response
        .headers()
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
