//! `shoald`: the daemon of a node. Settings, identity, and the roles that it plays.
//!
//! A manager and a worker in one daemon know nothing of each other here: the worker dials the manager over
//! mutual TLS like any other. What outlives the daemon (shims, containers) is never ended by it.

pub mod args;
mod bootstrap;
pub mod config;
#[cfg(feature = "crash-points")]
pub mod crash;
pub mod daemon;
pub mod down;
pub mod file_limit;
pub mod files;
mod gate;
pub mod identity;
pub mod lock;
pub mod log;
pub mod place;
pub mod programs;
mod renewal;
mod resolver;
pub mod roles;
mod routes;
pub mod socket;

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
