//! What one archive entry asks for, decided and checked before anything is written.
//!
//! Pure: names are cleaned, owners, times and attributes decoded, whiteouts recognised, and everything that no
//! honest archive holds is refused with the entry's name.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Timespec;
use tar::EntryType;

use super::pax::PaxRecords;
use super::sparse::{SparseMap, parse_number};
use super::stream::TarEntry;

/// The longest name of one path component on every file system that can carry an overlay.
const MAX_NAME_BYTES: usize = 255;
/// PATH_MAX, the longest path or link target that the kernel takes.
const MAX_PATH_BYTES: usize = 4095;
/// XATTR_SIZE_MAX of the kernel.
const MAX_XATTR_BYTES: usize = 65536;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    #[error("its name leaves the archive's root (\"..\")")]
    NameEscapes,
    #[error("its name has a component of more than 255 bytes or more than 4095 bytes in all")]
    NameTooLong,
    #[error("its name is empty or holds a NUL byte")]
    NameEmpty,
    #[error("it is a hard link to {target:?}, which leaves the archive's root")]
    LinkEscapes { target: String },
    #[error("it is a hard link to {target:?}, which is not in this archive before it")]
    LinkMissing { target: String },
    #[error("it is a hard link to {target:?}, which is a directory")]
    LinkToDirectory { target: String },
    #[error("its link target is empty, too long, or holds a NUL byte")]
    BadLinkTarget,
    #[error("{parent:?}, in which it lies, is not a directory")]
    ParentNotDirectory { parent: String },
    #[error("its links lead round in a circle")]
    LinkLoop,
    #[error("its type {0:?} is unknown")]
    UnknownType(char),
    #[error("its owner {0} is not a valid user or group number")]
    BadOwner(u64),
    #[error("its {0} cannot be read")]
    BadField(&'static str),
    #[error("its extended attribute {name:?} is not valid")]
    BadXattr { name: String },
    #[error("its extended attribute {name:?} cannot be set on this file system")]
    XattrRefused { name: String },
    #[error("it is a whiteout of nothing")]
    BadWhiteout,
    #[error("it is a sparse file with a broken map: {0}")]
    BadSparse(&'static str),
    #[error("it would replace the root directory")]
    ReplacesRoot,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A file of this many bytes, or a sparse one.
    File(u64),
    Sparse(SparseMap),
    Symlink(CString),
    Hardlink(PathBuf),
    Char(u64),
    Block(u64),
    Fifo,
    /// Hides the name in the layers below.
    Whiteout,
    /// Hides everything that the layers below have in this directory.
    Opaque,
    /// Carries nothing for the tree (volume labels, aufs' own files).
    Nothing,
}

/// Owner, mode, time and attributes.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Timespec,
    pub(crate) xattrs: Vec<(CString, Vec<u8>)>,
}

/// One entry, ready to be written. An empty path is the root itself.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
}

impl Item {
    /// Decides what `entry` asks for. Sparse files of the PAX forms are left as `File`: their map may lie in the data.
    pub(crate) fn plan(entry: &TarEntry) -> Result<Self, EntryProblem> {
        let raw = entry.pax.get(b"GNU.sparse.name").unwrap_or(&entry.path);
        let path = clean(raw)?;
        let kind = kind(entry, raw)?;
        let meta = meta(entry)?;
        let (path, kind) = whiteout(path, kind)?;
        if path.as_os_str().is_empty() && !matches!(kind, Kind::Directory | Kind::Opaque | Kind::Nothing) {
            return Err(EntryProblem::ReplacesRoot);
        }
        Ok(Self { path, kind, meta })
    }
}

