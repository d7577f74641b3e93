//! Tests of user resolution, against Docker's answers and against hostile layers.
//! Whiteouts and opaque directories need root to be made.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken line\n\
    evil:x:notanumber:0::/evil:/bin/sh\n\
    app:x:1000:1001:App:/home/app:/bin/sh\n\
    twin:x:1000:1002:Twin:/home/twin:/bin/sh\n\
    nohome:x:1005:1005::relative:/bin/sh\n";
const GROUP: &str = "root:x:0:root\n\
    wheel:x:10:root,app\n\
    app:x:1001:\n\
    disk:x:6:nobody,app,\n\
    bad:x:no:app\n";

fn accounts() -> Accounts {
    Accounts {
        passwd: PASSWD.into(),
        group: GROUP.into(),
    }
}

fn check(wanted: Option<&str>, extra: &[&str], expect: (u32, u32, &[u32], &str)) {
    let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
    let user = resolve(wanted, &extra, &accounts()).unwrap();
    let (uid, gid, groups, home) = expect;
    assert_eq!(
        (user.uid, user.gid, user.groups.as_slice(), user.home.as_str()),
        (uid, gid, groups, home),
        "{wanted:?}"
    );
}

#[test]
fn users_resolve_as_under_docker() {
    check(None, &[], (0, 0, &[0, 0, 10], "/root"));
    check(Some(""), &[], (0, 0, &[0, 0, 10], "/root"));
    check(Some("0"), &[], (0, 0, &[0, 0, 10], "/root"));
    check(Some("app"), &[], (1000, 1001, &[1001, 10, 6], "/home/app"));
    check(Some("1000"), &[], (1000, 1001, &[1001, 10, 6], "/home/app"));
    // Home goes by the id: the first entry with it wins.
    check(Some("twin"), &[], (1000, 1002, &[1002], "/home/app"));
    check(Some("app:wheel"), &[], (1000, 10, &[10], "/home/app"));
    check(Some("app:4000"), &[], (1000, 4000, &[4000], "/home/app"));
    check(Some("4242"), &[], (4242, 0, &[0], "/"));
    check(Some("4242:4243"), &[], (4242, 4243, &[4243], "/"));
    check(Some(":disk"), &[], (0, 6, &[6], "/root"));
    check(Some("4242"), &["disk", "77"], (4242, 0, &[0, 6, 77], "/"));
    check(Some("nohome"), &[], (1005, 1005, &[1005], "/"));
}

#[test]
fn without_account_files_numbers_work_and_names_do_not() {
    let none = Accounts::default();
    let user = resolve(Some("7:8"), &[], &none).unwrap();
    assert_eq!((user.uid, user.gid, user.home.as_str()), (7, 8, "/"));
    assert_eq!(resolve(None, &[], &none).unwrap().groups, [0]);
    assert!(matches!(
        resolve(Some("app"), &[], &none),
        Err(UserError::NoSuchUser { .. })
    ));
    assert!(matches!(
        resolve(Some("1:app"), &[], &none),
        Err(UserError::NoSuchGroup { .. })
    ));
    for id in ["2147483648", "4294967295", "99999999999999999999"] {
        assert!(
            matches!(resolve(Some(id), &[], &none), Err(UserError::IdOutOfRange { .. })),
            "{id}"
        );
    }
    // A user whose ids cannot be read is not root.
    assert!(matches!(
        resolve(Some("evil"), &[], &accounts()),
        Err(UserError::NoSuchUser { .. })
    ));
}

fn layers(count: usize) -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let layers: Vec<_> = (0..count)
        .map(|index| {
            let path = directory.path().join(index.to_string());
            fs::create_dir_all(path.join("etc")).unwrap();
            path
        })
        .collect();
    (directory, layers)
}

