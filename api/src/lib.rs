//! The wire and the replicated disk: protos and their stubs, conversions to core's nouns, identities.
//!
//! Called by the manager, the worker, the node and the CLI. Only this crate knows protobuf: the others
//! use the messages, clients and servers of `v1` and convert at their border. It holds no state and
//! opens no socket.

pub mod access;
pub mod batch;
pub mod convert;
pub mod identity;
pub mod limits;
pub mod storage;
pub mod v1;
