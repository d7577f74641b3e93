//! The machine's codec in protobuf: what the replicated disk of a real manager holds.
//!
//! `shoal_api::storage` does the work; this only joins it to the machine's trait.

use crate::machine::{Codec, CodecError};
use shoal_api::storage::{self, StorageError};
use shoal_core::store::{Entry, Export};

#[derive(Clone, Copy, Debug, Default)]
pub struct ProtobufCodec;

fn failed(what: &'static str) -> impl FnOnce(StorageError) -> CodecError {
    move |error| CodecError {
        what,
        reason: error.to_string(),
    }
}

impl Codec for ProtobufCodec {
    fn encode_entry(&self, entry: &Entry) -> Vec<u8> {
        storage::encode_entry(entry)
    }

    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry, CodecError> {
        storage::decode_entry(bytes).map_err(failed("entry"))
    }

    fn encode_snapshot(&self, export: &Export) -> Vec<u8> {
        storage::encode_snapshot(export)
    }

    fn decode_snapshot(&self, bytes: &[u8]) -> Result<Export, CodecError> {
        storage::decode_snapshot(bytes).map_err(failed("snapshot"))
    }
}
