//! What hostile, lying and broken archives do not get.

use super::*;

#[test]
fn names_that_leave_the_root_are_refused() {
    for name in [
        "../outside/secret",
        "a/../../outside/secret",
        "/../outside/secret",
        "a/..",
        "..",
    ] {
        let arena = Arena::new();
        let refused = arena.unpack(&TarBuilder::new().file(name, b"x").end());
        assert_eq!(problem(refused), EntryProblem::NameEscapes, "{name}");
    }
    let arena = Arena::new();
    arena
        .unpack(&TarBuilder::new().file("/etc/absolute", b"x").end())
        .expect("absolute names are relative");
    assert_eq!(arena.read("etc/absolute"), b"x");
}

#[test]
fn links_lead_where_they_lead_in_a_container() {
    let arena = Arena::new();
    let outside = arena.scratch.path().join("outside").display().to_string();
    let archive = TarBuilder::new()
        .symlink("absolute", &outside)
        .symlink("up", "../../../../../../outside")
        .symlink("dir/deep", "../../outside")
        .file("absolute/secret", b"1")
        .file("up/secret", b"2")
        .file("dir/deep/secret2", b"3")
        .symlink("var/run", "/run")
        .dir("run/", 0o755)
        .file("var/run/pid", b"4")
        .end();
    arena.unpack(&archive).expect("unpack");
    assert_eq!(
        arena.read(&format!("{}/secret", outside.trim_start_matches('/'))),
        b"1"
    );
    assert_eq!(arena.read("outside/secret"), b"2");
    assert_eq!(arena.read("outside/secret2"), b"3");
    assert_eq!(arena.read("run/pid"), b"4");
    let arena = Arena::new();
    let circle = TarBuilder::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"")
        .end();
    assert_eq!(problem(arena.unpack(&circle)), EntryProblem::LinkLoop);
}

#[test]
fn a_file_through_a_link_replaces_the_link_and_not_its_target() {
    let arena = Arena::new();
    let outside = arena.scratch.path().join("outside/secret").display().to_string();
    let archive = TarBuilder::new()
        .symlink("x", &outside)
        .file("x", b"changed")
        .end();
    arena.unpack(&archive).expect("unpack");
    assert!(arena.stat("x").is_file());
}

#[test]
fn hard_links_stay_inside() {
    let outside = "/etc/passwd";
    for (target, expect) in [
        (
            "../outside/secret",
            EntryProblem::LinkEscapes {
                target: "../outside/secret".into(),
            },
        ),
        (
            outside,
            EntryProblem::LinkMissing {
                target: "etc/passwd".into(),
            },
        ),
        (
            "nowhere/x",
            EntryProblem::LinkMissing {
                target: "nowhere/x".into(),
            },
        ),
        ("d", EntryProblem::LinkToDirectory { target: "d".into() }),
        (
            "link/passwd",
            EntryProblem::LinkMissing {
                target: "link/passwd".into(),
            },
        ),
        (
            "/",
            EntryProblem::LinkToDirectory {
                target: String::new(),
            },
        ),
    ] {
        let arena = Arena::new();
        let archive = TarBuilder::new()
            .dir("d/", 0o755)
            .symlink("link", "/etc")
            .hardlink("h", target)
            .end();
        assert_eq!(problem(arena.unpack(&archive)), expect, "{target}");
    }
    // A hard link to a link is a link to the link, not to what it points to.
    let arena = Arena::new();
    let secret = arena.scratch.path().join("outside/secret").display().to_string();
    let archive = TarBuilder::new()
        .symlink("s", &secret)
        .hardlink("h", "s")
        .file("h", b"new")
        .end();
    arena.unpack(&archive).expect("unpack");
    assert!(arena.stat("h").is_file() && arena.stat("s").is_symlink());
    // A link to itself keeps the file.
    let arena = Arena::new();
    arena
        .unpack(&TarBuilder::new().file("f", b"x").hardlink("f", "./f").end())
        .expect("unpack");
    assert_eq!(arena.read("f"), b"x");
}

/// Each archive is refused with a message that says its word.
fn refuse(cases: Vec<(Vec<u8>, &str)>) {
    for (archive, word) in cases {
        let error = Arena::new().unpack(&archive).expect_err(word);
        assert!(error.to_string().contains(word), "{error} should say {word}");
    }
}

fn empty_file(records: &[(&str, &[u8])]) -> Vec<u8> {
    TarBuilder::new().pax(records).file("x", b"").end()
}

