//! Env files: `.env`, `env_file` and `--env-file`, by the rules of the Compose specification.
//!
//! `NAME=value` or `NAME: value` a line, `export` before it, comments, single quotes (nothing inside means
//! anything), double quotes (escapes and variables), both over several lines. A name without a value is
//! taken from the caller's environment. Later lines win. The `raw` format takes each value as it stands.

use crate::interpolate::{InterpolateError, interpolate};
use std::collections::BTreeMap;

/// What an env file cannot be read for, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct EnvFileError {
    pub line: u32,
    pub message: String,
}

/// The variables of an env file, in its order of names; `lookup` answers for those set elsewhere and wins.
pub fn parse(
    text: &str,
    raw: bool,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut scanner = Scanner {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
    };
    let mut values = BTreeMap::new();
    while !scanner.rest.is_empty() {
        if let Some((name, value)) = scanner.assignment(raw, &values, lookup)? {
            match value {
                Some(value) => values.insert(name, value),
                None => lookup(&name).and_then(|value| values.insert(name, value)),
            };
        }
    }
    Ok(values)
}

struct Scanner<'a> {
    rest: &'a str,
    line: u32,
}

type Assignment = Option<(String, Option<String>)>;

impl<'a> Scanner<'a> {
    fn fail(&self, message: impl Into<String>) -> EnvFileError {
        EnvFileError {
            line: self.line,
            message: message.into(),
        }
    }

    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        line.trim_end_matches('\r')
    }

    fn assignment(
        &mut self,
        raw: bool,
        earlier: &BTreeMap<String, String>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Assignment, EnvFileError> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            self.take_line();
            return Ok(None);
        }
        let start = line.len() - line.trim_start().len();
        let body = line.trim_start();
        let body_start = match body.strip_prefix("export ") {
            Some(after) if !raw => start + "export ".len() + (after.len() - after.trim_start().len()),
            _ => start,
        };
        let body = &line[body_start..];
        let name_length = body.find(['=', ':']).unwrap_or(body.len());
        let name = body[..name_length].trim();
        // A bare name may be followed by a comment.
        let bare = name_length == body.len();
        let name = if bare {
            name.split(" #").next().unwrap_or(name).trim()
        } else {
            name
        };
        check_name(name).map_err(|message| self.fail(message))?;
        if bare {
            self.take_line();
            return Ok(Some((name.to_owned(), None)));
        }
        let name = name.to_owned();
        self.rest = &self.rest[body_start + name_length + 1..];
        if raw {
            return Ok(Some((name, Some(self.take_line().to_owned()))));
        }
        let value = self.value(&|wanted| lookup(wanted).or_else(|| earlier.get(wanted).cloned()))?;
        Ok(Some((name, Some(value))))
    }

    fn value(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, EnvFileError> {
        let ahead = self.rest.trim_start_matches([' ', '\t']);
        match ahead.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                self.rest = &ahead[1..];
                let inner = self.quoted(quote)?;
                self.only_a_comment()?;
                if quote == '\'' {
                    return Ok(inner.replace("\\'", "'"));
                }
                self.expand(&unescape(inner), lookup)
            }
            _ => {
                let line = self.line;
                let text = self.take_line();
                let text = match text.find('#') {
                    Some(0) => "",
                    Some(_) => text
                        .find(" #")
                        .or_else(|| text.find("\t#"))
                        .map_or(text, |end| &text[..end]),
                    None => text,
                };
                self.expand(text.trim(), lookup)
                    .map_err(|error| EnvFileError { line, ..error })
            }
        }
    }

    /// Everything up to the closing quote, over lines.
    fn quoted(&mut self, quote: char) -> Result<&'a str, EnvFileError> {
        let mut escaped = false;
        for (index, found) in self.rest.char_indices() {
            if escaped {
                escaped = false;
            } else if found == '\\' {
                escaped = true;
            } else if found == quote {
                let inner = &self.rest[..index];
                self.rest = &self.rest[index + 1..];
                self.line += u32::try_from(inner.matches('\n').count()).unwrap_or(0);
                return Ok(inner);
            }
        }
        Err(self.fail(format!("the quote {quote} is never closed")))
    }

    fn only_a_comment(&mut self) -> Result<(), EnvFileError> {
        let line = self.rest.split('\n').next().unwrap_or_default().trim();
        if !line.is_empty() && !line.starts_with('#') {
            return Err(self.fail("expected the end of the line after the closing quote"));
        }
        self.take_line();
        Ok(())
    }

    fn expand(&self, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, EnvFileError> {
        match interpolate(text, lookup) {
            Ok(done) => Ok(done.text),
            Err(error @ InterpolateError::Malformed { .. }) => {
                Err(self.fail(format!("{error}, or put the value in single quotes")))
            }
            Err(error) => Err(self.fail(error.to_string())),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(char::is_whitespace) || name.contains(['"', '\'', '\0']) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!("expected NAME=value, found {shown:?}"));
    }
    Ok(())
}

/// The escapes of a double-quoted value; a `\$` becomes `$$`, which interpolation then reads as `$`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(found) = chars.next() {
        if found != '\\' {
            out.push(found);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(other @ ('"' | '\\')) => out.push(other),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, raw: bool, expect: &str) {
        let lookup = |name: &str| (name == "HOME").then(|| "/root".to_owned());
        let got = match parse(text, raw, &lookup) {
            Ok(values) => values
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn lines() {
        for (text, expect) in [
            ("", ""),
            ("# note\n\n  \nA=1\r\nB=2", "A=\"1\" B=\"2\""),
            ("A=1\nA=2", "A=\"2\""),
            ("export A=1", "A=\"1\""),
            ("A: 1", "A=\"1\""),
            ("A = x y # note", "A=\"x y\""),
            ("A=x#y", "A=\"x#y\""),
            ("A=", "A=\"\""),
            ("A=#note", "A=\"\""),
            ("A='x $HOME \\n # y' # note", "A=\"x $HOME \\\\n # y\""),
            ("A='it\\'s'", "A=\"it's\""),
            (
                "A=\"a\\nb\\t\\\"c\\\" \\$HOME $HOME\"",
                "A=\"a\\nb\\t\\\"c\\\" $HOME /root\"",
            ),
            ("A=\"one\ntwo\"\nB=1", "A=\"one\\ntwo\" B=\"1\""),
            ("A=1\nB=${A}${C:-3}", "A=\"1\" B=\"13\""),
            ("HOME", "HOME=\"/root\""),
            ("NOBODY", ""),
            ("U=http://a:b@c/?d=e", "U=\"http://a:b@c/?d=e\""),
            ("A=\"x", "line 1: the quote \" is never closed"),
            (
                "A=\"x\" y",
                "line 1: expected the end of the line after the closing quote",
            ),
            (
                "B=1\nnot a name=2",
                "line 2: expected NAME=value, found \"not a name\"",
            ),
            (
                "A=a$",
                "line 1: \"$\" is no variable; write $$ for a dollar sign, or put the value in single quotes",
            ),
            ("=x", "line 1: expected NAME=value, found \"\""),
        ] {
            check(text, false, expect);
        }
    }

    #[test]
    fn raw_lines_are_taken_as_they_stand() {
        check(
            "A=\"x\" $B # y\n#c\nB= 1",
            true,
            "A=\"\\\"x\\\" $B # y\" B=\" 1\"",
        );
    }
}
