//! When nobody wants the answer any more.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::failpoint;
use crate::message::{
    rejection::{Code, Rejection, Stage},
    request::{DEADLINE, Head, HeaderValue},
};

/// The furthest ahead that a deadline reaches on the clock: sums with [`Instant`] must not overflow.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A deadline before this (the year 2001) was meant in seconds.
const SURELY_SECONDS: u64 = 1_000_000_000_000;

/// What a deadline was read from: its requester is told by this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Header,
    TimestampAndExpiration,
    Expiration,
    Package,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Source::Header => DEADLINE,
            Source::TimestampAndExpiration => "timestamp + expiration",
            Source::Expiration => "expiration",
            Source::Package => "the package's default",
        }
    }
}

/// After this moment nobody wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    unix_ms: u64,
    source: Source,
}

impl Deadline {
    /// At this Unix time in ms, as the header `inferq-deadline` carries it.
    #[must_use]
    pub fn at(unix_ms: u64) -> Self {
        Deadline {
            unix_ms,
            source: Source::Header,
        }
    }

    /// Unix time in ms, as the header `inferq-deadline` carries it.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// Whether it has passed at `now_unix_ms`.
    #[must_use]
    pub fn passed(self, now_unix_ms: u64) -> bool {
        now_unix_ms >= self.unix_ms
    }

    /// The same moment on the monotonic clock, given both clocks' now; at most 30 days ahead.
    #[must_use]
    pub fn instant(self, now: Instant, now_unix_ms: u64) -> Instant {
        let left = Duration::from_millis(self.unix_ms.saturating_sub(now_unix_ms));
        now + left.min(MAX_WAIT)
    }

    /// `deadline_exceeded`, said by `stage`.
    #[must_use]
    pub fn exceeded(self, stage: Stage, now_unix_ms: u64) -> Rejection {
        let late = now_unix_ms.saturating_sub(self.unix_ms);
        let ancient = self.unix_ms < SURELY_SECONDS;
        let detail = match self.source {
            Source::Header if ancient => format!(
                "the deadline lies before the year 2001; the header {DEADLINE} is Unix time in milliseconds, not in seconds"
            ),
            Source::TimestampAndExpiration if ancient => {
                "the deadline, timestamp + expiration, lies before the year 2001; the property timestamp is Unix time in seconds, of when the request was sent".to_owned()
            }
            Source::Expiration if late == 0 => {
                "the property expiration leaves no time to answer; allow some milliseconds"
                    .to_owned()
            }
            Source::Header
            | Source::TimestampAndExpiration
            | Source::Expiration
            | Source::Package => format!(
                "the deadline ({}) passed {late} ms ago; allow more time, or send less at once",
                self.source.name()
            ),
        };
        Rejection::new(Code::DeadlineExceeded, stage, detail)
    }
}

/// Now, in Unix milliseconds: the clock that deadlines are told by.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    now.saturating_add_signed(failpoint::clock_offset_ms())
}

/// Finds a request's deadline: header `inferq-deadline` (ms, or a timestamp of AMQP); else `timestamp` +
/// `expiration`; else arrival + `expiration` (a worker cannot see how long a message waited); else arrival +
/// the package's default.
///
/// # Errors
/// `malformed_message` that names the header or property whose value cannot be a time.
pub fn resolve_deadline(
    head: &Head<'_>,
    arrived_unix_ms: u64,
    package_default_ms: u64,
) -> Result<Deadline, Rejection> {
    if let Some(value) = head.deadline {
        return header(value).map(Deadline::at).ok_or_else(|| {
            malformed(format!(
                "the header {DEADLINE} is not a time; expected Unix time in milliseconds, such as 1767225600000"
            ))
        });
    }
    let Some(expiration) = head.expiration else {
        return Ok(Deadline {
            unix_ms: arrived_unix_ms.saturating_add(package_default_ms),
            source: Source::Package,
        });
    };
    let expiration: u64 = expiration.parse().map_err(|_| {
        malformed("the property expiration is not a number; expected milliseconds as text, such as \"30000\"")
    })?;
    let (from, source) = match head.timestamp {
        Some(seconds) => {
            let ms = seconds.checked_mul(1000).ok_or_else(|| {
                malformed("the property timestamp is too large; expected Unix time in seconds")
            })?;
            (ms, Source::TimestampAndExpiration)
        }
        None => (arrived_unix_ms, Source::Expiration),
    };
    let unix_ms = from.checked_add(expiration).ok_or_else(|| {
        malformed("the properties timestamp and expiration are too large together")
    })?;
    Ok(Deadline { unix_ms, source })
}

fn header(value: HeaderValue<'_>) -> Option<u64> {
    /// Floats count whole milliseconds exactly up to here.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        HeaderValue::Int(ms) => u64::try_from(ms).ok(),
        HeaderValue::Text(ms) => ms.parse().ok(),
        HeaderValue::Time(seconds) => seconds.checked_mul(1000),
        // Python's `time.time() * 1000` is a float.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole milliseconds, and the range is checked"
        )]
        HeaderValue::Float(ms) => (0.0..=EXACT).contains(&ms).then_some(ms as u64),
        HeaderValue::Other => None,
    }
}

