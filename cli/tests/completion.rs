//! What bash offers on Tab once it has sourced `shoal completion bash`, with and without a daemon that answers.

use std::{
    os::unix::net::UnixListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Sources the script, completes the line as bash would on Tab, and prints the candidates one a line.
const ASK: &str = r#"
source <(shoal completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
COMP_TYPE=9
function=$(complete -p shoal | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" shoal "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn offered(folder: &Path, words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_shoal"));
    let path = format!(
        "{}:{}",
        program.parent().expect("a program is in a folder").display(),
        std::env::var("PATH").expect("bash is on the PATH")
    );
    let output = Command::new("bash")
        .args(["-c", ASK, "bash", "shoal"])
        .args(words)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", path)
        .env("SHOAL_HOST", format!("unix://{}", folder.join("s").display()))
        .current_dir(folder)
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("names are text");
    said.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_flags_and_values_are_offered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (words, expect) in [
        (&["net"][..], &["network"][..]),
        (&["network", "i"], &["inspect"]),
        (
            &["service", "update", "--network-"],
            &["--network-add", "--network-rm"],
        ),
        (&["network", "create", "--driver", ""], &["overlay", "bridge"]),
        (&["service", "create", "--endpoint-mode", "v"], &["vip"]),
        (&["nonsense", "x"], &[]),
    ] {
        assert_eq!(offered(path, words), expect, "{words:?}");
    }
}

#[test]
fn names_are_asked_for_and_waited_for_only_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let contexts = path.join(".config/shoal/contexts");
    std::fs::create_dir_all(&contexts).unwrap();
    for name in ["prod", "preview", "lab"] {
        let file = contexts.join(format!("{name}.toml"));
        std::fs::write(file, "host = \"unix:///nowhere\"\n").unwrap();
    }
    assert_eq!(offered(path, &["--context", "pr"]), ["preview", "prod"]);
    assert_eq!(offered(path, &["context", "rm", "l"]), ["lab"]);
    // No daemon: no names, and no message in the middle of somebody's line.
    assert_eq!(offered(path, &["service", "rm", "w"]), [""; 0]);
    // One that accepts and says nothing.
    let _listener = UnixListener::bind(path.join("s")).unwrap();
    let asked = Instant::now();
    assert_eq!(offered(path, &["exec", "w"]), [""; 0]);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
