//! The located value tree that a file becomes: every node knows its file, line and column.
//!
//! Made by `parse`, changed by `interpolate` and `merge`, read by `reader`. Scalars keep their text, so
//! that `1.10` stays `1.10` wherever a text is wanted; their type is decided by who reads them.

/// Where something stands: the file's number in the report, line and column counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) file: u16,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// What a tag asks of the merge with earlier files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Directive {
    #[default]
    Merge,
    /// `!reset`: the key goes back to its default.
    Reset,
    /// `!override`: the value replaces, and is not merged.
    Override,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) directive: Directive,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that `null`, `true` and numbers mean what they say.
    pub(crate) plain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: At,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn text(at: At, text: impl Into<String>, plain: bool) -> Self {
        let scalar = Scalar {
            text: text.into(),
            plain,
        };
        Self {
            at,
            directive: Directive::Merge,
            value: Value::Scalar(scalar),
        }
    }

    pub(crate) fn mapping(at: At, entries: Vec<Entry>) -> Self {
        Self {
            at,
            directive: Directive::Merge,
            value: Value::Mapping(entries),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.plain && is_null_word(&scalar.text))
    }

    /// Null, `false`, or a container without content: a key with such a value asks for nothing.
    pub(crate) fn asks_nothing(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => {
                scalar.plain && (is_null_word(&scalar.text) || scalar.text.eq_ignore_ascii_case("false"))
            }
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(entries) => entries.is_empty(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// The kind, in the words of an error message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_) if self.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

fn is_null_word(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}
