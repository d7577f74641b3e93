//! The runtime against the real kernel: needs root, control groups and a static busybox.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod apparmor;
mod attach;
#[cfg(feature = "crash-points")]
mod crash;
mod exec;
mod failure;
mod golden;
mod init;
mod life;
mod logs;
mod network;
mod world;
