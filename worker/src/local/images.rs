//! `image load`, `import`, `pull`, `ls`, `inspect` and `rm`.
//!
//! Called on the local socket; never reaches another node's images.

use super::{LocalService, Progress, progress, refuse};
use crate::clock;
use futures::{Stream, StreamExt};
use shoal_agent_runtime::image::{
    Digest, ImageDetails, ImageRemoveError, ImageSummary, ImportSpec, LoadedImage, LookupError, Reference,
    Removed,
};
use shoal_api::convert::{Details, status};
use shoal_api::v1::{self, ErrorCode, image_import_request};
use std::io;
use tokio_util::io::StreamReader;
use tonic::{Status, Streaming};

impl LocalService {
    pub(super) fn load(&self, request: Streaming<v1::ImageLoadRequest>) -> Progress {
        let images = self.runtime.images().clone();
        let archive = reader(request, |request| Some(request.data));
        progress::stream(move |progress| async move {
            let loaded = images.load(archive, &progress).await;
            let loaded = loaded.map_err(|error| refuse(ErrorCode::Image, &error))?;
            Ok(loaded.into_iter().flat_map(done).collect())
        })
    }

    pub(super) async fn import(
        &self,
        mut request: Streaming<v1::ImageImportRequest>,
    ) -> Result<Progress, Status> {
        let first = request.message().await?.and_then(|first| first.request);
        let Some(image_import_request::Request::Options(options)) = first else {
            let details = Details::of(
                ErrorCode::Invalid,
                "the first message of an import must be its options",
            );
            return Err(status(details));
        };
        let own = &self.runtime.facts().architecture;
        if !matches!(options.os.as_str(), "" | "linux") || !(options.arch.is_empty() || options.arch == *own)
        {
            let message = format!("an import is for this node's platform, linux/{own}");
            return Err(status(
                Details::of(ErrorCode::Unsupported, message).with_field("platform"),
            ));
        }
        let reference = match options.reference.as_str() {
            "" => None,
            text => Some(reference(text)?),
        };
        let spec = ImportSpec {
            reference,
            changes: options.changes,
            message: Some(options.message).filter(|message| !message.is_empty()),
        };
        let images = self.runtime.images().clone();
        let archive = reader(request, |request| match request.request {
            Some(image_import_request::Request::Data(data)) => Some(data),
            Some(image_import_request::Request::Options(_)) | None => None,
        });
        Ok(progress::stream(move |progress| async move {
            let imported = images.import(archive, spec, &progress).await;
            let imported = imported.map_err(|error| refuse(ErrorCode::Image, &error))?;
            Ok(done(imported))
        }))
    }

    pub(super) fn pull(&self, request: &v1::ImagePullRequest) -> Result<Progress, Status> {
        let reference = reference(&request.reference)?;
        let own = format!("linux/{}", self.runtime.facts().architecture);
        if !request.platform.is_empty() && request.platform != own {
            let message = format!("only images for this node's platform, {own}, are pulled");
            return Err(status(
                Details::of(ErrorCode::Unsupported, message).with_field("platform"),
            ));
        }
        let images = self.runtime.images().clone();
        let name = reference.familiar();
        Ok(progress::stream(move |progress| async move {
            let pulled = images.pull(&reference, &progress).await;
            let pulled = pulled.map_err(|error| refuse(ErrorCode::Image, &error))?;
            Ok(vec![v1::ImageDone {
                reference: name,
                digest: pulled.resolved.to_string(),
                id: pulled.id.to_string(),
            }])
        }))
    }

    pub(super) async fn list_images(
        &self,
        request: &v1::ImageListRequest,
    ) -> Result<v1::ImageListResponse, Status> {
        let listed = self.runtime.images().list().await;
        let listed = listed.map_err(|error| refuse(ErrorCode::Internal, &error))?;
        let wanted = |image: &ImageSummary| {
            request.reference.is_empty()
                || image.repo_tags.iter().any(|tag| {
                    *tag == request.reference
                        || tag
                            .rsplit_once(':')
                            .is_some_and(|(name, _)| name == request.reference)
                })
        };
        let images = listed
            .into_iter()
            .filter(wanted)
            .map(|image| self.summary(image))
            .collect();
        Ok(v1::ImageListResponse { images })
    }

