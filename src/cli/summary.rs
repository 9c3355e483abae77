//! What came of many requests, in a few lines.

use std::{collections::BTreeMap, fmt, time::Duration};

/// Counts by outcome and rejection code, and latencies.
#[derive(Default)]
pub(super) struct Summary {
    kinds: BTreeMap<String, usize>,
    latencies: Vec<Duration>,
    took: Duration,
}

impl Summary {
    /// One request's end: `outcome`, `rejection <code>`, `timeout` …; with its latency where it was answered.
    pub(super) fn add(&mut self, kind: String, latency: Option<Duration>) {
        *self.kinds.entry(kind).or_default() += 1;
        self.latencies.extend(latency);
    }

    /// All of it took so long.
    pub(super) fn finish(&mut self, took: Duration) {
        self.latencies.sort_unstable();
        self.took = took;
    }

    /// The latency that `per_mille` of a thousand replies do not exceed (nearest rank).
    fn percentile(&self, per_mille: usize) -> Option<Duration> {
        let rank = (self.latencies.len() * per_mille).div_ceil(1000);
        self.latencies.get(rank.checked_sub(1)?).copied()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.kinds {
            writeln!(f, "{count:>10}  {kind}")?;
        }
        let seconds = self.took.as_secs_f64();
        let replies = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        let rate = f64::from(replies) / seconds.max(1e-9);
        write!(f, "{rate:>10.0}  replies/s over {seconds:.2} s")?;
        let shares = [
            ("p50", 500),
            ("p90", 900),
            ("p99", 990),
            ("p99.9", 999),
            ("max", 1000),
        ];
        for (name, share) in shares {
            if let Some(latency) = self.percentile(share) {
                write!(f, "\n{:>10.2}  ms {name}", latency.as_secs_f64() * 1e3)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_replies_and_counts_of_everything() {
        let mut summary = Summary::default();
        for ms in (1..=200).rev() {
            summary.add("outcome".into(), Some(Duration::from_millis(ms)));
        }
        summary.add("timeout".into(), None);
        summary.finish(Duration::from_secs(2));
        let text = summary.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "200  outcome",
                "1  timeout",
                "100  replies/s over 2.00 s",
                "100.00  ms p50",
                "180.00  ms p90",
                "198.00  ms p99",
                "200.00  ms p99.9",
                "200.00  ms max",
            ]
        );
    }

    #[test]
    fn nothing_sent_is_no_division_by_zero() {
        assert_eq!(
            Summary::default().to_string(),
            "         0  replies/s over 0.00 s"
        );
    }
}