/// A path without leading slashes, `.` and doubled slashes; `..` is refused wherever it stands.
pub(crate) fn clean(raw: &[u8]) -> Result<PathBuf, EntryProblem> {
    if raw.is_empty() || raw.contains(&0) {
        return Err(EntryProblem::NameEmpty);
    }
    if raw.len() > MAX_PATH_BYTES {
        return Err(EntryProblem::NameTooLong);
    }
    let mut path = PathBuf::new();
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(EntryProblem::NameEscapes),
            name if name.len() > MAX_NAME_BYTES => return Err(EntryProblem::NameTooLong),
            name => path.push(OsStr::from_bytes(name)),
        }
    }
    Ok(path)
}

fn kind(entry: &TarEntry, raw: &[u8]) -> Result<Kind, EntryProblem> {
    let header = &entry.header;
    Ok(match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        // Archives older than POSIX mark directories by a slash at the end of the name.
        EntryType::Regular if raw.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File(entry.size),
        EntryType::GNUSparse => {
            let (segments, real_size) = entry.gnu_sparse.clone().unwrap_or_default();
            let map = SparseMap::checked(segments, real_size, entry.size);
            Kind::Sparse(map.map_err(EntryProblem::BadSparse)?)
        }
        EntryType::Symlink => Kind::Symlink(link_target(&entry.link)?),
        EntryType::Link => {
            Kind::Hardlink(clean(&entry.link).map_err(|_refused| EntryProblem::LinkEscapes {
                target: String::from_utf8_lossy(&entry.link).into_owned(),
            })?)
        }
        EntryType::Char => Kind::Char(device(entry)?),
        EntryType::Block => Kind::Block(device(entry)?),
        EntryType::Fifo => Kind::Fifo,
        other => match other.as_byte() {
            // GNU: volume label; directory listing of an incremental backup.
            b'V' => Kind::Nothing,
            b'D' => Kind::Directory,
            byte => return Err(EntryProblem::UnknownType(char::from(byte))),
        },
    })
}

fn link_target(link: &[u8]) -> Result<CString, EntryProblem> {
    if link.is_empty() || link.len() > MAX_PATH_BYTES {
        return Err(EntryProblem::BadLinkTarget);
    }
    CString::new(link).map_err(|_nul| EntryProblem::BadLinkTarget)
}

fn device(entry: &TarEntry) -> Result<u64, EntryProblem> {
    let bad = EntryProblem::BadField("device number");
    match (entry.header.device_major(), entry.header.device_minor()) {
        // Linux has 12 bits of major and 20 bits of minor numbers.
        (Ok(Some(major)), Ok(Some(minor))) if major < 1 << 12 && minor < 1 << 20 => {
            Ok(rustix::fs::makedev(major, minor))
        }
        _ => Err(bad),
    }
}

fn meta(entry: &TarEntry) -> Result<Meta, EntryProblem> {
    let mode = entry
        .header
        .mode()
        .map_err(|_bad| EntryProblem::BadField("mode"))?;
    let old = entry.header.as_old();
    let uid = owner(&entry.pax, b"uid", blank_is_zero(&old.uid, entry.header.uid()))?;
    let gid = owner(&entry.pax, b"gid", blank_is_zero(&old.gid, entry.header.gid()))?;
    let mtime = match entry.pax.get(b"mtime") {
        Some(text) => pax_time(text).ok_or(EntryProblem::BadField("modification time"))?,
        None => {
            let seconds = blank_is_zero(&old.mtime, entry.header.mtime())
                .map_err(|_bad| EntryProblem::BadField("modification time"))?;
            Timespec {
                tv_sec: i64::try_from(seconds).unwrap_or(0),
                tv_nsec: 0,
            }
        }
    };
    Ok(Meta {
        mode: mode & 0o7777,
        uid,
        gid,
        mtime,
        xattrs: xattrs(&entry.pax)?,
    })
}

/// Archivers that have nothing to say leave a number blank; Docker reads that as zero.
fn blank_is_zero(field: &[u8], parsed: std::io::Result<u64>) -> std::io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    parsed
}

