//! Keeps the right tasks for each service: which slots it has, and which task each slot has.
//!
//! `slot` looks at one slot (restarts, moves off lost nodes, promotion, history), `replicated` at how many
//! slots there are, `global` at which nodes shall have one. Called by the planner with what is dirty;
//! they write tasks into its draft and never place one.

pub(crate) mod global;
pub(crate) mod replicated;
pub(crate) mod slot;
pub(crate) mod tasks;
