//! What workers are told and what they tell: assignments as numbered diffs, and reports.
//!
//! `Sessions` runs on every manager against its applied store and decides which assignments each node's
//! session is sent; `report` runs on the leader and decides what a report changes. Neither sends
//! anything. A worker refuses a position older than the one it holds.

mod assignment;
mod batch;
mod reach;
pub mod report;
mod sessions;
mod tables;
#[cfg(test)]
mod tests;

pub use assignment::{Assignments, Position, TaskAssignment};
pub use reach::tables_for;
pub use report::TaskReport;
pub use sessions::Sessions;
pub use tables::{NetworkTables, TableEndpoint, TableNetwork, TableService, TableUse, TablesDiff};
