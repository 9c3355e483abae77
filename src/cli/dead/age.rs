//! Durations as operators write them, and times as they read them.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// `90s`, `1h`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!("found {text:?}, expected a whole number and ms, s, m, h, d or w, as in 90s or 1h")
    };
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text
        .split_at_checked(split.unwrap_or(text.len()))
        .ok_or_else(expected)?;
    let number: u64 = number.parse().map_err(|_| expected())?;
    let (_, ms) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(expected)?;
    number
        .checked_mul(*ms)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

/// Unix ms as RFC 3339, to the second.
pub(super) fn written(unix_ms: u64) -> Option<String> {
    let seconds = i64::try_from(unix_ms / 1_000).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()?
        .format(&Rfc3339)
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "1",
            "h",
            "-1h",
            "1.5h",
            "1y",
            "1 h",
            "1h30m",
            "1ü",
            "999999999999999999w",
        ] {
            assert!(
                duration(text).unwrap_err().contains("as in 90s or 1h"),
                "{text}"
            );
        }
    }

    #[test]
    fn times_are_written_to_the_second_and_those_beyond_the_calendar_not_at_all() {
        assert_eq!(
            written(1_700_000_000_999).as_deref(),
            Some("2023-11-14T22:13:20Z")
        );
        assert_eq!(written(u64::MAX), None);
    }
}
