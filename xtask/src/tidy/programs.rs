//! What the network does, it does itself: no other program is run for it, but its own process `shoal-net`.
//!
//! Running `ip` or `nft` takes milliseconds, and says what went wrong in words. Whoever needs more of the kernel asks it
//! by netlink, as the rest of the network does.

use super::{Finding, Source, files::without_comments};

/// The overlay, and the worker that tells it what shall be.
const WITHOUT_PROGRAMS: [&str; 2] = ["overlay-net/src/", "worker/src/"];

/// Where the process is started.
const START: &str = "overlay-net/src/process/start.rs";

/// The ways there are to start a program. `Command` alone may be anybody's name for an order.
const WAYS: [&str; 6] = [
    "process::Command",
    "Command::new",
    "posix_spawn",
    "execv",
    "fork(",
    "libc::system",
];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    sources.iter().flat_map(check_one).collect()
}

fn check_one(source: &Source) -> Vec<Finding> {
    let ours = WITHOUT_PROGRAMS
        .iter()
        .any(|place| source.path.starts_with(place));
    if !ours || source.path == START || is_test(&source.path) {
        return Vec::new();
    }
    let product = source.text.split("\n#[cfg(test)]\n").next();
    let code = without_comments(product.unwrap_or_default());
    let found = WAYS.iter().filter(|way| code.contains(**way));
    let finding = |way: &&str| Finding {
        place: source.path.clone(),
        what: format!("has {way}: the network runs no program but shoal-net, which {START} starts"),
        fatal: true,
    };
    found.map(finding).collect()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_wherever_the_network_starts_it_and_nowhere_else() {
        let start = "fn f() { std::process::Command::new(\"nft\"); }\n";
        let tested = format!("fn g() {{}}\n\n#[cfg(test)]\nmod tests {{ {start} }}\n");
        for (path, text, expect) in [
            ("overlay-net/src/engine.rs", start, true),
            ("worker/src/network/hub.rs", start, true),
            ("worker/src/worker.rs", "use tokio::process::Command;\n", true),
            ("overlay-net/src/sys.rs", "libc::execve(a, b, c)", true),
            (START, start, false),
            ("overlay-net/src/engine.rs", "// Not by Command::new.\n", false),
            ("overlay-net/src/engine.rs", "enum Command { Apply }\n", false),
            ("overlay-net/src/engine.rs", tested.as_str(), false),
            ("overlay-net/src/plan/tests.rs", start, false),
            ("overlay-net/tests/net/world.rs", start, false),
            ("agent-runtime/src/shim.rs", start, false),
        ] {
            let source = Source {
                path: path.to_owned(),
                text: text.to_owned(),
            };
            assert_eq!(!check_one(&source).is_empty(), expect, "{path}: {text}");
        }
    }
}
