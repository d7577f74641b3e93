//! Durations and decimal numbers as people write them, in compose files and in flags.
//!
//! Called by the reader of compose files and by the client. Exact: no number passes through a float.

use std::time::Duration;

/// Compose's durations: numbers with units `us`, `ms`, `s`, `m`, `h`, `d`, `w`, added up.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, nanos).map(Duration::from_nanos)?)?;
        rest = tail;
    }
    Some(total)
}

/// A decimal number times `unit`, exactly: `0.5` cpus in billionths.
pub fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| -> Option<u64> {
        if text.is_empty() {
            return Some(0);
        }
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let total = u128::from(digits(whole)?) * u128::from(unit)
        + u128::from(digits(fraction)?) * u128::from(unit) / scale;
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expect) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1h5m30s20ms", Some(3_930_020)),
            ("1.5s", Some(1_500)),
            ("0", Some(0)),
            ("1d", Some(86_400_000)),
            ("10", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("99999999999999h", None),
            ("1x", None),
        ] {
            assert_eq!(parse_duration(text), expect.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn decimal_numbers() {
        for (text, expect) in [
            ("0.5", Some(500_000_000)),
            ("2", Some(2_000_000_000)),
            (".25", Some(250_000_000)),
            ("", None),
            (".", None),
            ("1e3", None),
            ("-1", None),
        ] {
            assert_eq!(scaled(text, 1_000_000_000), expect, "{text}");
        }
    }
}
