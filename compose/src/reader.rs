//! Typed reading of the tree: what is found where something else is expected becomes a message.
//!
//! A `Field` is a node with its path. Every reading function returns what it could make of it, so that
//! one run reports everything that is wrong, not only the first thing.

use crate::{
    keys::{Keys, Rule, rule},
    report::Report,
    suggest::nearest,
    tree::{At, Entry, Node, Value},
    units::{parse_duration, scaled},
};
use shoal_core::model::{Bytes, CpuNanos};
use std::{collections::BTreeMap, str::FromStr, time::Duration};

#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
    /// Where messages point: at a single value itself, at the key of a list or mapping.
    at: At,
}

impl<'a> Field<'a> {
    pub(crate) fn new(node: &'a Node, path: impl Into<String>) -> Self {
        Self {
            node,
            path: path.into(),
            at: node.at,
        }
    }

    fn under(&self, entry: &'a Entry) -> Self {
        let path = if self.path.is_empty() {
            entry.key.clone()
        } else {
            format!("{}.{}", self.path, entry.key)
        };
        let node = &entry.value;
        let at = match &node.value {
            Value::Scalar(_) if !node.is_null() => node.at,
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => entry.at,
        };
        Self { node, path, at }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self {
            node,
            path: format!("{}[{index}]", self.path),
            at: node.at,
        }
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }
}

/// Reads fields and keeps the report.
#[derive(Debug)]
pub(crate) struct Reader<'r> {
    pub(crate) report: &'r mut Report,
}

