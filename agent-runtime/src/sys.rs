//! The only unsafe code of this crate: what `rustix` does not offer as a safe function.
//!
//! One operation a block, each with the reason why it is sound; nothing here decides anything.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper; the only module that may"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sends any signal, real-time ones included, to the process of a pidfd.
pub(crate) fn signal_process(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_information: *const libc::siginfo_t = ptr::null();
    // SAFETY: the descriptor is open, and without information the kernel fills in its own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            no_information,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Registers a descriptor with the event loop.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd holds it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
