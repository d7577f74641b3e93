//! The nouns of a container: what the caller wants run and what the runtime saw of it.
//!
//! Plain data, one file a noun. Nothing here touches the system.

pub(crate) mod id;
pub(crate) mod limits;
pub(crate) mod mount;
pub(crate) mod signal;
pub(crate) mod spec;
pub(crate) mod status;
