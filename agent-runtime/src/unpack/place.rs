//! Where an entry goes, and what is there.
//!
//! Called for every entry; never resolves a name outside the root.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::entry::Meta;

/// Where an entry goes.
pub(super) struct Place<'a> {
    pub(super) parent: &'a OwnedFd,
    pub(super) name: &'a OsStr,
}

pub(super) fn stat(place: &Place<'_>) -> Result<Stat, Errno> {
    rustix::fs::statat(place.parent, place.name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn owners(meta: &Meta) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))
}

pub(super) fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: meta.mtime,
        last_modification: meta.mtime,
    }
}
