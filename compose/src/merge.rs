//! Several files into one tree, by the merge rules of the Compose specification.
//!
//! Mappings merge key by key; lists are appended without repetition; what reads as pairs (environment,
//! labels) merges by name, volumes by target, ports by what they publish; a program (command, entrypoint,
//! health test) is replaced. A key with nothing in it leaves what an earlier file said: `!reset` takes a key
//! away, `!override` replaces it whole.

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
    if over.is_null() && !null_means_something(&how, path) {
        return base;
    }
    let (at, directive) = (over.at, over.directive);
    let value = match how {
        Strategy::Replace => over.value,
        Strategy::Pairs(separators) => {
            let base = pairs_as_mapping(base.value, separators);
            let over = pairs_as_mapping(over.value, separators);
            merge_values(base, over, path)
        }
        Strategy::Items(identity) => {
            Value::Sequence(replace_same(one_or_list(base), one_or_list(over), identity))
        }
        Strategy::Hosts => Value::Sequence(replace_same(host_lines(base), host_lines(over), host_identity)),
        Strategy::List(identity) => match (base.value, over.value) {
            (Value::Sequence(base), Value::Sequence(over)) => {
                Value::Sequence(replace_same(base, over, identity))
            }
            (base, over) => merge_values(base, over, path),
        },
    };
    Node { at, directive, value }
}

/// A program without words is the image's own, and a name without a value takes the caller's (a label the empty
/// one): there, nothing is something that a file can say.
fn null_means_something(how: &Strategy, path: &[String]) -> bool {
    let within_pairs = || {
        let above = path.split_last().map(|(_, above)| strategy(above));
        matches!(above, Some(Strategy::Pairs(['='])))
    };
    matches!(how, Strategy::Replace) || within_pairs()
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
    /// By the kind of value; of a list, items with the same identity are one.
    List(Identity),
    Replace,
    Pairs(&'static [char]),
    /// A single value is a list of one.
    Items(Identity),
    /// Names with addresses, of which a name may have several.
    Hosts,
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
        | ["volumes" | "networks", _, "labels"] => Strategy::Pairs(&['=']),
        ["services", _, "networks" | "depends_on"] => Strategy::Pairs(&[]),
        ["services", _, "dns" | "dns_search" | "label_file"] => Strategy::Items(whole_text),
        ["services", _, "env_file"] => Strategy::Items(env_file_path),
        ["services", _, "tmpfs"] => Strategy::Items(tmpfs_target),
        ["services", _, "extra_hosts"] => Strategy::Hosts,
        ["services", _, "volumes"] => Strategy::List(mount_target),
        ["services", _, "ports"] => Strategy::List(published),
        _ => Strategy::List(whole_text),
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

fn one_or_list(node: Node) -> Vec<Node> {
    match node.value {
        Value::Sequence(items) => items,
        Value::Scalar(_) if node.is_null() => Vec::new(),
        Value::Scalar(_) | Value::Mapping(_) => vec![node],
    }
}

/// `{a: [1, 2], b: 3}` as `[a=1, a=2, b=3]`.
fn host_lines(node: Node) -> Vec<Node> {
    let Value::Mapping(entries) = node.value else {
        return one_or_list(node);
    };
    let mut lines = Vec::with_capacity(entries.len());
    for entry in entries {
        for address in one_or_list(entry.value) {
            lines.push(match whole_text(&address) {
                Some(text) => Node::text(address.at, format!("{}={text}", entry.key), false),
                // No address: the reader of the list says so.
                None => address,
            });
        }
    }
    lines
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

/// `NAME:ADDRESS` is written with an equals sign as well.
fn host_identity(node: &Node) -> Option<String> {
    let text = whole_text(node)?;
    let (name, address) = text.split_once(['=', ':'])?;
    Some(format!("{name}={address}"))
}

fn env_file_path(node: &Node) -> Option<String> {
    match &node.value {
        Value::Mapping(_) => whole_text(node.get("path")?),
        Value::Scalar(_) | Value::Sequence(_) => whole_text(node),
    }
}

fn tmpfs_target(node: &Node) -> Option<String> {
    let text = whole_text(node)?;
    Some(text.split(':').next()?.to_owned())
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
