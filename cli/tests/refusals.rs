//! The program itself, where there is no daemon to ask: exit codes, and words that say what to do.
//!
//! Whoever has none, or the wrong one, must be told what to do about it.

use std::{
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Output},
};

fn shoal(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shoal"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("SHOAL_HOST", format!("unix://{}", folder.join("s").display()))
        .output()
        .expect("the program was built for this test")
}

#[track_caller]
fn check(output: &Output, code: i32, expect: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in expect {
        assert!(said.contains(text), "{text:?} in {said}");
    }
}

#[test]
fn each_way_to_have_no_daemon_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    check(
        &shoal(path, &["ps"]),
        1,
        &["there is no such socket", "shoal dev up"],
    );
    // A daemon that was killed leaves its socket behind.
    drop(UnixListener::bind(path.join("s")).unwrap());
    check(
        &shoal(path, &["node", "ls"]),
        1,
        &["nobody answers", "went on without it"],
    );
    std::fs::remove_file(path.join("s")).unwrap();
    // Something else listens there and hangs up.
    let listener = UnixListener::bind(path.join("s")).unwrap();
    let other = std::thread::spawn(move || drop(listener.accept()));
    let output = shoal(path, &["service", "ls"]);
    assert_eq!(output.status.code(), Some(1));
    other.join().unwrap();
    check(&shoal(path, &["--context", "prod", "ps"]), 1, &[]);
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (words, expect) in [
        (&["service", "create"][..], "<IMAGE>"),
        (&["nonsense"], "nonsense"),
        (
            &["service", "ls", "--filter", "nmae=x"],
            "expected one of id, label, mode, name, stack",
        ),
        (
            &["service", "create", "-p", "8000-8010:80", "img"],
            "differ in length",
        ),
        (
            &["network", "create", "--gateway", "10.1.0.1", "x"],
            "the node's own end",
        ),
        (&["network", "prune"], "--force"),
        (&["stack", "ls", "--filter", "label=x"], "expected one of name"),
        (
            &["-H", "http://x", "ps"],
            "expected unix:///path or tcp://host:port",
        ),
        (&["-H", "tcp://127.0.0.1:1", "ps"], "--tlscacert"),
        (&["service", "update", "--rollback", "web"], "not built yet"),
    ] {
        check(&shoal(path, words), 2, &[expect]);
    }
}

#[test]
fn compose_files_are_judged_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    check(
        &shoal(path, &["stack", "config"]),
        1,
        &["there is no compose.yaml"],
    );
    std::fs::write(path.join(".env"), "TAG=7\n").unwrap();
    let good = "services:\n  web:\n    image: web:$TAG\n    network_mode: host\n";
    std::fs::write(path.join("compose.yaml"), good).unwrap();
    std::fs::create_dir(path.join("below")).unwrap();
    let output = shoal(&path.join("below"), &["stack", "config"]);
    check(&output, 0, &[]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "services:\n  web:\n    image: \"web:7\"\n    network_mode: host\n".replace("\"web:7\"", "web:7")
    );
    let named =
        "name: shop\nservices:\n  web:\n    image: web:$COMPOSE_PROJECT_NAME\n    network_mode: host\n";
    std::fs::write(path.join("named.yaml"), named).unwrap();
    for (words, expect) in [
        (&["shop"][..], "web:shop"),
        (&[], "web:shop"),
        (&["app"], "web:app"),
    ] {
        let words = ["stack", "config", "-c", "named.yaml"].iter().chain(words);
        let output = shoal(path, &words.copied().collect::<Vec<_>>());
        check(&output, 0, &[]);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains(expect), "{shown}");
    }
    std::fs::write(path.join("bad.yaml"), "services:\n  web: {imgae: x}\n").unwrap();
    check(
        &shoal(path, &["stack", "deploy", "-c", "bad.yaml", "app"]),
        1,
        &[
            "bad.yaml:2:9: error: services.web.imgae: unknown key; did you mean image?",
            "Nothing was changed.",
        ],
    );
}
