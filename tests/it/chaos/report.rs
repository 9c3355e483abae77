//! What a run comes to: one table, and the same as JSON.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;

use super::checker::{Checker, Counts, DeadLetter};

/// Everything that is reported.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) seconds: u64,
    pub(super) requests_per_second: f64,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Requests scored twice by what went on between the two times; `none` where nothing did.
    pub(super) scored_twice_during: BTreeMap<String, u64>,
    pub(super) rejected_by_code: BTreeMap<String, u64>,
    /// How often each fault was struck.
    pub(super) faults: BTreeMap<String, u64>,
    /// Faults that were tried and did not come about.
    pub(super) missed: BTreeMap<String, u64>,
    pub(super) recovery_s: BTreeMap<String, Spread>,
    pub(super) worker_restarts: u32,
    pub(super) rss: Rss,
}

/// Resident memory of the worker that no fault killed.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Rss {
    pub(super) after_warm_up: u64,
    pub(super) end: u64,
    pub(super) ratio: f64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Spread {
    fn of(times: &[Duration]) -> Spread {
        let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
        seconds.sort_by(f64::total_cmp);
        // The nearest rank.
        let at = |share: f64| {
            let rank = (seconds.len() as f64 * share).ceil() as usize;
            seconds[rank.max(1) - 1]
        };
        Spread {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// What a fault may lead to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    /// A request is scored again: its worker died or stood still over it, or the store was gone.
    pub(super) repeats: bool,
    /// The store was gone.
    pub(super) forgets: bool,
    /// A reply finds no queue that takes it.
    pub(super) refuses: bool,
}

/// One fault, when it was (Unix ms) and how long recovery took.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) hit: bool,
    pub(super) effects: Effects,
    pub(super) recovery: Duration,
}

/// Events by kind, and all of them together.
pub(super) fn recoveries(events: &[Event]) -> BTreeMap<String, Spread> {
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.hit) {
        for name in [event.name.as_str(), "all"] {
            times
                .entry(name.to_owned())
                .or_default()
                .push(event.recovery);
        }
    }
    times
        .into_iter()
        .map(|(name, times)| (name, Spread::of(&times)))
        .collect()
}

/// How often each kind was struck, or missed.
pub(super) fn tally(events: &[Event], hit: bool) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for event in events.iter().filter(|event| event.hit == hit) {
        *tally.entry(event.name.clone()).or_default() += 1;
    }
    tally
}

/// Enters what was scored, and says which fault a second scoring is laid to: the last that can have caused it
/// and was, from its start until all was well again, between the two.
pub(super) fn attribute(
    checker: &mut Checker,
    scored: &[(String, u32, u64)],
    events: &[Event],
) -> BTreeMap<String, u64> {
    let (mut first, mut during) = (BTreeMap::new(), BTreeMap::new());
    for (request, _, at) in scored {
        checker.scored(request);
        let Some(before) = first.insert(request, *at) else {
            continue;
        };
        let gone =
            |event: &Event| event.effects.forgets && event.from_ms <= *at && event.to_ms >= before;
        if events.iter().any(gone) {
            checker.forgotten(request);
        }
        let between =
            |event: &&Event| event.effects.repeats && event.from_ms <= *at && event.to_ms >= before;
        let why = events
            .iter()
            .rfind(between)
            .map_or("none", |event| event.name.as_str());
        *during.entry(why.to_owned()).or_default() += 1;
    }
    during
}

/// Dead letters that nothing was the reason of: a reply is undeliverable only while its queue is gone or refuses.
pub(super) fn unexplained(checker: &Checker, events: &[Event]) -> Vec<String> {
    let explained = |letter: &&DeadLetter| {
        let during = |event: &Event| {
            event.effects.refuses
                && event.from_ms <= letter.died_at
                && letter.died_at <= event.to_ms
        };
        letter.reason == "reply_undeliverable" && events.iter().any(during)
    };
    let letters = checker.letters.iter();
    let unexplained = letters.filter(|letter| !explained(letter));
    let told =
        |letter: &DeadLetter| format!("{}: {} at {}", letter.id, letter.reason, letter.died_at);
    unexplained.map(told).collect()
}

