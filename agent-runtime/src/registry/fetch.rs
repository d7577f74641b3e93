//! Fetching one blob: resumed where a connection broke, bounded by its stated size, verified, and unpacked by a
//! blocking thread while it arrives.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, pause, unreachable};
use super::{Pull, PullError, RegistryError};
use crate::content::StagedBlob;
use crate::image::manifest::Descriptor;
use crate::image::staging::{LayerPlan, ReceiveError, Received, Staging};
use crate::image::{ImageEvent, blocking};

/// Pieces, of some 16 KiB each, that wait between the network and the thread that unpacks.
const WAITING_PIECES: usize = 64;

/// How often progress is told: every second on a line of two megabits.
const STEP_BYTES: u64 = 256 << 10;

/// One blob to fetch.
pub(super) struct Fetch<'a> {
    pub(super) pull: &'a Pull,
    pub(super) descriptor: &'a Descriptor,
    /// Set when another blob of the same pull failed.
    pub(super) stop: &'a CancellationToken,
    /// Whether its bytes are progress: a configuration's are not worth telling.
    pub(super) is_layer: bool,
}

/// How far a blob has come.
#[derive(Default)]
struct State {
    done: u64,
    told: u64,
    failures: u32,
}

/// How one connection ended.
enum Step {
    Ended(Fed),
    Broken(Attempt),
}

/// How the network's side ended.
enum Fed {
    Whole,
    /// The thread that unpacks took no more: it knows why.
    Refused,
}

/// Fetches a layer's blob, and unpacks it if `plan` says what it must become.
pub(super) async fn fetch_layer(
    fetch: Fetch<'_>,
    staging: Arc<Staging>,
    plan: Option<LayerPlan>,
) -> Result<(), PullError> {
    let (sender, receiver) = mpsc::channel(WAITING_PIECES);
    let expected = fetch.descriptor.digest.clone();
    let unpack = plan.is_some();
    let thread_staging = Arc::clone(&staging);
    let receive = blocking(move || receive(&thread_staging, receiver, unpack));
    let feed = async {
        let fed = fetch.feed(sender).await;
        if unpack && matches!(fed, Ok(Fed::Whole)) {
            fetch.pull.progress.send(ImageEvent::LayerUnpacking {
                digest: fetch.descriptor.digest.clone(),
            });
        }
        fed
    };
    let (fed, received) = tokio::join!(feed, receive);
    let fed = fed?;
    let received = received.ok_or(PullError::Interrupted)?;
    let (blob, layer) = received.map_err(|error| fetch.receive_error(error))?;
    if matches!(fed, Fed::Refused) || blob.size != fetch.descriptor.size || blob.digest != expected {
        return Err(fetch.lie(expected.to_string(), blob.digest.to_string()));
    }
    if let (Some(plan), Some((path, layer))) = (plan, layer) {
        if layer.diff_id != plan.diff_id {
            let expected = format!("contents with digest {}", plan.diff_id);
            return Err(fetch.lie(expected, format!("contents with digest {}", layer.diff_id)));
        }
        staging.add_layer(plan.chain_id, path, layer.unpacked);
    }
    staging.add_blob(blob);
    fetch
        .pull
        .progress
        .send(ImageEvent::LayerDone { digest: expected });
    Ok(())
}

type Unpacked = Option<(std::path::PathBuf, crate::unpack::Layer)>;

/// The blocking side: to disk, and through the unpacker if the layer is wanted.
fn receive(
    staging: &Staging,
    pieces: mpsc::Receiver<Bytes>,
    unpack: bool,
) -> Result<(StagedBlob, Unpacked), ReceiveError> {
    let mut reader = Pieces {
        pieces,
        current: Bytes::new(),
    };
    if unpack {
        let Received { blob, path, layer } = staging.receive(reader)?;
        return Ok((blob, Some((path, layer))));
    }
    let mut writer = staging.dir().blob_writer()?;
    let path = writer.path().to_owned();
    // Reading from the channel cannot fail, so an error is one of the disk.
    io::copy(&mut reader, &mut writer)
        .map_err(|source| ReceiveError::Disk(crate::content::disk::DiskError::new("write", &path, source)))?;
    Ok((writer.finish(), None))
}