fn malformed(detail: impl Into<String>) -> Rejection {
    Rejection::new(Code::MalformedMessage, Stage::Decode, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600_000;

    #[test]
    fn the_deadline_is_the_first_that_the_contract_names() {
        let all = Head {
            deadline: Some(HeaderValue::Int(42)),
            timestamp: Some(1_700_000_000),
            expiration: Some("500"),
            ..Head::default()
        };
        let without = |head: Head<'_>| resolve_deadline(&head, NOW, 30_000).unwrap().unix_ms();
        assert_eq!(without(all), 42);
        assert_eq!(
            without(Head {
                deadline: None,
                ..all
            }),
            1_700_000_000_500
        );
        assert_eq!(
            without(Head {
                deadline: None,
                timestamp: None,
                ..all
            }),
            NOW + 500
        );
        assert_eq!(
            without(Head {
                deadline: None,
                expiration: None,
                ..all
            }),
            NOW + 30_000
        );
        assert_eq!(without(Head::default()), NOW + 30_000);
    }

    #[test]
    fn the_header_may_be_any_number_or_its_digits() {
        for value in [
            HeaderValue::Int(1_767_225_600_123),
            HeaderValue::Text("1767225600123"),
            HeaderValue::Float(1_767_225_600_123.7),
        ] {
            let head = Head {
                deadline: Some(value),
                ..Head::default()
            };
            assert_eq!(
                resolve_deadline(&head, NOW, 1),
                Ok(Deadline::at(NOW + 123)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_header_that_is_a_timestamp_is_in_seconds_as_amqp_has_it() {
        let at = |seconds| {
            let head = Head {
                deadline: Some(HeaderValue::Time(seconds)),
                ..Head::default()
            };
            resolve_deadline(&head, NOW, 1)
        };
        assert_eq!(at(1_767_225_601), Ok(Deadline::at(NOW + 1000)));
        assert_eq!(at(u64::MAX).unwrap_err().code, Code::MalformedMessage);
    }

    #[test]
    fn a_requester_who_is_late_is_told_by_which_words_of_the_request() {
        let said = |head: Head<'_>| {
            let deadline = resolve_deadline(&head, NOW, 0).unwrap();
            let (now, header) = (NOW + 7, head.deadline.is_some());
            let detail = deadline.exceeded(Stage::Decode, now).detail;
            assert_eq!(detail.contains(DEADLINE), header, "{detail}");
            detail
        };
        let with = |timestamp, expiration| Head {
            timestamp,
            expiration: Some(expiration),
            ..Head::default()
        };
        let ancient = said(with(Some(1), "1000"));
        assert!(
            ancient.contains("timestamp + expiration") && ancient.contains("2001"),
            "{ancient}"
        );
        let late = said(with(Some(NOW / 1000 - 1), "900"));
        assert!(
            late.contains("timestamp + expiration") && late.contains("107 ms"),
            "{late}"
        );
        let late = said(with(None, "2"));
        assert!(late.contains("(expiration) passed 5 ms"), "{late}");
        assert!(said(Head::default()).contains("the package's default"));
        said(Head {
            deadline: Some(HeaderValue::Int(1)),
            ..Head::default()
        });
        let none = resolve_deadline(&with(None, "0"), NOW, 1).unwrap();
        let detail = none.exceeded(Stage::Decode, NOW).detail;
        assert!(detail.contains("expiration leaves no time"), "{detail}");
    }

    #[test]
    fn garbage_is_malformed_and_the_header_is_named() {
        for value in [
            HeaderValue::Int(-1),
            HeaderValue::Text(""),
            HeaderValue::Text("-5"),
            HeaderValue::Text("soon"),
            HeaderValue::Text("1e12"),
            HeaderValue::Text("18446744073709551616"),
            HeaderValue::Float(f64::NAN),
            HeaderValue::Float(f64::INFINITY),
            HeaderValue::Float(-1.0),
            HeaderValue::Float(1e300),
            HeaderValue::Other,
        ] {
            let head = Head {
                deadline: Some(value),
                ..Head::default()
            };
            let rejection = resolve_deadline(&head, NOW, 1).unwrap_err();
            assert_eq!(rejection.code, Code::MalformedMessage, "{value:?}");
            assert!(rejection.detail.contains(DEADLINE));
        }
        for (expiration, timestamp, named) in [
            ("", None, "expiration"),
            ("-1", None, "expiration"),
            ("1.5", None, "expiration"),
            ("x", Some(1), "expiration"),
            ("18446744073709551615", None, "expiration"),
            ("1", Some(u64::MAX), "timestamp"),
        ] {
            let head = Head {
                expiration: Some(expiration),
                timestamp,
                ..Head::default()
            };
            let rejection = resolve_deadline(&head, NOW, 1).unwrap_err();
            assert_eq!(rejection.code, Code::MalformedMessage, "{expiration}");
            assert!(rejection.detail.contains(named), "{}", rejection.detail);
        }
    }

    #[test]
    fn a_deadline_however_far_never_overflows_the_clock() {
        let now = Instant::now();
        assert_eq!(Deadline::at(u64::MAX).instant(now, NOW), now + MAX_WAIT);
        assert_eq!(
            Deadline::at(NOW + 5).instant(now, NOW),
            now + Duration::from_millis(5)
        );
        assert_eq!(Deadline::at(0).instant(now, NOW), now);
        assert!(resolve_deadline(&Head::default(), u64::MAX, u64::MAX).is_ok());
    }

    #[test]
    fn a_deadline_in_seconds_is_pointed_out() {
        let seconds = Deadline::at(NOW / 1000);
        assert!(seconds.passed(NOW));
        assert!(
            seconds
                .exceeded(Stage::Decode, NOW)
                .detail
                .contains("not in seconds")
        );
        let late = Deadline::at(NOW - 7).exceeded(Stage::Batch, NOW);
        assert_eq!(
            (late.code, late.stage),
            (Code::DeadlineExceeded, Stage::Batch)
        );
        assert!(late.detail.contains("7 ms"));
    }
}
