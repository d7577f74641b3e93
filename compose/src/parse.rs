//! YAML text to the located tree: anchors, aliases and merge keys resolved, everything bounded.
//!
//! The parser's events are folded with an explicit stack, so depth is a number and not the thread's
//! stack. An alias is a copy, counted against [`MAX_NODES`] before it is made: a file that multiplies
//! itself ("billion laughs") ends in an error, not in memory.

use crate::tree::{At, Directive, Entry, Node, Scalar, Value};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// Largest file read: real Compose files are a few KiB, the largest seen a few hundred.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Deepest nesting; the specification needs 10.
pub const MAX_DEPTH: usize = 64;
/// Most values of one file, aliases counted as often as they are used.
pub const MAX_NODES: usize = 100_000;
/// Most bytes of text of one file, aliases counted as often as they are used.
pub const MAX_ALIASED_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) at: At,
    pub(crate) message: String,
}

/// The file's one document; an empty file is an empty mapping.
pub(crate) fn parse(file: u16, text: &str) -> Result<Node, ParseError> {
    let mut builder = Builder::new(file);
    if text.len() > MAX_FILE_BYTES {
        let message = format!(
            "the file has {} bytes, at most {MAX_FILE_BYTES} are read",
            text.len()
        );
        return Err(fail_at(
            At {
                file,
                ..At::default()
            },
            message,
        ));
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| ParseError {
            at: builder.at(error.marker()),
            message: format!("this is not YAML: {}", error.info()),
        })?;
        builder.take(event, &span.start)?;
    }
    let start = At {
        file,
        line: 1,
        column: 1,
    };
    Ok(builder.root.unwrap_or_else(|| Node::mapping(start, Vec::new())))
}

fn fail_at(at: At, message: impl Into<String>) -> ParseError {
    ParseError {
        at,
        message: message.into(),
    }
}

/// A value under construction.
enum Open {
    Sequence {
        at: At,
        anchor: usize,
        directive: Directive,
        items: Vec<Node>,
    },
    Mapping {
        at: At,
        anchor: usize,
        directive: Directive,
        entries: Vec<Entry>,
        key: Option<(String, At, bool)>,
        seen: BTreeMap<String, u32>,
        merges: Vec<Node>,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
}

struct Builder {
    file: u16,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Cost)>,
    spent: Cost,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn new(file: u16) -> Self {
        Self {
            file,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            spent: Cost::default(),
            documents: 0,
            root: None,
        }
    }

    fn at(&self, marker: &Marker) -> At {
        At {
            file: self.file,
            line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
            column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn take(&mut self, event: Event<'_>, start: &Marker) -> Result<(), ParseError> {
        let at = self.at(start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fail_at(
                        at,
                        "a second document begins here; put it in a file of its own",
                    ));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), at),
            Event::SequenceStart(anchor, tag) => {
                let directive = directive(tag.as_deref(), at)?;
                self.open(
                    at,
                    Open::Sequence {
                        at,
                        anchor,
                        directive,
                        items: Vec::new(),
                    },
                )
            }
            Event::MappingStart(anchor, tag) => {
                let directive = directive(tag.as_deref(), at)?;
                let open = Open::Mapping {
                    at,
                    anchor,
                    directive,
                    entries: Vec::new(),
                    key: None,
                    seen: BTreeMap::new(),
                    merges: Vec::new(),
                };
                self.open(at, open)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
        }
    }

