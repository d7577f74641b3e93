//! Resolving names inside the tree that is being unpacked, so that nothing leaves its root.
//!
//! Every directory is opened by the kernel with the tree as its root (`openat2`, `RESOLVE_IN_ROOT`), and what is
//! made in it is named by one component without following it. So links that the archive itself made, absolute ones
//! too, lead to where they would lead inside a container.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::entry::EntryProblem;

/// Links that are followed to a directory that does not exist yet; the kernel's own limit for one path.
const MAX_LINKS: usize = 40;

/// Times that `openat2` is asked again when it saw a rename going on beside it.
const MAX_RETRIES: usize = 100;

/// Why a directory of the tree could not be had.
#[derive(Debug)]
pub(super) enum TreeError {
    Entry(EntryProblem),
    TooMany,
    System(Errno),
}

impl From<Errno> for TreeError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// A tree under construction.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// The parent of the last entry: archives list a directory's entries one after the other.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Directories that were made because an entry lies in them, not because the archive lists them.
    pub(super) implied: Vec<PathBuf>,
    /// How many more of them may be made, and the bytes of their names.
    left: (u64, usize),
}

impl Tree {
    pub(super) fn new(root: OwnedFd, directories: u64, name_bytes: usize) -> Self {
        Self {
            root: Rc::new(root),
            last: None,
            implied: Vec::new(),
            left: (directories, name_bytes),
        }
    }

    /// Forgets the cached directory: something that may be part of its path was replaced.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The directory of `path`, made if it is not there, and the last component of `path`.
    pub(super) fn parent_of<'a>(&mut self, path: &'a Path) -> Result<(Rc<OwnedFd>, &'a OsStr), TreeError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(TreeError::Entry(EntryProblem::ReplacesRoot));
        };
        Ok((self.directory(parent)?, name))
    }

    /// The directory `path`, made if it is not there.
    pub(super) fn directory(&mut self, path: &Path) -> Result<Rc<OwnedFd>, TreeError> {
        if path.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((cached, fd)) = &self.last
            && cached == path
        {
            return Ok(Rc::clone(fd));
        }
        let opened = match self.open(path) {
            Err(TreeError::System(Errno::NOENT)) => {
                self.make_all(path)?;
                self.open(path)?
            }
            other => other?,
        };
        let opened = Rc::new(opened);
        self.last = Some((path.to_owned(), Rc::clone(&opened)));
        Ok(opened)
    }

    /// Opens an existing directory.
    pub(super) fn open(&self, path: &Path) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open_in_root(&self.root, path, flags) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOTDIR) => Err(TreeError::Entry(EntryProblem::ParentNotDirectory {
                parent: path.to_string_lossy().into_owned(),
            })),
            Err(Errno::LOOP) => Err(TreeError::Entry(EntryProblem::LinkLoop)),
            Err(errno) => Err(TreeError::System(errno)),
        }
    }

    /// Makes every missing directory of `path`. A link to a directory that does not exist has its target made,
    /// inside the root, as a process in a container would find it.
    fn make_all(&mut self, path: &Path) -> Result<(), TreeError> {
        // Components still to be walked, the next one last.
        let mut todo: Vec<OsString> = components_reversed(path);
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let parent = self.open_or_root(&here)?;
            match rustix::fs::mkdirat(&*parent, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    here.push(&name);
                    self.note_implied(&here)?;
                    continue;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(TreeError::System(errno)),
            }
            match rustix::fs::readlinkat(&*parent, &name, Vec::new()) {
                // Not a link: a directory, or the next step says what it is instead.
                Err(Errno::INVAL) => here.push(&name),
                Err(errno) => return Err(TreeError::System(errno)),
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(TreeError::Entry(EntryProblem::LinkLoop));
                    }
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        here = PathBuf::new();
                    }
                    todo.extend(components_reversed(&target));
                }
            }
        }
        Ok(())
    }

    /// One entry may imply two thousand directories: they count like entries.
    fn note_implied(&mut self, path: &Path) -> Result<(), TreeError> {
        let (directories, bytes) = self.left;
        let left = directories
            .checked_sub(1)
            .zip(bytes.checked_sub(path.as_os_str().len()));
        self.left = left.ok_or(TreeError::TooMany)?;
        self.implied.push(path.to_owned());
        Ok(())
    }

    pub(super) fn open_or_root(&self, path: &Path) -> Result<Rc<OwnedFd>, TreeError> {
        if path.as_os_str().is_empty() {
            Ok(Rc::clone(&self.root))
        } else {
            self.open(path).map(Rc::new)
        }
    }
}

fn components_reversed(path: &Path) -> Vec<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = named.collect();
    names.reverse();
    names
}

/// Opens `path` with `root` as the root of every link on the way.
pub(crate) fn open_in_root(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() {
        OsStr::from_bytes(b".")
    } else {
        path.as_os_str()
    };
    for _ in 0..MAX_RETRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}
