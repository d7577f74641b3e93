//! The part of Go's templates that people use with `--format`.
//!
//! Fields (`{{.Spec.Name}}`), functions (`json`, `upper`, `lower`, `title`, `join`, `index`, `len`,
//! `println`), pipes, texts, `range` and `if` with `else`. Anything else is refused with its words.

use super::present;
use anyhow::{Result, bail};
use serde_json::Value;
use std::{iter::Peekable, vec};

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Show(Pipeline),
    Range(Pipeline, Vec<Piece>, Vec<Piece>),
    If(Pipeline, Vec<Piece>, Vec<Piece>),
}

/// Each stage's value is the last argument of the next.
type Pipeline = Vec<Vec<Term>>;

#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// `.A.B`; no names is `.` itself.
    Field(Vec<String>),
    Text(String),
    Number(i64),
    Word(String),
    Group(Pipeline),
}

/// Deepest nesting of blocks and brackets.
const MAX_DEPTH: usize = 16;

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What a shell cannot easily pass.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut tokens = split(&text)?.into_iter().peekable();
        let (pieces, end) = block(&mut tokens, 0)?;
        match end {
            None => Ok(Self(pieces)),
            Some(word) => Err(format!("{{{{{word}}}}} without a beginning")),
        }
    }
}

impl Template {
    /// For an object in full: a field that no such object has is an error. What it lacks (null), and what is missing
    /// below its fields, shows as `<no value>`.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        write(&mut out, &self.0, value, Demand::First)?;
        Ok(out)
    }

    /// For rows of a list: a field that no row has is an error.
    pub(crate) fn render_row(&self, value: &Value) -> Result<String> {
        let mut out = String::new();
        write(&mut out, &self.0, value, Demand::Each)?;
        Ok(out)
    }
}

/// Which names of a path (`.A.B`) must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    None,
    First,
    Each,
}

impl Demand {
    fn is_missed(self, depth: usize) -> bool {
        match self {
            Self::None => false,
            Self::First => depth == 0,
            Self::Each => true,
        }
    }
}

enum Token {
    Text(String),
    Action(String),
}

fn split(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((action, tail)) = after.split_once("}}") else {
            return Err("{{ is never closed by }}".to_owned());
        };
        let trimmed_left = action.starts_with("- ");
        let before = if trimmed_left { before.trim_end() } else { before };
        tokens.push(Token::Text(before.to_owned()));
        let trimmed_right = action.ends_with(" -");
        let action = action.strip_prefix("- ").unwrap_or(action);
        tokens.push(Token::Action(
            action.strip_suffix(" -").unwrap_or(action).trim().to_owned(),
        ));
        rest = if trimmed_right { tail.trim_start() } else { tail };
    }
    tokens.push(Token::Text(rest.to_owned()));
    Ok(tokens)
}

/// Pieces up to the end of the text, or to `end` or `else`, which is handed back.
fn block(
    tokens: &mut Peekable<vec::IntoIter<Token>>,
    depth: usize,
) -> Result<(Vec<Piece>, Option<String>), String> {
    if depth > MAX_DEPTH {
        return Err(format!("blocks nested deeper than {MAX_DEPTH}"));
    }
    let mut pieces = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(text));
                }
                continue;
            }
            Token::Action(action) => action,
        };
        let (word, rest) = action.split_once(' ').unwrap_or((&action, ""));
        match word {
            "end" | "else" => return Ok((pieces, Some(action))),
            "range" | "if" => {
                let pipeline = parse(rest)?;
                let (body, end) = block(tokens, depth + 1)?;
                let (other, end) = match end.as_deref() {
                    Some("else") => block(tokens, depth + 1)?,
                    _ => (Vec::new(), end),
                };
                if end.as_deref() != Some("end") {
                    return Err(format!("{{{{{word}}}}} has no {{{{end}}}}"));
                }
                pieces.push(if word == "if" {
                    Piece::If(pipeline, body, other)
                } else {
                    Piece::Range(pipeline, body, other)
                });
            }
            "with" | "define" | "template" | "block" | "break" | "continue" => {
                return Err(format!("{word} is not supported in templates"));
            }
            _ if action.starts_with("/*") => {}
            _ => pieces.push(Piece::Show(parse(&action)?)),
        }
    }
    Ok((pieces, None))
}