fn owner(pax: &PaxRecords, key: &[u8], header: std::io::Result<u64>) -> Result<u32, EntryProblem> {
    let number = match pax.number(key) {
        Ok(Some(number)) => number,
        Ok(None) => header.map_err(|_bad| EntryProblem::BadField("owner"))?,
        Err(_) => return Err(EntryProblem::BadField("owner")),
    };
    match u32::try_from(number) {
        // The highest number means "leave it as it is" to the kernel.
        Ok(number) if number != u32::MAX => Ok(number),
        _ => Err(EntryProblem::BadOwner(number)),
    }
}

/// Seconds with an optional fraction, perhaps negative.
fn pax_time(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(parse_number(whole).ok()?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits: Vec<u8> = fraction
        .iter()
        .copied()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .collect();
    let nanos = i64::try_from(parse_number(&digits).ok()?).ok()?;
    Some(match (negative, nanos) {
        (false, _) => Timespec {
            tv_sec: seconds,
            tv_nsec: nanos,
        },
        (true, 0) => Timespec {
            tv_sec: -seconds,
            tv_nsec: 0,
        },
        (true, _) => Timespec {
            tv_sec: -seconds - 1,
            tv_nsec: 1_000_000_000 - nanos,
        },
    })
}

/// The attributes that belong to a file's content. Those by which kernels and overlay mounts keep their own books
/// (`trusted.*`, labels of the host's security modules) would be a way into them, and are left out.
fn xattrs(pax: &PaxRecords) -> Result<Vec<(CString, Vec<u8>)>, EntryProblem> {
    let mut kept = Vec::new();
    for (name, value) in pax.with_prefix(b"SCHILY.xattr.") {
        let wanted = name.starts_with(b"user.")
            || matches!(
                name,
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            );
        if !wanted || name.starts_with(b"user.overlay.") {
            continue;
        }
        let bad = || EntryProblem::BadXattr {
            name: String::from_utf8_lossy(name).into_owned(),
        };
        if name.len() > MAX_NAME_BYTES || value.len() > MAX_XATTR_BYTES {
            return Err(bad());
        }
        kept.push((CString::new(name).map_err(|_nul| bad())?, value.to_vec()));
    }
    Ok(kept)
}

/// Recognises whiteouts (OCI image specification, "Whiteouts").
fn whiteout(path: PathBuf, kind: Kind) -> Result<(PathBuf, Kind), EntryProblem> {
    let Some(hidden) = path
        .file_name()
        .and_then(|name| name.as_bytes().strip_prefix(b".wh."))
    else {
        return Ok((path, kind));
    };
    let parent = path.parent().unwrap_or(Path::new("")).to_owned();
    match hidden {
        b".wh..opq" => Ok((parent, Kind::Opaque)),
        // What aufs keeps for itself, directories included.
        _ if hidden.starts_with(b".wh.") => Ok((path, Kind::Nothing)),
        b"" | b"." | b".." => Err(EntryProblem::BadWhiteout),
        _ => Ok((parent.join(OsStr::from_bytes(hidden)), Kind::Whiteout)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_escapes_refused() {
        for (raw, expect) in [
            ("./a/b", Ok("a/b")),
            ("/a//b/", Ok("a/b")),
            (".", Ok("")),
            ("a/../b", Err(EntryProblem::NameEscapes)),
            ("../x", Err(EntryProblem::NameEscapes)),
            ("a/..", Err(EntryProblem::NameEscapes)),
            ("", Err(EntryProblem::NameEmpty)),
            ("a\0b", Err(EntryProblem::NameEmpty)),
        ] {
            assert_eq!(clean(raw.as_bytes()), expect.map(PathBuf::from), "{raw:?}");
        }
        assert_eq!(clean("n".repeat(256).as_bytes()), Err(EntryProblem::NameTooLong));
        assert_eq!(
            clean("n/".repeat(2100).as_bytes()),
            Err(EntryProblem::NameTooLong)
        );
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, expect) in [
            ("0", Some((0, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("12.1234567891", Some((12, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.x", None),
            ("", None),
        ] {
            let found = pax_time(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec));
            assert_eq!(found, expect, "{text}");
        }
    }
}
