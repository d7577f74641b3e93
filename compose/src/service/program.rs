//! The program and its confinement: image, command, user, capabilities, limits of the process.
//!
//! A command as one text is split into words as a shell would, and nothing else a shell does happens.

use super::Draft;
use crate::{
    keys,
    reader::{Field, Reader},
    tree::Value,
};
use shoal_core::model::Ulimit;

/// Takes the keys of this file; says whether `key` was one of them.
pub(super) fn take<'a>(reader: &mut Reader<'_>, draft: &mut Draft<'a>, key: &str, field: &Field<'a>) -> bool {
    let container = &mut draft.container;
    match key {
        "image" => {
            container.image = reader.text(field).unwrap_or_default();
            if container.image.is_empty() {
                reader.error(field, "expected the name of an image, found nothing");
            }
        }
        "command" => container.args = words(reader, field),
        "entrypoint" => container.command = words(reader, field),
        "working_dir" => container.workdir = reader.text(field),
        "user" => container.user = reader.text(field),
        "group_add" => container.groups = reader.texts(field),
        "hostname" => container.hostname = reader.text(field),
        "read_only" => container.read_only = reader.boolean(field).unwrap_or_default(),
        "init" => container.init = reader.boolean(field).unwrap_or_default(),
        "tty" => container.tty = reader.boolean(field).unwrap_or_default(),
        "stdin_open" => container.stdin_open = reader.boolean(field).unwrap_or_default(),
        "stop_signal" => container.stop_signal = reader.text(field),
        "stop_grace_period" => container.stop_grace = reader.duration(field),
        "cap_add" => container.cap_add = reader.texts(field),
        "cap_drop" => container.cap_drop = reader.texts(field),
        "sysctls" => container.sysctls = reader.plain_pairs(field),
        "ulimits" => {
            for (name, inner) in reader.named(field) {
                if let Some(limit) = ulimit(reader, &inner) {
                    container.ulimits.insert(name.to_owned(), limit);
                }
            }
        }
        "security_opt" => {
            for option in reader.list(field) {
                container.no_new_privileges |= security_option(reader, &option);
            }
        }
        "oom_score_adj" => match reader.parsed(field, "a number from -1000 to 1000") {
            Some(adjust) if (-1000..=1000).contains(&adjust) => container.oom_score_adj = adjust,
            Some(other) => reader.error(
                field,
                format!("expected a number from -1000 to 1000, found {other}"),
            ),
            None => {}
        },
        _ => return false,
    }
    true
}

/// A program: a list as it stands, a text split into words. An empty one is asked for explicitly.
pub(super) fn words(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    if matches!(field.node.value, Value::Sequence(_)) {
        return Some(reader.texts(field));
    }
    let text = reader.text(field)?;
    match split_words(&text) {
        Ok(words) => Some(words),
        Err(quote) => {
            reader.error(field, format!("the quote {quote} is never closed"));
            None
        }
    }
}

/// Splits as a POSIX shell splits words: quotes and backslashes, no expansion.
fn split_words(text: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(found) = chars.next() {
        match found {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err('\''),
                    }
                }
            }
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                escaped => word.get_or_insert_default().push(escaped.unwrap_or('\\')),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), char> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some('\n') => {}
                Some(other) => word.extend(['\\', other]),
                None => return Err('"'),
            },
            Some(inner) => word.push(inner),
            None => return Err('"'),
        }
    }
}

fn ulimit(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Ulimit> {
    if !field.is_mapping() {
        let both = limit(reader, field)?;
        return Some(Ulimit {
            soft: both,
            hard: both,
        });
    }
    let (mut soft, mut hard) = (None, None);
    for (key, inner) in reader.entries(field, keys::ULIMIT) {
        let value = limit(reader, &inner);
        match key {
            "soft" => soft = value,
            _ => hard = value,
        }
    }
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft <= hard => Some(Ulimit { soft, hard }),
        (Some(soft), Some(hard)) => {
            reader.error(
                field,
                format!("the soft limit {soft} is over the hard limit {hard}"),
            );
            None
        }
        _ => {
            reader.error(field, "expected a soft and a hard limit");
            None
        }
    }
}

/// A number; -1 is no limit.
fn limit(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<u64> {
    let value: i64 = reader.parsed(field, "a number, or -1 for no limit")?;
    match value {
        -1 => Some(u64::MAX),
        _ => match u64::try_from(value) {
            Ok(value) => Some(value),
            Err(_) => {
                reader.error(
                    field,
                    format!("expected a number, or -1 for no limit, found {value}"),
                );
                None
            }
        },
    }
}

/// Whether the option is no-new-privileges; any other is refused, since it changes the confinement.
fn security_option(reader: &mut Reader<'_>, field: &Field<'_>) -> bool {
    let Some(text) = reader.text(field) else {
        return false;
    };
    match text.replace('=', ":").as_str() {
        "no-new-privileges" | "no-new-privileges:true" => true,
        "no-new-privileges:false" => false,
        _ => {
            reader.error(
                field,
                format!("{text:?} is not supported; of the security options only no-new-privileges is built"),
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_a_shell_splits_them() {
        for (text, expect) in [
            ("", Ok(vec![])),
            ("a b  c", Ok(vec!["a", "b", "c"])),
            ("sh -c 'echo \"hi\" $X'", Ok(vec!["sh", "-c", "echo \"hi\" $X"])),
            (r#"a "b \" \n c" d\ e"#, Ok(vec!["a", "b \" \\n c", "d e"])),
            ("a ''", Ok(vec!["a", ""])),
            ("a\"b\"'c'", Ok(vec!["abc"])),
            ("'x", Err('\'')),
            ("\"x", Err('"')),
        ] {
            let expect = expect.map(|words: Vec<&str>| words.into_iter().map(str::to_owned).collect());
            assert_eq!(split_words(text), expect, "{text}");
        }
    }
}
