//! A number of bytes, and how users write one (`64m`, `1.5GiB`).
//!
//! Used wherever a spec or a report speaks of memory or disk. Units follow Docker: suffixes are powers
//! of 1024, with or without `i` and `B`.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// A text that is no size: `found` is what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 512k, 64m or 1g, found {found:?}")]
pub struct ParseBytesError {
    pub found: String,
}

const UNITS: [(&str, u64); 5] = [
    ("", 1),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
];

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseBytesError {
            found: text.to_owned(),
        };
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(fail)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 {
            return Err(fail());
        }
        let whole: u64 = whole.parse().or(Err(fail()))?;
        let fraction_value: u64 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().or(Err(fail()))?
        };
        let scale = 10_u128.pow(u32::try_from(fraction.len()).or(Err(fail()))?);
        let total =
            u128::from(whole) * u128::from(factor) + u128::from(fraction_value) * u128::from(factor) / scale;
        u64::try_from(total).map(Self).or(Err(fail()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = UNITS
            .iter()
            .rev()
            .find(|(_, factor)| self.0 >= *factor)
            .unwrap_or(&UNITS[0]);
        let tenths = u128::from(self.0) * 10 / u128::from(*factor);
        let suffix = if name.is_empty() {
            "B".to_owned()
        } else {
            format!("{}iB", name.to_uppercase())
        };
        if tenths % 10 == 0 {
            write!(f, "{}{suffix}", tenths / 10)
        } else {
            write!(f, "{}.{}{suffix}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_reads() {
        for (text, expect) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("1 k", Some(1024)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1.m.", None),
            ("99999999999t", None),
            ("5x", None),
        ] {
            assert_eq!(text.parse::<Bytes>().ok().map(|b| b.0), expect, "{text:?}");
        }
    }

    #[test]
    fn shows_the_largest_whole_unit() {
        for (bytes, expect) in [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (3 << 29, "1.5GiB")] {
            assert_eq!(Bytes(bytes).to_string(), expect);
        }
    }
}
