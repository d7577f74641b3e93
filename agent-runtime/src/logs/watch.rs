//! Knows when something in a log's directory has changed.
//! Used by the stream of a follower. Says that there was a change, never which.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// The kernel's queue holds 16,384 events; what is read of them is thrown away.
const BUFFER: usize = 4096;

/// Changes since it was made are not missed: it is made before anything is read.
#[derive(Debug)]
pub(super) struct Watch {
    events: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches a directory for writes, new names and vanished ones.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let kinds = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&events, directory, kinds)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may swap descriptors, which this one does not"
        )]
        let events = AsyncFd::new(events)?;
        Ok(Self { events })
    }

    /// Waits for a change since the last time. Cancel-safe.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.events.readable_mut().await?;
            let mut any = false;
            loop {
                let mut buffer = [MaybeUninit::<u8>::uninit(); BUFFER];
                match rustix::io::read(guard.get_inner(), &mut buffer) {
                    Ok(_) => any = true,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            guard.clear_ready();
            if any {
                return Ok(());
            }
        }
    }
}
