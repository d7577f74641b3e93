//! A task's log, sent up in batches of what is ready.
//!
//! Called by `streams` for one request; never reads ahead of a slow follower.

use super::{Attached, Gone, Streams};
use crate::clock;
use crate::keeper::chain;
use futures::{FutureExt, Stream, StreamExt};
use shoal_agent_runtime::{LogError, LogQuery, LogRecord, LogStream};
use shoal_api::limits::CHUNK_BYTES;
use shoal_api::v1::{self, stream_down::Down, stream_up::Up};
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl Streams {
    pub(super) async fn logs(
        &self,
        attached: &mut Attached,
        request: v1::LogStreamRequest,
    ) -> Result<(), Gone> {
        let options = request.options.unwrap_or_default();
        let Some(container) = self.log_of(&request.task) else {
            let message = format!("{:?} is no task's id", request.task);
            return attached.fail(message, "").await;
        };
        let query = LogQuery {
            container,
            tail: options.tail,
            since: options.since.map(moment),
            follow: options.follow,
        };
        match self.runtime.logs(query).await {
            Ok(records) => send_all(attached, records, &options).await,
            // A task that never came to write has an empty log.
            Err(LogError::NotFound(_)) if self.posted(&request.task).is_some() => Ok(()),
            Err(error) => attached.fail(chain(&error), "").await,
        }
    }
}

async fn send_all(
    attached: &mut Attached,
    records: impl Stream<Item = Result<LogRecord, LogError>>,
    options: &v1::LogOptions,
) -> Result<(), Gone> {
    // Asked again after its end, which a plain stream need not bear.
    let mut records = pin!(records.fuse());
    loop {
        let next = tokio::select! {
            next = records.next() => next,
            gone = cancelled(attached) => return Err(gone),
        };
        let Some(first) = next else {
            return Ok(());
        };
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(record) = next {
            match record {
                Ok(record) => batch.push(record, options),
                Err(LogError::Lost) => tracing::debug!("a log was rotated away while it was read"),
                Err(error) => {
                    attached.send(Up::LogLines(batch.take())).await?;
                    return attached.fail(chain(&error), "").await;
                }
            }
            next = match batch.is_full() || batch.ended {
                true => None,
                false => records.next().now_or_never().flatten(),
            };
        }
        let ended = batch.ended;
        if !batch.lines.is_empty() {
            attached.send(Up::LogLines(batch.take())).await?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Returns when the reader has gone or says so.
async fn cancelled(attached: &mut Attached) -> Gone {
    loop {
        match attached.down.message().await {
            Ok(Some(v1::StreamDown {
                down: Some(Down::Cancel(_)),
            }))
            | Ok(None)
            | Err(_) => return Gone,
            Ok(Some(_)) => {}
        }
    }
}

#[derive(Default)]
struct Batch {
    lines: Vec<v1::LogLine>,
    bytes: usize,
    /// The time until which was asked for has been passed.
    ended: bool,
}

impl Batch {
    fn push(&mut self, record: LogRecord, options: &v1::LogOptions) {
        let wall = clock::wall_of(record.time).0;
        if options.until.is_some_and(|until| wall > until) {
            self.ended = true;
            return;
        }
        let both = options.stdout == options.stderr;
        let (wanted, stdio) = match record.stream {
            LogStream::Stdout => (both || options.stdout, v1::Stdio::Stdout),
            LogStream::Stderr => (both || options.stderr, v1::Stdio::Stderr),
        };
        if wanted {
            self.bytes += record.text.len();
            self.lines.push(v1::LogLine {
                wall,
                stdio: stdio.into(),
                data: record.text.into(),
            });
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    fn take(&mut self) -> v1::LogLines {
        self.bytes = 0;
        v1::LogLines {
            lines: std::mem::take(&mut self.lines),
        }
    }
}

fn moment(wall: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(wall).unwrap_or(0))
}