fn read(layers: &[std::path::PathBuf], path: &str) -> Result<Option<String>, LayeredError> {
    let root = LayeredRoot::open(layers.iter().map(std::path::PathBuf::as_path))?;
    Ok(root
        .read(path, 64)?
        .map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn the_topmost_layer_wins_and_a_missing_file_is_none() {
    let (_keep, layers) = layers(3);
    assert_eq!(read(&layers, "/etc/passwd").unwrap(), None);
    fs::write(layers[2].join("etc/passwd"), "low").unwrap();
    assert_eq!(read(&layers, "/etc/passwd").unwrap().as_deref(), Some("low"));
    fs::write(layers[1].join("etc/passwd"), "mid").unwrap();
    assert_eq!(read(&layers, "/etc/passwd").unwrap().as_deref(), Some("mid"));
}

#[test]
fn links_cross_layers_and_never_leave_the_image() {
    let (keep, layers) = layers(2);
    fs::create_dir_all(layers[1].join("usr/share")).unwrap();
    fs::write(layers[1].join("usr/share/passwd"), "inside").unwrap();
    symlink("/usr/share/passwd", layers[0].join("etc/passwd")).unwrap();
    assert_eq!(read(&layers, "/etc/passwd").unwrap().as_deref(), Some("inside"));

    fs::write(keep.path().join("secret"), "outside").unwrap();
    for target in [
        "../../secret",
        "../../../../../../../secret",
        keep.path().join("secret").to_str().unwrap(),
    ] {
        fs::remove_file(layers[0].join("etc/passwd")).unwrap();
        symlink(target, layers[0].join("etc/passwd")).unwrap();
        assert_eq!(read(&layers, "/etc/passwd").unwrap(), None, "{target}");
    }
    // `etc` itself as a link to the host's.
    fs::remove_dir_all(layers[0].join("etc")).unwrap();
    symlink("/etc", layers[0].join("etc")).unwrap();
    assert!(matches!(
        read(&layers, "/etc/passwd"),
        Err(LayeredError::Read { .. })
    ));
}

#[test]
fn a_file_hides_a_directory_below_it_and_the_other_way_round() {
    let (_keep, layers) = layers(2);
    fs::write(layers[1].join("etc/passwd"), "low").unwrap();
    fs::remove_dir(layers[0].join("etc")).unwrap();
    fs::write(layers[0].join("etc"), "a file").unwrap();
    assert_eq!(read(&layers, "/etc/passwd").unwrap(), None);
    fs::remove_file(layers[0].join("etc")).unwrap();
    fs::create_dir(layers[0].join("etc")).unwrap();
    fs::create_dir(layers[0].join("etc/passwd")).unwrap();
    assert!(matches!(
        read(&layers, "/etc/passwd"),
        Err(LayeredError::NotAFile { .. })
    ));
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    let (_keep, layers) = layers(2);
    fs::write(layers[1].join("etc/passwd"), "low").unwrap();
    let etc = layers[0].join("etc");
    rustix::fs::setxattr(
        &etc,
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("this test needs root, to set a trusted attribute");
    assert_eq!(read(&layers, "/etc/passwd").unwrap(), None);
    rustix::fs::removexattr(&etc, "trusted.overlay.opaque").unwrap();
    assert_eq!(read(&layers, "/etc/passwd").unwrap().as_deref(), Some("low"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        etc.join("passwd"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .expect("this test needs root, to make a whiteout");
    assert_eq!(read(&layers, "/etc/passwd").unwrap(), None);
}

#[test]
fn large_files_pipes_and_devices_are_refused_without_blocking() {
    let (_keep, layers) = layers(1);
    let path = layers[0].join("etc/passwd");
    fs::write(&path, [b'x'; 65]).unwrap();
    assert!(matches!(
        read(&layers, "/etc/passwd"),
        Err(LayeredError::TooLarge { .. })
    ));
    fs::write(&path, [b'x'; 64]).unwrap();
    assert_eq!(
        read(&layers, "/etc/passwd").unwrap().map(|text| text.len()),
        Some(64)
    );
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(
        read(&layers, "/etc/passwd"),
        Err(LayeredError::NotAFile { .. })
    ));
}

proptest! {
    #[test]
    fn any_files_and_any_user_end_in_an_answer(
        passwd in prop::collection::vec(any::<u8>(), 0..400),
        group in "([a-z]{0,3}:x?:[0-9]{0,11}:[a-z,]{0,6}\n?){0,6}",
        wanted in "[a-z0-9:]{0,12}",
    ) {
        let accounts = Accounts { passwd, group: group.into_bytes() };
        if let Ok(user) = resolve(Some(&wanted), &[], &accounts) {
            prop_assert!(user.uid <= MAX_ID && user.gid <= MAX_ID);
            prop_assert_eq!(user.groups[0], user.gid);
            prop_assert!(user.home.starts_with('/'));
        }
    }

    #[test]
    fn a_generated_account_is_found_by_name_and_by_id(uid in 0u32..=MAX_ID, gid in 0u32..=MAX_ID, name in "[a-z]{1,8}") {
        let accounts = Accounts {
            passwd: format!("{name}:x:{uid}:{gid}::/h/{name}:/bin/sh").into_bytes(),
            group: Vec::new(),
        };
        for wanted in [name.clone(), uid.to_string()] {
            let user = resolve(Some(&wanted), &[], &accounts).unwrap();
            prop_assert_eq!((user.uid, user.gid, user.home), (uid, gid, format!("/h/{name}")));
        }
    }
}
