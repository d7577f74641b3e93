//! The messages, clients and servers of the package `shoal.v1`, generated from `proto/shoal/v1`.
//!
//! The protos carry the documentation. A service `Control` gives `control_client::ControlClient` and
//! `control_server::{Control, ControlServer}`, and so on.

#![allow(
    clippy::allow_attributes,
    clippy::all,
    clippy::pedantic,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    clippy::excessive_nesting,
    unused_qualifications,
    reason = "generated code"
)]

tonic::include_proto!("shoal.v1");
