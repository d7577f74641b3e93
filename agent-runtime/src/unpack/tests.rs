//! What honest archives become, and what hostile ones do not get.

mod hostile;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::EntryType;

use super::*;
use crate::fixtures::{TarBuilder, gzip, zstd};

const SMALL: UnpackLimits = UnpackLimits {
    entries: 1000,
    bytes: 1 << 20,
};

/// A directory to unpack into, with a neighbour that nothing may touch.
struct Arena {
    scratch: tempfile::TempDir,
}

impl Arena {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(scratch.path().join("root")).expect("mkdir");
        std::fs::create_dir(scratch.path().join("outside")).expect("mkdir");
        std::fs::write(scratch.path().join("outside/secret"), b"untouched").expect("write");
        Self { scratch }
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, UnpackError> {
        let result = unpack(archive, &self.root(), SMALL);
        let outside = self.scratch.path().join("outside");
        assert_eq!(
            std::fs::read_dir(&outside).expect("list").count(),
            1,
            "something was written outside"
        );
        assert_eq!(std::fs::read(outside.join("secret")).expect("read"), b"untouched");
        assert_eq!(
            std::fs::metadata(outside.join("secret")).expect("stat").nlink(),
            1
        );
        assert_eq!(std::fs::read_dir(self.scratch.path()).expect("list").count(), 2);
        result
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.root().join(name)).expect(name)
    }

    fn stat(&self, name: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.root().join(name)).expect(name)
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer[..]).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

fn problem(result: Result<Unpacked, UnpackError>) -> EntryProblem {
    match result {
        Err(UnpackError::Entry { problem, .. }) => problem,
        other => panic!("expected a refused entry, found {other:?}"),
    }
}

#[test]
fn every_kind_of_entry_comes_out_with_owner_mode_and_time() {
    let arena = Arena::new();
    let mut setuid = TarBuilder::header(b"bin/su", EntryType::Regular, 3);
    setuid.set_mode(0o4755);
    setuid.set_uid(7);
    setuid.set_gid(8);
    let capability = b"\x01\x00\x00\x02\x0a\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let archive = TarBuilder::new()
        .dir("./", 0o755)
        .dir("bin/", 0o711)
        .raw(setuid, b"elf")
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"a=b\nc"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("mtime", b"1234567890.25"),
        ])
        .file("bin/ping", b"ping")
        .symlink("bin/sh", "/bin/su")
        .hardlink("bin/su2", "bin/su")
        .device("dev/null", EntryType::Char, 1, 3)
        .device("dev/disk", EntryType::Block, 8, 1)
        .raw(TarBuilder::header(b"dev/pipe", EntryType::Fifo, 0), b"")
        .end();
    let unpacked = arena.unpack(&archive).expect("unpack");
    assert_eq!(
        (unpacked.entries, unpacked.bytes, unpacked.marked_end),
        (9, 7, true)
    );
    assert_eq!(unpacked.implied, [Path::new("dev")]);
    let su = arena.stat("bin/su");
    assert_eq!(
        (su.mode() & 0o7777, su.uid(), su.gid(), su.mtime()),
        (0o4755, 7, 8, 1_000_000_000)
    );
    assert_eq!(arena.stat("bin/su2").ino(), su.ino());
    let ping = arena.stat("bin/ping");
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_234_567_890, 250_000_000));
    let path = arena.root().join("bin/ping");
    assert_eq!(
        xattr(&path, "security.capability").as_deref(),
        Some(&capability[..])
    );
    assert_eq!(xattr(&path, "user.note").as_deref(), Some(&b"a=b\nc"[..]));
    assert_eq!(xattr(&path, "trusted.overlay.redirect"), None);
    assert_eq!(
        std::fs::read_link(arena.root().join("bin/sh")).expect("link"),
        Path::new("/bin/su")
    );
    let null = arena.stat("dev/null");
    assert!(null.file_type().is_char_device() && null.rdev() == rustix::fs::makedev(1, 3));
    assert!(arena.stat("dev/disk").file_type().is_block_device());
    assert!(arena.stat("dev/pipe").file_type().is_fifo());
    // Directories keep their times although files were put into them afterwards.
    let bin = arena.stat("bin");
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o711, 1_000_000_000));
}

