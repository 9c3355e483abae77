//! Tracing set-up: log lines to stderr, never with request content in them.

use std::{env, io};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, FilterFn, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::{SubscriberInitExt, TryInitError},
};

use crate::telemetry::{Config, LogFormat};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// A filter that cannot be read.
    #[error(
        "{origin}: found {found:?}, expected directives such as `info` or `warn,inferq=debug` ({reason}); write a level, or target=level, separated by commas"
    )]
    Filter {
        /// Where the filter stands.
        origin: &'static str,
        /// The filter.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process already logs otherwise.
    #[error("another log subscriber is installed in this process")]
    Taken(#[source] TryInitError),
}

/// Starts logging to stderr. `RUST_LOG`, where it is set, beats the configured filter.
///
/// # Errors
/// The filter cannot be read, or the process already has a subscriber.
pub fn init_tracing(config: &Config) -> Result<(), LogFault> {
    let from_env = env::var(EnvFilter::DEFAULT_ENV).ok();
    let from_env = from_env.filter(|filter| !filter.trim().is_empty());
    let filter = match &from_env {
        Some(filter) => read(EnvFilter::DEFAULT_ENV, filter)?,
        None => config.filter()?,
    };
    tracing_subscriber::registry()
        .with(layer(config.log_format, filter, io::stderr))
        .try_init()
        .map_err(LogFault::Taken)
}

impl Config {
    /// Checks the filter.
    ///
    /// # Errors
    /// The filter cannot be read.
    pub fn validate(&self) -> Result<(), LogFault> {
        self.filter().map(drop)
    }

    fn filter(&self) -> Result<EnvFilter, LogFault> {
        read("telemetry.log_filter", &self.log_filter)
    }
}

fn read(origin: &'static str, filter: &str) -> Result<EnvFilter, LogFault> {
    quiet(filter).map_err(|fault| LogFault::Filter {
        origin,
        found: filter.to_owned(),
        reason: fault.to_string(),
    })
}

/// The filter, and nothing of lapin that it does not ask for by name: whatever ends a connection or a channel
/// is told once more by those who supervise it, in our words. A panic of lapin's threads is told by nobody else.
fn quiet(filter: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(["lapin=off", "lapin::thread=error", filter].join(","))
}

fn layer<S, W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter.and(private());
    let lines = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => lines.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

/// Lets nothing through that shows request content, whatever the filter asks for: lapin logs each returned
/// message whole at `warn`, and each frame at `trace`.
fn private() -> FilterFn {
    filter_fn(|line: &Metadata<'_>| {
        let of = |module| {
            let rest = line.target().strip_prefix(module);
            rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with("::"))
        };
        !of("lapin::returned_messages") && (!of("lapin") || *line.level() <= Level::DEBUG)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, trace, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str, run: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let filter = quiet(filter).unwrap();
        let layer = layer(format, filter, move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_that_lapin_got_back_are_never_logged_whatever_the_filter_says() {
        let text = written(
            LogFormat::Text,
            "trace,lapin=trace,lapin::returned_messages=trace",
            || {
                warn!(target: "lapin::returned_messages", "secret");
                warn!(target: "lapin::returned_messages::inner", "secret");
                trace!(target: "lapin::channels", frame = "secret", "will handle frame");
                warn!(target: "lapin::channels", "connection error");
                trace!(target: "lapinette", "unrelated");
            },
        );
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.contains("connection error") && text.contains("unrelated"),
            "{text}"
        );
    }

    #[test]
    fn lapin_speaks_only_where_it_is_asked_to_by_name() {
        let log = || {
            tracing::error!(target: "lapin::channels", "connection error");
            tracing::error!(target: "lapin::thread", "thread panicked");
        };
        for filter in ["info", "trace", "error,inferq=debug"] {
            let text = written(LogFormat::Text, filter, log);
            assert!(!text.contains("connection error"), "{filter}: {text}");
            assert!(text.contains("thread panicked"), "{filter}: {text}");
        }
        assert!(written(LogFormat::Text, "info,lapin=info", log).contains("connection error"));
    }

    #[test]
    fn lines_are_text_or_one_json_object_each() {
        let log = || info!(queue = "digits", "consuming");
        let text = written(LogFormat::Text, "info", log);
        assert!(
            text.contains("consuming") && text.contains("queue=\"digits\""),
            "{text}"
        );
        let line = written(LogFormat::Json, "info", log);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "consuming");
        assert_eq!(line["queue"], "digits");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let config = Config {
            log_filter: "inferq=loud".to_owned(),
            ..Config::default()
        };
        if env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
            let fault = init_tracing(&config).unwrap_err();
            assert!(fault.to_string().contains("telemetry.log_filter"));
        }
    }
}
