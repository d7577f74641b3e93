//! The node's network in a real kernel: each test is a host of its own, in namespaces of its own.
//!
//! They need root, and say so. Whatever they make goes with their namespaces; each looks at what is left before that.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod dns;
mod endpoints;
mod heal;
mod legacy;
mod loopback;
mod nameless;
mod names;
mod ports;
mod process;
mod routes;
mod takeover;
mod vips;
mod world;
