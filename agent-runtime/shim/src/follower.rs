//! Who follows what the container writes: copies into pipes, beside the log.
//!
//! Called by the shim's loop, and never waits. A copy that is full holds its stream up, so that nothing is lost on the
//! way to a reader who is slow; a copy that nobody can read any more is dropped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use shoal_run_dir::log::Stream;

/// Two for each client: more clients than ever look at one container.
const MAX_FOLLOWERS: usize = 64;

/// What an ended stream may leave unread: as much as a pipe can be made to hold without asking the administrator.
pub(crate) const LEAVING: usize = 1024 * 1024;

/// One copy of one stream.
#[derive(Debug)]
struct Follower {
    /// Never reused within a shim's life.
    id: u64,
    stream: Stream,
    pipe: OwnedFd,
    /// Read from the container, not yet taken by the pipe.
    pending: Vec<u8>,
    /// Whether nothing more comes.
    ended: bool,
}

/// All copies of the container's streams.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    all: Vec<Follower>,
    last: u64,
}

impl Followers {
    /// Another copy of a stream, beginning with what is held of a line.
    pub(crate) fn add(&mut self, stream: Stream, pipe: OwnedFd, held: &[u8]) -> io::Result<()> {
        if self.all.len() >= MAX_FOLLOWERS {
            return Err(io::Error::other(
                "too many clients are attached to this container",
            ));
        }
        rustix::io::ioctl_fionbio(&pipe, true)?;
        self.last += 1;
        let mut follower = Follower {
            id: self.last,
            stream,
            pipe,
            pending: held.to_vec(),
            ended: false,
        };
        if follower.push() {
            self.all.push(follower);
        }
        Ok(())
    }

    /// What the container has just written.
    pub(crate) fn copy(&mut self, stream: Stream, bytes: &[u8]) {
        self.all.retain_mut(|follower| {
            if follower.stream != stream {
                return true;
            }
            follower.pending.extend_from_slice(bytes);
            follower.push()
        });
    }

    /// Whether some copy of a stream has to be read before more of it is.
    pub(crate) fn hold_up(&self, stream: Stream, room: usize) -> bool {
        let full = |follower: &Follower| follower.stream == stream && follower.pending.len() > room;
        self.all.iter().any(full)
    }

    /// The stream has ended: so do its copies, once they are read or fit into their pipes.
    pub(crate) fn end(&mut self, stream: Stream) {
        for follower in self.all.iter_mut().filter(|f| f.stream == stream) {
            follower.ended = true;
            if !follower.pending.is_empty() {
                // Without more room it waits for its reader for a while.
                let _as_large_as_it_was = fcntl_setpipe_size(&follower.pipe, LEAVING);
            }
        }
        self.all.retain_mut(Follower::push);
    }

    /// There is room in a pipe, or nobody reads it any more.
    pub(crate) fn ready(&mut self, id: u64, gone: bool) {
        self.all
            .retain_mut(|follower| follower.id != id || (!gone && follower.push()));
    }

    /// Whether anything is on its way still.
    pub(crate) fn is_idle(&self) -> bool {
        self.all.iter().all(|follower| follower.pending.is_empty())
    }

    /// What to look at: a pipe whose reader goes says so whatever it is asked for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.all.iter().map(|follower| {
            let flags = if follower.pending.is_empty() {
                PollFlags::empty()
            } else {
                PollFlags::OUT
            };
            (follower.id, follower.pipe.as_fd(), flags)
        })
    }
}

impl Follower {
    /// Writes what the pipe takes. False when this copy is over.
    fn push(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.pipe, &self.pending) {
                Ok(count) => {
                    self.pending.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_nobody_reads) => return false,
            }
        }
        // A quiet container costs no buffer.
        self.pending = Vec::new();
        !self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::io::Read as _;

    /// What a pipe holds by default.
    const PIPE: usize = 64 * 1024;

    fn follow(followers: &mut Followers, held: &[u8]) -> std::fs::File {
        let (reading, pipe) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        followers.add(Stream::Stdout, pipe, held).unwrap();
        reading.into()
    }

    fn read(reader: &mut std::fs::File, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_full_copy_holds_its_stream_up_and_loses_nothing() {
        let mut followers = Followers::default();
        let mut slow = follow(&mut followers, b"held");
        followers.copy(Stream::Stderr, b"of the other stream");
        followers.copy(Stream::Stdout, &[b'x'; PIPE]);
        assert!(followers.hold_up(Stream::Stdout, 0) && !followers.hold_up(Stream::Stderr, 0));
        assert!(!followers.hold_up(Stream::Stdout, PIPE));
        let id = followers.watched().next().unwrap().0;
        assert_eq!(followers.watched().next().unwrap().2, PollFlags::OUT);
        assert_eq!(read(&mut slow, 4), b"held");
        assert_eq!(read(&mut slow, PIPE / 2), vec![b'x'; PIPE / 2]);
        followers.ready(id, false);
        assert!(!followers.hold_up(Stream::Stdout, 0) && followers.is_idle());
        followers.copy(Stream::Stdout, &[b'y'; PIPE]);
        followers.end(Stream::Stdout);
        assert!(followers.is_idle(), "an ended stream fits into a larger pipe");
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [vec![b'x'; PIPE / 2], vec![b'y'; PIPE]].concat());
    }

    #[test]
    fn a_copy_that_nobody_reads_is_dropped() {
        let mut followers = Followers::default();
        drop(follow(&mut followers, b""));
        let kept = follow(&mut followers, b"");
        let id = followers.watched().next().unwrap().0;
        followers.ready(id, true);
        assert_eq!(followers.watched().count(), 1);
        drop(kept);
        followers.copy(Stream::Stdout, b"x");
        assert_eq!(followers.watched().count(), 0);
    }

    #[test]
    fn there_is_a_bound() {
        let mut followers = Followers::default();
        let readers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| follow(&mut followers, b"")).collect();
        let (_reading, pipe) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert!(followers.add(Stream::Stdout, pipe, b"").is_err());
        drop(readers);
    }
}
