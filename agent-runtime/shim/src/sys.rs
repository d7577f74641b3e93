//! The only unsafe code of the shim: signals, and starting `shoal-spawn`.
//!
//! One operation a block, each with the reason why it is sound; nothing here decides anything.
#![expect(
    unsafe_code,
    reason = "system calls without a safe wrapper; the only module that may"
)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// Signals that must not end the shim: only its container's end and SIGKILL do.
const IGNORED: [libc::c_int; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGUSR1,
];

/// Descriptors below this number are handed to `shoal-spawn` by number.
const FIRST_FREE: libc::c_int = 16;

/// Takes the socket from standard input and the lock from standard output, and leaves `/dev/null` in their place.
pub(crate) fn take_standard_streams() -> io::Result<(OwnedFd, OwnedFd)> {
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE)?;
    let lock = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), FIRST_FREE)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok((listener, lock))
}

/// Ignores what must not end us, and turns SIGCHLD into a descriptor to poll.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    for signal in IGNORED {
        // SAFETY: SIG_IGN is a valid disposition.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let children = child_set();
    // SAFETY: the set is initialised; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const children, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set is initialised.
    let number = unsafe { libc::signalfd(-1, &raw const children, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn child_set() -> libc::sigset_t {
    // SAFETY: an all-zero sigset_t is valid storage; sigemptyset fills it below.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: the set is ours, the signal exists.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    set
}

/// Unmaps our own code until it runs again: what started the container is most of it, and is not needed while one
/// waits for the container's end. Only what is executable: other segments hold relocated data.
pub(crate) fn let_go_of_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps
        .lines()
        .filter(|line| line.contains(" r-xp ") && line.contains('/'))
    {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(start, end)| (number(start), number(end))) {
            let address = ptr::without_provenance_mut::<libc::c_void>(start);
            // SAFETY: the mapping is private, of a file, and never written: its pages come back from the file.
            unsafe { libc::madvise(address, end - start, libc::MADV_DONTNEED) };
        }
    }
}

/// Sends any signal, real-time ones included.
pub(crate) fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: the kernel checks both numbers.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts a program from its descriptor, its standard streams and further descriptors by number, with an empty
/// environment.
pub(crate) fn start(
    program: BorrowedFd<'_>,
    words: &[&str],
    descriptors: &[(RawFd, BorrowedFd<'_>)],
) -> io::Result<Pid> {
    let words: Vec<CString> = words.iter().map(|w| CString::new(*w)).collect::<Result<_, _>>()?;
    let mut arguments: Vec<*const libc::c_char> = words.iter().map(|w| w.as_ptr()).collect();
    arguments.push(ptr::null());
    // Out of the way first, so that no target number is a source, or the program, that is still needed.
    let program = rustix::io::fcntl_dupfd_cloexec(program, FIRST_FREE)?;
    let mut moved = Vec::with_capacity(descriptors.len());
    for (target, source) in descriptors {
        moved.push((*target, rustix::io::fcntl_dupfd_cloexec(source, FIRST_FREE)?));
    }
    // SAFETY: the process has one thread; the child calls only what is async-signal-safe.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            become_program(program.as_fd(), &arguments, &moved);
            // SAFETY: ends the child at once, without running anything of the parent's.
            unsafe { libc::_exit(127) }
        }
        pid => Pid::from_raw(pid).ok_or_else(io::Error::last_os_error),
    }
}

/// In the forked child; returns only if it failed.
fn become_program(
    program: BorrowedFd<'_>,
    arguments: &[*const libc::c_char],
    descriptors: &[(RawFd, OwnedFd)],
) {
    for (target, source) in descriptors {
        // SAFETY: both numbers are valid, and dup2 leaves the new one open on exec.
        if unsafe { libc::dup2(source.as_fd().as_raw_fd(), *target) } < 0 {
            return;
        }
    }
    let children = child_set();
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const children, ptr::null_mut()) };
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: the arguments and the environment end in null pointers and point to strings that live in the caller.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
}
