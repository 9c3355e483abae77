//! Which letters are meant.

use std::time::Duration;

use super::{age, notes::Notes};
use crate::message::deadline::unix_ms;

/// Which letters are meant; all when nothing is said.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only letters that died for this reason; several may be named.
    #[arg(long = "reason", value_name = "REASON")]
    reasons: Vec<String>,
    /// Only letters of this id, as `list` shows it; several may be named.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Only letters that died longer ago: 90s, 1h, 30d.
    #[arg(long, value_name = "AGE", value_parser = age::duration)]
    older_than: Option<Duration>,
    /// Only letters that died since: 90s, 1h, 30d.
    #[arg(long, value_name = "AGE", value_parser = age::duration)]
    newer_than: Option<Duration>,
    /// At most so many letters, the oldest.
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

impl Filter {
    /// The oldest letter of this id.
    pub(super) fn one(id: &str) -> Filter {
        Filter {
            ids: vec![id.to_owned()],
            limit: Some(1),
            ..Filter::default()
        }
    }

    /// Whether this letter is meant. One that does not say when it died has no age.
    pub(super) fn takes(&self, notes: &Notes, now: u64) -> bool {
        let since =
            |age: Duration| now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let reason = notes.reason.as_deref().unwrap_or("-");
        (self.reasons.is_empty() || self.reasons.iter().any(|wanted| wanted == reason))
            && (self.ids.is_empty() || self.ids.contains(&notes.id))
            && self
                .older_than
                .is_none_or(|age| notes.died_at.is_some_and(|at| at <= since(age)))
            && self
                .newer_than
                .is_none_or(|age| notes.died_at.is_some_and(|at| at >= since(age)))
    }

    /// Takes every letter up to its limit.
    pub(super) fn is_open(&self) -> bool {
        self.reasons.is_empty()
            && self.ids.is_empty()
            && self.older_than.is_none()
            && self.newer_than.is_none()
    }

    /// The same moment for every letter of a command.
    pub(super) fn now() -> u64 {
        unix_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(reason: Option<&str>, died_at: Option<u64>) -> Notes {
        Notes {
            id: "a".into(),
            reason: reason.map(str::to_owned),
            stage: None,
            attempts: None,
            died_at,
            worker: None,
            size: 0,
            content_type: None,
        }
    }

    fn hours(age: u64) -> Duration {
        Duration::from_secs(3_600 * age)
    }

    #[test]
    fn any_of_the_reasons_and_each_of_the_other_filters_must_fit() {
        let now = 10 * 3_600_000;
        let poison = notes(Some("poison"), Some(now - 3_600_000));
        let reasons = vec!["no_reply_to".to_owned(), "poison".to_owned()];
        let filter = Filter {
            reasons,
            ..Filter::default()
        };
        assert!(filter.takes(&poison, now));
        assert!(!filter.takes(&notes(Some("model_fault"), Some(now)), now));
        assert!(!filter.takes(&notes(None, Some(now)), now));
        let other = Filter {
            ids: vec!["b".into()],
            ..filter
        };
        assert!(!other.takes(&poison, now));
        assert!(
            Filter {
                reasons: vec!["-".into()],
                ..Filter::default()
            }
            .takes(&notes(None, None), now)
        );
    }

    #[test]
    fn a_letter_is_as_old_as_its_death_and_without_one_of_no_age() {
        let now = 10 * 3_600_000;
        let poison = notes(Some("poison"), Some(now - 3_600_000));
        for (older_than, newer_than, taken) in [
            (Some(hours(1)), None, true),
            (Some(hours(2)), None, false),
            (None, Some(hours(1)), true),
            (None, Some(Duration::from_secs(3_599)), false),
            (Some(hours(1)), Some(hours(1)), true),
        ] {
            let filter = Filter {
                older_than,
                newer_than,
                ..Filter::default()
            };
            assert_eq!(
                filter.takes(&poison, now),
                taken,
                "{older_than:?} {newer_than:?}"
            );
            assert!(!filter.takes(&notes(Some("poison"), None), now));
        }
    }
}
