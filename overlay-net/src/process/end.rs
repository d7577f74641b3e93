//! The end of the process: asked for over its socket, and enforced.
//!
//! A process is held by a descriptor before it is judged, so that its number cannot come to mean another's.

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Place;
use crate::message::{Request, frame};

/// How long it may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// What it is called while it serves.
pub(crate) const NAME: &CStr = c"shoal-net";
/// What it is called when a successor has taken over and it still has connections to see to their end.
pub(crate) const NAME_OF_OLD: &CStr = c"shoal-net-old";

/// Ends the process that serves.
pub(super) fn serving(place: &Place) -> io::Result<()> {
    end(place, find(place, &[NAME])?)
}

/// Ends the process that serves, and hears nothing.
pub(super) fn hanging(place: &Place) -> io::Result<()> {
    for process in find(place, &[NAME])? {
        kill(&process)?;
    }
    Ok(())
}

/// Ends one, whatever it is at.
pub(super) fn one(place: &Place, pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match pid.and_then(|pid| held(place, pid, &[NAME])) {
        Some(process) => kill(&process),
        None => Ok(()),
    }
}

/// Ends it and all its predecessors.
pub(crate) fn all(place: &Place) -> io::Result<()> {
    end(place, find(place, &[NAME, NAME_OF_OLD])?)
}

/// The process that serves; more than one while another takes over.
pub(super) fn pids(place: &Place) -> Vec<u32> {
    let all = numbers().unwrap_or_default().into_iter();
    let serving = all.filter(|pid| held(place, *pid, &[NAME]).is_some());
    serving
        .filter_map(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
        .collect()
}

fn numbers() -> io::Result<Vec<Pid>> {
    let processes = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw);
    Ok(processes.collect())
}

fn find(place: &Place, names: &[&CStr]) -> io::Result<Vec<OwnedFd>> {
    let processes = numbers()?.into_iter();
    Ok(processes.filter_map(|pid| held(place, pid, names)).collect())
}

fn end(place: &Place, processes: Vec<OwnedFd>) -> io::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    if let Ok(mut stream) = UnixStream::connect(&place.socket) {
        stream.set_write_timeout(Some(PATIENCE))?;
        let said = stream.write_all(&frame(&Request::End)?);
        if let Err(error) = said {
            tracing::debug!(%error, "shoal-net cannot be asked to end");
        }
    }
    for process in processes {
        if !wait(&process)? {
            kill(&process)?;
        }
    }
    Ok(())
}

fn kill(process: &OwnedFd) -> io::Result<()> {
    let _may_have_ended = pidfd_send_signal(process, Signal::KILL);
    wait(process).map(|_ended| ())
}

/// A descriptor of a process that was started with this tag and has one of these names.
fn held(place: &Place, pid: Pid, names: &[&CStr]) -> Option<OwnedFd> {
    let fits = || {
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        // One that has ended has no command line.
        let command = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
        let tag = command.split(|byte| *byte == 0).nth(1);
        let name = fs::read(format!("{folder}/comm")).unwrap_or_default();
        let name = name.trim_ascii_end();
        tag == Some(place.tag.as_str().as_bytes()) && names.iter().any(|known| known.to_bytes() == name)
    };
    if !fits() {
        return None;
    }
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    fits().then_some(process)
}

/// Whether it ended in time.
fn wait(process: &OwnedFd) -> io::Result<bool> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    let mut descriptors = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    Ok(poll(&mut descriptors, Some(&patience))? > 0)
}