#[test]
fn numbers_left_blank_are_zero() {
    let mut blank = TarBuilder::header(b"blank", EntryType::Regular, 0);
    blank.as_old_mut().uid = [0; 8];
    blank.as_old_mut().gid = [b' '; 8];
    blank.as_old_mut().mtime = [0; 12];
    let arena = Arena::new();
    arena
        .unpack(&TarBuilder::new().raw(blank, b"").end())
        .expect("unpack");
    let stat = arena.stat("blank");
    assert_eq!((stat.uid(), stat.gid(), stat.mtime()), (0, 0, 0));
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let arena = Arena::new();
    let archive = TarBuilder::new()
        .file("a", b"file")
        .dir("a/", 0o700)
        .file("a/inside", b"1")
        .dir("b/", 0o755)
        .file("b/inside", b"2")
        .file("b", b"now a file")
        .file("c", b"one")
        .file("c", b"two")
        .symlink("d", "a")
        .dir("d/", 0o755)
        .dir("e/", 0o755)
        .file("e/kept", b"3")
        .dir("e/", 0o700)
        .end();
    arena.unpack(&archive).expect("unpack");
    assert_eq!(arena.read("a/inside"), b"1");
    assert_eq!(arena.read("b"), b"now a file");
    assert_eq!(arena.read("c"), b"two");
    assert!(arena.stat("d").is_dir());
    assert_eq!(arena.read("e/kept"), b"3");
    assert_eq!(arena.stat("e").mode() & 0o777, 0o700);
    let arena = Arena::new();
    let refused = arena.unpack(&TarBuilder::new().file("f", b"").file("f/x", b"").end());
    assert_eq!(
        problem(refused),
        EntryProblem::ParentNotDirectory { parent: "f".into() }
    );
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let arena = Arena::new();
    let archive = TarBuilder::new()
        .file(".wh.gone", b"")
        .file("d/.wh..wh..opq", b"")
        .file("d/new", b"1")
        .file(".wh..wh.plnk", b"")
        .file("kept", b"2")
        .file(".wh.kept", b"")
        .dir("merged/", 0o755)
        .file(".wh.merged", b"")
        .file(".wh.again", b"")
        .dir("again/", 0o755)
        .end();
    arena.unpack(&archive).expect("unpack");
    let gone = arena.stat("gone");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |name: &str| xattr(&arena.root().join(name), "trusted.overlay.opaque");
    assert_eq!(opaque("d").as_deref(), Some(&b"y"[..]));
    assert_eq!(arena.read("d/new"), b"1");
    // This layer's own files are not what its whiteouts are about.
    assert_eq!(arena.read("kept"), b"2");
    assert_eq!(opaque("merged").as_deref(), Some(&b"y"[..]));
    assert_eq!(opaque("again").as_deref(), Some(&b"y"[..]));
    assert!(!arena.root().join(".wh..wh.plnk").exists());
    for bad in [".wh.", ".wh..", ".wh..."] {
        let refused = Arena::new().unpack(&TarBuilder::new().file(bad, b"").end());
        assert_eq!(problem(refused), EntryProblem::BadWhiteout, "{bad}");
    }
}

