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

/// Linux 6.15's `struct pidfd_info`, its first 64 bytes.
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: libc::Ioctl = 0xC040_FF0B;

/// How the process of a pidfd ended, as wait(2) says it, after anybody has reaped it. `None` before that, and on
/// kernels older than 6.15, which forget it.
pub(crate) fn exit_status(process: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        cgroup: 0,
        ids: [0; 11],
        exit_code: 0,
    };
    // SAFETY: the descriptor is open, and the request's number carries the size of the structure, which the kernel
    // fills and never exceeds.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (result == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Registers a descriptor with the event loop.
pub(crate) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as the AsyncFd holds it.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}
