//! Names of all metrics with their units; tracing set-up.

pub mod logs;
pub mod metrics;
pub mod names;
pub mod recorder;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the process says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How log lines are written to stderr.
    pub log_format: LogFormat,
    /// Which log lines are written, in the syntax of `tracing`'s `EnvFilter`: `info`, `warn,inferq=debug` …
    /// The AMQP library's own lines must be asked for by name: `info,lapin=info`.
    /// The environment variable `RUST_LOG` beats it.
    pub log_filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}
