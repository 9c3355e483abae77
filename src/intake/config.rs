//! `[intake]`: how deliveries are settled.

use rand::{Rng, seq::IndexedRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is set apart comes back after so long.
pub(super) const APART_MS: u64 = 1_000;

/// How deliveries are settled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Milliseconds before each further try of a request whose fault may pass, 1 to a day each; as many tries as
    /// there are delays, 20 at most. A try that would come after the deadline is not made. Each delay is spread
    /// over three retry queues, from three quarters of it to five; the same for every worker on the broker, for
    /// the delays name the queues.
    #[schemars(length(max = 20), inner(range(min = 1, max = 86_400_000)))]
    pub retry_delays_ms: Vec<u64>,
    /// A request that so many workers died with is answered `model_fault` and not run again, 1 to 19. What the broker
    /// counts is not quite that: where it crashes, it counts a delivery for each worker that it then misses. So a
    /// request with two losses left, or one at 2, is set apart: published anew after a second, to run alone and with a
    /// count that begins at 0, of which one is believed at a time. At 2 and 3 that is at the first loss, so that what a
    /// drain gives back is set apart as well; at 1 none is, and crashes of the broker make poison.
    #[schemars(range(min = 1, max = 19))]
    pub poison_deliveries: u64,
    /// Seconds that a drain may take before what is left is given back, at most 3600.
    #[schemars(range(max = 3600))]
    pub drain_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            retry_delays_ms: vec![1_000, 5_000, 30_000],
            poison_deliveries: 4,
            drain_timeout_s: 25,
        }
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("intake.{key}: found {found}, expected {low} to {high}; choose a value in this range")]
pub struct ConfigFault {
    /// The key below `[intake]`.
    pub key: &'static str,
    found: u64,
    low: u64,
    high: u64,
}

impl Config {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn validate(&self) -> Result<(), ConfigFault> {
        let within = |key, found, low, high| match found {
            found if (low..=high).contains(&found) => Ok(()),
            found => Err(ConfigFault {
                key,
                found,
                low,
                high,
            }),
        };
        for delay in &self.retry_delays_ms {
            within("retry_delays_ms", *delay, 1, 86_400_000)?;
        }
        let tries = self.retry_delays_ms.len() as u64;
        within("retry_delays_ms (how many)", tries, 0, 20)?;
        within("poison_deliveries", self.poison_deliveries, 1, 19)?;
        within("drain_timeout_s", self.drain_timeout_s, 0, 3_600)
    }

    /// The delays of all retry queues.
    #[must_use]
    pub fn retry_queues_ms(&self) -> Vec<u64> {
        let delays = self.retry_delays_ms.iter().flat_map(|ms| spread(*ms));
        let mut all: Vec<u64> = delays.chain([APART_MS]).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The delay before the next try of a request that was tried `attempts` times; `None` when that was enough.
    /// One of three, so that what failed together does not come back together.
    pub(super) fn retry_delay_ms(&self, attempts: u32, rng: &mut impl Rng) -> Option<u64> {
        let delay = self.retry_delays_ms.get(usize::try_from(attempts).ok()?)?;
        spread(*delay).choose(rng).copied()
    }
}

/// A delay and those beside it.
fn spread(ms: u64) -> [u64; 3] {
    [(ms * 3 / 4).max(1), ms, ms * 5 / 4]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_try_waits_longer_than_the_one_before_and_then_it_is_enough() {
        let config = Config::default();
        let mut rng = rand::rng();
        for _ in 0..100 {
            let delays: Vec<u64> = (0..3)
                .filter_map(|n| config.retry_delay_ms(n, &mut rng))
                .collect();
            assert!(delays.is_sorted() && delays.len() == 3, "{delays:?}");
            assert!(
                delays
                    .iter()
                    .all(|ms| config.retry_queues_ms().contains(ms))
            );
            assert_eq!(config.retry_delay_ms(3, &mut rng), None);
        }
        assert_eq!(config.retry_queues_ms().len(), 9);
    }
}
