//! `[broker]`: where the broker is and how much is asked of it.

use crate::broker::connection::Endpoint;
use crate::broker::fault::{ConnectFault, UrlFault};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::PathBuf;
use std::time::Duration;

/// Who makes exchanges and queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TopologyMode {
    /// The worker declares what it needs.
    #[default]
    Declare,
    /// The worker only checks that it is there.
    Passive,
}

/// Settings of the broker's side.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for an encrypted connection. Shown without its password.
    #[serde(serialize_with = "redacted", deserialize_with = "secret")]
    #[schemars(with = "String")]
    pub url: SecretString,
    /// With `amqps://`: a PEM file with the certificates of the authorities to trust; without it, the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// With `amqps://`: a PEM file with the worker's own certificate and those between it and its authority.
    pub tls_cert_file: Option<PathBuf>,
    /// With `amqps://`: a PEM file with the private key of `tls_cert_file`.
    pub tls_key_file: Option<PathBuf>,
    /// With `amqps://`: the name that the broker's certificate must have; without it, the host of `url`.
    pub tls_server_name: Option<String>,
    /// The most unsettled deliveries per queue (the credit grows up to it), 1 to 2000.
    #[schemars(range(min = 1, max = 2000))]
    pub prefetch: u16,
    /// Bytes that the bodies of a queue's unsettled deliveries may have together, at least 1 MiB. RabbitMQ counts
    /// messages only: the credit grows to what fits by the sizes that were seen (at first, by the package's
    /// `limits.request_bytes`), and shrinks at once where they turn out larger.
    #[schemars(range(min = 1_048_576))]
    pub in_flight_bytes: usize,
    /// Channels that publish, each by one task with a barrier per window, 1 to 64: so many windows are under way at once
    /// while they hold few messages, and four where they hold many.
    #[schemars(range(min = 1, max = 64))]
    pub publisher_channels: usize,
    /// The most publications in flight per channel, 1 to 4096.
    #[schemars(range(min = 1, max = 4096))]
    pub window: usize,
    /// Seconds between heartbeats, 1 to 600; a dead broker is noticed within about twice this.
    #[schemars(range(min = 1, max = 600))]
    pub heartbeat_s: u16,
    /// Milliseconds for the TCP connection, and again for the AMQP handshake, 100 to 600000.
    #[schemars(range(min = 100, max = 600_000))]
    pub connect_timeout_ms: u64,
    /// Who makes exchanges and queues: `declare`, the worker itself, or `passive`, somebody with more rights
    /// (`inferq topology declare`, or what `inferq topology export` prints).
    pub topology: TopologyMode,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            url: SecretString::from("amqp://guest:guest@127.0.0.1:5672/%2f"),
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_server_name: None,
            prefetch: 1_000,
            in_flight_bytes: 256 << 20,
            publisher_channels: 16,
            window: 128,
            heartbeat_s: 5,
            connect_timeout_ms: 5_000,
            topology: TopologyMode::Declare,
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker.{key}: found {found}, expected {expected}; {mend}")]
pub struct ConfigFault {
    /// The key below `[broker]`.
    pub key: &'static str,
    /// What stands there; no secret.
    pub found: String,
    /// What should.
    pub expected: String,
    /// How to mend it.
    pub mend: String,
}

impl Config {
    /// Checks ranges and the URL's form.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigFault> {
        // RabbitMQ caps a quorum queue's prefetch at 2000.
        within("prefetch", self.prefetch.into(), 1, 2_000)?;
        within(
            "in_flight_bytes",
            self.in_flight_bytes as u64,
            1 << 20,
            u64::MAX,
        )?;
        within("publisher_channels", self.publisher_channels as u64, 1, 64)?;
        within("window", self.window as u64, 1, 4_096)?;
        within("heartbeat_s", self.heartbeat_s.into(), 1, 600)?;
        within("connect_timeout_ms", self.connect_timeout_ms, 100, 600_000)?;
        let endpoint = Endpoint::of(self).map_err(|UrlFault { url, reason }| ConfigFault {
            key: "url",
            found: format!("{url} ({reason})"),
            expected: "amqp://user:password@host:port/vhost, or the same with amqps://".into(),
            mend:
                "percent-encode special characters, @ as %40 and / as %2f; the default vhost is %2f"
                    .into(),
        })?;
        endpoint.tls().map(drop)
    }

    /// A setting of encrypted connections that stands there.
    pub(super) fn tls_setting(&self) -> Option<&'static str> {
        let files = [
            ("tls_ca_file", self.tls_ca_file.is_some()),
            ("tls_cert_file", self.tls_cert_file.is_some()),
            ("tls_key_file", self.tls_key_file.is_some()),
            ("tls_server_name", self.tls_server_name.is_some()),
        ];
        files.into_iter().find_map(|(key, set)| set.then_some(key))
    }

    /// The virtual host that the URL names.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn vhost(&self) -> Result<String, ConnectFault> {
        Ok(Endpoint::of(self)?.vhost().to_owned())
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

