//! Variables in texts: `$V`, `${V}`, and `${V:-d}`, `-`, `:?`, `?`, `:+`, `+` with nesting; `$$` is `$`.
//!
//! Used for every scalar of a Compose file but keys, and for env files. The caller looks variables up;
//! names that are not set and have no default are handed back, so that it can warn.

/// Deepest nesting of `${A:-${B:-…}}`.
const MAX_NESTING: usize = 16;
/// Longest text a value may grow to: the kernel takes no longer argument or variable (128 KiB) anyway.
const MAX_RESULT_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpolated {
    pub(crate) text: String,
    /// Variables that are not set and became nothing.
    pub(crate) missing: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InterpolateError {
    #[error("{found:?} is no variable; write $$ for a dollar sign")]
    Malformed { found: String },
    #[error("variable {name} is required{}{message}", if message.is_empty() { "" } else { ": " })]
    Required { name: String, message: String },
    #[error("variables are nested deeper than {MAX_NESTING} levels")]
    TooDeep,
    #[error("the value grows over {MAX_RESULT_BYTES} bytes")]
    TooLong,
}

/// Looks a variable up.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub(crate) fn interpolate(text: &str, lookup: &Lookup<'_>) -> Result<Interpolated, InterpolateError> {
    let mut missing = Vec::new();
    let text = expand(text, lookup, &mut missing, 0)?;
    Ok(Interpolated { text, missing })
}

fn expand(
    text: &str,
    lookup: &Lookup<'_>,
    missing: &mut Vec<String>,
    nesting: usize,
) -> Result<String, InterpolateError> {
    if nesting > MAX_NESTING {
        return Err(InterpolateError::TooDeep);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let close = closing_brace(inner).ok_or_else(|| malformed(&rest[dollar..]))?;
            out.push_str(&braced(&inner[..close], lookup, missing, nesting)?);
            rest = &inner[close + 1..];
        } else {
            let name = leading_name(after);
            if name.is_empty() {
                return Err(malformed(&rest[dollar..]));
            }
            out.push_str(&lookup(name).unwrap_or_else(|| note_missing(name, missing)));
            rest = &after[name.len()..];
        }
        if out.len() > MAX_RESULT_BYTES {
            return Err(InterpolateError::TooLong);
        }
    }
    out.push_str(rest);
    if out.len() > MAX_RESULT_BYTES {
        return Err(InterpolateError::TooLong);
    }
    Ok(out)
}

/// What stands between the braces: a name, then perhaps an operator and its word.
fn braced(
    inner: &str,
    lookup: &Lookup<'_>,
    missing: &mut Vec<String>,
    nesting: usize,
) -> Result<String, InterpolateError> {
    let name = leading_name(inner);
    let tail = &inner[name.len()..];
    if name.is_empty() {
        return Err(malformed(&format!("${{{inner}}}")));
    }
    let value = lookup(name);
    if tail.is_empty() {
        return Ok(value.unwrap_or_else(|| note_missing(name, missing)));
    }
    let (operator, word, empty_counts_as_unset) = match tail.strip_prefix(':') {
        Some(tail) => (tail.chars().next(), tail.get(1..), true),
        None => (tail.chars().next(), tail.get(1..), false),
    };
    let word = word.unwrap_or_default();
    let value = value.filter(|value| !(empty_counts_as_unset && value.is_empty()));
    match (operator, value) {
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => expand(word, lookup, missing, nesting + 1),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let message = expand(word, lookup, missing, nesting + 1)?;
            Err(InterpolateError::Required {
                name: name.to_owned(),
                message,
            })
        }
        _ => Err(malformed(&format!("${{{inner}}}"))),
    }
}

fn note_missing(name: &str, missing: &mut Vec<String>) -> String {
    missing.push(name.to_owned());
    String::new()
}

fn malformed(found: &str) -> InterpolateError {
    InterpolateError::Malformed {
        found: found.chars().take(40).collect(),
    }
}

/// Where the brace that was opened before `text` closes.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut open, mut index) = (1_usize, 0);
    while index < bytes.len() {
        match bytes[index] {
            b'$' if bytes.get(index + 1) == Some(&b'{') => {
                open += 1;
                index += 1;
            }
            b'$' if bytes.get(index + 1) == Some(&b'$') => index += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
        index += 1;
    }
    None
}

fn leading_name(text: &str) -> &str {
    let length = text
        .bytes()
        .enumerate()
        .find(|(index, byte)| {
            !(byte.is_ascii_alphabetic() || *byte == b'_' || *index > 0 && byte.is_ascii_digit())
        })
        .map_or(text.len(), |(index, _)| index);
    &text[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let lookup = |name: &str| match name {
            "V" => Some("v".to_owned()),
            "EMPTY" => Some(String::new()),
            "_9" => Some("nine".to_owned()),
            _ => None,
        };
        let got = match interpolate(text, &lookup) {
            Ok(done) if done.missing.is_empty() => done.text,
            Ok(done) => format!("{} missing {}", done.text, done.missing.join(",")),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn every_form() {
        for (text, expect) in [
            ("plain", "plain"),
            ("$V", "v"),
            ("a$V-b", "av-b"),
            ("${V}x", "vx"),
            ("$_9", "nine"),
            ("$$V", "$V"),
            ("$${V}", "${V}"),
            ("$$$V", "$v"),
            ("${V:-d}", "v"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NO-d}", "d"),
            ("${NO:-}", ""),
            ("${NO:-a:b-c}", "a:b-c"),
            ("${NO:-${V}}", "v"),
            ("${NO:-${NOT:-${V}!}}", "v!"),
            ("${NO:-$$}", "$"),
            ("${V:+r}", "r"),
            ("${V+r$V}", "rv"),
            ("${EMPTY:+r}", ""),
            ("${EMPTY+r}", "r"),
            ("${NO+r}", ""),
            ("${V:?e}", "v"),
            ("${NO}", " missing NO"),
            ("$NO and ${NOT}", " and  missing NO,NOT"),
            ("${NO:?set it}", "variable NO is required: set it"),
            ("${EMPTY:?}", "variable EMPTY is required"),
            ("${EMPTY?x}", ""),
            ("ä${V}ö", "ävö"),
            ("$", "\"$\" is no variable; write $$ for a dollar sign"),
            ("$1", "\"$1\" is no variable; write $$ for a dollar sign"),
            ("${", "\"${\" is no variable; write $$ for a dollar sign"),
            ("${}", "\"${}\" is no variable; write $$ for a dollar sign"),
            ("${V", "\"${V\" is no variable; write $$ for a dollar sign"),
            (
                "${V/x/y}",
                "\"${V/x/y}\" is no variable; write $$ for a dollar sign",
            ),
            ("${V:ä}", "\"${V:ä}\" is no variable; write $$ for a dollar sign"),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn bounded() {
        let deep = format!("{}x{}", "${NO:-".repeat(40), "}".repeat(40));
        check(&deep, "variables are nested deeper than 16 levels");
        let long = "x".repeat(MAX_RESULT_BYTES);
        let lookup = |_: &str| Some(long.clone());
        assert_eq!(interpolate("$A$A", &lookup), Err(InterpolateError::TooLong));
    }
}
