//! Rules about single source files: their size, their header, their place, what they may name.
//!
//! Sizes are counted without the tests at the file's end, since those grow with the cases.

use super::{Finding, Source};

/// Lines from which a file is worth splitting, and from which it must be.
const WARN_LINES: usize = 400;
const MOST_LINES: usize = 600;

/// A header is read at a glance.
const HEADER_LINES: std::ops::RangeInclusive<usize> = 2..=8;

/// Words that would make the machine depend on a runtime, a clock, a socket or a file.
const NOT_IN_THE_MACHINE: [&str; 8] = [
    "tokio",
    "std::net",
    "std::fs",
    "Instant::now",
    "SystemTime",
    "std::thread",
    "thread_rng",
    "getrandom",
];

/// Where unsafe code may stand: one folder per program that needs the kernel directly.
const UNSAFE_HOMES: [&str; 4] = [
    "agent-runtime/src/sys",
    "agent-runtime/shim/src/sys",
    "agent-runtime/spawn/src/sys",
    "overlay-net/src/sys",
];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    sources.iter().flat_map(check_one).collect()
}

fn check_one(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |what: String, fatal: bool| {
        findings.push(Finding {
            place: source.path.clone(),
            what,
            fatal,
        });
    };
    let is_test = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
    let lines = code_lines(&source.text);
    if lines > MOST_LINES && !is_test {
        report(
            format!("{lines} lines, at most {MOST_LINES}: split it by topic"),
            true,
        );
    } else if lines > WARN_LINES && !is_test {
        report(format!("{lines} lines, better under {WARN_LINES}"), false);
    }
    let header = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    // What a file of tests owns is said by their names.
    let enough = if is_test {
        header >= 1 && header <= *HEADER_LINES.end()
    } else {
        HEADER_LINES.contains(&header)
    };
    if !enough {
        report(
            format!("a header of {header} lines; 2 to 8 say what it owns, who calls it, what it never does"),
            true,
        );
    }
    if source.path.ends_with("/mod.rs") {
        report("mod.rs is written foo.rs beside foo/".to_owned(), true);
    }
    if source.path.starts_with("manager/src/machine") {
        for word in NOT_IN_THE_MACHINE
            .iter()
            .filter(|word| source.text.contains(**word))
        {
            report(
                format!("the machine names {word}: time, randomness and I/O are its caller's"),
                true,
            );
        }
    }
    let code = without_comments(&source.text);
    let uses_unsafe =
        code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe extern");
    // This file spells the words that it looks for.
    let here = source.path.starts_with("xtask/src/tidy/");
    if uses_unsafe && !here && !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home)) {
        report(format!("unsafe code outside {}", UNSAFE_HOMES.join(", ")), true);
    }
    findings
}

/// Lines before the file's own test module.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

pub(super) fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check_one(&Source {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .into_iter()
        .map(|finding| finding.what)
        .collect()
    }

    const HEADER: &str = "//! What it owns.\n//! Who calls it.\n";

    #[test]
    fn each_rule_finds_its_breach_and_passes_a_clean_file() {
        let long = format!("{HEADER}{}", "fn f() {}\n".repeat(700));
        let cases = [
            ("core/src/a.rs", HEADER.to_owned(), None),
            ("core/src/a.rs", String::new(), Some("header of 0")),
            ("core/src/a.rs", long, Some("702 lines")),
            ("core/src/a/mod.rs", HEADER.to_owned(), Some("mod.rs")),
            (
                "manager/src/machine/a.rs",
                format!("{HEADER}use tokio::sync;"),
                Some("names tokio"),
            ),
            (
                "core/src/a.rs",
                format!("{HEADER}fn f() {{ unsafe {{}} }}"),
                Some("unsafe code outside"),
            ),
            (
                "agent-runtime/src/sys/a.rs",
                format!("{HEADER}fn f() {{ unsafe {{}} }}"),
                None,
            ),
        ];
        for (path, text, expect) in cases {
            let found = found(path, &text);
            match expect {
                None => assert!(found.is_empty(), "{path}: {found:?}"),
                Some(part) => assert!(found.iter().any(|what| what.contains(part)), "{path}: {found:?}"),
            }
        }
    }

    #[test]
    fn tests_at_the_end_do_not_count() {
        let text = format!("{HEADER}#[cfg(test)]\n{}", "fn f() {}\n".repeat(700));
        assert!(found("core/src/a.rs", &text).is_empty());
    }
}
