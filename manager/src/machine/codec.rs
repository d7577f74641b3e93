//! The bytes of entries and snapshots, as the machine asks for them.
//!
//! `api` implements this in protobuf; the simulator in postcard. The machine never looks inside.

use shoal_core::store::{Entry, Export};
use std::fmt;

/// Bytes that are no entry or snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be read: {reason}")]
pub struct CodecError {
    /// `entry` or `snapshot`.
    pub what: &'static str,
    pub reason: String,
}

/// Gives entries and snapshots their bytes. What it writes it must read back equal.
pub trait Codec: fmt::Debug + Send {
    fn encode_entry(&self, entry: &Entry) -> Vec<u8>;
    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry, CodecError>;
    fn encode_snapshot(&self, export: &Export) -> Vec<u8>;
    fn decode_snapshot(&self, bytes: &[u8]) -> Result<Export, CodecError>;
}
