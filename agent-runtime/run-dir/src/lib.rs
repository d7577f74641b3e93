//! The run directory of a container: the versioned protocol between `shoald`, `shoal-shim` and `shoal-spawn`.
//!
//! Everything that must outlive the daemon is here: the layout of the directory, the messages on the shim's socket,
//! the exit record, and what `shoal-spawn` is asked to do. An old shim and a new daemon meet through this crate
//! only, so every format starts with its version.

pub mod conf;
pub mod crash;
pub mod exit;
pub mod layout;
pub mod log;
pub mod message;
pub mod pid;
#[cfg(feature = "json")]
pub mod process;
mod record;
pub mod report;
#[cfg(feature = "json")]
pub mod request;

pub use record::RecordError;

/// The version of the run directory; the messages on its socket have [`message::PROTOCOL`].
pub const VERSION: u32 = 1;