impl Report {
    pub(super) fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, serde_json::to_string_pretty(self).unwrap()).unwrap();
    }

    pub(super) fn table(&self) -> String {
        let counts = &self.counts;
        let mut rows = vec![
            format!(
                "seed {}, {} s, {} requests/s",
                self.seed, self.seconds, self.requests_per_second
            ),
            String::new(),
        ];
        for (name, count) in [
            ("attempt", counts.attempt),
            ("acknowledged", counts.acknowledged),
            ("ok", counts.ok),
            ("rejected", counts.rejected),
            ("buried", counts.buried),
            ("destroyed", counts.destroyed),
            ("lost", counts.lost),
            ("unexpected", counts.unexpected),
            ("duplicated", counts.duplicated),
            ("conflicting", counts.conflicting),
            ("differing", counts.differing),
            ("scored_twice", counts.scored_twice),
            ("recovered", counts.recovered),
            ("worker_restarts", self.worker_restarts.into()),
        ] {
            rows.push(format!("{name:<28}{count:>10}"));
        }
        let Rss {
            after_warm_up,
            end,
            ratio,
        } = self.rss;
        let mib = |bytes: u64| bytes / (1 << 20);
        rows.push(format!(
            "{:<28}{:>10.2}  ({} MiB after warm-up, {} MiB at the end)",
            "rss ratio",
            ratio,
            mib(after_warm_up),
            mib(end)
        ));
        rows.push(format!(
            "\n{:<28}{:>10}{:>9}{:>9}{:>9}  recovery, s",
            "fault", "times", "p50", "p99", "max"
        ));
        let all: u64 = self.faults.values().sum();
        for (name, spread) in &self.recovery_s {
            let times = self.faults.get(name).unwrap_or(&all);
            let Spread { p50, p99, max } = spread;
            rows.push(format!(
                "{name:<28}{times:>10}{p50:>9.2}{p99:>9.2}{max:>9.2}"
            ));
        }
        for (title, counts) in [
            ("tried in vain", &self.missed),
            ("rejected by code", &self.rejected_by_code),
            ("scored twice during", &self.scored_twice_during),
        ] {
            if !counts.is_empty() {
                rows.push(format!("\n{title}"));
            }
            rows.extend(
                counts
                    .iter()
                    .map(|(name, count)| format!("{name:<28}{count:>10}")),
            );
        }
        rows.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, from_ms: u64, to_ms: u64, recovery_s: u64) -> Event {
        Event {
            name: name.into(),
            from_ms,
            to_ms,
            hit: true,
            effects: Effects {
                repeats: true,
                ..Effects::default()
            },
            recovery: Duration::from_secs(recovery_s),
        }
    }

    #[test]
    fn recovery_times_are_ranked_by_kind_and_together() {
        let mut events: Vec<_> = (1..=100).map(|s| event("a", 0, 0, s)).collect();
        events.push(event("b", 0, 0, 200));
        events.push(Event {
            hit: false,
            ..event("b", 0, 0, 900)
        });
        let recoveries = recoveries(&events);
        let of = |name: &str| recoveries[name];
        assert_eq!((of("a").p50, of("a").p99, of("a").max), (50.0, 99.0, 100.0));
        assert_eq!((of("b").p50, of("all").max), (200.0, 200.0));
        assert_eq!(
            (tally(&events, true)["b"], tally(&events, false)["b"]),
            (1, 1)
        );
    }

    #[test]
    fn a_second_scoring_is_laid_to_the_fault_between_the_two() {
        let harmless = Event {
            effects: Effects::default(),
            ..event("harmless", 610, 620, 0)
        };
        let events = [
            event("early", 100, 200, 0),
            event("late", 500, 600, 0),
            harmless,
        ];
        let line = |request: &str, at| (request.to_owned(), 1, at);
        let scored = [
            line("0", 50),
            line("1", 450),
            line("1", 650),
            line("2", 300),
            line("2", 400),
        ];
        let mut checker = Checker::default();
        let during = attribute(&mut checker, &scored, &events);
        let expected = [("late", 1), ("none", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(during, BTreeMap::from(expected));
    }
}
