//! Who a container's process runs as: `user[:group]` and supplementary groups, looked up in the
//! image's own `/etc/passwd` and `/etc/group`.
//!
//! The lookup is a pure function of the two files' bytes; `user/layered.rs` reads them without ever
//! leaving the image's layers. It mirrors Docker's rules with one exception: a line whose ids are not
//! numbers is skipped, where Docker takes them for 0, which is root.

mod layered;

use std::path::Path;

use rustix::fd::BorrowedFd;
use thiserror::Error;

pub use layered::{LayeredError, LayeredRoot};

/// `/etc/passwd` and `/etc/group` beyond this size are refused: the largest directory exports seen in
/// images are a few hundred kilobytes.
const MAX_FILE: u64 = 8 << 20;

/// The largest id that Docker accepts in a user specification; the kernel keeps the last for "no id".
const MAX_ID: u32 = i32::MAX as u32;

/// The account files of one root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// The bytes of `/etc/passwd`, empty when there is none.
    pub passwd: Vec<u8>,
    /// The bytes of `/etc/group`, empty when there is none.
    pub group: Vec<u8>,
}

impl Accounts {
    /// Reads them from overlay layers, topmost first (a container's upper directory, then its lowers).
    pub fn from_layers<'a>(layers: impl IntoIterator<Item = &'a Path>) -> Result<Self, LayeredError> {
        Self::from_root(&LayeredRoot::open(layers)?)
    }

    /// Reads them from one assembled root, such as `/proc/<pid>/root` of a running container.
    pub fn from_directory(root: BorrowedFd<'_>) -> Result<Self, LayeredError> {
        Self::from_root(&LayeredRoot::from_directory(root)?)
    }

    fn from_root(root: &LayeredRoot) -> Result<Self, LayeredError> {
        Ok(Self {
            passwd: root.read("/etc/passwd", MAX_FILE)?.unwrap_or_default(),
            group: root.read("/etc/group", MAX_FILE)?.unwrap_or_default(),
        })
    }
}

/// A user with everything that the process needs to become it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id inside the container.
    pub uid: u32,
    /// Primary group id inside the container.
    pub gid: u32,
    /// Supplementary groups, the primary one first, as Docker sets them.
    pub groups: Vec<u32>,
    /// Home directory by the user's id, `/` without an entry.
    pub home: String,
}

/// Resolves `user[:group]` (absent or empty: the account with id 0) and further groups.
pub fn resolve(
    wanted: Option<&str>,
    extra_groups: &[String],
    accounts: &Accounts,
) -> Result<ResolvedUser, UserError> {
    let wanted = wanted.unwrap_or("");
    let (user_part, group_part) = match wanted.split_once(':') {
        Some((user, group)) => (user, group),
        None => (wanted, ""),
    };
    let account = find_user(user_part, accounts)?;
    let mut gid = account.gid;
    let mut supplementary = Vec::new();
    if group_part.is_empty() {
        if let Some(name) = &account.name {
            supplementary = groups_of_member(name, accounts);
        }
    } else {
        gid = find_group(group_part, accounts)?;
    }
    let mut groups = vec![gid];
    groups.append(&mut supplementary);
    for group in extra_groups {
        groups.push(find_group(group, accounts)?);
    }
    Ok(ResolvedUser {
        uid: account.uid,
        gid,
        groups,
        home: home_of(account.uid, accounts),
    })
}

struct Account {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

fn find_user(wanted: &str, accounts: &Accounts) -> Result<Account, UserError> {
    let found = passwd_entries(&accounts.passwd).find(|entry| {
        if wanted.is_empty() {
            entry.uid == 0
        } else {
            entry.name == wanted || entry.uid.to_string() == wanted
        }
    });
    if let Some(entry) = found {
        return Ok(Account {
            name: Some(entry.name.to_owned()),
            uid: entry.uid,
            gid: entry.gid,
        });
    }
    if wanted.is_empty() {
        return Ok(Account {
            name: None,
            uid: 0,
            gid: 0,
        });
    }
    match numeric(wanted)? {
        Some(uid) => Ok(Account {
            name: None,
            uid,
            gid: 0,
        }),
        None => Err(UserError::NoSuchUser {
            user: wanted.to_owned(),
        }),
    }
}

fn find_group(wanted: &str, accounts: &Accounts) -> Result<u32, UserError> {
    let found =
        group_entries(&accounts.group).find(|entry| entry.name == wanted || entry.gid.to_string() == wanted);
    if let Some(entry) = found {
        return Ok(entry.gid);
    }
    numeric(wanted)?.ok_or_else(|| UserError::NoSuchGroup {
        group: wanted.to_owned(),
    })
}

fn groups_of_member(name: &str, accounts: &Accounts) -> Vec<u32> {
    group_entries(&accounts.group)
        .filter(|entry| entry.members.split(',').any(|member| member == name))
        .map(|entry| entry.gid)
        .collect()
}

fn home_of(uid: u32, accounts: &Accounts) -> String {
    passwd_entries(&accounts.passwd)
        .find(|entry| entry.uid == uid)
        .map(|entry| entry.home)
        .filter(|home| home.starts_with('/') && !home.contains('\0'))
        .unwrap_or("/")
        .to_owned()
}

/// A number, or nothing where the text is not one; an id out of range is refused rather than cut.
fn numeric(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(UserError::IdOutOfRange { id: text.to_owned() }),
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd_entries(file: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let uid = numeric(fields.next()?).ok().flatten()?;
        let gid = numeric(fields.next()?).ok().flatten()?;
        let home = fields.nth(1).unwrap_or("");
        Some(PasswdEntry { name, uid, gid, home })
    })
}

fn group_entries(file: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = numeric(fields.next()?).ok().flatten()?;
        let members = fields.next().unwrap_or("");
        Some(GroupEntry { name, gid, members })
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Why a user could not be resolved.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UserError {
    /// The name has no entry.
    #[error("user {user:?} is not in the image's /etc/passwd; use a numeric id or a name that it has")]
    NoSuchUser {
        /// The name as given.
        user: String,
    },
    /// The name has no entry.
    #[error("group {group:?} is not in the image's /etc/group; use a numeric id or a name that it has")]
    NoSuchGroup {
        /// The name as given.
        group: String,
    },
    /// The number does not fit.
    #[error("id {id} is out of range: expected 0 to {MAX_ID}")]
    IdOutOfRange {
        /// The number as given.
        id: String,
    },
}

#[cfg(test)]
mod tests;
