//! Any bytes on the socket that `shoal-net` is told by. Run by cargo-fuzz; what is tried stands in `bodies`, so that the
//! crate's own tests try the same.

#![no_main]

#[path = "../bodies/frame.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::frames(bytes));
