//! The pure half of Shoal: nouns, the replicated store, and every decision the managers take.
//!
//! Called by the manager's machine, by the worker's reconciler and by the compose reader. Nothing here
//! reads a clock, a file, a socket or a random source: time, ids and input are arguments, so that a run
//! can be replayed and the same state always gives the same bytes.

pub mod allocator;
pub mod check;
pub mod constraint;
pub mod dispatcher;
pub mod explain;
pub mod liveness;
pub mod model;
mod orchestrator;
pub mod planner;
mod reaper;
pub mod refusal;
pub mod request;
pub mod resolve;
pub mod restart;
mod scheduler;
pub mod store;
mod updater;
pub mod validate;
pub mod waiting;

pub use reaper::ORPHAN_AFTER;
