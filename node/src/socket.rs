//! The local socket: `<run>/shoal.sock`, mode 0660, group `shoal` where that group exists.
//!
//! Whoever may open it is trusted with the node. A socket that a killed daemon left is replaced; that no living
//! one is behind it follows from the lock on the state directory and from a try to connect.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

const GROUP: &str = "shoal";
const MODE: u32 = 0o660;
/// /etc/group of a large site; more is not read.
const GROUP_FILE_LIMIT: usize = 8 * 1024 * 1024;

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another daemon answers on {0}: stop it, or give this one its own --run-dir")]
    Taken(PathBuf),
    #[error("{what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Binds the socket. Must run inside a tokio runtime.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let fail = |what| {
        move |source| SocketError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(SocketError::Taken(path.to_owned()));
    }
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail("removing")(error)),
    }
    // Bound under another name and renamed, so that it is never there with the wrong mode.
    let staged = path.with_extension("new");
    drop(std::fs::remove_file(&staged));
    let listener = UnixListener::bind(&staged).map_err(fail("binding"))?;
    std::os::unix::fs::chown(&staged, None, group_id(GROUP)).map_err(fail("giving to its group"))?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(MODE))
        .map_err(fail("setting the mode of"))?;
    std::fs::rename(&staged, path).map_err(fail("putting in place"))?;
    Ok(listener)
}

fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    parse_group(text.get(..text.len().min(GROUP_FILE_LIMIT))?, name)
}

fn parse_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let text = "root:x:0:\nshoal:x:990:ada\nshoalx:x:991:\n";
        assert_eq!(parse_group(text, "shoal"), Some(990));
        assert_eq!(parse_group(text, "none"), None);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shoal.sock");
        drop(bind(&path).unwrap());
        let living = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(matches!(bind(&path), Err(SocketError::Taken(_))));
        drop(living);
    }
}
