//! What the contract reads from a message besides its body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::rejection::{Code, Rejection, Stage};

/// Names that a package cannot have: they stand for queues of inferq's own.
const RESERVED: [&str; 6] = ["unknown", "dead", "died", "retry", "predict", "control"];

/// A request's properties and headers, borrowed from wherever they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// Property `content_type`.
    pub content_type: Option<&'a str>,
    /// Property `content_encoding`.
    pub content_encoding: Option<&'a str>,
    /// Property `reply_to`.
    pub reply_to: Option<&'a str>,
    /// Property `correlation_id`.
    pub correlation_id: Option<&'a str>,
    /// Property `message_id`.
    pub message_id: Option<&'a str>,
    /// Property `expiration`: milliseconds, as text.
    pub expiration: Option<&'a str>,
    /// Property `timestamp`: seconds since 1970.
    pub timestamp: Option<u64>,
    /// Property `priority`.
    pub priority: u8,
    /// Header `inferq-deadline`.
    pub deadline: Given<'a>,
    /// Header `inferq-version`.
    pub version: Given<'a>,
    /// Header `inferq-accept`.
    pub accept: Option<&'a str>,
    /// Header `traceparent`.
    pub traceparent: Option<&'a str>,
    /// Header `tracestate`.
    pub tracestate: Option<&'a str>,
}

/// A header that a producer may write as a number or as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Given<'a> {
    /// There is none.
    #[default]
    Absent,
    /// An integer.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Something else.
    Other,
}

impl Head<'_> {
    /// The moment after which nobody wants the answer, in Unix milliseconds: `inferq-deadline`; else
    /// `timestamp` + `expiration`; else arrival + `expiration`; else arrival + the package's default.
    ///
    /// # Errors
    /// `malformed_message` for a header or property that is no time.
    pub fn deadline(&self, arrived: u64, default: Duration) -> Result<u64, Rejection> {
        let given = match self.deadline {
            Given::Absent => None,
            Given::Int(ms) => Some(u64::try_from(ms).ok()),
            Given::Text(text) => Some(text.trim().parse().ok()),
            Given::Other => Some(None),
        };
        if let Some(ms) = given {
            return ms.ok_or_else(|| {
                malformed(
                    "header inferq-deadline is not a time; give Unix milliseconds as an integer",
                )
            });
        }
        let Some(expiration) = self.expiration else {
            let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
            return Ok(arrived.saturating_add(default));
        };
        let expiration: u64 = expiration.trim().parse().map_err(|_| {
            malformed("property expiration is not a duration; give milliseconds as digits")
        })?;
        let from = self
            .timestamp
            .map_or(arrived, |seconds| seconds.saturating_mul(1000));
        Ok(from.saturating_add(expiration))
    }

    /// The version that the request pins.
    ///
    /// # Errors
    /// `malformed_message` for a header that is no text.
    pub fn version_pin(&self) -> Result<Option<&str>, Rejection> {
        match self.version {
            Given::Absent => Ok(None),
            Given::Text(text) => Ok(Some(text)),
            Given::Int(_) | Given::Other => Err(malformed(
                "header inferq-version is not text; give the version as a string",
            )),
        }
    }

    /// The identity of a request to `package`, 32 hexadecimal digits: the same for every delivery of it,
    /// whichever queue that came from, so the same on every reply to it.
    #[must_use]
    pub fn identity(&self, package: &str, body: &[u8]) -> String {
        let version = if let Given::Text(text) = self.version {
            text
        } else {
            ""
        };
        let mut hash = Sha256::new();
        let parts = [
            package,
            self.message_id.unwrap_or(""),
            self.content_type.unwrap_or(""),
        ];
        let more = [
            self.reply_to.unwrap_or(""),
            self.correlation_id.unwrap_or(""),
            version,
        ];
        for part in parts
            .into_iter()
            .chain(more)
            .map(str::as_bytes)
            .chain([body])
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .take(16)
            .fold(String::with_capacity(32), |mut hex, byte| {
                for digit in [byte >> 4, byte & 15] {
                    hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
                }
                hex
            })
    }
}

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// A queue.
    Queue(String),
    /// Direct reply-to: published without `mandatory`, which brokers answer wrongly for it.
    Direct(String),
    /// Neither the request nor the package says.
    Nowhere,
    /// A queue of inferq's own: it must not write for producers where they may not.
    Forbidden,
}

impl ReplyTo {
    /// Reads the property, or the package's default.
    #[must_use]
    pub fn of(reply_to: Option<&str>, default: Option<&str>) -> ReplyTo {
        match reply_to.filter(|name| !name.is_empty()).or(default) {
            None => ReplyTo::Nowhere,
            Some(name) if name == "inferq" || name.starts_with("inferq.") => ReplyTo::Forbidden,
            Some(name) if name.starts_with("amq.rabbitmq.reply-to") => {
                ReplyTo::Direct(name.to_owned())
            }
            Some(name) => ReplyTo::Queue(name.to_owned()),
        }
    }
}

/// Whether a package may be called this.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !RESERVED.contains(&name)
}

/// Now, in Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn malformed(detail: &str) -> Rejection {
    Rejection::new(Code::MalformedMessage, Stage::Decode, detail)
}
