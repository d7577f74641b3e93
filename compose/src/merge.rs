//! Several files into one tree, by the merge rules of the Compose specification.
//!
//! Mappings merge key by key; lists are appended without repetition; what reads as pairs (environment,
//! labels) merges by name, volumes by target, ports by what they publish; a program (command, entrypoint,
//! health test) is replaced. `!reset` takes a key away, `!override` replaces it whole.

use crate::tree::{Directive, Entry, Node, Value};

/// `over` on top of `base`.
pub(crate) fn merge(base: Node, over: Node) -> Node {
    merge_at(base, over, &mut Vec::new())
}

fn merge_at(base: Node, over: Node, path: &mut Vec<String>) -> Node {
    if over.directive == Directive::Override {
        return over;
    }
    let how = strategy(path);
    let (at, directive) = (over.at, over.directive);
    let value = match (how, base.value, over.value) {
        (Strategy::Replace, _, value) => value,
        (Strategy::Pairs(separators), base, over) => {
            let base = pairs_as_mapping(base, separators);
            let over = pairs_as_mapping(over, separators);
            merge_values(base, over, path)
        }
        (Strategy::ByTarget(key), Value::Sequence(base), Value::Sequence(over)) => {
            Value::Sequence(replace_same(base, over, key))
        }
        (_, Value::Sequence(base), Value::Sequence(over)) => {
            Value::Sequence(replace_same(base, over, whole_text))
        }
        (_, base, over) => merge_values(base, over, path),
    };
    Node { at, directive, value }
}

fn merge_values(base: Value, over: Value, path: &mut Vec<String>) -> Value {
    let (mut entries, over) = match (base, over) {
        (Value::Mapping(base), Value::Mapping(over)) => (base, over),
        (_, over) => return over,
    };
    for entry in over {
        let old = entries.iter().position(|candidate| candidate.key == entry.key);
        match (old, entry.value.directive) {
            (Some(index), Directive::Reset) => {
                entries.remove(index);
            }
            (None, Directive::Reset) => {}
            (None, Directive::Merge | Directive::Override) => entries.push(entry),
            (Some(index), Directive::Merge | Directive::Override) => {
                let before = entries.remove(index);
                path.push(entry.key.clone());
                let value = merge_at(before.value, entry.value, path);
                path.pop();
                entries.insert(
                    index,
                    Entry {
                        key: entry.key,
                        at: entry.at,
                        value,
                    },
                );
            }
        }
    }
    Value::Mapping(entries)
}

/// Takes away what a single file marks with `!reset`.
pub(crate) fn drop_resets(node: &mut Node) {
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => {
            items.retain(|item| item.directive != Directive::Reset);
            items.iter_mut().for_each(drop_resets);
        }
        Value::Mapping(entries) => {
            entries.retain(|entry| entry.value.directive != Directive::Reset);
            entries.iter_mut().for_each(|entry| drop_resets(&mut entry.value));
        }
    }
}

type Identity = fn(&Node) -> Option<String>;

enum Strategy {
    Default,
    Replace,
    Pairs(&'static [char]),
    ByTarget(Identity),
}

fn strategy(path: &[String]) -> Strategy {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => {
            Strategy::Replace
        }
        [
            "services",
            _,
            "environment" | "labels" | "sysctls" | "annotations",
        ]
        | ["services", _, "deploy", "labels"]
        | ["volumes", _, "labels"] => Strategy::Pairs(&['=']),
        ["services", _, "extra_hosts"] => Strategy::Pairs(&['=', ':']),
        ["services", _, "networks" | "depends_on"] => Strategy::Pairs(&[]),
        ["services", _, "volumes"] => Strategy::ByTarget(mount_target),
        ["services", _, "ports"] => Strategy::ByTarget(published),
        _ => Strategy::Default,
    }
}

/// `[A=1, B]` as `{A: 1, B: null}`; a list with anything but texts stays what it is.
fn pairs_as_mapping(value: Value, separators: &[char]) -> Value {
    let Value::Sequence(items) = value else {
        return value;
    };
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    for item in &items {
        let Value::Scalar(scalar) = &item.value else {
            return Value::Sequence(items);
        };
        let (key, value) = match scalar.text.split_once(separators) {
            Some((key, value)) if !separators.is_empty() => (key, Node::text(item.at, value, false)),
            _ => (scalar.text.as_str(), Node::text(item.at, "", true)),
        };
        entries.retain(|entry| entry.key != key);
        entries.push(Entry {
            key: key.to_owned(),
            at: item.at,
            value,
        });
    }
    Value::Mapping(entries)
}

/// The items of `over` after those of `base`; one with the same identity takes the older one's place.
fn replace_same(mut base: Vec<Node>, over: Vec<Node>, identity: Identity) -> Vec<Node> {
    for item in over {
        let name = identity(&item);
        let same = name.and_then(|name| {
            base.iter()
                .position(|old| identity(old).as_deref() == Some(name.as_str()))
        });
        match same {
            Some(index) => base[index] = item,
            None => base.push(item),
        }
    }
    base
}

fn whole_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

fn mount_target(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => {
            let mut parts = scalar.text.split(':');
            let first = parts.next()?;
            Some(parts.next().unwrap_or(first).to_owned())
        }
        Value::Mapping(_) => whole_text(node.get("target")?),
        Value::Sequence(_) => None,
    }
}

fn published(node: &Node) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Mapping(_) => {
            let part = |key: &str| node.get(key).and_then(whole_text).unwrap_or_default();
            Some(format!(
                "{}:{}:{}/{}",
                part("host_ip"),
                part("published"),
                part("target"),
                part("protocol")
            ))
        }
        Value::Sequence(_) => None,
    }
}
