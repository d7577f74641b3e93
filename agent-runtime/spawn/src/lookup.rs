//! Finding a command inside the container, with the words that Docker's users know when it is not there.
//!
//! Called last before `execve`, inside the container; never looks outside its root.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use crate::failure::Failure;

/// Docker's, for an environment without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path to give to `execve`. Checked with the effective capabilities of the caller.
pub(crate) fn find(command: &str, environment: &[String]) -> Result<String, Failure> {
    if command.contains('/') {
        return match executable(Path::new(command)) {
            Ok(()) => Ok(command.to_owned()),
            Err(Errno::ACCESS) => Err(Failure::not_executable(format_args!(
                "exec: {command:?}: permission denied"
            ))),
            Err(Errno::ISDIR) => Err(Failure::not_executable(format_args!(
                "exec: {command:?}: is a directory"
            ))),
            Err(errno) => {
                let reason = std::io::Error::from(errno);
                let reason = if errno == Errno::NOENT {
                    "no such file or directory".to_owned()
                } else {
                    reason.to_string()
                };
                Err(Failure::not_found(format_args!(
                    "exec: {command:?}: stat {command}: {reason}"
                )))
            }
        };
    }
    // The last of a name wins, as in a shell.
    let path = environment
        .iter()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let directories = path.split(':').map(|d| if d.is_empty() { "." } else { d });
    let mut candidates =
        directories.map(|directory| format!("{}/{command}", directory.trim_end_matches('/')));
    let found = if command.is_empty() {
        None
    } else {
        candidates.find(|c| executable(Path::new(c)).is_ok())
    };
    found.ok_or_else(|| {
        Failure::not_found(format_args!(
            "exec: {command:?}: executable file not found in $PATH"
        ))
    })
}

fn executable(path: &Path) -> Result<(), Errno> {
    let status = stat(path)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    // faccessat with EACCESS needs Linux 5.8; before it the bits have to do.
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::NOSYS) if status.st_mode & 0o111 != 0 => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn words_and_codes_are_dockers() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::copy("/bin/true", at("yes")).unwrap();
        std::fs::write(at("text"), "").unwrap();
        let environment = [format!("PATH=/nonexistent:{}", directory.path().display())];
        assert_eq!(find("yes", &environment).unwrap(), at("yes"));
        assert_eq!(find(&at("yes"), &[]).unwrap(), at("yes"));
        for (command, code, text) in [
            ("no", 127, "exec: \"no\": executable file not found in $PATH"),
            ("text", 127, "exec: \"text\": executable file not found in $PATH"),
            ("", 127, "exec: \"\": executable file not found in $PATH"),
            (
                "/no/such",
                127,
                "exec: \"/no/such\": stat /no/such: no such file or directory",
            ),
            ("/tmp", 126, "exec: \"/tmp\": is a directory"),
        ] {
            let failure = find(command, &environment).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (code, text));
        }
        assert_eq!(find(&at("text"), &[]).unwrap_err().code, 126);
    }
}
