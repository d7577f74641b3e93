//! The container's root file system, mounted in a mount namespace of our own, of which `libcontainer` makes the
//! container's. Nothing is ever mounted in the host's.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, mount, mount_bind, mount_change, mount_remount, move_mount, open_tree, unmount,
};
use shoal_run_dir::layout;
use shoal_run_dir::request::{Cgroup, CreateRequest};

use crate::failure::{Doing, Failure};
use crate::sys;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The kernel takes 500 layers at most, with the old interface as many as fit on a page.
const MAX_LOWERS: usize = 500;

/// Leaves the host's mounts, and mounts the root file system at `rootfs` in the run directory.
pub(crate) fn mount_root(request: &CreateRequest, cwd: &str) -> Result<(), Failure> {
    sys::unshare_mounts().doing("making a mount namespace")?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .doing("detaching from host mounts")?;
    if request.lowers.is_empty() || request.lowers.len() > MAX_LOWERS {
        return Err(Failure::runtime(format_args!(
            "the image has {} layers: overlayfs takes 1 to {MAX_LOWERS}",
            request.lowers.len()
        )));
    }
    let mounted = mount_by_descriptor(request).or_else(|_older| mount_by_path(request));
    match mounted {
        Ok(tree) => move_mount(
            &tree,
            "",
            CWD,
            layout::ROOTFS,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .doing("attaching the root file system")?,
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOPKG | Errno::OPNOTSUPP) => mount_by_page(request)?,
        Err(errno) => {
            return Err(Failure::runtime(format_args!(
                "mounting the root file system: {errno}"
            )));
        }
    }
    refuse_links()?;
    make_directory_in_root(cwd)
}

/// What is mounted there confines the container: `libcontainer` gives up on a link without saying why, and a link
/// that it followed would leave the masked paths behind.
fn refuse_links() -> Result<(), Failure> {
    let root = open_path(Path::new(layout::ROOTFS)).doing("opening the root file system")?;
    for name in ["proc", "sys", "dev"] {
        let found = statat(&root, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
            return Err(Failure::runtime(format_args!(
                "/{name} of the image is a symbolic link: a container needs a directory there"
            )));
        }
    }
    Ok(())
}

/// Linux 6.13: layers by descriptor, without a limit on the length of their paths.
fn mount_by_descriptor(request: &CreateRequest) -> Result<OwnedFd, Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &request.lowers {
        fsconfig_set_fd(&overlay, "lowerdir+", open_path(lower)?)?;
    }
    fsconfig_set_fd(&overlay, "upperdir", open_path(&request.upper)?)?;
    fsconfig_set_fd(&overlay, "workdir", open_path(&request.work)?)?;
    finish(&overlay)
}

/// Linux 6.7: a string a layer.
fn mount_by_path(request: &CreateRequest) -> Result<OwnedFd, Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for lower in &request.lowers {
        fsconfig_set_string(&overlay, "lowerdir+", lower.as_path())?;
    }
    fsconfig_set_string(&overlay, "upperdir", request.upper.as_path())?;
    fsconfig_set_string(&overlay, "workdir", request.work.as_path())?;
    finish(&overlay)
}

