//! The worker of one node: takes assignments from the managers and makes containers of them.
//!
//! Decisions are pure (`assignment`, `reconcile`, `task`, `health`); the rest carries them out on the
//! runtime, keeps them on disk and reports. The only translator between the cluster's nouns and the
//! runtime's. It never decides where a task runs, and never reaches a manager but through its session.

pub mod assignment;
pub mod board;
mod clients;
mod clock;
pub mod crash;
pub mod dial;
pub mod disk;
pub mod health;
mod keeper;
pub mod local;
pub mod name;
pub mod network;
pub mod node_runtime;
pub mod ports;
mod pulling;
pub mod reconcile;
pub mod runtime;
mod session;
mod streams;
mod supervisor;
pub mod task;
#[cfg(test)]
mod testing;
pub mod translate;
mod wire;
mod worker;

pub use worker::{Worker, WorkerConfig, WorkerError};
