//! `[intake]`: how deliveries are settled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How deliveries are settled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tries of a request whose fault may pass, the first included, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Milliseconds between two tries, 1 to a day; the same for every worker on the broker, for it names
    /// the retry queue.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub retry_delay_ms: u64,
    /// A message delivered this often has killed workers: it is answered `model_fault` without being run.
    /// 1 to 19: at 20 the broker gives it up itself.
    #[schemars(range(min = 1, max = 19))]
    pub poison_deliveries: u64,
    /// Seconds that a drain may take before what is left is given back, at most 3600.
    #[schemars(range(max = 3600))]
    pub drain_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            attempts: 2,
            retry_delay_ms: 1_000,
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
        within("attempts", self.attempts.into(), 1, 100)?;
        within("retry_delay_ms", self.retry_delay_ms, 1, 86_400_000)?;
        within("poison_deliveries", self.poison_deliveries, 1, 19)?;
        within("drain_timeout_s", self.drain_timeout_s, 0, 3_600)
    }
}
