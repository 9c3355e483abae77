//! `[appetite]`: how the device is measured, and where that is kept.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the best batch size of a package is found.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Milliseconds that measuring a version of a package may take, or little more, when it is loaded, 0 to 600000.
    /// With 0 nothing is measured and batches are filled up to the package's `batch.max_size`.
    #[schemars(range(max = 600_000))]
    pub measure_ms: u64,
    /// A directory in which measurements outlive the process, made where it is missing; without it a package is
    /// measured at every start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            measure_ms: 10_000,
            state_dir: None,
        }
    }
}

/// The longest `measure_ms`.
const MOST_MS: u64 = 600_000;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "appetite.measure_ms: found {found}, expected 0 to {MOST_MS}; choose a value in this range"
)]
pub struct ConfigFault {
    found: u64,
}

impl Config {
    /// Checks ranges.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigFault> {
        let found = self.measure_ms;
        (found <= MOST_MS)
            .then_some(())
            .ok_or(ConfigFault { found })
    }

    /// How long measuring may take; `None` where nothing is to be measured.
    #[must_use]
    pub fn budget(&self) -> Option<Duration> {
        (self.measure_ms > 0).then(|| Duration::from_millis(self.measure_ms))
    }
}
