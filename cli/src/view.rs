//! Nouns as rows and as Docker-shaped JSON: pure functions, one file a noun.
//!
//! Called by the verbs; what a noun means is not decided here.

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod service;
pub(crate) mod spec;
pub(crate) mod stack;
pub(crate) mod task;
pub(crate) mod volume;

use serde_json::{Value, json};
use shoal_core::model::{Labels, Meta};

/// Characters of an id in a table, as Docker shortens them.
const SHORT_ID: usize = 12;

pub(crate) fn short_id(id: &str, whole: bool) -> String {
    if whole {
        id.to_owned()
    } else {
        id.chars().take(SHORT_ID).collect()
    }
}

/// A text cut to a width, its end marked.
pub(crate) fn ellipsis(text: &str, width: usize, whole: bool) -> String {
    if whole || text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

pub(crate) fn labels_text(labels: &Labels) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// The head of every inspected object.
pub(crate) fn meta_json(id: &str, meta: &Meta) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    object.insert("ID".to_owned(), json!(id));
    object.insert("Version".to_owned(), json!({"Index": meta.version.0}));
    object.insert(
        "CreatedAt".to_owned(),
        json!(crate::units::rfc3339(meta.created_at)),
    );
    object.insert(
        "UpdatedAt".to_owned(),
        json!(crate::units::rfc3339(meta.updated_at)),
    );
    object
}

/// Takes away keys that say nothing, as Docker's `omitempty` does.
pub(crate) fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| (key, pruned(value)))
                .filter(|(_, value)| !says_nothing(value))
                .collect(),
        ),
        other => other,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(_) => false,
    }
}
