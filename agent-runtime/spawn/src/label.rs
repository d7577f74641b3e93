//! What the security modules are to change to on `execve`: an AppArmor profile, an SELinux context.
//!
//! Called while a process is being confined. What cannot be set is a failure: nothing runs without what was to hold it.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat, openat2};
use rustix::io::Errno;
use shoal_run_dir::process::FinalProcess;

use crate::failure::{Doing, Failure};

/// Sets them for the next `execve` of this thread; AppArmor's at once where there is an init, which executes nothing.
pub(crate) fn set(process: &FinalProcess) -> Result<(), Failure> {
    if let Some(profile) = &process.apparmor {
        let (name, verb) = match process.init {
            true => ("current", "changeprofile"),
            false => ("exec", "exec"),
        };
        let file = match attribute(&format!("self/attr/apparmor/{name}")) {
            // Linux 5.1 gave each module a directory of its own.
            Err(Errno::NOENT) => attribute(&format!("self/attr/{name}")),
            other => other,
        };
        write(file, &format!("{verb} {profile}"))
            .doing(format_args!("changing to AppArmor profile {profile}"))?;
    }
    if let Some(context) = &process.selinux {
        write(attribute("self/attr/exec"), context)
            .doing(format_args!("changing to SELinux context {context}"))?;
    }
    Ok(())
}

/// One of the kernel's own files: what a container has mounted over `/proc`, or over a part of it, would swallow what is
/// written and confine nothing (CVE-2019-16884).
fn attribute(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = openat(CWD, "/proc", flags, Mode::empty())?;
    if fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
        return Err(Errno::XDEV);
    }
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    openat2(
        &proc,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        inside,
    )
}

/// At once: the kernel takes a label whole or not at all.
fn write(file: Result<OwnedFd, Errno>, label: &str) -> Result<(), Errno> {
    rustix::io::write(file?, label.as_bytes()).map(|_whole| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_files_are_written_to() {
        assert!(attribute("self/attr/exec").is_ok());
        assert_eq!(attribute("self/attr/none").unwrap_err(), Errno::NOENT);
        assert_eq!(attribute("../etc/hostname").unwrap_err(), Errno::XDEV);
        // A magic link leads out of /proc.
        assert_eq!(attribute("self/root/etc/hostname").unwrap_err(), Errno::LOOP);
    }
}
