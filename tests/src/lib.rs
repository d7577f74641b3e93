//! What the host tests share: a `Host`, images made at test time, waiting for a condition.
//!
//! A test drives the programs in `SHOAL_DIST` (`cargo xtask build --dev` makes them) as a user would,
//! through the command line; it never links the product's crates.

#![cfg(target_os = "linux")]

mod host;
mod image;
mod leftovers;
mod wait;

pub use host::{Host, HostOptions, PATIENCE, dist, is_running, json_lines};
pub use image::{busybox_root, hello_image};
pub use leftovers::Leftovers;
pub use wait::until;
