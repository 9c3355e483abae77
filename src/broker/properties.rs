//! A message's properties and headers, without lapin's types.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

/// How often a request had been lost when it was set apart.
pub(crate) const LOST: &str = "inferq-lost";

/// AMQP 0-9-1 message properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(pub(super) BasicProperties);

/// A header's value as far as anybody here reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header<'a> {
    /// A string that is UTF-8.
    Text(&'a str),
    /// A string that is not, or a byte array.
    Bytes(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A timestamp, seconds since 1970.
    Time(u64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Nothing, a decimal, a table, an array, or an integer beyond 64 bits with sign.
    Other,
}

/// A header's value to send.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue {
    /// A string.
    Text(String),
    /// A 64-bit integer.
    Int(i64),
    /// True or false.
    Bool(bool),
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        HeaderValue::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        HeaderValue::Text(text)
    }
}

impl From<i64> for HeaderValue {
    fn from(number: i64) -> Self {
        HeaderValue::Int(number)
    }
}

impl From<bool> for HeaderValue {
    fn from(truth: bool) -> Self {
        HeaderValue::Bool(truth)
    }
}

/// One entry of `x-death`: where and why the broker gave a message up, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The queue it died in.
    pub queue: String,
    /// `expired`, `rejected`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// How often, there and for that.
    pub count: u64,
    /// When first, in seconds since 1970.
    pub time: Option<u64>,
}

/// A short string of at most 255 bytes, cut at a character where it is longer.
pub(super) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

macro_rules! texts {
    ($($get:ident, $with:ident, $field:ident, $doc:literal;)*) => {$(
        #[doc = $doc]
        #[must_use]
        pub fn $get(&self) -> Option<&str> {
            self.0.$field().as_ref().map(ShortString::as_str)
        }

        #[doc = concat!("Sets: ", $doc, " Longer than 255 bytes is cut.")]
        #[must_use]
        pub fn $with(self, text: &str) -> Self {
            Properties(self.0.$with(short(text)))
        }
    )*};
}

impl Properties {
    texts! {
        content_type, with_content_type, content_type, "Media type of the body.";
        content_encoding, with_content_encoding, content_encoding, "Encoding of the body: `gzip`, `zstd`.";
        correlation_id, with_correlation_id, correlation_id, "What ties a reply to its request.";
        reply_to, with_reply_to, reply_to, "Queue for the reply.";
        expiration, with_expiration, expiration, "Milliseconds to live in a queue, as text.";
        message_id, with_message_id, message_id, "The producer's identity of the message.";
        app_id, with_app_id, app_id, "Name of the sending application.";
    }

    /// `type`: of replies, `outcome` or `rejection`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.0.kind().as_ref().map(ShortString::as_str)
    }

    /// Sets `type`. Longer than 255 bytes is cut.
    #[must_use]
    pub fn with_kind(self, kind: &str) -> Self {
        Properties(self.0.with_type(short(kind)))
    }

    /// The user the broker has verified.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.0.user_id().as_ref().map(ShortString::as_str)
    }

    /// 0 to 255, higher first.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        *self.0.priority()
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_priority(self, priority: u8) -> Self {
        Properties(self.0.with_priority(priority))
    }

    /// Seconds since 1970, as the producer says.
    #[must_use]
    pub fn timestamp(&self) -> Option<u64> {
        *self.0.timestamp()
    }

    /// Sets the timestamp, seconds since 1970.
    #[must_use]
    pub fn with_timestamp(self, seconds: u64) -> Self {
        Properties(self.0.with_timestamp(seconds))
    }

    /// Survives a restart of the broker (`delivery_mode` 2).
    #[must_use]
    pub fn persistent(self) -> Self {
        Properties(self.0.with_delivery_mode(2))
    }

    /// The header of this name.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<Header<'_>> {
        self.headers()?.inner().get(key).map(read)
    }

    /// Every header, by name.
    pub fn each_header(&self) -> impl Iterator<Item = (&str, Header<'_>)> {
        let headers = self.headers().into_iter().flat_map(FieldTable::inner);
        headers.map(|(key, value)| (key.as_str(), read(value)))
    }

    /// Takes headers away.
    #[must_use]
    pub fn without_headers(self, keys: &[&str]) -> Self {
        let mut kept = FieldTable::default();
        for (key, value) in self.headers().into_iter().flat_map(FieldTable::inner) {
            if !keys.contains(&key.as_str()) {
                kept.insert(key.clone(), value.clone());
            }
        }
        Properties(self.0.with_headers(kept))
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(self, key: &str, value: impl Into<HeaderValue>) -> Self {
        self.with_headers([(key, value.into())])
    }

    /// Sets several headers, cheaper than one by one.
    #[must_use]
    pub fn with_headers<'a>(
        self,
        entries: impl IntoIterator<Item = (&'a str, HeaderValue)>,
    ) -> Self {
        let mut headers = self.headers().cloned().unwrap_or_default();
        for (key, value) in entries {
            let value = match value {
                HeaderValue::Text(text) => AMQPValue::LongString(LongString::from(text)),
                HeaderValue::Int(number) => AMQPValue::LongLongInt(number),
                HeaderValue::Bool(truth) => AMQPValue::Boolean(truth),
            };
            headers.insert(short(key), value);
        }
        Properties(self.0.with_headers(headers))
    }

    /// How often this message was delivered before (`x-delivery-count`, quorum queues only).
    #[must_use]
    pub fn delivery_count(&self) -> u64 {
        match self.header("x-delivery-count") {
            Some(Header::Int(count)) => u64::try_from(count).unwrap_or_default(),
            _ => 0,
        }
    }

    /// How often a request had been lost when it was set apart (`inferq-lost`), which is by way of a retry queue: that
    /// header alone says nothing.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        let Some(Header::Int(lost)) = self.header(LOST) else {
            return None;
        };
        let mut deaths = self.deaths().into_iter();
        let ours = deaths.any(|death| death.queue.starts_with("inferq.retry."));
        u64::try_from(lost).ok().filter(|_| ours)
    }

    /// Where the broker gave this message up, latest first (`x-death`).
    #[must_use]
    pub fn deaths(&self) -> Vec<Death> {
        let deaths = self
            .headers()
            .and_then(|headers| headers.inner().get("x-death"));
        let Some(AMQPValue::FieldArray(deaths)) = deaths else {
            return Vec::new();
        };
        let tables = deaths.as_slice().iter();
        tables
            .filter_map(AMQPValue::as_field_table)
            .map(|table| Death {
                queue: text_of(table, "queue"),
                reason: text_of(table, "reason"),
                count: table
                    .inner()
                    .get("count")
                    .and_then(integer)
                    .and_then(|count| u64::try_from(count).ok())
                    .unwrap_or(1),
                time: table.inner().get("time").and_then(AMQPValue::as_timestamp),
            })
            .collect()
    }

    pub(super) fn headers(&self) -> Option<&FieldTable> {
        self.0.headers().as_ref()
    }
}

