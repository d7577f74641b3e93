//! Processes: clone, signals, limits, the seccomp filter, `execve`.
//!
//! One operation a block, each with the reason why it is sound; nothing here decides anything.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::process::Pid;

/// The child becomes a sibling: a child of our parent, the shim.
pub(crate) const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
/// Linux 5.7.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of `linux/sched.h`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Like fork: `None` in the child. With a cgroup v2 directory the child starts in it, which spares the grace period
/// that a move costs.
pub(crate) fn clone_process(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    let mut arguments = CloneArgs {
        flags,
        ..CloneArgs::default()
    };
    if flags & CLONE_PARENT == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(directory) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(directory.as_raw_fd()).unwrap_or_default();
    }
    // SAFETY: without CLONE_VM and without a stack this is fork; the process has one thread, so the child finds every
    // lock of the C library free.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) };
    match i32::try_from(result) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A child of our own, `None` in it: where the filter is loaded already, which lets no `clone3` through.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread, so the child finds every lock of the C library free.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends this process at once: nothing of what its parent had begun is written or run again.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: runs nothing, and does not return.
    unsafe { libc::_exit(code) }
}

/// Sends any signal, real-time ones included; a process that has ended is no error.
pub(crate) fn kill(process: Pid, signal: i32) {
    // SAFETY: the kernel checks both numbers.
    unsafe { libc::kill(process.as_raw_nonzero().get(), signal) };
}

/// Blocks every signal that may be waited for: all but those that the kernel raises for a fault of our own.
pub(crate) fn block_signals() {
    let set = awaited();
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) };
}

/// Waits for the next of the blocked signals; none if something else woke us.
pub(crate) fn next_signal() -> Option<i32> {
    let set = awaited();
    // SAFETY: the set is initialised; what else is known of the signal is not asked for.
    let number = unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) };
    (number > 0).then_some(number)
}

fn awaited() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is valid storage, and sigfillset fills it below.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigfillset(&raw mut set) };
    for fault in [
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGTRAP,
    ] {
        // SAFETY: the set is ours, the signal exists.
        unsafe { libc::sigdelset(&raw mut set, fault) };
    }
    set
}

/// What is seen of this process in a list of processes: its name, and in the place of what it was called with, this.
/// Without a readable `/proc` it stays as it was.
pub(crate) fn set_command_line(text: &str) {
    let name = CString::new(text).unwrap_or_default();
    let _only_a_name = rustix::thread::set_name(&name);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything; the fields after it start with the third.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name
        .split_ascii_whitespace()
        .map(|field| field.parse::<usize>().ok());
    let (Some(Some(start)), Some(Some(end))) = (fields.nth(48 - 3), fields.next()) else {
        return;
    };
    let room = end.saturating_sub(start);
    if start == 0 || room <= text.len() {
        return;
    }
    let place = ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel put our arguments there, on the stack, and nothing refers to them any more.
    unsafe { ptr::write_bytes(place, 0, room) };
    // SAFETY: as above, and the text is shorter than the room.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), place, text.len()) };
}

/// A mount namespace of our own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: unsharing mounts does not touch the descriptor table or memory.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Default dispositions and an empty mask: Rust ignores SIGPIPE, and the daemon may have blocked others.
pub(crate) fn reset_signals() {
    // By the kernel's own call: glibc refuses to touch 32 and 33, which its posix_spawn has left ignored in whatever
    // it started. `struct sigaction` of the kernel is four words at most, and all zeroes is SIG_DFL.
    let default = [0u64; 4];
    for number in 1..=64 {
        // SAFETY: the structure is ours and large enough; KILL and STOP are refused, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    // SAFETY: an all-zero sigset_t is valid storage, and sigemptyset fills it below.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: the set was filled above; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Sets a resource limit; without `CAP_SYS_RESOURCE` a hard limit above the inherited one is lowered to it.
pub(crate) fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let wanted = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the structure lives across the call; no old limit is asked for.
    if unsafe { libc::prlimit64(0, resource, &raw const wanted, ptr::null_mut()) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(error);
    }
    let mut inherited = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives across the call; no new limit is set.
    if unsafe { libc::prlimit64(0, resource, ptr::null(), &raw mut inherited) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let hard = hard.min(inherited.rlim_max);
    let lowered = libc::rlimit64 {
        rlim_cur: soft.min(hard),
        rlim_max: hard,
    };
    // SAFETY: as the first call.
    match unsafe { libc::prlimit64(0, resource, &raw const lowered, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes every descriptor from this one on but one, whoever takes it for open: for one that uses none of them any more.
pub(crate) fn close_from_but(first: u32, kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (from, to) in [(first, kept.saturating_sub(1)), (first.max(kept + 1), u32::MAX)] {
        if from > to {
            continue;
        }
        // SAFETY: its caller goes on with system calls only, and ends without giving up what it owned.
        if unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Marks every descriptor from this one on close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: sets a flag of descriptors, closes none.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Loads a compiled seccomp program: an array of `struct sock_filter`.
pub(crate) fn load_seccomp(program: &[u8], flags: u32) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<{ size_of::<libc::sock_filter>() }>();
    let length = u16::try_from(instructions.len());
    let (Ok(length), true, false) = (length, rest.is_empty(), instructions.is_empty()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut filter: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|bytes| libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let header = libc::sock_fprog {
        len: length,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the header points to `length` instructions that live across the call; the kernel copies them.
    match unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const header,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A program with its arguments and environment, ready for `execve`.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// `None` if a word holds a NUL byte.
    pub(crate) fn new(path: &str, arguments: &[String], environment: &[String]) -> Option<Self> {
        let words = |texts: &[String]| {
            texts
                .iter()
                .map(|t| CString::new(t.as_bytes()).ok())
                .collect::<Option<Vec<_>>>()
        };
        Some(Self {
            path: CString::new(path).ok()?,
            arguments: words(arguments)?,
            environment: words(environment)?,
        })
    }

    /// Becomes the program; returns only with an error.
    pub(crate) fn execute(&self) -> io::Error {
        let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
            words.iter().map(|w| w.as_ptr()).chain([ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: both arrays end in a null pointer and point to strings that live in `self`.
        unsafe { libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    }
}
