//! The only unsafe code of `shoal-spawn`: system calls that `rustix` does not offer as safe functions.
//!
//! All of it relies on this program being single-threaded.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper; the only module that may"
)]

mod bpf;
mod network;
mod process;

pub(crate) use bpf::attach_device_program;
pub(crate) use network::raise_loopback;
pub(crate) use process::{
    CLONE_PARENT, Program, block_signals, clone_process, close_from_but, close_on_exec_from, exit, fork,
    kill, load_seccomp, next_signal, reset_signals, set_command_line, set_rlimit, unshare_mounts,
};

use std::os::fd::{FromRawFd, OwnedFd};

/// The report pipe.
pub(crate) const REPORT: i32 = 3;
/// An exec's request.
pub(crate) const REQUEST: i32 = 4;
/// An exec's container: a pidfd of its first process.
pub(crate) const CONTAINER: i32 = 5;
/// The socket that an exec's terminal is sent to.
pub(crate) const CONSOLE: i32 = 6;

/// Takes over a descriptor that the shim left open for us, and closes it on exec.
pub(crate) fn inherited(number: i32) -> OwnedFd {
    // SAFETY: each number is taken once, at the start of the program, before anything else is opened. Were the
    // descriptor not open, uses of it would fail with EBADF, nothing worse.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    // A descriptor that is not open shows at its first use.
    let _shows_later = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    descriptor
}
