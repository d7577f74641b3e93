//! The merged, interpolated tree as YAML again: what `stack config` shows.
//!
//! Block style, two spaces, keys in the order of the file; a text that YAML would read as something else
//! is quoted, and a dollar sign is doubled, so that what is shown can be deployed. Extensions (`x-…`) and merge keys are written out and gone, as in `docker stack config`.

use crate::tree::{Node, Value};

/// `interpolated` says that dollar signs in the tree are meant as they stand.
pub(crate) fn render(root: &Node, interpolated: bool) -> String {
    let mut out = String::new();
    if let Value::Mapping(entries) = &root.value {
        if entries.is_empty() {
            out.push_str("{}\n");
        }
        write_mapping(&mut out, root, 0);
    }
    if interpolated { out.replace('$', "$$") } else { out }
}

fn write_mapping(out: &mut String, node: &Node, indent: usize) {
    let Value::Mapping(entries) = &node.value else {
        return;
    };
    for entry in entries
        .iter()
        .filter(|entry| !(indent == 0 && entry.key.starts_with("x-")))
    {
        pad(out, indent);
        out.push_str(&quoted(&entry.key, false));
        out.push(':');
        write_value(out, &entry.value, indent);
    }
}

/// What follows a `key:` or a `-`, with its line ends.
fn write_value(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        // Nothing, by whichever of its names: quoted, `~` would be a text.
        Value::Scalar(_) if node.is_null() => out.push('\n'),
        Value::Scalar(scalar) => {
            let text = quoted(&scalar.text, scalar.plain);
            if !text.is_empty() {
                out.push(' ');
                out.push_str(&text);
            }
            out.push('\n');
        }
        Value::Sequence(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Mapping(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::Mapping(_) => {
            out.push('\n');
            write_mapping(out, node, indent + 2);
        }
        Value::Sequence(items) => {
            out.push('\n');
            for item in items {
                write_item(out, item, indent + 2);
            }
        }
    }
}

fn write_item(out: &mut String, item: &Node, indent: usize) {
    pad(out, indent);
    out.push('-');
    match &item.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            // The first key stands on the dash's line.
            let mut block = String::new();
            write_mapping(&mut block, item, indent + 2);
            out.push(' ');
            out.push_str(block.trim_start_matches(' '));
        }
        Value::Mapping(_) | Value::Scalar(_) | Value::Sequence(_) => write_value(out, item, indent),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text as a YAML scalar; a plain one keeps its meaning by staying bare.
fn quoted(text: &str, plain: bool) -> String {
    let bare = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./=@+,~$()<>^;".contains(c) || c == ' ' || c == ':')
        && text.trim() == text
        && !text.contains(": ")
        && !text.ends_with(':')
        && text
            .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/' || c == '.' || c == '$');
    if plain && (bare || text.is_empty()) || bare && !means_something_else(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for found in text.chars() {
        match found {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            found if found.is_control() || matches!(found, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\U{:08x}", u32::from(found)));
            }
            found => out.push(found),
        }
    }
    out.push('"');
    out
}

/// Would YAML read this text as a number, a boolean, null or a time?
fn means_something_else(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    ) || text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}
