//! `[duplicates]`: where replies already given are kept, and for how long.

use std::time::Duration;

use deadpool_redis::redis::IntoConnectionInfo;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The duplicate store. It is used where it has a URL.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `redis://user:password@host:port/database`; without it there is no store. Shown without its password.
    #[serde(
        serialize_with = "redacted",
        deserialize_with = "secret",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// Milliseconds that a question to the store may take, 1 to 10000. A request asks twice: before it is scored
    /// and before it is answered.
    #[schemars(range(min = 1, max = 10_000))]
    pub timeout_ms: u64,
    /// Seconds that a request stays claimed by a worker that died over it, 1 to 300.
    #[schemars(range(min = 1, max = 300))]
    pub lease_s: u64,
    /// Seconds that a reply is kept, 1 to 2592000 (30 days).
    #[schemars(range(min = 1, max = 2_592_000))]
    pub keep_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            url: None,
            timeout_ms: 50,
            lease_s: 3,
            keep_s: 86_400,
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duplicates.{key}: found {found}, expected {expected}")]
pub struct ConfigFault {
    /// The key below `[duplicates]`.
    pub key: &'static str,
    /// No secret.
    found: String,
    expected: String,
}

impl Config {
    /// Checks ranges and the URL's form.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigFault> {
        let within = |key, found: u64, high: u64| match found {
            found if (1..=high).contains(&found) => Ok(()),
            found => Err(ConfigFault {
                key,
                found: found.to_string(),
                expected: format!("1 to {high}; choose a value in this range"),
            }),
        };
        within("timeout_ms", self.timeout_ms, 10_000)?;
        within("lease_s", self.lease_s, 300)?;
        within("keep_s", self.keep_s, 2_592_000)?;
        let Some(url) = self.url.as_ref().map(ExposeSecret::expose_secret) else {
            return Ok(());
        };
        let found = redact(url);
        let whole = url.starts_with("redis://") && found != HIDDEN;
        let usable = whole && url.into_connection_info().is_ok();
        usable.then_some(()).ok_or(ConfigFault {
            key: "url",
            found,
            expected:
                "redis://user:password@host:port/database; percent-encode special characters, and \
                       reach a Redis that wants TLS through a tunnel"
                    .into(),
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    pub(super) fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_s)
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    String::deserialize(deserializer).map(|url| Some(SecretString::from(url)))
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn redacted<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = url.as_ref().map(|url| redact(url.expose_secret()));
    shown.serialize(serializer)
}

/// Stands for what is not shown.
const HIDDEN: &str = "***";

/// The URL with `***` for its password, and for all of one whose password cannot be told apart: where an `@` comes
/// behind the host, a `/`, `?` or `#` of the password has ended the host before it.
fn redact(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return HIDDEN.into();
    };
    let behind = [Some(parsed.path()), parsed.query(), parsed.fragment()];
    let strays = behind.into_iter().flatten().any(|part| part.contains('@'));
    if strays || !parsed.has_host() {
        return HIDDEN.into();
    }
    if parsed.password().is_some() && parsed.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.into();
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(url: &str) -> Config {
        Config {
            url: Some(SecretString::from(url)),
            ..Config::default()
        }
    }

    #[test]
    fn without_a_url_there_is_no_store_and_nothing_is_wrong() {
        assert_eq!(Config::default().validate(), Ok(()));
        assert_eq!(
            toml::to_string(&Config::default())
                .unwrap()
                .matches("url")
                .count(),
            0
        );
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = with("redis://worker:s3cret@host/1");
        assert_eq!(config.validate(), Ok(()));
        let shown = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("redis://worker:***@host/1"), "{shown}");
        for url in [
            "http://worker:s3cret@host",
            "worker:s3cret@host",
            "redis:worker:s3cret@host",
            "redis://worker:6379/s3cret@host",
            "redis://worker:12?s3cret@host",
            "redis://worker:12#s3cret@host",
        ] {
            let config = with(url);
            let wrong = config.validate().unwrap_err();
            let shown = format!("{config:?} {} {wrong}", toml::to_string(&config).unwrap());
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_could() {
        let text = |config: Config| config.validate().unwrap_err().to_string();
        let none = Config {
            lease_s: 0,
            ..Config::default()
        };
        assert_eq!(
            text(none),
            "duplicates.lease_s: found 0, expected 1 to 300; choose a value in this range"
        );
        for url in [
            "rediss://host",
            "host:6379",
            "redis://host/x",
            "amqp://host",
        ] {
            let text = text(with(url));
            assert!(text.contains("redis://user:password@host"), "{url}: {text}");
        }
    }
}
