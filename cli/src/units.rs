//! Times and sizes in words, as Docker's users read them; and durations and sizes as they write them.
//!
//! Pure: "now" is an argument.

use shoal_compose::scaled;
use shoal_core::model::{CpuNanos, WallTime};
use std::time::Duration;

/// `5 minutes`, `About an hour`: how long something took, roughly.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // To the nearest hour, as Docker rounds.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (seconds, 0, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, minutes, _) if minutes < 60 => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, hours) if hours < 48 => format!("{hours} hours"),
        (_, _, hours) if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        (_, _, hours) if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        (_, _, hours) if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        (_, _, hours) => format!("{} years", hours / 24 / 365),
    }
}

/// `5 minutes ago`; a time in the future is now, since clocks differ.
pub(crate) fn ago(then: WallTime, now: WallTime) -> String {
    format!("{} ago", human_duration(since(then, now)))
}

pub(crate) fn since(then: WallTime, now: WallTime) -> Duration {
    Duration::from_nanos(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

/// `4.26MB`: three digits, powers of 1000, as in `image ls`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut unit = 0;
    let mut divisor = 1_u64;
    while unit + 1 < UNITS.len() && bytes / divisor >= 1000 {
        divisor *= 1000;
        unit += 1;
    }
    let (whole, rest) = (bytes / divisor, bytes % divisor);
    let digits = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let scale = 10_u128.pow(digits);
    let rounded = (u128::from(rest) * scale + u128::from(divisor) / 2) / u128::from(divisor);
    let total = u128::from(whole) * scale + rounded;
    let (whole, fraction) = (total / scale, total % scale);
    let text = if digits == 0 {
        whole.to_string()
    } else {
        let fraction = format!("{fraction:0width$}", width = usize::try_from(digits).unwrap_or(0));
        format!("{whole}.{fraction}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    format!("{text}{}", UNITS[unit])
}

/// RFC 3339 with nanoseconds, UTC.
pub(crate) fn rfc3339(time: WallTime) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0))
        .map_or_else(|_| String::new(), |time| time.to_string())
}

/// `2026-11-21 04:05:06 +0000 UTC`, as `docker ps` prints times.
pub(crate) fn docker_time(time: WallTime) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0)).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
    )
}

/// A flag's duration, as in a compose file.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    shoal_compose::parse_duration(text)
        .ok_or_else(|| format!("expected a duration such as 10s, 1m30s or 500ms, found {text:?}"))
}

/// `0.5` of a processor.
pub(crate) fn parse_cpus(text: &str) -> Result<CpuNanos, String> {
    scaled(text, 1_000_000_000)
        .map(CpuNanos)
        .ok_or_else(|| format!("expected a number of cpus such as 0.5 or 2, found {text:?}"))
}

/// A point in time for `--since`: RFC 3339, seconds since 1970, or a duration before now.
pub(crate) fn parse_time(text: &str, now: WallTime) -> Result<WallTime, String> {
    if let Ok(duration) = parse_duration(text) {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        return Ok(WallTime(now.0.saturating_sub(nanos)));
    }
    if let Some(nanos) = scaled(text, 1_000_000_000) {
        return Ok(WallTime(i64::try_from(nanos).unwrap_or(i64::MAX)));
    }
    let date = format!("{text}T00:00:00Z");
    let time = text.parse::<jiff::Timestamp>().or_else(|_| date.parse());
    time.ok()
        .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .map(WallTime)
        .ok_or_else(|| {
            format!("expected a time such as 2026-01-02T13:23:37Z, 2026-01-02 or 42m, found {text:?}")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        for (seconds, expect) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (731 * 86400, "2 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), expect, "{seconds}");
        }
    }

    #[test]
    fn sizes() {
        for (bytes, expect) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_262_000, "4.26MB"),
            (13_256_000, "13.3MB"),
            (187_400_000, "187MB"),
            (1_130_000_000, "1.13GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human_size(bytes), expect, "{bytes}");
        }
    }

    #[test]
    fn durations_and_times_as_written() {
        for (text, expect) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("10", None),
            ("", None),
            ("s", None),
            ("1d", Some(86_400_000)),
            ("99999999999h", None),
        ] {
            assert_eq!(
                parse_duration(text).ok(),
                expect.map(Duration::from_millis),
                "{text}"
            );
        }
        let now = WallTime(100_000_000_000);
        for (text, expect) in [
            ("10s", Some(90_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("1970-01-01T00:01:00Z", Some(60_000_000_000)),
            ("1970-01-02", Some(86_400_000_000_000)),
            ("yesterday", None),
        ] {
            assert_eq!(parse_time(text, now).ok().map(|time| time.0), expect, "{text}");
        }
    }

    #[test]
    fn times_shown() {
        let time = WallTime(1_700_000_000_123_000_000);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.123Z");
        assert_eq!(docker_time(time), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(ago(time, WallTime(time.0 + 120_000_000_000)), "2 minutes ago");
        assert_eq!(ago(WallTime(time.0 + 1), time), "Less than a second ago");
    }
}