fn read(value: &AMQPValue) -> Header<'_> {
    match value {
        AMQPValue::LongString(text) => text_or_bytes(text.as_bytes()),
        AMQPValue::ShortString(text) => Header::Text(text.as_str()),
        AMQPValue::ByteArray(bytes) => Header::Bytes(bytes.as_slice()),
        AMQPValue::Boolean(truth) => Header::Bool(*truth),
        AMQPValue::Float(number) => Header::Float(f64::from(*number)),
        AMQPValue::Double(number) => Header::Float(*number),
        AMQPValue::Timestamp(seconds) => Header::Time(*seconds),
        value @ (AMQPValue::ShortShortInt(_)
        | AMQPValue::ShortShortUInt(_)
        | AMQPValue::ShortInt(_)
        | AMQPValue::ShortUInt(_)
        | AMQPValue::LongInt(_)
        | AMQPValue::LongUInt(_)
        | AMQPValue::LongLongInt(_)) => integer(value).map_or(Header::Other, Header::Int),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => Header::Other,
    }
}

fn text_or_bytes(bytes: &[u8]) -> Header<'_> {
    std::str::from_utf8(bytes).map_or(Header::Bytes(bytes), Header::Text)
}

fn text_of(table: &FieldTable, key: &str) -> String {
    match table.inner().get(key) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => String::new(),
    }
}

fn integer(value: &AMQPValue) -> Option<i64> {
    None.or(value.as_long_long_int())
        .or_else(|| value.as_long_int().map(i64::from))
        .or_else(|| value.as_long_uint().map(i64::from))
        .or_else(|| value.as_short_int().map(i64::from))
        .or_else(|| value.as_short_uint().map(i64::from))
        .or_else(|| value.as_short_short_int().map(i64::from))
        .or_else(|| value.as_short_short_uint().map(i64::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_by_what_they_hold() {
        let mut table = FieldTable::default();
        table.insert("bytes".into(), AMQPValue::LongString(vec![0xff].into()));
        table.insert("small".into(), AMQPValue::ShortShortInt(-3));
        table.insert("none".into(), AMQPValue::Void);
        table.insert("time".into(), AMQPValue::Timestamp(1_767_225_600));
        table.insert("x-delivery-count".into(), AMQPValue::LongInt(4));
        let properties = Properties(BasicProperties::default().with_headers(table))
            .with_header("text", "täxt")
            .with_header("number", 7);
        assert_eq!(properties.header("text"), Some(Header::Text("täxt")));
        assert_eq!(properties.header("bytes"), Some(Header::Bytes(&[0xff])));
        assert_eq!(properties.header("small"), Some(Header::Int(-3)));
        assert_eq!(properties.header("number"), Some(Header::Int(7)));
        assert_eq!(properties.header("none"), Some(Header::Other));
        assert_eq!(properties.header("time"), Some(Header::Time(1_767_225_600)));
        assert_eq!(properties.header("absent"), None);
        assert_eq!(properties.delivery_count(), 4);
    }

    #[test]
    fn what_is_kept_carries_nothing_that_a_broker_acts_on() {
        let properties = Properties(BasicProperties::default().with_user_id("alice".into()))
            .with_expiration("500")
            .with_correlation_id("c")
            .with_kind("t")
            .with_header("CC", "elsewhere")
            .with_header("BCC", "elsewhere")
            .with_header("x-delivery-count", 17)
            .with_header("inferq-version", "1");
        let kept = properties.kept();
        assert_eq!((kept.user_id(), kept.expiration()), (None, None));
        assert_eq!((kept.correlation_id(), kept.kind()), (Some("c"), Some("t")));
        let names: Vec<_> = kept.headers().unwrap().inner().keys().collect();
        assert_eq!(
            names,
            ["inferq-user-id", "inferq-version"]
                .map(ShortString::from)
                .iter()
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn more_than_255_bytes_are_cut_at_a_character() {
        let properties = Properties::default().with_correlation_id(&"ü".repeat(200));
        assert_eq!(properties.correlation_id(), Some("ü".repeat(127).as_str()));
    }
}