#[test]
fn broken_framing_is_refused() {
    let huge = TarBuilder::header(b"huge", EntryType::Regular, 1 << 50);
    let refused = Arena::new().unpack(&TarBuilder::new().raw(huge, b"").end());
    assert!(
        matches!(refused, Err(UnpackError::TooLarge { .. })),
        "{refused:?}"
    );
    let long_name = TarBuilder::header(b"././@LongLink", EntryType::GNULongName, 1 << 40);
    let mut bad_sum = TarBuilder::new().file("x", b"x").end();
    bad_sum[0] = b'y';
    let text = b"this is not a tar archive, but long enough to be read as a header block. ".repeat(8);
    refuse(vec![
        (TarBuilder::new().raw(long_name, b"").end(), "1048576"),
        (bad_sum, "checksum"),
        (text, "checksum"),
        (
            TarBuilder::new().pax(&[("path", b"x")]).end(),
            "without the entry",
        ),
        (
            TarBuilder::new()
                .pax(&[("a", b"b")])
                .pax(&[("a", b"b")])
                .file("x", b"")
                .end(),
            "two sets",
        ),
        (
            TarBuilder::new().file("x", &[1; 600]).cut()[..1000].to_vec(),
            "cut off",
        ),
        (
            TarBuilder::new().file("x", &[1; 600]).cut()[..300].to_vec(),
            "cut off",
        ),
        (
            empty_file(&[("size", b"18446744073709551615")]),
            "impossible size",
        ),
    ]);
}

#[test]
fn impossible_fields_are_refused() {
    let mut max_owner = TarBuilder::header(b"x", EntryType::Regular, 0);
    max_owner.set_uid(u64::from(u32::MAX));
    let unknown = TarBuilder::header(b"x", EntryType::new(b'Q'), 0);
    let root = TarBuilder::header(b".", EntryType::Fifo, 0);
    refuse(vec![
        (TarBuilder::new().raw(max_owner, b"").end(), "not a valid user"),
        (empty_file(&[("uid", b"-5")]), "owner"),
        (empty_file(&[("mtime", b"yesterday")]), "modification time"),
        (empty_file(&[("path", &[b'n'; 300])]), "255 bytes"),
        (empty_file(&[("path", &b"n/".repeat(3000))]), "4095 bytes"),
        (empty_file(&[("path", b"a\0b")]), "NUL"),
        (TarBuilder::new().raw(unknown, b"").end(), "type 'Q'"),
        (TarBuilder::new().raw(root, b"").end(), "root"),
        (
            empty_file(&[("SCHILY.xattr.security.capability", b"junk")]),
            "attribute",
        ),
    ]);
}

#[test]
fn bounds_hold() {
    let mut many = TarBuilder::new();
    for number in 0..=SMALL.entries {
        many = many.file(&format!("f{number}"), b"");
    }
    let refused = Arena::new().unpack(&many.end());
    assert!(
        matches!(refused, Err(UnpackError::TooManyEntries { limit: 1000 })),
        "{refused:?}"
    );
    let refused = Arena::new().unpack(
        &TarBuilder::new()
            .file("a", &[0; 600_000])
            .file("b", &[0; 600_000])
            .end(),
    );
    assert!(
        matches!(refused, Err(UnpackError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[test]
fn directories_that_entries_imply_count_as_well() {
    let mut deep = TarBuilder::new();
    for number in 0..3 {
        deep = deep
            .pax(&[("path", format!("{number}/{}x", "d/".repeat(500)).as_bytes())])
            .file("x", b"");
    }
    let refused = Arena::new().unpack(&deep.end());
    assert!(
        matches!(refused, Err(UnpackError::TooManyEntries { .. })),
        "{refused:?}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever is changed in an archive, it unpacks inside its directory or is refused, without a panic.
    #[test]
    fn damaged_archives_never_leave_their_directory(
        changes in proptest::collection::vec((0_usize..12_000, proptest::num::u8::ANY), 1..12),
        resum in proptest::bool::ANY,
        cut in 0_usize..14_000,
    ) {
        let mut archive = TarBuilder::new()
            .dir("d/", 0o755)
            .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
            .file("d/file", &[3; 700])
            .symlink("up", "../outside")
            .symlink("absolute", "/")
            .file("up/through", b"x")
            .hardlink("h", "d/file")
            .pax(&[("GNU.sparse.size", b"9000"), ("GNU.sparse.map", b"0,4,5000,4")])
            .file("sparse", b"12345678")
            .file("d/.wh..wh..opq", b"")
            .file(".wh.x", b"")
            .end();
        for (at, value) in changes {
            let length = archive.len();
            archive[at % length] = value;
        }
        if resum {
            for block in archive.chunks_exact_mut(512) {
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                if header.cksum().is_ok() && block[0] != 0 {
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            }
        }
        archive.truncate(cut.max(512));
        drop(Arena::new().unpack(&archive));
    }
}

#[test]
fn decompression_bombs_stop_at_the_limit() {
    // Bytes after the end mark count as well: nothing is written, but they would be read for hours.
    let mut archive = TarBuilder::new().file("a", b"x").end();
    archive.resize(64 << 20, 0);
    for bomb in [gzip(&archive), zstd(&archive)] {
        let arena = Arena::new();
        let refused = unpack_layer(&bomb[..], &arena.root(), SMALL);
        assert!(
            matches!(refused, Err(UnpackError::TooLarge { .. })),
            "{refused:?}"
        );
    }
}