fn finish(overlay: &OwnedFd) -> Result<OwnedFd, Errno> {
    // The upper directory dies with its container: no sync is worth its time.
    fsconfig_set_flag(overlay, "volatile")?;
    fsconfig_create(overlay)?;
    fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Older kernels: one string that has to fit on a page. Layers are named by descriptor, so that as many fit as an
/// image may have: their own paths would end it at about 30.
fn mount_by_page(request: &CreateRequest) -> Result<(), Failure> {
    let mut held = Vec::new();
    let mut name = |path: &Path| {
        let layer = open_path(path)?;
        let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
        held.push(layer);
        Ok::<_, Errno>(name)
    };
    let lowers: Result<Vec<String>, Errno> = request.lowers.iter().map(|lower| name(lower)).collect();
    let lowers = lowers.doing("opening the layers")?;
    let (upper, work) = (name(&request.upper), name(&request.work));
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lowers.join(":"),
        upper.doing("opening the upper layer")?,
        work.doing("opening the upper layer")?
    );
    let options = std::ffi::CString::new(options).doing("naming the layers")?;
    mount(
        "overlay",
        layout::ROOTFS,
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .doing(format_args!(
        "mounting the root file system of {} layers (a kernel before 6.7 takes what fits into 4096 bytes)",
        lowers.len()
    ))
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The working directory, as Docker makes it: before the root may become read-only, owned by root. What an image has
/// in its way shows when the directory is entered.
fn make_directory_in_root(path: &str) -> Result<(), Failure> {
    let root = open_path(Path::new(layout::ROOTFS)).doing("opening the root file system")?;
    let mut made = String::from(".");
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let parent = openat2(
            &root,
            made.as_str(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        );
        let Ok(parent) = parent else { return Ok(()) };
        if part != ".." {
            let _exists_or_shows_later = mkdirat(parent.as_fd(), part, Mode::from_raw_mode(0o755));
        }
        made.push('/');
        made.push_str(part);
    }
    Ok(())
}

/// Hides the host's hierarchies from `libcontainer`, which would join them in its slow way. Returns what a container
/// sees of cgroup v1: its own directories, read-only (`libcontainer` would mount them writable, and a container's root
/// could then raise its own limits), to be attached by [`attach_cgroups`].
pub(crate) fn stage_cgroups(cgroup: &Cgroup) -> Result<Option<OwnedFd>, Failure> {
    let tree = if cgroup.v2 { None } else { Some(stage_v1(cgroup)?) };
    unmount(CGROUP_ROOT, UnmountFlags::DETACH).doing("hiding the control groups")?;
    // The same hierarchies may be mounted in further places.
    let mounts = fs::read_to_string("/proc/self/mountinfo").doing("reading the mounts")?;
    for line in mounts.lines().filter(|line| line.contains(" - cgroup ")) {
        let place = line.split(' ').nth(4).unwrap_or_default();
        unmount(place, UnmountFlags::DETACH).doing(format_args!("hiding the control groups at {place}"))?;
    }
    let options = c"size=0,mode=755";
    mount("tmpfs", CGROUP_ROOT, "tmpfs", MountFlags::empty(), options).doing("hiding the control groups")?;
    Ok(tree)
}

/// In the container, after its root has changed.
pub(crate) fn attach_cgroups(tree: &OwnedFd) -> Result<(), Failure> {
    move_mount(
        tree,
        "",
        CWD,
        CGROUP_ROOT,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .doing("mounting the container's control groups")
}

fn stage_v1(cgroup: &Cgroup) -> Result<OwnedFd, Failure> {
    let stage = Path::new(layout::CGROUP_STAGE);
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", stage, "tmpfs", safe, c"size=64k,mode=755").doing("staging the control groups")?;
    for (hierarchy, place) in cgroup.hierarchies.iter().zip(cgroup.directories()) {
        let Some(name) = hierarchy.mount_point.file_name() else {
            continue;
        };
        let target = stage.join(name);
        fs::create_dir(&target).doing("staging the control groups")?;
        mount_bind(&place, &target).doing(format_args!("staging cgroup {}", place.display()))?;
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY | safe, c"")
            .doing(format_args!("making cgroup {} read-only", place.display()))?;
        // `cpu,cpuacct` is also called by each of its names.
        let aliases = hierarchy
            .controllers
            .iter()
            .filter(|c| !c.contains('=') && name != c.as_str());
        for alias in aliases {
            let _there_already = std::os::unix::fs::symlink(name, stage.join(alias));
        }
    }
    mount_remount(stage, MountFlags::BIND | MountFlags::RDONLY | safe, c"")
        .doing("staging the control groups")?;
    // Taken out of the namespace, where `libcontainer` would find it.
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, stage, flags).doing("staging the control groups")?;
    unmount(stage, UnmountFlags::DETACH).doing("staging the control groups")?;
    Ok(tree)
}
