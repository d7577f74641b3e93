//! Progress of a load, import or pull, as a stream of events that may be dropped but never waited for.
//!
//! The operation's result is its return value; events are for the eyes of whoever waits.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::digest::Digest;
use super::reference::Reference;

/// Events that may wait for a slow reader; more are dropped.
const WAITING_EVENTS: usize = 512;

/// Places that are left to events that say more than how many bytes there are, which the next one says again: an
/// image of a hundred layers is told of completely, however slow its reader.
const KEPT_EVENTS: usize = 448;

/// One step of a load, import or pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// The reference was resolved to this manifest or index.
    Resolved { reference: Reference, digest: Digest },
    /// Bytes of the archive read so far.
    Reading { bytes: u64 },
    /// The layer is here already.
    LayerExists { digest: Digest },
    /// The layer will be fetched; told of all of them before the first byte.
    LayerWaiting { digest: Digest, total: u64 },
    /// Compressed bytes of a layer that were fetched so far; they are unpacked as they come.
    LayerProgress { digest: Digest, bytes: u64, total: u64 },
    /// All of the layer is here, and is being unpacked.
    LayerUnpacking { digest: Digest },
    /// The layer is verified and unpacked.
    LayerDone { digest: Digest },
    /// A fetch failed and is tried again.
    Retrying {
        digest: Option<Digest>,
        attempt: u32,
        reason: String,
    },
    /// Everything is here and is being written to disk for good.
    Committing,
    /// The image is usable under these names.
    Done { image: Digest, names: Vec<Reference> },
}

/// Where events go; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<mpsc::Sender<ImageEvent>>);

impl Progress {
    /// Nobody looks.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A progress and the stream of its events, which ends with the last clone of the progress.
    #[must_use]
    pub fn channel() -> (Self, ReceiverStream<ImageEvent>) {
        let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
        (Self(Some(sender)), ReceiverStream::new(receiver))
    }

    /// Sends an event unless the reader lags or is gone.
    pub(crate) fn send(&self, event: ImageEvent) {
        if let Some(sender) = &self.0 {
            let passing = matches!(
                event,
                ImageEvent::LayerProgress { .. } | ImageEvent::Reading { .. }
            );
            if passing && sender.capacity() <= KEPT_EVENTS {
                return;
            }
            // A full or closed channel loses the event by design.
            drop(sender.try_send(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn a_slow_reader_misses_bytes_and_no_steps() {
        let (progress, events) = Progress::channel();
        let digest = Digest::of(b"layer");
        for bytes in 0..10_000 {
            progress.send(ImageEvent::LayerProgress {
                digest: digest.clone(),
                bytes,
                total: 10_000,
            });
            if bytes % 100 == 0 {
                progress.send(ImageEvent::LayerDone {
                    digest: digest.clone(),
                });
            }
        }
        progress.send(ImageEvent::Committing);
        drop(progress);
        let events: Vec<ImageEvent> = events.collect().await;
        let steps = events
            .iter()
            .filter(|event| !matches!(event, ImageEvent::LayerProgress { .. }))
            .count();
        assert_eq!((steps, events.last()), (101, Some(&ImageEvent::Committing)));
        assert!(events.len() <= WAITING_EVENTS && events.len() > steps);
    }
}