fn parse(text: &str) -> Result<Pipeline, String> {
    let mut chars = text.chars().peekable();
    let pipeline = pipeline(&mut chars, 0)?;
    match chars.next() {
        None => Ok(pipeline),
        Some(found) => Err(format!("unexpected {found:?} in {{{{{text}}}}}")),
    }
}

type Chars<'a> = Peekable<std::str::Chars<'a>>;

fn pipeline(chars: &mut Chars<'_>, depth: usize) -> Result<Pipeline, String> {
    if depth > MAX_DEPTH {
        return Err(format!("brackets nested deeper than {MAX_DEPTH}"));
    }
    let mut stages = vec![Vec::new()];
    while let Some(&next) = chars.peek() {
        let term = match next {
            ')' => break,
            ' ' | '\t' | '\n' => {
                chars.next();
                continue;
            }
            '|' => {
                chars.next();
                stages.push(Vec::new());
                continue;
            }
            '(' => {
                chars.next();
                let inner = pipeline(chars, depth + 1)?;
                if chars.next() != Some(')') {
                    return Err("a bracket is never closed".to_owned());
                }
                Term::Group(inner)
            }
            '"' | '`' => quoted(chars)?,
            '.' => field(chars),
            '$' => {
                chars.next();
                return Err("variables are not supported in templates".to_owned());
            }
            _ => word(chars)?,
        };
        if let Some(stage) = stages.last_mut() {
            stage.push(term);
        }
    }
    if stages.iter().any(Vec::is_empty) {
        return Err("an empty {{}} or | has nothing to show".to_owned());
    }
    Ok(stages)
}

fn quoted(chars: &mut Chars<'_>) -> Result<Term, String> {
    let quote = chars.next();
    let mut text = String::new();
    loop {
        match chars.next() {
            None => return Err("a quote is never closed".to_owned()),
            found if found == quote => return Ok(Term::Text(text)),
            Some('\\') if quote == Some('"') => text.extend(chars.next()),
            Some(found) => text.push(found),
        }
    }
}