fn within(key: &'static str, found: u64, low: u64, high: u64) -> Result<(), ConfigFault> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(ConfigFault {
        key,
        found: found.to_string(),
        expected: format!("{low} to {high}"),
        mend: "choose a value in this range".into(),
    })
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn redacted<S: Serializer>(url: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact(url.expose_secret()))
}

/// The URL with `***` for its password; nothing of it where it is not certain which part the password is.
pub(super) fn redact(url: &str) -> String {
    let hidden = || "***".to_owned();
    let Ok(mut parsed) = url::Url::parse(url) else {
        return hidden();
    };
    let known = matches!(parsed.scheme(), "amqp" | "amqps") && parsed.has_host();
    if !known || strays(&parsed) {
        return hidden();
    }
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return hidden();
    }
    parsed.into()
}

/// Whether an `@` stands after the host: then a `/`, `?` or `#` of the password has ended the host before it.
pub(super) fn strays(url: &url::Url) -> bool {
    let rest = [Some(url.path()), url.query(), url.fragment()];
    rest.into_iter().flatten().any(|part| part.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = Config {
            url: SecretString::from("amqp://worker:s3cret@host/x"),
            ..Config::default()
        };
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("amqp://worker:***@host/x"), "{shown}");
    }

    #[test]
    fn nothing_is_shown_of_a_url_whose_password_cannot_be_told_apart() {
        for url in [
            "worker:s3cret@host",
            "amqp//worker:s3cret@host",
            "amqp:worker:s3cret@host/",
            "amqp:/worker:s3cret@host/",
            "amqp:///worker:s3cret@host",
            "http://worker:s3cret@host",
            "amqp://worker:s3cret/more@host",
            "amqp://worker:5672/s3cret@host",
            "amqp://worker:5672#s3cret@host",
            "amqp://worker:5672?s3cret@host",
            "amqp://worker:s3cret@",
            "amqp://worker:s3cret@host:port",
        ] {
            let config = Config {
                url: SecretString::from(url),
                ..Config::default()
            };
            let vhost = config.vhost().unwrap_err().to_string();
            let text = config.validate().unwrap_err().to_string();
            for shown in [redact(url), vhost, text] {
                assert!(!shown.contains("s3cret"), "{url}: {shown}");
                assert!(shown.contains("***"), "{url}: {shown}");
            }
        }
    }

    #[test]
    fn what_is_out_of_range_is_named_with_its_range() {
        let config = Config {
            prefetch: 5_000,
            ..Config::default()
        };
        let text = config.validate().unwrap_err().to_string();
        assert_eq!(
            text,
            "broker.prefetch: found 5000, expected 1 to 2000; choose a value in this range"
        );
    }

    #[test]
    fn settings_of_tls_that_would_not_be_heeded_or_cannot_be_read_are_refused() {
        let tls = |url: &str, change: fn(&mut Config)| {
            let mut config = Config {
                url: SecretString::from(url),
                ..Config::default()
            };
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        let plain = tls("amqp://host", |config| {
            config.tls_ca_file = Some("ca.pem".into());
        });
        assert!(plain.starts_with("broker.tls_ca_file: "), "{plain}");
        assert!(plain.contains("amqps://"), "{plain}");
        let missing = tls("amqps://host", |config| {
            config.tls_ca_file = Some("none.pem".into());
        });
        assert!(
            missing.starts_with("broker.tls_ca_file: found none.pem ("),
            "{missing}"
        );
        let none = tls("amqps://host", |config| {
            config.tls_ca_file = Some("/dev/null".into());
        });
        assert!(none.contains("there is none in it"), "{none}");
        let half = tls("amqps://host", |config| {
            config.tls_key_file = Some("key.pem".into());
        });
        assert!(
            half.starts_with("broker.tls_cert_file: found nothing"),
            "{half}"
        );
        let name = tls("amqps://host", |config| {
            config.tls_server_name = Some("a b".into());
        });
        assert!(
            name.starts_with("broker.tls_server_name: found \"a b\""),
            "{name}"
        );
    }
}
