//! Progress of a load, import or pull, as a stream of events that may be dropped but never waited for.
//!
//! The operation's result is its return value; events are for the eyes of whoever waits.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::digest::Digest;
use super::reference::Reference;

/// Events that may wait for a slow reader; more are dropped, since each is superseded by the next.
const WAITING_EVENTS: usize = 256;

/// One step of a load, import or pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageEvent {
    /// The reference was resolved to this manifest or index.
    Resolved { reference: Reference, digest: Digest },
    /// Bytes of the archive read so far.
    Reading { bytes: u64 },
    /// The layer is here already.
    LayerExists { digest: Digest },
    /// Compressed bytes of a layer that were fetched and unpacked so far.
    LayerProgress { digest: Digest, bytes: u64, total: u64 },
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
            // A full or closed channel loses the event by design.
            drop(sender.try_send(event));
        }
    }
}
