//! What a load came to.

use crate::results::{Row, Spread};
use std::time::Duration;

/// What became of one request.
pub struct Ended {
    /// From when it was due to its reply.
    pub took: Duration,
    /// The run that it was part of, and of how many rows; `None` of a rejection.
    pub ran: Option<(Duration, usize)>,
    /// Came by its deadline; all do that have none.
    pub in_time: bool,
}

/// Of one run of one load.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Outcomes a second.
    pub per_s: f64,
    /// Of outcomes; from when they were due.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    /// Outcomes by their deadline, of all that was offered; `None` where there was none.
    pub in_time: Option<f64>,
    /// Of the outcomes.
    pub accepted_in_time: Option<f64>,
    /// Outcomes by their deadline a second ÷ what the worker can do.
    pub goodput: Option<f64>,
    pub mean_batch: f64,
    /// The middle one.
    pub run: Duration,
    /// CPU time of the worker for each request.
    pub cpu_us: f64,
    pub rss_mib: f64,
}

/// What was measured around the requests.
pub struct Around {
    pub lasted: Duration,
    pub cpu: Duration,
    pub rss_kib: u64,
    /// Where there were deadlines.
    pub capacity: Option<f64>,
}

impl Figures {
    pub fn of(ended: &[Ended], around: &Around) -> Figures {
        let outcomes: Vec<&Ended> = ended.iter().filter(|one| one.ran.is_some()).collect();
        let mut ms: Vec<f64> = outcomes
            .iter()
            .map(|one| one.took.as_secs_f64() * 1e3)
            .collect();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (ms.len() as f64 * share).ceil() as usize;
            ms.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        let mut runs: Vec<Duration> = outcomes.iter().filter_map(|one| Some(one.ran?.0)).collect();
        runs.sort();
        // A batch of b rows is seen b times.
        let batches: f64 = outcomes
            .iter()
            .filter_map(|one| Some(1.0 / one.ran?.1 as f64))
            .sum();
        let in_time = outcomes.iter().filter(|one| one.in_time).count() as f64;
        let lasted = around.lasted.as_secs_f64();
        let of = |all: usize| around.capacity.map(|_| in_time / all as f64);
        Figures {
            per_s: outcomes.len() as f64 / lasted,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            in_time: of(ended.len()),
            accepted_in_time: of(outcomes.len()),
            goodput: around.capacity.map(|capacity| in_time / lasted / capacity),
            mean_batch: outcomes.len() as f64 / batches,
            run: runs.get(runs.len() / 2).copied().unwrap_or_default(),
            cpu_us: around.cpu.as_secs_f64() * 1e6 / ended.len() as f64,
            rss_mib: around.rss_kib as f64 / 1024.0,
        }
    }

    fn named(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("items/s", Some(self.per_s)),
            ("p50 ms", Some(self.p50_ms)),
            ("p99 ms", Some(self.p99_ms)),
            ("p99.9 ms", Some(self.p999_ms)),
            ("in time ÷ offered", self.in_time),
            ("in time ÷ accepted", self.accepted_in_time),
            ("goodput ÷ capacity", self.goodput),
            ("mean batch", Some(self.mean_batch)),
            ("worker µs/item", Some(self.cpu_us)),
            ("RSS MiB", Some(self.rss_mib)),
        ]
    }

    pub fn heading() {
        println!(
            "{:<12} {:<11} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>6} {:>9} {:>6}",
            "",
            "",
            "items/s",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "÷ offered",
            "÷ taken",
            "goodput",
            "batch",
            "µs/item",
            "MiB"
        );
    }

    pub fn line(&self, model: &str, load: &str) {
        let share =
            |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |s| format!("{s:.3}"));
        println!(
            "{model:<12} {load:<11} {:>9.1} {:>8.2} {:>8.2} {:>8.2} {:>9} {:>9} {:>8} {:>6.1} {:>9.1} {:>6.1}",
            self.per_s,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            share(self.in_time),
            share(self.accepted_in_time),
            share(self.goodput),
            self.mean_batch,
            self.cpu_us,
            self.rss_mib,
        );
    }
}

/// Every figure of every load, over its runs.
pub fn rows(model: &str, runs: &[(String, Figures)]) -> Vec<Row> {
    let mut loads: Vec<&str> = runs.iter().map(|(load, _)| load.as_str()).collect();
    loads.dedup();
    let mut seen = Vec::new();
    loads.retain(|load| {
        !seen.contains(load) && {
            seen.push(*load);
            true
        }
    });
    let figures = |load: &str| -> Vec<[(&'static str, Option<f64>); 10]> {
        let those = runs.iter().filter(|(of, _)| of == load);
        those.map(|(_, figures)| figures.named()).collect()
    };
    loads
        .into_iter()
        .flat_map(|load| {
            let figures = figures(load);
            (0..10).filter_map(move |place| {
                let name = figures.first()?[place].0;
                let values: Vec<f64> = figures.iter().filter_map(|run| run[place].1).collect();
                let spread = Spread::of(values.into_iter().filter(|value| value.is_finite()))?;
                Some(Row::new((model, load, "inferq"), name, spread))
            })
        })
        .collect()
}
