//! Images for tests, made when the test runs from what Debian packages put on the machine.
//!
//! `busybox_root` is a root file system for `image import`; `hello_image` the archive that the demo loads.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The statically linked busybox of Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// A tar archive with busybox, its applets as links, and the files a user lookup needs.
pub fn busybox_root() -> Result<Vec<u8>> {
    let program = fs::read(BUSYBOX).with_context(|| format!("{BUSYBOX}: is busybox-static installed?"))?;
    let list = Command::new(BUSYBOX)
        .arg("--list")
        .output()
        .context("cannot run busybox")?;
    let mut archive = tar::Builder::new(Vec::new());
    for folder in [
        "bin/",
        "etc/",
        "tmp/",
        "proc/",
        "sys/",
        "dev/",
        "home/",
        "home/user/",
    ] {
        let mut header = header(
            tar::EntryType::Directory,
            if folder == "tmp/" { 0o1777 } else { 0o755 },
            0,
        );
        archive.append_data(&mut header, folder, &[][..])?;
    }
    append_file(&mut archive, "bin/busybox", 0o755, &program)?;
    for applet in String::from_utf8(list.stdout)?
        .lines()
        .filter(|name| *name != "busybox")
    {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    append_file(
        &mut archive,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
    )?;
    append_file(
        &mut archive,
        "etc/group",
        0o644,
        b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
    )?;
    Ok(archive.into_inner()?)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append_file(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, bytes.len().try_into()?);
    archive.append_data(&mut header, path, bytes)?;
    Ok(())
}

/// The demo's image; `cargo xtask image` makes it.
pub fn hello_image(dist: &Path) -> Result<PathBuf> {
    let path = dist.join("hello.tar");
    path.exists()
        .then_some(path)
        .context("hello.tar is missing: run `cargo xtask image`")
}
