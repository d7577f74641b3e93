//! Process 1 of a container that wants an init: it passes signals on to the program, and reaps what others leave.
//!
//! Called at the last moment before the program would run: the process splits, its child goes on to become the program,
//! and what stays here is confined as the program is, with no descriptor of the host's left. Nothing is mounted into the
//! container for it: it goes on from memory.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior};

use crate::failure::{Doing, Failure};
use crate::sys;

/// What is seen of it in a list of processes.
const NAME: &str = "shoal-init";

/// Splits: returns in the program's process only, or with a failure.
pub(crate) fn split() -> Result<(), Failure> {
    // From here on no signal is lost: what comes before the program is there waits for it.
    sys::block_signals();
    let (ready, not_yet) = pipe_with(PipeFlags::CLOEXEC).doing("opening a pipe to the init")?;
    let Some(program) = sys::fork().doing("starting the program beside its init")? else {
        drop(not_yet);
        // Until then process 1 is still seen as what started the container. If it ends instead, so do we.
        let _end = rustix::io::read(&ready, &mut [0; 1]);
        drop(ready);
        lead_group();
        sys::reset_signals();
        return Ok(());
    };
    drop(ready);
    match attend(program, not_yet) {
        Ok(never) => match never {},
        Err(failure) => {
            // Without its init there is no container: the kernel ends the program with us.
            let _with_us = rustix::process::kill_process(program, Signal::KILL);
            Err(failure)
        }
    }
}

/// The signals of a terminal are the program's, not ours. Without one there is nothing to take.
fn lead_group() {
    let _leader_already = rustix::process::setpgid(None, None);
    let _no_terminal = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
}

/// The program goes on when the pipe's end is closed.
fn attend(program: Pid, not_yet: OwnedFd) -> Result<Infallible, Failure> {
    // The report pipe among them: the shim hears from the program alone.
    sys::close_from_but(3, not_yet.as_fd()).doing("closing what only the program's start needs")?;
    sys::set_command_line(NAME);
    // As if it had been executed: programs write to the streams of process 1 to be heard in the log.
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing("opening up to the program")?;
    drop(not_yet);
    loop {
        match sys::next_signal() {
            Some(libc::SIGCHLD) => {
                if let Some(code) = reap(program) {
                    sys::exit(code);
                }
            }
            // For whoever has the terminal, which we have not.
            Some(libc::SIGTTIN | libc::SIGTTOU) | None => {}
            Some(signal) => sys::kill(program, signal),
        }
    }
}

/// Everything that has ended; the program's code once it has.
fn reap(program: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            return Some(code(status));
        }
    }
    None
}

/// As a shell says it.
fn code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    signal.or(status.exit_status()).unwrap_or(255)
}
