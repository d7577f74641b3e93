//! What the host tests share: a `Host`, images made at test time, waiting for a condition.
//!
//! A test drives the programs in `SHOAL_DIST` (`cargo xtask build --dev` and
//! `--crash-points` make them) as a user would,
//! through the command line; it never links the product's crates.

#![cfg(target_os = "linux")]

mod crash_points;
mod dns;
mod hammer;
mod host;
mod image;
mod leftovers;
mod netns;
mod network;
mod outside;
mod registry;
mod service;
mod typist;
mod wait;

pub use crash_points::CRASH_POINTS;
pub use dns::question;
pub use hammer::Hammer;
pub use host::{Host, HostOptions, PATIENCE, dist};
pub use image::{busybox_root, hello_image};
pub use leftovers::Leftovers;
pub use netns::{ANSWER, Netns, RESOLVER, echo_over, get_over};
pub use network::{ECHO, WEB};
pub use outside::{HOST_V4, HOST_V6, OUTSIDE_V4, OUTSIDE_V6, Outside};
pub use registry::Registry;
pub use service::{SLEEP, is_running, json_lines, text};
pub use typist::Typist;
pub use wait::until;
