//! Clients at the streams of the container's first process: what it writes is copied to them, and they are given
//! where its input goes.
//!
//! The copies and the input live in descriptors of the client's: its connection may close, and the container goes on
//! whatever becomes of the client.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use shoal_run_dir::log::Stream;
use shoal_run_dir::message::{Input, Reply};

use super::container::Failed;
use super::{Phase, Shim};

impl Shim {
    pub(super) fn attach(&mut self, id: u64, replay: bool, descriptors: Vec<OwnedFd>) {
        if !matches!(
            self.phase,
            Phase::Created | Phase::Starting | Phase::Running { .. }
        ) {
            self.refuse(id, "the container is not running");
            return;
        }
        self.crash_point("shim.attach.1-asked");
        // A terminal is on its way when the container is created: a connection, and its master over it.
        self.receive_console();
        self.receive_console();
        match self.follow(replay, descriptors) {
            Ok((reply, given)) => {
                if let Some(connection) = self.connections.iter().find(|c| c.id == id) {
                    connection.send_with(&reply, &given);
                }
            }
            Err(error) => self.reply(id, &Failed::runtime(&format!("attaching: {error}")).reply()),
        }
    }

    fn follow(&mut self, replay: bool, descriptors: Vec<OwnedFd>) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let pipes: [OwnedFd; 2] = descriptors
            .try_into()
            .map_err(|_other_count| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (input, mut given) = self.input()?;
        let mut log_size = 0;
        if replay {
            let files;
            (files, log_size) = self.log.files()?;
            given.extend(files);
        }
        for (stream, pipe) in [Stream::Stdout, Stream::Stderr].into_iter().zip(pipes) {
            // A stream that has ended has its copy end at once.
            if let Some(source) = self.sources.iter().find(|source| source.stream() == stream) {
                let held = if replay { source.held() } else { &[] };
                self.followers.add(stream, pipe, held)?;
            }
        }
        Ok((Reply::Attached { input, log_size }, given))
    }

    fn input(&self) -> io::Result<(Input, Vec<OwnedFd>)> {
        let terminal = self.sources.iter().find(|_| self.conf.terminal);
        Ok(match (terminal, &self.stdin) {
            (Some(master), _) => (
                Input::Terminal,
                vec![master.descriptor.as_fd().try_clone_to_owned()?],
            ),
            (None, Some(pipe)) => (Input::Pipe, vec![pipe.try_clone()?]),
            (None, None) => (Input::None, Vec::new()),
        })
    }

    pub(super) fn close_stdin(&mut self, id: u64) {
        self.stdin = None;
        self.reply(id, &Reply::Done);
    }
}
