//! `[appetite]`: how the device is measured, and where that is kept.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sharing::Share;
use crate::package::{Misread, Misreading, by_name};

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
    /// Weights in place of the packages' own `share.weight`, 0.001 to 1000, as in `fraud=2 cats=0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Milliseconds in place of the packages' own `share.latency_ms`, 0 to 3600000, as in `fraud=0 cats=500`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latencies_ms: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            measure_ms: 10_000,
            state_dir: None,
            weights: None,
            latencies_ms: None,
        }
    }
}

/// The longest `measure_ms`.
const MOST_MS: u64 = 600_000;

/// What `weights` and `latencies_ms` may say, as the manifest's schema has it.
const WEIGHTS: RangeInclusive<f64> = 0.001..=1_000.0;
const LATENCIES_MS: RangeInclusive<f64> = 0.0..=3_600_000.0;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("appetite.{key}: found {found}, expected {expected}; {mend}")]
pub struct ConfigFault {
    /// The setting, below `appetite`.
    pub key: &'static str,
    found: String,
    expected: String,
    mend: &'static str,
}

impl Config {
    /// Checks ranges.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigFault> {
        if self.measure_ms > MOST_MS {
            return Err(ConfigFault {
                key: "measure_ms",
                found: self.measure_ms.to_string(),
                expected: format!("0 to {MOST_MS}"),
                mend: "choose a value in this range",
            });
        }
        self.weights()?;
        self.latencies()?;
        Ok(())
    }

    /// A package's share of the device: its own, or what this says instead.
    #[must_use]
    pub fn share(&self, package: &str, own: Share) -> Share {
        let weights = self.weights().unwrap_or_default();
        let latencies = self.latencies().unwrap_or_default();
        Share {
            weight: weights.get(package).copied().unwrap_or(own.weight),
            latency: latencies.get(package).map_or(own.latency, |ms| {
                Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()
            }),
            ..own
        }
    }

    /// The packages that `weights` and `latencies_ms` speak of, each once.
    #[must_use]
    pub fn packages(&self) -> Vec<String> {
        let weights = self.weights().unwrap_or_default();
        let latencies = self.latencies().unwrap_or_default();
        let mut names: Vec<_> = weights.into_keys().chain(latencies.into_keys()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn weights(&self) -> Result<BTreeMap<String, f64>, ConfigFault> {
        per_package("weights", self.weights.as_deref(), &WEIGHTS)
    }

    fn latencies(&self) -> Result<BTreeMap<String, f64>, ConfigFault> {
        per_package("latencies_ms", self.latencies_ms.as_deref(), &LATENCIES_MS)
    }

    /// How long measuring may take; `None` where nothing is to be measured.
    #[must_use]
    pub fn budget(&self) -> Option<Duration> {
        (self.measure_ms > 0).then(|| Duration::from_millis(self.measure_ms))
    }
}

/// Reads `name=number` after `name=number`.
fn per_package(
    key: &'static str,
    text: Option<&str>,
    range: &RangeInclusive<f64>,
) -> Result<BTreeMap<String, f64>, ConfigFault> {
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or(())
    };
    by_name(text, number).map_err(|Misread { word, fault }| ConfigFault {
        key,
        found: format!("{word:?}"),
        expected: format!(
            "the name of a package, = and a number from {} to {}",
            range.start(),
            range.end()
        ),
        mend: match fault {
            Misreading::Twice => "name each package once",
            Misreading::NoPair | Misreading::NoValue(()) => "write it as in fraud=2 cats=0.5",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(weights: &str) -> Config {
        Config {
            weights: Some(weights.to_owned()),
            latencies_ms: Some("fraud=1.5".to_owned()),
            ..Config::default()
        }
    }

    #[test]
    fn an_operator_says_what_a_package_is_given_and_the_manifest_the_rest() {
        let config = with("fraud=2, cats=0.5");
        config.validate().unwrap();
        assert_eq!(config.packages(), ["cats", "fraud"]);
        let own = Share {
            weight: 7.0,
            latency: Duration::from_secs(1),
            cores: 3,
        };
        let fraud = Share {
            weight: 2.0,
            latency: Duration::from_micros(1_500),
            cores: 3,
        };
        assert_eq!(config.share("fraud", own), fraud);
        let cats = Share { weight: 0.5, ..own };
        assert_eq!(config.share("cats", own), cats);
        assert_eq!(config.share("dogs", own), own);
    }

    #[test]
    fn what_is_no_share_is_told() {
        for (text, words) in [
            (
                "fraud",
                "found \"fraud\", expected the name of a package, =",
            ),
            ("=1", "found \"=1\""),
            ("fraud=much", "write it as in fraud=2 cats=0.5"),
            ("fraud=0", "a number from 0.001 to 1000"),
            ("fraud=NaN", "found \"fraud=NaN\""),
            ("fraud=inf", "found \"fraud=inf\""),
            ("fraud=1 fraud=2", "found \"fraud=2\", expected"),
            ("fraud=1 fraud=1", "name each package once"),
        ] {
            let fault = with(text).validate().unwrap_err().to_string();
            assert!(fault.starts_with("appetite.weights: found"), "{fault}");
            assert!(fault.contains(words), "{fault}");
        }
    }
}
