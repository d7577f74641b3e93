//! Names of services, stacks and volumes, and the texts of a container spec that have a form.
//!
//! A service is looked up by its name, and by its network's behind it: both are names of DNS as well.

use super::Faults;

/// As in Swarm: what a DNS label can hold; stacks join names by an underscore.
const MAX_NAME: usize = 63;

pub(super) fn check(faults: &mut Faults, field: &str, name: &str) {
    let edges = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let valid = name.len() <= MAX_NAME
        && edges(name.chars().next())
        && edges(name.chars().last())
        && name.chars().all(inside);
    if !valid {
        faults.expected(
            field,
            "1 to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
            format!("{name:?}"),
        );
    }
}

/// The name of what is looked up by it: as above, and a resolver takes it.
pub(super) fn check_looked_up(faults: &mut Faults, field: &str, name: &str) {
    let before = faults.found.len();
    check(faults, field, name);
    if faults.found.len() == before {
        check_dns(faults, field, name);
    }
}

/// A name that is looked up: labels of letters, digits, '-' and '_', as programs use them.
pub(super) fn check_dns(faults: &mut Faults, field: &str, name: &str) {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    // A resolver refuses a name with a hyphen at an end (RFC 1123, 2.1).
    let ends = |label: &str| !label.starts_with('-') && !label.ends_with('-');
    let label =
        |label: &str| (1..=MAX_NAME).contains(&label.len()) && label.chars().all(inside) && ends(label);
    if name.len() > 253 || !name.split('.').all(label) {
        faults.expected(
            field,
            "a name of letters, digits, '-', '_' and '.', 63 between two dots and 253 in all at most, no '-' beside a dot or at an end",
            format!("{name:.300?}"),
        );
    }
}

/// A volume's name becomes a directory's.
pub(super) fn check_volume(faults: &mut Faults, field: &str, name: &str) {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !first || !rest || name.len() > 255 {
        faults.expected(
            field,
            "a letter or digit, then letters, digits, '-', '_' and '.', 255 in all at most",
            format!("{name:?}"),
        );
    }
}

pub(super) fn check_absolute(faults: &mut Faults, field: &str, path: &str) {
    let dots = path.split('/').any(|part| part == "..");
    if !path.starts_with('/') || path.contains('\0') || dots {
        faults.expected(field, "an absolute path without '..'", format!("{path:?}"));
    }
}

/// A text that is handed to exec: no NUL may hide its end.
pub(super) fn check_no_nul(faults: &mut Faults, field: &str, text: &str) {
    if text.contains('\0') {
        faults.expected(field, "text without NUL", format!("{text:?}"));
    }
}

/// `name|uid[:group|gid]`.
pub(super) fn check_user(faults: &mut Faults, field: &str, user: &str) {
    let part = |part: &str| !part.is_empty() && !part.contains([' ', '\t', '\n', '\0', '/']);
    let mut parts = user.split(':');
    let valid = parts.next().is_some_and(part) && parts.next().is_none_or(part) && parts.next().is_none();
    if !valid {
        faults.expected(field, "user or uid, with :group or :gid", format!("{user:?}"));
    }
}

/// The names of signals that Linux knows on every architecture.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

pub(super) fn check_signal(faults: &mut Faults, field: &str, signal: &str) {
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = name
        .strip_prefix("RTMIN+")
        .or_else(|| name.strip_prefix("RTMAX-"))
        .and_then(|offset| offset.parse::<u8>().ok())
        .is_some_and(|offset| offset <= 30)
        || matches!(name, "RTMIN" | "RTMAX");
    let number = signal
        .parse::<u8>()
        .is_ok_and(|number| (1..=64).contains(&number));
    if !(realtime || number || SIGNALS.contains(&name)) {
        faults.expected(
            field,
            "a signal such as SIGTERM, or 1 to 64",
            format!("{signal:?}"),
        );
    }
}