    pub(super) async fn inspect_image(
        &self,
        request: &v1::ImageInspectRequest,
    ) -> Result<v1::ImageInspectResponse, Status> {
        let details = self.runtime.images().inspect(&request.reference).await;
        let details = details.map_err(|error| refuse(lookup_code(&error), &error))?;
        let documents = self.runtime.images().documents(&details.digest).await;
        let (config_json, manifest_json) = documents.map_err(|error| refuse(ErrorCode::Internal, &error))?;
        Ok(v1::ImageInspectResponse {
            image: Some(image_of(&details)),
            config_json,
            manifest_json,
            layers: details.root_fs.layers.iter().map(Digest::to_string).collect(),
        })
    }

    pub(super) async fn remove_image(
        &self,
        request: &v1::ImageRemoveRequest,
    ) -> Result<v1::ImageRemoveResponse, Status> {
        let removed = self
            .runtime
            .images()
            .remove(&request.reference, request.force)
            .await;
        let removed = removed.map_err(|error| {
            let code = match &error {
                ImageRemoveError::Lookup(lookup) => lookup_code(lookup),
                ImageRemoveError::InUse { .. } | ImageRemoveError::SeveralNames { .. } => ErrorCode::InUse,
                _ => ErrorCode::Internal,
            };
            refuse(code, &error)
        })?;
        let mut response = v1::ImageRemoveResponse::default();
        for effect in removed {
            match effect {
                Removed::Untagged(name) => response.untagged.push(name),
                Removed::Deleted(digest) => response.deleted.push(digest.to_string()),
            }
        }
        Ok(response)
    }

    fn summary(&self, image: ImageSummary) -> v1::Image {
        let facts = self.runtime.facts();
        v1::Image {
            id: image.id.to_string(),
            digest: image.digest.to_string(),
            references: image.repo_tags,
            created_at: image.created.saturating_mul(1_000_000_000),
            size_bytes: image.size,
            labels: image.labels,
            os: facts.os.clone(),
            arch: facts.architecture.clone(),
            containers: u32::try_from(image.containers).unwrap_or(u32::MAX),
        }
    }
}

fn image_of(details: &ImageDetails) -> v1::Image {
    v1::Image {
        id: details.id.to_string(),
        digest: details.digest.to_string(),
        references: details.repo_tags.clone(),
        created_at: clock::wall_of_text(&details.created).0,
        size_bytes: details.size,
        labels: details.config.labels.clone(),
        os: details.os.clone(),
        arch: details.architecture.clone(),
        containers: 0,
    }
}

fn lookup_code(error: &LookupError) -> ErrorCode {
    match error {
        LookupError::NotFound { .. } => ErrorCode::NotFound,
        LookupError::Ambiguous { .. } => ErrorCode::Invalid,
        _ => ErrorCode::Internal,
    }
}

fn reference(text: &str) -> Result<Reference, Status> {
    text.parse()
        .map_err(|error: shoal_agent_runtime::image::ReferenceError| refuse(ErrorCode::Invalid, &error))
}

/// One line a name; an image without a name is told by its id.
fn done(image: LoadedImage) -> Vec<v1::ImageDone> {
    let one = |reference: String| v1::ImageDone {
        reference,
        digest: image.digest.to_string(),
        id: image.id.to_string(),
    };
    if image.names.is_empty() {
        return vec![one(String::new())];
    }
    image.names.iter().map(|name| one(name.familiar())).collect()
}

/// The bytes of a stream of messages, as something to read from.
fn reader<T: Send + 'static>(
    stream: Streaming<T>,
    data: fn(T) -> Option<Vec<u8>>,
) -> StreamReader<impl Stream<Item = io::Result<bytes::Bytes>> + Send + Unpin, bytes::Bytes> {
    StreamReader::new(Box::pin(stream.map(move |message| match message {
        Ok(message) => match data(message) {
            Some(data) => Ok(bytes::Bytes::from(data)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message without data",
            )),
        },
        Err(status) => Err(io::Error::other(status.message().to_owned())),
    })))
}