impl Reader<'_> {
    pub(crate) fn error(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.report.error(field.at, &field.path, message);
    }

    pub(crate) fn warn(&mut self, field: &Field<'_>, message: impl Into<String>) {
        self.report.warn(field.at, &field.path, message);
    }

    fn expected<T>(&mut self, field: &Field<'_>, what: &str) -> Option<T> {
        let found = match &field.node.value {
            Value::Scalar(scalar) if !field.node.is_null() => {
                format!("{:?}", scalar.text.chars().take(60).collect::<String>())
            }
            _ => field.node.kind().to_owned(),
        };
        self.error(field, format!("expected {what}, found {found}"));
        None
    }

    /// The entries of a mapping that are carried out; the others are reported. Null is empty.
    pub(crate) fn entries<'a>(&mut self, field: &Field<'a>, keys: Keys) -> Vec<(&'a str, Field<'a>)> {
        let mut known = Vec::new();
        for entry in self.mapping(field) {
            let inner = field.under(entry);
            // The key's own place is what the user looks for.
            let at = entry.at;
            match rule(keys, &entry.key) {
                Some(Rule::Done) if entry.value.is_null() => {}
                Some(Rule::Done) => known.push((entry.key.as_str(), inner)),
                Some(_) if entry.value.asks_nothing() => {}
                Some(Rule::Ignored(reason)) => {
                    self.report
                        .warn(at, &inner.path, format!("not carried out: {reason}"));
                }
                Some(Rule::Refused(reason)) => {
                    self.report
                        .error(at, &inner.path, format!("not supported: {reason}"));
                }
                None if entry.key.starts_with("x-") => {}
                None => {
                    let hint = nearest(&entry.key, keys.iter().map(|(name, _)| *name))
                        .map(|name| format!("; did you mean {name}?"))
                        .unwrap_or_default();
                    self.report.error(at, &inner.path, format!("unknown key{hint}"));
                }
            }
        }
        known
    }

    /// The entries of a mapping whose keys are names.
    pub(crate) fn named<'a>(&mut self, field: &Field<'a>) -> Vec<(&'a str, Field<'a>)> {
        self.mapping(field)
            .iter()
            .filter(|entry| !entry.key.starts_with("x-"))
            .map(|entry| (entry.key.as_str(), field.under(entry)))
            .collect()
    }

    fn mapping<'a>(&mut self, field: &Field<'a>) -> &'a [Entry] {
        match &field.node.value {
            Value::Mapping(entries) => entries,
            Value::Scalar(_) if field.node.is_null() => &[],
            Value::Scalar(_) | Value::Sequence(_) => {
                self.expected::<()>(field, "a mapping");
                &[]
            }
        }
    }

    /// The items of a list. Null is empty.
    pub(crate) fn list<'a>(&mut self, field: &Field<'a>) -> Vec<Field<'a>> {
        match &field.node.value {
            Value::Sequence(items) => {
                let items = items.iter().enumerate();
                items.map(|(index, node)| field.item(index, node)).collect()
            }
            Value::Scalar(_) if field.node.is_null() => Vec::new(),
            Value::Scalar(_) | Value::Mapping(_) => {
                self.expected::<()>(field, "a list");
                Vec::new()
            }
        }
    }

    /// One value or a list of them.
    pub(crate) fn one_or_list<'a>(&mut self, field: &Field<'a>) -> Vec<Field<'a>> {
        match &field.node.value {
            Value::Scalar(_) if !field.node.is_null() => vec![field.clone()],
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => self.list(field),
        }
    }

    pub(crate) fn text(&mut self, field: &Field<'_>) -> Option<String> {
        match &field.node.value {
            Value::Scalar(scalar) if !field.node.is_null() && !scalar.text.contains('\0') => {
                Some(scalar.text.clone())
            }
            _ => self.expected(field, "a text"),
        }
    }

    pub(crate) fn texts(&mut self, field: &Field<'_>) -> Vec<String> {
        let items = self.list(field);
        items.iter().filter_map(|item| self.text(item)).collect()
    }

    pub(crate) fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        match &field.node.value {
            Value::Scalar(scalar) => match scalar.text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => self.expected(field, "true or false"),
            },
            Value::Sequence(_) | Value::Mapping(_) => self.expected(field, "true or false"),
        }
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, field: &Field<'_>, what: &str) -> Option<T> {
        match &field.node.value {
            Value::Scalar(scalar) => match scalar.text.trim().parse() {
                Ok(value) => Some(value),
                Err(_) => self.expected(field, what),
            },
            Value::Sequence(_) | Value::Mapping(_) => self.expected(field, what),
        }
    }

    /// One of a closed list of words.
    pub(crate) fn word<T: Copy>(&mut self, field: &Field<'_>, words: &[(&str, T)]) -> Option<T> {
        if let Value::Scalar(scalar) = &field.node.value
            && let Some((_, value)) = words.iter().find(|(word, _)| *word == scalar.text)
        {
            return Some(*value);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        self.expected(field, &format!("one of {}", all.join(", ")))
    }

    pub(crate) fn duration(&mut self, field: &Field<'_>) -> Option<Duration> {
        const WHAT: &str = "a duration such as 90s, 1m30s or 500ms";
        match &field.node.value {
            Value::Scalar(scalar) => match parse_duration(&scalar.text) {
                Some(duration) => Some(duration),
                None => self.expected(field, WHAT),
            },
            Value::Sequence(_) | Value::Mapping(_) => self.expected(field, WHAT),
        }
    }

    pub(crate) fn bytes(&mut self, field: &Field<'_>) -> Option<Bytes> {
        self.parsed(field, "a size such as 512k, 64m or 1g")
    }

    /// A number of processors (`0.5`); zero means no bound.
    pub(crate) fn cpus(&mut self, field: &Field<'_>) -> Option<CpuNanos> {
        const WHAT: &str = "a number of cpus such as 0.5 or 2";
        match &field.node.value {
            Value::Scalar(scalar) => match scaled(scalar.text.trim(), 1_000_000_000).map(CpuNanos) {
                Some(cpus) => Some(cpus),
                None => self.expected(field, WHAT),
            },
            Value::Sequence(_) | Value::Mapping(_) => self.expected(field, WHAT),
        }
    }

    /// `KEY: value` or a list of `KEY=value`; `None` for a key without a value.
    pub(crate) fn pairs(&mut self, field: &Field<'_>) -> BTreeMap<String, Option<String>> {
        let mut pairs = BTreeMap::new();
        if field.is_mapping() {
            for entry in self.mapping(field) {
                let inner = field.under(entry);
                if entry.value.is_null() {
                    pairs.insert(entry.key.clone(), None);
                } else if let Some(text) = self.text(&inner) {
                    pairs.insert(entry.key.clone(), Some(normal_boolean(&entry.value, text)));
                }
            }
            return pairs;
        }
        for item in self.list(field) {
            let Some(text) = self.text(&item) else { continue };
            match text.split_once('=') {
                Some(("", _)) => {
                    self.error(&item, format!("expected NAME=value, found {text:?}"));
                }
                Some((key, value)) => {
                    pairs.insert(key.to_owned(), Some(value.to_owned()));
                }
                None => {
                    pairs.insert(text, None);
                }
            }
        }
        pairs
    }

    /// Pairs where a key without a value has the empty one.
    pub(crate) fn plain_pairs(&mut self, field: &Field<'_>) -> BTreeMap<String, String> {
        let pairs = self.pairs(field).into_iter();
        pairs
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect()
    }
}

/// YAML's `True` is the same value as `true`, and programs compare texts.
fn normal_boolean(node: &Node, text: String) -> String {
    match &node.value {
        Value::Scalar(scalar)
            if scalar.plain && matches!(text.as_str(), "True" | "TRUE" | "False" | "FALSE") =>
        {
            text.to_ascii_lowercase()
        }
        _ => text,
    }
}