    fn open(&mut self, at: At, open: Open) -> Result<(), ParseError> {
        self.refuse_as_key(at)?;
        if self.stack.len() >= MAX_DEPTH {
            return Err(fail_at(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(open);
        Ok(())
    }

    /// A list or mapping stands where a mapping's key is due.
    fn refuse_as_key(&self, at: At) -> Result<(), ParseError> {
        match self.stack.last() {
            Some(Open::Mapping { key: None, .. }) => {
                Err(fail_at(at, "expected a key, found a list or a mapping"))
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, at: At) -> Result<(), ParseError> {
        let Some(open) = self.stack.pop() else {
            return Err(fail_at(at, "this is not YAML: an end without a beginning"));
        };
        let (node, anchor) = match open {
            Open::Sequence {
                at,
                anchor,
                directive,
                items,
            } => {
                let value = Value::Sequence(items);
                (Node { at, directive, value }, anchor)
            }
            Open::Mapping {
                at,
                anchor,
                directive,
                entries,
                merges,
                ..
            } => {
                let value = Value::Mapping(merge_keys(entries, merges)?);
                (Node { at, directive, value }, anchor)
            }
        };
        self.value(node, anchor)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: At,
    ) -> Result<(), ParseError> {
        let plain = style == ScalarStyle::Plain && tag.is_none_or(|tag| tag.suffix != "str");
        let directive = directive(tag, at)?;
        let text = text.to_owned();
        if let Some(Open::Mapping { key: key @ None, .. }) = self.stack.last_mut() {
            *key = Some((text, at, plain));
            return Ok(());
        }
        let value = Value::Scalar(Scalar { text, plain });
        self.value(Node { at, directive, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, at: At) -> Result<(), ParseError> {
        self.refuse_as_key(at)?;
        // The copy is made only after it was paid for.
        let Some(cost) = self.anchors.get(&anchor).map(|(_, cost)| *cost) else {
            return Err(fail_at(at, "this alias names an anchor that is not complete yet"));
        };
        self.spend(cost, at)?;
        let Some(node) = self.anchors.get(&anchor).map(|(node, _)| node.clone()) else {
            return Ok(());
        };
        if depth_of(&node) + self.stack.len() > MAX_DEPTH {
            return Err(fail_at(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.insert(node)
    }

    /// A value is complete: pay for it, remember it under its anchor, put it where it belongs.
    fn value(&mut self, node: Node, anchor: usize) -> Result<(), ParseError> {
        let bytes = match &node.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::Sequence(_) | Value::Mapping(_) => 0,
        };
        self.spend(Cost { nodes: 1, bytes }, node.at)?;
        if anchor > 0 {
            let cost = cost_of(&node);
            self.spend(cost, node.at)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        self.insert(node)
    }

    fn spend(&mut self, cost: Cost, at: At) -> Result<(), ParseError> {
        self.spent.nodes = self.spent.nodes.saturating_add(cost.nodes);
        self.spent.bytes = self.spent.bytes.saturating_add(cost.bytes);
        if self.spent.nodes > MAX_NODES || self.spent.bytes > MAX_ALIASED_BYTES {
            let message = format!(
                "with its aliases written out the file has more than {MAX_NODES} values or {MAX_ALIASED_BYTES} bytes"
            );
            return Err(fail_at(at, message));
        }
        Ok(())
    }

    fn insert(&mut self, node: Node) -> Result<(), ParseError> {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping {
                entries,
                key,
                seen,
                merges,
                ..
            }) => {
                let Some((name, at, plain)) = key.take() else {
                    return Err(fail_at(node.at, "expected a key, found an alias"));
                };
                if plain && name == "<<" {
                    merges.push(node);
                    return Ok(());
                }
                if let Some(first) = seen.insert(name.clone(), at.line) {
                    let message = format!("the key {name:?} stands twice, first in line {first}");
                    return Err(fail_at(at, message));
                }
                entries.push(Entry {
                    key: name,
                    at,
                    value: node,
                });
            }
        }
        Ok(())
    }
}

fn directive(tag: Option<&Tag>, at: At) -> Result<Directive, ParseError> {
    let Some(tag) = tag else {
        return Ok(Directive::Merge);
    };
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Ok(Directive::Reset),
        ("!", "override") => Ok(Directive::Override),
        _ if tag.is_yaml_core_schema() => Ok(Directive::Merge),
        (handle, suffix) => {
            let message = format!("unknown tag {handle}{suffix}; Compose knows !reset and !override");
            Err(fail_at(at, message))
        }
    }
}

/// Adds what `<<` names to a mapping: its own keys win, then earlier sources over later ones.
fn merge_keys(mut entries: Vec<Entry>, merges: Vec<Node>) -> Result<Vec<Entry>, ParseError> {
    if merges.is_empty() {
        return Ok(entries);
    }
    let mut present: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in merges {
        let sources = match source.value {
            Value::Sequence(items) => items,
            Value::Mapping(_) | Value::Scalar(_) => vec![source],
        };
        for source in sources {
            let at = source.at;
            let Value::Mapping(inherited) = source.value else {
                return Err(ParseError {
                    at,
                    message: format!(
                        "expected a mapping or a list of mappings after <<, found {}",
                        source.kind()
                    ),
                });
            };
            for entry in inherited {
                if present.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(entries)
}

fn cost_of(node: &Node) -> Cost {
    let mut cost = Cost { nodes: 1, bytes: 0 };
    let mut add = |child: &Node| {
        let inner = cost_of(child);
        cost.nodes += inner.nodes;
        cost.bytes += inner.bytes;
    };
    match &node.value {
        Value::Scalar(scalar) => cost.bytes += scalar.text.len(),
        Value::Sequence(items) => items.iter().for_each(&mut add),
        Value::Mapping(entries) => entries.iter().for_each(|entry| add(&entry.value)),
    }
    cost
}

fn depth_of(node: &Node) -> usize {
    let deepest = match &node.value {
        Value::Scalar(_) => return 0,
        Value::Sequence(items) => items.iter().map(depth_of).max(),
        Value::Mapping(entries) => entries.iter().map(|entry| depth_of(&entry.value)).max(),
    };
    1 + deepest.unwrap_or(0)
}