fn field(chars: &mut Chars<'_>) -> Term {
    let mut names = Vec::new();
    while chars.next_if_eq(&'.').is_some() {
        let mut name = String::new();
        while let Some(found) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(found);
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
    Term::Field(names)
}

fn word(chars: &mut Chars<'_>) -> Result<Term, String> {
    let mut text = String::new();
    while let Some(found) = chars.next_if(|c| c.is_alphanumeric() || "_-".contains(*c)) {
        text.push(found);
    }
    if let Ok(number) = text.parse() {
        return Ok(Term::Number(number));
    }
    const KNOWN: [&str; 11] = [
        "json", "upper", "lower", "title", "join", "index", "len", "println", "eq", "ne", "not",
    ];
    if KNOWN.contains(&text.as_str()) {
        return Ok(Term::Word(text));
    }
    match chars.peek() {
        _ if !text.is_empty() => Err(format!(
            "unknown function {text:?}; there are {}",
            KNOWN.join(", ")
        )),
        Some(found) => Err(format!("unexpected {found:?} in a template")),
        None => Err("an empty template action".to_owned()),
    }
}

fn write(out: &mut String, pieces: &[Piece], value: &Value, demand: Demand) -> Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Show(pipeline) => out.push_str(&show(&evaluate(pipeline, value, demand)?)),
            Piece::If(pipeline, body, other) => {
                let chosen = if is_true(&evaluate(pipeline, value, demand)?) {
                    body
                } else {
                    other
                };
                write(out, chosen, value, demand)?;
            }
            Piece::Range(pipeline, body, other) => {
                let items = match evaluate(pipeline, value, demand)? {
                    Value::Array(items) => items,
                    Value::Object(map) => map.into_iter().map(|(_, item)| item).collect(),
                    Value::Null => Vec::new(),
                    found => bail!("range needs a list, found {}", show(&found)),
                };
                if items.is_empty() {
                    write(out, other, value, demand)?;
                }
                for item in &items {
                    write(out, body, item, Demand::None)?;
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipeline: &Pipeline, value: &Value, demand: Demand) -> Result<Value> {
    let mut carried = None;
    for stage in pipeline {
        let mut terms = stage.iter();
        let first = terms.next();
        let mut arguments = Vec::new();
        for term in terms {
            arguments.push(resolve(term, value, demand)?);
        }
        carried = Some(match first {
            Some(Term::Word(function)) => {
                arguments.extend(carried);
                call(function, &arguments)?
            }
            // `.Label "x"`: Docker's way to one of the labels.
            Some(Term::Field(names)) if names.len() == 1 && names[0] == "Label" && arguments.len() == 1 => {
                let labels = value.get("Labels").cloned().unwrap_or_default();
                label(&labels, &show(&arguments[0]))
            }
            Some(term) if arguments.is_empty() && carried.is_none() => resolve(term, value, demand)?,
            _ => bail!("only a function takes arguments in a template"),
        });
    }
    Ok(carried.unwrap_or_default())
}

fn label(labels: &Value, name: &str) -> Value {
    match labels {
        Value::String(text) => text
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map_or(Value::from(""), |(_, value)| value.into()),
        other => other.get(name).cloned().unwrap_or_else(|| "".into()),
    }
}

fn resolve(term: &Term, value: &Value, demand: Demand) -> Result<Value> {
    match term {
        Term::Text(text) => Ok(text.as_str().into()),
        Term::Number(number) => Ok((*number).into()),
        Term::Group(pipeline) => evaluate(pipeline, value, demand),
        Term::Word(function) => call(function, &[]),
        Term::Field(names) => {
            if names.is_empty() && demand == Demand::First {
                return Ok(present(value));
            }
            let mut found = value;
            for (depth, name) in names.iter().enumerate() {
                match field_of(found, name) {
                    Some(inner) => found = inner,
                    None if demand.is_missed(depth) => {
                        let keys: Vec<_> = value.as_object().into_iter().flat_map(|map| map.keys()).collect();
                        let keys: Vec<_> = keys.iter().map(|key| format!(".{key}")).collect();
                        bail!("no field .{name} here; there are {}", keys.join(" "))
                    }
                    None => return Ok(Value::Null),
                }
            }
            Ok(found.clone())
        }
    }
}

/// Docker's JSON of a network or an image says `Id`, and its templates take both.
fn field_of<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let also = || value.get("Id").filter(|_| name == "ID");
    value.get(name).or_else(also)
}

fn call(function: &str, arguments: &[Value]) -> Result<Value> {
    match (function, arguments) {
        ("json", [value]) => Ok(value.to_string().into()),
        ("upper", [value]) => Ok(show(value).to_uppercase().into()),
        ("lower", [value]) => Ok(show(value).to_lowercase().into()),
        ("title", [value]) => {
            let text = show(value);
            let mut chars = text.chars();
            let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
            Ok((first + chars.as_str()).into())
        }
        ("join", [Value::Array(items), separator]) => {
            let items: Vec<_> = items.iter().map(show).collect();
            Ok(items.join(&show(separator)).into())
        }
        ("index", [value, path @ ..]) => {
            let mut found = value;
            for step in path {
                let inner = match step {
                    Value::Number(index) => index
                        .as_u64()
                        .and_then(|index| found.get(usize::try_from(index).ok()?)),
                    other => found.get(show(other)),
                };
                match inner {
                    Some(inner) => found = inner,
                    None => return Ok(Value::Null),
                }
            }
            Ok(found.clone())
        }
        ("len", [Value::Array(items)]) => Ok(items.len().into()),
        ("len", [Value::Object(map)]) => Ok(map.len().into()),
        ("len", [value]) => Ok(show(value).len().into()),
        ("println", values) => {
            let values: Vec<_> = values.iter().map(show).collect();
            Ok((values.join(" ") + "\n").into())
        }
        ("eq", [left, right]) => Ok((show(left) == show(right)).into()),
        ("ne", [left, right]) => Ok((show(left) != show(right)).into()),
        ("not", [value]) => Ok((!is_true(value)).into()),
        _ => bail!(
            "the template function {function} does not take these {} arguments",
            arguments.len()
        ),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go's templates print it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(template: &str, expect: &str) {
        let value = json!({
            "ID": "abc", "Spec": {"Name": "web", "Labels": {"a.b": "c"}}, "Ports": [80, 443], "None": null,
            "Labels": "tier=front,x=y",
        });
        let got = match template.parse::<Template>() {
            Ok(template) => template.render(&value).unwrap_or_else(|error| error.to_string()),
            Err(error) => error,
        };
        assert_eq!(got, expect, "{template}");
    }

    #[test]
    fn what_people_write() {
        for (template, expect) in [
            ("plain", "plain"),
            ("{{.ID}}", "abc"),
            ("{{ .Spec.Name }}\\t{{.ID}}", "web\tabc"),
            ("{{json .Spec}}", r#"{"Labels":{"a.b":"c"},"Name":"web"}"#),
            ("{{.Spec.Name | upper}}", "WEB"),
            ("{{upper (lower .ID)}}", "ABC"),
            ("{{title .ID}}", "Abc"),
            ("{{index .Spec.Labels \"a.b\"}}", "c"),
            ("{{index .Ports 1}}", "443"),
            ("{{join .Ports \",\"}}", "80,443"),
            ("{{len .Ports}}", "2"),
            ("{{.Label \"tier\"}}", "front"),
            ("{{range .Ports}}<{{.}}>{{end}}", "<80><443>"),
            ("{{range .None}}x{{else}}none{{end}}", "none"),
            ("{{if .None}}a{{else}}b{{end}}", "b"),
            ("{{if eq .ID \"abc\"}}yes{{end}}", "yes"),
            ("{{.Spec}}", "map[Labels:map[a.b:c] Name:web]"),
            ("{{.None}} {{.Spec.Missing}}", "<no value> <no value>"),
            (
                "{{.Missing}}",
                "no field .Missing here; there are .ID .Labels .None .Ports .Spec",
            ),
            (
                "{{if .Missing}}a{{end}}",
                "no field .Missing here; there are .ID .Labels .None .Ports .Spec",
            ),
            (
                "{{range .Ports}}<{{.Missing}}>{{end}}",
                "<<no value>><<no value>>",
            ),
            ("a {{- .ID -}} b", "aabcb"),
            ("{{.ID", "{{ is never closed by }}"),
            ("{{}}", "an empty {{}} or | has nothing to show"),
            ("{{with .ID}}{{end}}", "with is not supported in templates"),
            ("{{range .Ports}}", "{{range}} has no {{end}}"),
            ("{{end}}", "{{end}} without a beginning"),
            (
                "{{nope .ID}}",
                "unknown function \"nope\"; there are json, upper, lower, title, join, index, len, println, eq, ne, not",
            ),
            ("{{$x}}", "variables are not supported in templates"),
            ("{{.ID .Spec}}", "only a function takes arguments in a template"),
            ("{{\"x}}", "a quote is never closed"),
            ("{{(.ID}}", "a bracket is never closed"),
            ("{{.ID)}}", "unexpected ')' in {{.ID)}}"),
        ] {
            check(template, expect);
        }
    }

    #[test]
    fn an_id_is_found_by_both_of_dockers_names() {
        let shown = |template: &str| {
            let network = json!({"Id": "abc", "Name": "front", "Stack": null});
            template.parse::<Template>().unwrap().render(&network).unwrap()
        };
        assert_eq!(shown("{{.ID}} {{.Id}}"), "abc abc");
        assert_eq!(shown("{{json .}}"), r#"{"Id":"abc","Name":"front"}"#);
    }
}
