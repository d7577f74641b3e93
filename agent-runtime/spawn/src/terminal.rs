//! Standard streams of an exec: its terminal, opened inside the container, or `/dev/null` for an unused stdin.
//!
//! Called by exec after the namespaces are joined; a first process gets its terminal from `libcontainer`.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use shoal_run_dir::request::ExecRequest;

use crate::failure::{Doing, Failure};

/// `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS: u64 = 0x1cd1;

/// Gives the process its standard streams.
pub(crate) fn connect(request: &ExecRequest, console: Option<OwnedFd>) -> Result<(), Failure> {
    if let Some(console) = console {
        return open_terminal(request, &console);
    }
    if !request.stdin {
        let null = openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .doing("opening /dev/null")?;
        rustix::stdio::dup2_stdin(&null).doing("setting standard input")?;
    }
    Ok(())
}

fn open_terminal(request: &ExecRequest, console: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master =
        openat(CWD, "/dev/pts/ptmx", flags, Mode::empty()).doing("opening a terminal in the container")?;
    // What a container has mounted over its /dev/pts is not a terminal.
    let file_system = fstatfs(&master).doing("checking the terminal")?;
    if u64::try_from(file_system.f_type).ok() != Some(DEVPTS) {
        return Err(Failure::runtime(
            "/dev/pts/ptmx of the container is not a terminal of the kernel",
        ));
    }
    unlockpt(&master).doing("unlocking the terminal")?;
    if let Some((columns, rows)) = request.terminal_size {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).doing("setting the size of the terminal")?;
    }
    let peer = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .doing("opening the terminal")?;
    rustix::stdio::dup2_stdin(&peer).doing("setting standard input")?;
    rustix::stdio::dup2_stdout(&peer).doing("setting standard output")?;
    rustix::stdio::dup2_stderr(&peer).doing("setting standard error")?;
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).doing("taking the terminal")?;
    hand_over(&master, console)
}

fn hand_over(master: &OwnedFd, console: &OwnedFd) -> Result<(), Failure> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Failure::runtime("no room for a descriptor"));
    }
    sendmsg(console, &[IoSlice::new(b"t")], &mut control, SendFlags::NOSIGNAL)
        .map(|_one_byte| ())
        .doing("handing the terminal over")
}