#[test]
fn compressions_are_recognised_by_content() {
    let archive = TarBuilder::new().file("a", b"x").end();
    let diff_id = crate::image::Digest::of(&archive);
    let mut two_members = gzip(&archive[..700]);
    two_members.extend(gzip(&archive[700..]));
    for packed in [archive.clone(), gzip(&archive), zstd(&archive), two_members] {
        let arena = Arena::new();
        let layer = unpack_layer(&packed[..], &arena.root(), SMALL).expect("unpack");
        assert_eq!(layer.diff_id, diff_id);
        assert_eq!(arena.read("a"), b"x");
    }
    for (magic, name) in [(&b"\xfd7zXZ\0rest"[..], "xz"), (b"BZh91AY", "bzip2")] {
        let error = unpack_layer(magic, &Arena::new().root(), SMALL).expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut broken = gzip(&archive);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    assert!(unpack_layer(&broken[..], &Arena::new().root(), SMALL).is_err());
    assert!(unpack_layer(&gzip(&archive)[..middle], &Arena::new().root(), SMALL).is_err());
}

/// A file in the old GNU form: four bytes at its start, five at 500,000.
fn old_sparse_header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path("s").expect("name");
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(9);
    let gnu = header.as_gnu_mut().expect("gnu");
    gnu.set_real_size(600_000);
    gnu.sparse[0].set_offset(0);
    gnu.sparse[0].set_length(4);
    gnu.sparse[1].set_offset(500_000);
    gnu.sparse[1].set_length(5);
    header
}

#[test]
fn sparse_files_keep_their_holes_in_every_form() {
    let map_1_0 = {
        let mut data = b"2\n0\n4\n500000\n5\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"headtail!");
        data
    };
    let pax_1_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"600000"),
    ];
    let pax_0_1: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"600000"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.map", b"0,4,500000,5"),
    ];
    let pax_0_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"600000"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"4"),
        ("GNU.sparse.offset", b"500000"),
        ("GNU.sparse.numbytes", b"5"),
    ];
    let old = old_sparse_header();
    for archive in [
        TarBuilder::new()
            .pax(pax_1_0)
            .file("GNUSparseFile.1/s", &map_1_0)
            .end(),
        TarBuilder::new()
            .pax(pax_0_1)
            .file("GNUSparseFile.1/s", b"headtail!")
            .end(),
        TarBuilder::new().pax(pax_0_0).file("s", b"headtail!").end(),
        TarBuilder::new().raw(old, b"headtail!").end(),
    ] {
        let arena = Arena::new();
        arena.unpack(&archive).expect("unpack");
        let content = arena.read("s");
        assert_eq!(content.len(), 600_000);
        assert_eq!(
            (&content[..5], &content[499_999..500_006]),
            (&b"head\0"[..], &b"\0tail!\0"[..])
        );
        assert!(arena.stat("s").blocks() * 512 < 100_000, "the holes are gone");
    }
    for lie in [
        &b"0,4,2,5"[..],
        b"0,4,500000,500000",
        b"0,4",
        b"0,4,18446744073709551615,5",
        b"0,4,5",
    ] {
        let pax: &[(&str, &[u8])] = &[("GNU.sparse.size", b"600000"), ("GNU.sparse.map", lie)];
        let refused = Arena::new().unpack(&TarBuilder::new().pax(pax).file("s", b"headtail!").end());
        assert!(matches!(problem(refused), EntryProblem::BadSparse(_)));
    }
}

#[test]
fn archives_of_gnu_tar_and_of_the_tar_crate_come_out_alike() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let source = scratch.path().join("source");
    let deep = source.join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).expect("mkdir");
    std::fs::write(deep.join("file"), vec![7; 70_000]).expect("write");
    std::os::unix::fs::symlink("x".repeat(200), source.join("long-link")).expect("symlink");
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &source).expect("append");
    let from_crate = builder.into_inner().expect("finish");
    let mut archives = vec![from_crate];
    for format in ["gnu", "posix", "v7"] {
        let mut command = std::process::Command::new("tar");
        command.arg("-C").arg(&source).arg(format!("--format={format}"));
        let output = command.args(["-cf", "-", "."]).output().expect("GNU tar");
        // The oldest form has no room for long names.
        if output.status.success() {
            archives.push(output.stdout);
        }
    }
    assert!(archives.len() >= 3);
    for archive in archives {
        let arena = Arena::new();
        arena.unpack(&archive).expect("unpack");
        let relative = deep.strip_prefix(&source).expect("below").join("file");
        assert_eq!(
            std::fs::read(arena.root().join(relative)).expect("read"),
            vec![7; 70_000]
        );
        assert_eq!(
            std::fs::read_link(arena.root().join("long-link")).expect("link"),
            Path::new(&"x".repeat(200))
        );
    }
}
