//! Names of all metrics with their units; tracing set-up.

pub mod metrics;

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Logs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How a line is written.
    pub log_format: LogFormat,
    /// What is written, as `level` or `target=level,…`.
    pub log_filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "telemetry.log_filter: found {found:?}, expected level or target=level,… with error, warn, info, debug or trace ({reason})"
)]
pub struct FilterFault {
    found: String,
    reason: String,
}

/// Sends logs to standard error from now on. Nothing that a target of `silenced` says is let through,
/// whatever the filter: it would show requests, which are private.
///
/// # Errors
/// A filter that cannot be read.
pub fn init_tracing(config: &Config, silenced: &[&str]) -> Result<(), FilterFault> {
    let silenced = silenced.iter().map(|target| format!(",{target}=off"));
    let directives: String = std::iter::once(config.log_filter.clone())
        .chain(silenced)
        .collect();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(directives)
        .map_err(|error| FilterFault {
            found: config.log_filter.clone(),
            reason: error.to_string(),
        })?;
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    // A second call in one process (tests) keeps the first one's settings.
    let _ = match config.log_format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    Ok(())
}
