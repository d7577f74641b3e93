//! Any bytes that a container sends to its nameserver. Run by cargo-fuzz; what is tried stands in `bodies`, so that the
//! crate's own tests try the same.

#![no_main]

#[path = "../bodies/question.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::question(bytes));
