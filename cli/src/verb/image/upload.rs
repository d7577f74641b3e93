//! A file or standard input as a stream of chunks to the daemon.
//!
//! The daemon may stop reading early (it refuses the archive); then reading stops too and its answer is
//! what counts. A file that cannot be read ends the stream early and is reported by `finish`.

use crate::failure::usage;
use anyhow::{Context, Result};
use shoal_api::limits::{CHUNK_BYTES, STREAM_CHUNKS};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;

#[derive(Debug)]
pub(super) struct Upload {
    reader: JoinHandle<Result<()>>,
}

impl Upload {
    /// `-` is standard input. The first message goes ahead of the data.
    pub(super) async fn start<T: Send + 'static>(
        path: &str,
        first: Option<T>,
        message: impl Fn(Vec<u8>) -> T + Send + 'static,
    ) -> Result<(Self, ReceiverStream<T>)> {
        let input: Box<dyn AsyncRead + Send + Unpin> = if path == "-" {
            if crate::terminal::stdin_is_terminal() {
                return Err(usage(
                    "an archive is not read from a terminal: name a file with --input, or redirect one",
                ));
            }
            Box::new(tokio::io::stdin())
        } else {
            let file = tokio::fs::File::open(path)
                .await
                .with_context(|| format!("cannot open {path}"))?;
            Box::new(file)
        };
        let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
        let path = path.to_owned();
        let reader = tokio::spawn(async move {
            let mut input = input;
            if let Some(first) = first
                && sender.send(first).await.is_err()
            {
                return Ok(());
            }
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let length = input
                    .read(&mut chunk)
                    .await
                    .with_context(|| format!("cannot read {path}"))?;
                chunk.truncate(length);
                if length == 0 || sender.send(message(chunk)).await.is_err() {
                    return Ok(());
                }
            }
        });
        Ok((Self { reader }, ReceiverStream::new(receiver)))
    }

    /// Whether the file could be read.
    pub(super) async fn finish(self) -> Result<()> {
        if !self.reader.is_finished() {
            self.reader.abort();
            return Ok(());
        }
        self.reader.await.context("reading the archive")?
    }
}
