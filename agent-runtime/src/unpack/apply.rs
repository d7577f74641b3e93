//! Writes one entry after the other into the tree: what it replaces, its data, and then its owner, mode and times.
//!
//! An entry replaces what an earlier one made under the same name, whatever that was; only a directory over a
//! directory keeps its contents. Whiteouts become what overlayfs reads: a 0/0 character device, or the attribute
//! of an opaque directory.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::entry::{EntryProblem, Item, Kind};
use super::place::{Place, is_whiteout, owners, stat, times};
use super::space::Space;
use super::sparse::SparseMap;
use super::stream::TarStream;
use super::tree::{Tree, TreeError, open_in_root};
use super::{UnpackError, UnpackLimits};
use crate::content::disk::DiskError;
use crate::content::tree::{open_directory, remove_at};

/// The attribute by which overlayfs marks a directory that hides the ones below it.
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Bytes of directory names kept in memory until their times are set.
const MAX_DIRECTORY_NAME_BYTES: usize = 256 << 20;

const COPY_BYTES: usize = 128 << 10;

/// Fills a tree.
pub(super) struct Writer<'a> {
    tree: Tree,
    dest: &'a Path,
    limits: UnpackLimits,
    space: Space<'a>,
    /// Times of directories, set when nothing more is put into them.
    times: Vec<(PathBuf, Timestamps)>,
    listed: BTreeSet<PathBuf>,
    name_bytes: usize,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: OwnedFd, dest: &'a Path, limits: UnpackLimits) -> Self {
        Self {
            tree: Tree::new(root, limits.entries, MAX_DIRECTORY_NAME_BYTES),
            dest,
            limits,
            space: Space::new(dest, limits),
            times: Vec::new(),
            listed: BTreeSet::new(),
            name_bytes: 0,
            buffer: vec![0; COPY_BYTES],
        }
    }

    pub(super) fn write<R: Read>(&mut self, item: &Item, data: &mut TarStream<R>) -> Result<(), UnpackError> {
        match &item.kind {
            Kind::Nothing => Ok(()),
            Kind::Directory => self.directory(item),
            Kind::Opaque => self.opaque(&item.path),
            Kind::File(size) => {
                let whole = SparseMap {
                    segments: vec![(0, *size)],
                    real_size: *size,
                };
                self.file(item, &whole, data)
            }
            Kind::Sparse(map) => self.file(item, map, data),
            Kind::Whiteout => self.whiteout(item),
            Kind::Hardlink(target) => self.hardlink(item, target),
            Kind::Symlink(_) | Kind::Char(_) | Kind::Block(_) | Kind::Fifo => self.node(item),
        }
    }

    /// Sets the times of directories. Gives the bytes written and the directories that no entry listed.
    pub(super) fn finish(mut self) -> Result<(u64, Vec<PathBuf>), UnpackError> {
        let root = self
            .tree
            .directory(Path::new(""))
            .map_err(|error| self.failed("open", Path::new(""), error))?;
        for (path, times) in &self.times {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // A directory that a later entry replaced has no time to set.
            if let Ok(directory) = open_in_root(&root, path, flags) {
                rustix::fs::futimens(&directory, times)
                    .map_err(|errno| self.disk("set the time of", path, errno))?;
            }
        }
        let mut implied: Vec<PathBuf> = std::mem::take(&mut self.tree.implied);
        implied.retain(|path| !self.listed.contains(path));
        if !self.listed.contains(Path::new("")) {
            implied.push(PathBuf::new());
        }
        Ok((self.space.bytes(), implied))
    }

    fn directory(&mut self, item: &Item) -> Result<(), UnpackError> {
        let directory = if item.path.as_os_str().is_empty() {
            open_directory(rustix::fs::CWD, self.dest)
                .map_err(|errno| self.disk("open", &item.path, errno))?
        } else {
            let (parent, name) = self.parent(&item.path)?;
            self.make_directory(
                item,
                &Place {
                    parent: &parent,
                    name,
                },
            )?
        };
        self.name_bytes += item.path.as_os_str().len();
        if self.name_bytes > MAX_DIRECTORY_NAME_BYTES {
            return Err(UnpackError::TooManyEntries {
                limit: self.limits.entries,
            });
        }
        self.dress(&directory, item)?;
        self.listed.insert(item.path.clone());
        self.times.push((item.path.clone(), times(&item.meta)));
        Ok(())
    }

    fn make_directory(&mut self, item: &Item, place: &Place<'_>) -> Result<OwnedFd, UnpackError> {
        let fail = |errno| DiskError::new("create", &self.dest.join(&item.path), errno);
        let mut hides_below = false;
        match rustix::fs::mkdirat(place.parent, place.name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = stat(place).map_err(fail)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    // A directory that follows its own whiteout starts empty.
                    hides_below = is_whiteout(&stat);
                    rustix::fs::unlinkat(place.parent, place.name, AtFlags::empty()).map_err(fail)?;
                    self.tree.forget();
                    rustix::fs::mkdirat(place.parent, place.name, Mode::from_raw_mode(0o700))
                        .map_err(fail)?;
                }
            }
            Err(errno) => return Err(fail(errno).into()),
        }
        let directory = open_directory(place.parent, place.name).map_err(fail)?;
        if hides_below {
            rustix::fs::fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty()).map_err(fail)?;
        }
        Ok(directory)
    }

    fn opaque(&mut self, path: &Path) -> Result<(), UnpackError> {
        let made = self
            .tree
            .directory(path)
            .map_err(|error| self.failed("create", path, error))?;
        // Attributes need a descriptor that is open for reading; the tree's are paths only.
        let opened = open_directory(&*made, c".").map_err(|errno| self.disk("open", path, errno))?;
        rustix::fs::fsetxattr(&opened, OPAQUE, b"y", XattrFlags::empty())
            .map_err(|errno| self.disk("mark as opaque", path, errno))
    }

    fn whiteout(&mut self, item: &Item) -> Result<(), UnpackError> {
        let (parent, name) = self.parent(&item.path)?;
        let place = Place {
            parent: &parent,
            name,
        };
        let fail = |errno| DiskError::new("create the whiteout", &self.dest.join(&item.path), errno);
        match stat(&place) {
            Err(Errno::NOENT) => {
                let device = FileType::CharacterDevice;
                rustix::fs::mknodat(&parent, name, device, Mode::empty(), 0).map_err(fail)?;
                Ok(())
            }
            Err(errno) => Err(fail(errno).into()),
            // A whiteout is about the layers below: what this layer put there stays, and hides them by itself,
            // except that a directory would be merged with theirs.
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                self.opaque(&item.path)
            }
            Ok(_) => Ok(()),
        }
    }

    fn file<R: Read>(
        &mut self,
        item: &Item,
        map: &SparseMap,
        data: &mut TarStream<R>,
    ) -> Result<(), UnpackError> {
        let stored = map.segments.iter().map(|(_, length)| length).sum();
        self.space.charge(stored, map.real_size)?;
        let (parent, name) = self.parent(&item.path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = Place {
            parent: &parent,
            name,
        };
        let mode = Mode::from_raw_mode(0o600);
        let made = self.replace(item, &place, || {
            rustix::fs::openat(place.parent, place.name, flags, mode)
        })?;
        let file = File::from(made);
        self.copy(item, map, &file, data)?;
        self.dress(&file, item)?;
        rustix::fs::futimens(&file, &times(&item.meta))
            .map_err(|errno| self.disk("set the time of", &item.path, errno))
    }

    fn copy<R: Read>(
        &mut self,
        item: &Item,
        map: &SparseMap,
        file: &File,
        data: &mut TarStream<R>,
    ) -> Result<(), UnpackError> {
        let mut file_at_end = file;
        let whole = map.segments.len() == 1 && map.segments[0] == (0, map.real_size);
        for (offset, length) in &map.segments {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let want = usize::try_from(end - at)
                    .unwrap_or(usize::MAX)
                    .min(self.buffer.len());
                let read = data
                    .read(&mut self.buffer[..want])
                    .map_err(|source| data.failed(source))?;
                let written = if whole {
                    file_at_end.write_all(&self.buffer[..read])
                } else {
                    file.write_all_at(&self.buffer[..read], at)
                };
                written.map_err(|source| DiskError::new("write", &self.dest.join(&item.path), source))?;
                at += read as u64;
            }
        }
        if !whole {
            file.set_len(map.real_size)
                .map_err(|source| DiskError::new("write", &self.dest.join(&item.path), source))?;
        }
        Ok(())
    }

    fn hardlink(&mut self, item: &Item, target: &Path) -> Result<(), UnpackError> {
        let shown = || target.to_string_lossy().into_owned();
        let missing = || EntryProblem::LinkMissing { target: shown() };
        let (Some(target_parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(self.refuse(item, EntryProblem::LinkToDirectory { target: shown() }));
        };
        let from = match self.tree.open_or_root(target_parent) {
            Ok(fd) => fd,
            Err(TreeError::System(Errno::NOENT)) => return Err(self.refuse(item, missing())),
            Err(error) => return Err(self.failed("link", &item.path, error)),
        };
        let source = Place {
            parent: &from,
            name: target_name,
        };
        let found = match stat(&source) {
            Ok(found) if !is_whiteout(&found) => found,
            Ok(_) | Err(Errno::NOENT) => return Err(self.refuse(item, missing())),
            Err(errno) => return Err(self.disk("link", &item.path, errno)),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(self.refuse(item, EntryProblem::LinkToDirectory { target: shown() }));
        }
        let (parent, name) = self.parent(&item.path)?;
        let place = Place {
            parent: &parent,
            name,
        };
        if stat(&place).is_ok_and(|there| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(());
        }
        self.replace(item, &place, || {
            rustix::fs::linkat(
                source.parent,
                source.name,
                place.parent,
                place.name,
                AtFlags::empty(),
            )
        })
    }

    /// Symbolic links, devices and pipes.
    fn node(&mut self, item: &Item) -> Result<(), UnpackError> {
        let (parent, name) = self.parent(&item.path)?;
        let place = Place {
            parent: &parent,
            name,
        };
        let mode = Mode::from_raw_mode(item.meta.mode);
        let make = |kind, device| rustix::fs::mknodat(place.parent, place.name, kind, mode, device);
        self.replace(item, &place, || match &item.kind {
            Kind::Symlink(target) => rustix::fs::symlinkat(target, place.parent, place.name),
            Kind::Char(device) => make(FileType::CharacterDevice, *device),
            Kind::Block(device) => make(FileType::BlockDevice, *device),
            _ => make(FileType::Fifo, 0),
        })?;
        let fail = |errno| {
            DiskError::new(
                "set the owner, mode and time of",
                &self.dest.join(&item.path),
                errno,
            )
        };
        let (uid, gid) = owners(&item.meta);
        rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        if !matches!(item.kind, Kind::Symlink(_)) {
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).map_err(fail)?;
        }
        rustix::fs::utimensat(&parent, name, &times(&item.meta), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        Ok(())
    }

    /// Makes something new, after removing what is there.
    fn replace<T>(
        &mut self,
        item: &Item,
        place: &Place<'_>,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.tree.forget();
                remove_at(place.parent, place.name)
                    .map_err(|errno| self.disk("replace", &item.path, errno))?;
                make()
            }
            other => other,
        };
        made.map_err(|errno| self.disk("create", &item.path, errno))
    }

    /// Owner, mode and attributes of a file or directory. The owner first, for a change of owner drops the set-id
    /// bits and the capabilities; the mode before the attributes, for it changes an access list.
    fn dress(&self, fd: &impl AsFd, item: &Item) -> Result<(), UnpackError> {
        let (uid, gid) = owners(&item.meta);
        rustix::fs::fchown(fd, uid, gid).map_err(|errno| self.disk("set the owner of", &item.path, errno))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(item.meta.mode))
            .map_err(|errno| self.disk("set the mode of", &item.path, errno))?;
        for (name, value) in &item.meta.xattrs {
            let name_text = || name.to_string_lossy().into_owned();
            match rustix::fs::fsetxattr(fd, name.as_c_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::INVAL) => {
                    return Err(self.refuse(item, EntryProblem::BadXattr { name: name_text() }));
                }
                Err(Errno::OPNOTSUPP | Errno::PERM) => {
                    return Err(self.refuse(item, EntryProblem::XattrRefused { name: name_text() }));
                }
                Err(errno) => return Err(self.disk("set an attribute of", &item.path, errno)),
            }
        }
        Ok(())
    }

    fn parent<'p>(&mut self, path: &'p Path) -> Result<(std::rc::Rc<OwnedFd>, &'p OsStr), UnpackError> {
        self.tree
            .parent_of(path)
            .map_err(|error| self.failed("create", path, error))
    }

    fn failed(&self, action: &'static str, path: &Path, error: TreeError) -> UnpackError {
        match error {
            TreeError::Entry(problem) => UnpackError::Entry {
                entry: path.to_string_lossy().into_owned(),
                problem,
            },
            TreeError::TooMany => UnpackError::TooManyEntries {
                limit: self.limits.entries,
            },
            TreeError::System(errno) => self.disk(action, path, errno),
        }
    }

    fn disk(&self, action: &'static str, path: &Path, errno: Errno) -> UnpackError {
        DiskError::new(action, &self.dest.join(path), errno).into()
    }

    #[expect(clippy::unused_self, reason = "reads like the other ways to fail")]
    fn refuse(&self, item: &Item, problem: EntryProblem) -> UnpackError {
        UnpackError::Entry {
            entry: item.path.to_string_lossy().into_owned(),
            problem,
        }
    }
}
