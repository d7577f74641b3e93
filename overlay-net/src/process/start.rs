//! Starts the process: with the socket that it is told by, or with the connection by which its predecessor hands
//! everything over. A connection to that socket waits until it is accepted, so nobody waits for a start.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use super::link::Link;
use super::{Place, end};
use crate::message::Request;

/// What is older than that much text is not kept.
const LOG_MOST: u64 = 1 << 20;

/// A new one.
pub(super) async fn fresh(place: &Place) -> io::Result<Link> {
    match fs::remove_file(&place.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&place.socket)?;
    fs::set_permissions(&place.socket, Permissions::from_mode(0o600))?;
    let pid = spawn(place, listener.into(), &[])?;
    greet(place, &[pid]).await
}

/// One that waits for what another hands over by this connection; says its number.
pub(super) fn beside(place: &Place, predecessor: &Link) -> io::Result<u32> {
    spawn(place, predecessor.descriptor()?, &["take-over"])
}

/// Has the other one hand everything over; says who serves then. That is the predecessor still when the successor ended
/// before it could be given anything.
pub(super) async fn hand_over(place: &Place, predecessor: Link, successor: u32) -> io::Result<Link> {
    let old = predecessor.pid();
    let error = match ask_for_it(place, predecessor, successor).await {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    // One that hangs with half of it is in the way. Whoever gave to it then knows that it is gone, and goes on.
    end::one(place, successor)?;
    greet(place, &[old]).await.map_err(|_gone| error)
}

async fn ask_for_it(place: &Place, mut predecessor: Link, successor: u32) -> io::Result<Link> {
    predecessor.send(&Request::HandOver).await?;
    let both = [predecessor.pid(), successor];
    drop(predecessor);
    greet(place, &both).await
}

async fn greet(place: &Place, pids: &[u32]) -> io::Result<Link> {
    Link::open(&place.socket, pids).await.map_err(|error| {
        let log = place.log.display();
        io::Error::new(
            error.kind(),
            format!("{} does not serve: {error}; see {log}", place.program.display()),
        )
    })
}

fn spawn(place: &Place, input: OwnedFd, arguments: &[&str]) -> io::Result<u32> {
    let log = log(&place.log)?;
    let named = |error: io::Error| {
        let kind = error.kind();
        io::Error::new(kind, format!("start {}: {error}", place.program.display()))
    };
    let mut command = tokio::process::Command::new(&place.program);
    command.arg(place.tag.as_str()).arg(&place.router).args(arguments);
    command.env_clear().current_dir("/");
    command
        .stdin(Stdio::from(input))
        .stdout(log.try_clone()?)
        .stderr(log);
    // Whoever it is a child of by then takes note of its end.
    let child = command.spawn().map_err(named)?;
    child.id().ok_or_else(|| io::Error::other("it ended at once"))
}

fn log(path: &Path) -> io::Result<fs::File> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    if log.metadata()?.len() > LOG_MOST {
        log.set_len(0)?;
    }
    Ok(log)
}

/// Whether a process runs this very file: one that was replaced by another build since is not the same.
pub(super) fn is_program(pid: u32, program: &Path) -> bool {
    let of = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let running = of(Path::new(&format!("/proc/{pid}/exe")));
    // If the file is not there, what runs is all there is.
    running.is_some() && of(program).is_none_or(|file| running == Some(file))
}
