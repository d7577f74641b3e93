//! What `libcontainer` says about its failures: only `tracing` events carry the cause across its processes.
//!
//! Events of level ERROR are appended to a memfd that all clones share, and read back when a step failed.

use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What is read back at most: the message that it becomes is cut shorter still.
const MAX_READ: u64 = 16 * 1024;

/// The causes seen so far.
#[derive(Debug)]
pub(crate) struct Causes(OwnedFd);

struct Recorder(OwnedFd);

/// Starts collecting. Without a memfd there are only the bare errors.
pub(crate) fn collect() -> Option<Causes> {
    let memory = memfd_create("shoal-spawn-causes", MemfdFlags::CLOEXEC).ok()?;
    let recorder = Recorder(memory.try_clone().ok()?);
    tracing::subscriber::set_global_default(recorder).ok()?;
    Some(Causes(memory))
}

impl Causes {
    /// What was said first: later events repeat it one level up.
    pub(crate) fn first(&self) -> Option<String> {
        let mut file = File::from(self.0.try_clone().ok()?);
        file.rewind().ok()?;
        let mut text = String::new();
        file.take(MAX_READ).read_to_string(&mut text).ok()?;
        text.lines()
            .next()
            .map(str::to_owned)
            .filter(|line| !line.is_empty())
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields).replace('\n', " ");
        let Ok(memory) = self.0.try_clone() else { return };
        let _only_a_hint = File::from(memory).write_all(format!("{text}\n").as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _infallible = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name} {value:?}"),
        };
    }
}
