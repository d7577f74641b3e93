//! From the runtime's image events to the wire's progress, and the task that joins the two.
//!
//! Used by `load`, `import` and `pull`; never holds an image back for a slow reader.

use shoal_agent_runtime::image::{ImageEvent, Progress};
use shoal_api::v1::{self, LayerStep, image_progress::Progress as Wire};
use std::future::Future;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Status;

/// Messages that wait for a slow terminal; the runtime drops events that do not fit.
const QUEUE: usize = 64;

pub(super) type Answer = Result<v1::ImageProgress, Status>;

/// Runs an operation and streams its progress, then its images, or why it failed.
///
/// The operation ends with its reader: nobody would see what came of it.
pub(super) fn stream<F>(work: impl FnOnce(Progress) -> F) -> ReceiverStream<Answer>
where
    F: Future<Output = Result<Vec<v1::ImageDone>, Status>> + Send + 'static,
{
    let (answers, stream) = mpsc::channel(QUEUE);
    let (progress, mut events) = Progress::channel();
    let work = work(progress);
    tokio::spawn(async move {
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                () = answers.closed() => return,
                Some(event) = events.next() => forward(&answers, event).await,
            }
        };
        while let Some(event) = futures::FutureExt::now_or_never(events.next()).flatten() {
            forward(&answers, event).await;
        }
        match result {
            Ok(images) => {
                for done in images {
                    send(&answers, Ok(Wire::Done(done))).await;
                }
            }
            Err(status) => send(&answers, Err(status)).await,
        }
    });
    ReceiverStream::new(stream)
}

async fn send(answers: &mpsc::Sender<Answer>, progress: Result<Wire, Status>) {
    let answer = progress.map(|progress| v1::ImageProgress {
        progress: Some(progress),
    });
    // A reader that has gone is noticed by `closed`.
    drop(answers.send(answer).await);
}

async fn forward(answers: &mpsc::Sender<Answer>, event: ImageEvent) {
    let layer = |digest: &dyn ToString, done_bytes, total_bytes, step: LayerStep| {
        Wire::Layer(v1::LayerProgress {
            digest: digest.to_string(),
            done_bytes,
            total_bytes,
            step: step.into(),
        })
    };
    let wire = match event {
        ImageEvent::Resolved { reference, digest } => Wire::Status(format!("{reference} is {digest}")),
        ImageEvent::Reading { bytes } => Wire::Status(format!("read {bytes} bytes of the archive")),
        ImageEvent::LayerExists { digest } => layer(&digest, 0, 0, LayerStep::Present),
        ImageEvent::LayerProgress { digest, bytes, total } => {
            layer(&digest, bytes, total, LayerStep::Downloading)
        }
        ImageEvent::LayerWaiting { digest, total } => layer(&digest, 0, total, LayerStep::Waiting),
        ImageEvent::LayerUnpacking { digest } => layer(&digest, 0, 0, LayerStep::Unpacking),
        ImageEvent::LayerDone { digest } => layer(&digest, 0, 0, LayerStep::Done),
        ImageEvent::Retrying { attempt, reason, .. } => {
            Wire::Status(format!("try {attempt} failed: {reason}"))
        }
        ImageEvent::Committing => Wire::Status("writing to disk".to_owned()),
        // Told by the result.
        ImageEvent::Done { .. } => return,
    };
    send(answers, Ok(wire)).await;
}
