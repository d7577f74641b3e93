//! Entries and snapshots in postcard: quick, and without the product's protobuf in the loop.
//!
//! Used by the simulator and tests only; never written to a real disk.

use crate::machine::{Codec, CodecError};
use shoal_core::store::{Entry, Export};

#[derive(Clone, Copy, Debug, Default)]
pub struct PostcardCodec;

impl Codec for PostcardCodec {
    fn encode_entry(&self, entry: &Entry) -> Vec<u8> {
        encode(entry)
    }

    fn decode_entry(&self, bytes: &[u8]) -> Result<Entry, CodecError> {
        decode("entry", bytes)
    }

    fn encode_snapshot(&self, export: &Export) -> Vec<u8> {
        encode(export)
    }

    fn decode_snapshot(&self, bytes: &[u8]) -> Result<Export, CodecError> {
        decode("snapshot", bytes)
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("postcard writes every sized type to memory, and every noun is one")
}

fn decode<T: serde::de::DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    postcard::from_bytes(bytes).map_err(|error| CodecError {
        what,
        reason: error.to_string(),
    })
}
