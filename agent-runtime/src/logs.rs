//! Reading containers' logs: the last lines, since a time, and on and on while the container writes.
//!
//! The shim writes them (`shoal_run_dir::log` names the format), rotates them and never waits for a reader. What is
//! read is bounded: one piece of a file at a time, pulled by whoever consumes the stream. Logs stay when their
//! container is removed, until they are forgotten.

mod files;
mod reader;
mod record;
mod replay;
mod tail;
mod watch;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use thiserror::Error;

use crate::container::id::ContainerId;
use reader::{Progress, Reader};
use watch::Watch;

pub(crate) use replay::replay;

/// What somebody wants to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose log.
    pub container: ContainerId,
    /// Only this many lines before the end; all of them without.
    pub tail: Option<u64>,
    /// Only what was written at or after this time.
    pub since: Option<SystemTime>,
    /// Whether to wait for more, until the container has ended.
    pub follow: bool,
}

/// Where a piece of a log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One record: a line, or a part of one that was long or not ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it came from.
    pub stream: LogStream,
    /// When the shim read it.
    pub time: SystemTime,
    /// The text, with its newline; without one the line goes on in the stream's next record.
    pub text: Bytes,
}

impl LogRecord {
    /// Whether the line goes on in the stream's next record.
    pub fn is_partial(&self) -> bool {
        self.text.last() != Some(&b'\n')
    }
}

/// Why a log could not be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// There is no log of such a container on this node.
    #[error("no log of container {0} on this node")]
    NotFound(ContainerId),
    /// A file could not be read.
    #[error("reading log {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The log was rotated away faster than it was read; what follows is the oldest that is left.
    #[error("part of the log was rotated away before it could be read")]
    Lost,
}

/// All containers' logs of one node.
#[derive(Debug, Clone)]
pub struct Logs {
    directory: PathBuf,
}

impl Logs {
    /// The logs in this directory, one directory each.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory of one container's log.
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(id.as_str())
    }

    /// Reads a log. With `follow` the stream goes on until `ended`, and then to the end of what was written before;
    /// after [`LogError::Lost`] it goes on, after any other error it ends. Dropping it stops everything.
    pub async fn read(
        &self,
        query: LogQuery,
        ended: BoxFuture<'static, ()>,
    ) -> Result<impl Stream<Item = Result<LogRecord, LogError>> + Send + use<>, LogError> {
        let directory = self.directory(&query.container);
        let id = query.container.clone();
        if !tokio::fs::try_exists(&directory).await.unwrap_or(false) {
            return Err(LogError::NotFound(id));
        }
        let watch = match query.follow {
            true => Some(Watch::new(&directory).map_err(|source| LogError::Read {
                path: directory.clone(),
                source,
            })?),
            false => None,
        };
        let opened = blocking(&directory, move |directory| {
            Reader::open(directory, id.as_str(), query.tail, query.since)
        });
        let state = Following {
            reader: Some(opened.await?),
            directory,
            watch,
            ended,
            last_pass: false,
            pending: VecDeque::new(),
        };
        Ok(futures::stream::unfold(state, Following::next))
    }

    /// The containers whose logs are here, in no order.
    pub async fn list(&self) -> std::io::Result<Vec<ContainerId>> {
        let mut directories = tokio::fs::read_dir(&self.directory).await?;
        let mut found = Vec::new();
        while let Some(entry) = directories.next_entry().await? {
            // What bears no container's name is nobody's log.
            found.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        Ok(found)
    }

    /// Takes the log of a container away. Nothing to take away is fine.
    pub async fn forget(&self, id: &ContainerId) -> std::io::Result<()> {
        match tokio::fs::remove_dir_all(self.directory(id)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// The state of one stream.
struct Following {
    /// Absent after an error that ended the stream.
    reader: Option<Reader>,
    directory: PathBuf,
    watch: Option<Watch>,
    ended: BoxFuture<'static, ()>,
    /// Nothing more will be written: what is there now is all.
    last_pass: bool,
    pending: VecDeque<Result<LogRecord, LogError>>,
}

impl Following {
    async fn next(mut self) -> Option<(Result<LogRecord, LogError>, Self)> {
        loop {
            if let Some(record) = self.pending.pop_front() {
                return Some((record, self));
            }
            let mut reader = self.reader.take()?;
            let advanced = blocking(&self.directory, move |_| {
                let progress = reader.advance()?;
                Ok((reader, progress))
            });
            match advanced.await {
                Err(error) => return Some((Err(error), self)),
                Ok((reader, progress)) => {
                    self.reader = Some(reader);
                    if !self.take(progress).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the stream goes on.
    async fn take(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Records(records) => self.pending.extend(records.into_iter().map(Ok)),
            Progress::Lost => self.pending.push_back(Err(LogError::Lost)),
            Progress::AtEnd => return self.wait().await,
        }
        true
    }

    /// Waits for more. What is written between reading and waiting has already raised the watch.
    async fn wait(&mut self) -> bool {
        let Some(watch) = self.watch.as_mut().filter(|_| !self.last_pass) else {
            return false;
        };
        tokio::select! {
            () = &mut self.ended => self.last_pass = true,
            changed = watch.changed() => if let Err(source) = changed {
                let path = self.directory.clone();
                self.pending.push_back(Err(LogError::Read { path, source }));
                self.last_pass = true;
            }
        }
        true
    }
}

/// Runs file work where blocking is allowed.
async fn blocking<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce(&Path) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let path = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    done.unwrap_or_else(|error| {
        Err(LogError::Read {
            path: directory.to_owned(),
            source: std::io::Error::other(error),
        })
    })
}

#[cfg(test)]
mod tests;