impl Fetch<'_> {
    /// A small blob, in memory.
    pub(super) async fn bytes(&self) -> Result<Vec<u8>, PullError> {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(WAITING_PIECES);
        let collect = async {
            let mut bytes = Vec::new();
            while let Some(piece) = receiver.recv().await {
                bytes.extend_from_slice(&piece);
            }
            bytes
        };
        let (fed, bytes) = tokio::join!(self.feed(sender), collect);
        fed?;
        Ok(bytes)
    }

    /// Sends the blob's pieces, going on where a broken connection left off.
    async fn feed(&self, sender: mpsc::Sender<Bytes>) -> Result<Fed, PullError> {
        let mut state = State::default();
        loop {
            let broken = match self.attempt(&sender, &mut state).await? {
                Step::Ended(fed) => return Ok(fed),
                Step::Broken(attempt) => attempt,
            };
            let digest = Some(&self.descriptor.digest);
            let waited = pause(broken, &mut state.failures, digest, &self.pull.progress).await;
            let reference = || self.pull.reference.familiar();
            waited.map_err(|source| PullError::Registry {
                reference: reference(),
                source,
            })?;
        }
    }

    /// One connection, from where the last one ended.
    async fn attempt(&self, sender: &mpsc::Sender<Bytes>, state: &mut State) -> Result<Step, PullError> {
        let (size, digest) = (self.descriptor.size, &self.descriptor.digest);
        let opened = self.pull.registry.blob(&self.pull.reference, digest, state.done);
        let opened = tokio::select! {
            () = self.stop.cancelled() => return Err(PullError::Interrupted),
            opened = opened => opened,
        };
        let (mut position, mut stream) = match opened {
            Ok(opened) => opened,
            // "Range not satisfiable": the blob ends before its stated size.
            Err(Attempt {
                error: RegistryError::Status { status: 416, .. },
                ..
            }) => {
                return Err(self.lie(format!("{size} bytes"), format!("{} bytes", state.done)));
            }
            Err(attempt) => return Ok(Step::Broken(attempt)),
        };
        loop {
            let piece = tokio::select! {
                () = self.stop.cancelled() => return Err(PullError::Interrupted),
                piece = stream.next() => piece,
            };
            let mut piece = match piece {
                None if state.done == size => return Ok(Step::Ended(Fed::Whole)),
                None => {
                    return Ok(Step::Broken(unreachable(
                        &self.pull.reference,
                        cut_off(state.done, size),
                    )));
                }
                Some(Err(source)) if state.done >= size => {
                    return Err(self.lie(digest.to_string(), source.to_string()));
                }
                Some(Err(source)) => return Ok(Step::Broken(unreachable(&self.pull.reference, source))),
                Some(Ok(piece)) => piece,
            };
            // A server that ignores the offset sends what is known already.
            let known = state.done.saturating_sub(position).min(piece.len() as u64);
            position += piece.len() as u64;
            piece.advance(usize::try_from(known).unwrap_or(0));
            if piece.is_empty() {
                continue;
            }
            state.done += piece.len() as u64;
            state.failures = 0;
            if state.done > size {
                return Err(self.lie(format!("{size} bytes"), "more".to_owned()));
            }
            self.tell(state);
            if sender.send(piece).await.is_err() {
                return Ok(Step::Ended(Fed::Refused));
            }
        }
    }

    fn tell(&self, state: &mut State) {
        let is_step = state.done - state.told >= STEP_BYTES || state.done == self.descriptor.size;
        if self.is_layer && is_step {
            state.told = state.done;
            let (digest, total) = (self.descriptor.digest.clone(), self.descriptor.size);
            self.pull.progress.send(ImageEvent::LayerProgress {
                digest,
                bytes: state.done,
                total,
            });
        }
    }

    fn lie(&self, expected: String, found: String) -> PullError {
        let reference = self.pull.reference.familiar();
        PullError::Lie {
            reference,
            digest: self.descriptor.digest.clone(),
            expected,
            found,
        }
    }

    fn receive_error(&self, error: ReceiveError) -> PullError {
        let (reference, digest) = (self.pull.reference.familiar(), self.descriptor.digest.clone());
        match error {
            ReceiveError::Disk(source) => PullError::Disk { reference, source },
            ReceiveError::Unpack(source) => PullError::Unpack {
                reference,
                digest,
                source,
            },
        }
    }
}

fn cut_off(done: u64, size: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the registry sent {done} of {size} bytes"),
    )
}

/// The pieces as a blocking reader; it ends where the sender ends.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
