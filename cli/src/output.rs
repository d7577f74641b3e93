//! What a command prints: lists as tables, JSON lines or templates, and inspected objects.
//!
//! Pure but for `print`: a verb makes a `Listing` or JSON values, and a `Format` turns them into text.
//! Layout, keys and template functions are those that users of `docker` know.

mod listing;
mod table;
mod template;

pub(crate) use listing::{Column, ListArgs, Listing};
pub(crate) use template::Template;

use anyhow::{Context, Result};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{ErrorKind, Write};

/// How a list is to be shown.
#[derive(Clone, Debug, Default)]
pub(crate) enum Format {
    #[default]
    Table,
    /// One object a line.
    Json,
    /// A table with these columns.
    TableOf(Template),
    Each(Template),
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text {
            "" | "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => match text.strip_prefix("table ") {
                Some(columns) => columns.trim().parse().map(Self::TableOf),
                None => text.parse().map(Self::Each),
            },
        }
    }
}

/// Objects in full: a JSON array, or a template each. A null stands for what an object of its kind can have and this
/// one lacks: JSON leaves the key out, and a template tells it from a key that is misspelt.
pub(crate) fn inspected(objects: &[Value], format: Option<&Template>) -> Result<String> {
    match format {
        None => {
            let shown = objects.iter().map(present).collect();
            Ok(format!("{}\n", indented(&shown)?))
        }
        Some(template) => {
            let mut out = String::new();
            for object in objects {
                out.push_str(&template.render(object)?);
                out.push('\n');
            }
            Ok(out)
        }
    }
}

/// The object without what it lacks.
fn present(object: &Value) -> Value {
    let mut shown = object.clone();
    if let Value::Object(map) = &mut shown {
        map.retain(|_, value| !value.is_null());
    }
    shown
}

/// JSON as Docker prints it: four spaces.
fn indented(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).context("cannot write JSON")?;
    String::from_utf8(bytes).context("cannot write JSON")
}

/// To standard output. A reader that has gone (`| head`) ends the program quietly.
pub(crate) fn print(text: &str) -> Result<()> {
    print_bytes(visible(text).as_bytes())
}

/// Text with its control characters spelled out, but for line feeds and tabs: a host's name, a task's error or
/// an image's label is somebody else's text, and must not move the cursor or rename the window of who reads it.
/// Spelled as JSON spells them, so that JSON stays JSON.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(crate::failure::Exit(0).into()),
        done => done.context("cannot write to standard output"),
    }
}

/// To standard error; nothing can be done if that fails.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", visible(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        for (text, expect) in [
            ("plain ü\n\tnext", "plain ü\n\tnext"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007"),
            ("a\rb\u{8}", "a\\u000db\\u0008"),
            // The one-character form of the same sequences, which JSON leaves as it is.
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
        ] {
            assert_eq!(visible(text), expect, "{text:?}");
        }
        let json = serde_json::json!({ "Hostname": "\u{9b}2J\u{1b}[2J" });
        let shown: Value = serde_json::from_str(&visible(&json.to_string())).unwrap();
        assert_eq!(shown, json);
    }
}
