//! A host made of files: a list of what is loaded, and a parser that is a script.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A host whose parser is this script, beside a list that it may write.
fn host(directory: &tempfile::TempDir, script: Option<&str>) -> AppArmor {
    let place = directory.path();
    fs::write(place.join("profiles"), "docker-default (enforce)\n").unwrap();
    if let Some(script) = script {
        let parser = place.join("parser");
        let staged = place.join("parser.new");
        fs::write(
            &staged,
            format!("#!/bin/sh\ncd {} || exit 9\n{script}\n", place.display()),
        )
        .unwrap();
        fs::set_permissions(&staged, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(staged, parser).unwrap();
    }
    AppArmor::of(Some(Host {
        loaded: place.join("profiles"),
        parsers: vec![place.join("missing"), place.join("parser")],
    }))
}

const LOADS: &str = "cat >> said; echo \"$*\" >> said; echo 'shoal-default (enforce)' >> profiles";

#[tokio::test]
async fn a_host_without_it_has_neither_profile_nor_problem() {
    let none = AppArmor::new(false);
    none.load().await;
    assert_eq!((none.profile().await, none.problem().await), (None, None));
}

#[tokio::test]
async fn it_is_loaded_at_first_and_again_when_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let apparmor = host(&directory, Some(LOADS));
    apparmor.load().await;
    assert_eq!(apparmor.profile().await.as_deref(), Some(PROFILE));
    let said = || fs::read_to_string(directory.path().join("said")).unwrap();
    assert_eq!(said(), format!("{POLICY}--replace --skip-cache\n"));
    assert_eq!(apparmor.profile().await.as_deref(), Some(PROFILE));
    assert_eq!(said().matches("--replace").count(), 1);

    fs::write(directory.path().join("profiles"), "shoal-default-2 (enforce)\n").unwrap();
    assert_eq!(apparmor.profile().await.as_deref(), Some(PROFILE));
    assert_eq!(said().matches("--replace").count(), 2);
    assert_eq!(apparmor.problem().await, None);
}

#[tokio::test]
async fn what_is_missing_is_said_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |script: Option<&str>, what: &str, remedy: &str| {
        let apparmor = host(&directory, script);
        apparmor.load().await;
        assert_eq!(apparmor.profile().await, None);
        let problem = apparmor.problem().await.unwrap();
        assert!(
            problem.what.contains(what) && problem.remedy.contains(remedy),
            "{problem:?}"
        );
    };
    check(None, "not installed", "install the package apparmor").await;
    check(Some("exit 0"), "does not list it", "securityfs").await;
    check(
        Some("cat > /dev/null; echo no such; echo feature >&2; exit 3"),
        "exit status: 3: feature",
        "kernel's log",
    )
    .await;
}

#[tokio::test]
async fn a_failure_is_not_repeated_for_every_container() {
    let directory = tempfile::tempdir().unwrap();
    let apparmor = host(&directory, Some("echo tried >> said; exit 1"));
    for _ in 0..3 {
        assert_eq!(apparmor.profile().await, None);
    }
    let said = fs::read_to_string(directory.path().join("said")).unwrap();
    assert_eq!(said, "tried\n");
}

#[test]
fn the_policy_is_of_the_name_that_is_applied() {
    assert!(POLICY.contains(&format!("\nprofile {PROFILE} ")));
}
