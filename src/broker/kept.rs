//! What of a message's properties may be published again.

use crate::broker::properties::{LOST, Properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use std::collections::BTreeMap;

/// Properties go in one frame, 128 KiB as brokers have it: half of it for what the producer said.
const MOST_HEADERS: usize = 64 * 1024;

impl Properties {
    /// A copy fit to be published again by us: brokers refuse or act on the rest. `user_id` is kept as header
    /// `inferq-user-id`; `CC`, `BCC`, `expiration`, `inferq-lost` and every `x-…` header are gone. Where the headers
    /// would leave no room for ours in a frame, all but inferq's own are gone, and `inferq-headers-dropped` says so.
    #[must_use]
    pub fn kept(&self) -> Properties {
        let source = &self.0;
        let mut kept = BasicProperties::default();
        macro_rules! keep {
            ($($field:ident => $with:ident),*) => {$(
                if let Some(value) = source.$field().clone() {
                    kept = kept.$with(value);
                }
            )*};
        }
        keep! {
            content_type => with_content_type, content_encoding => with_content_encoding,
            priority => with_priority, correlation_id => with_correlation_id,
            reply_to => with_reply_to, message_id => with_message_id,
            timestamp => with_timestamp, kind => with_type, app_id => with_app_id
        }
        let mut headers = self
            .headers_that(|name| !matches!(name, "CC" | "BCC" | LOST) && !name.starts_with("x-"));
        if size_of(&headers) > MOST_HEADERS {
            headers = self.headers_that(|name| name.starts_with("inferq-") && name != LOST);
            if size_of(&headers) > MOST_HEADERS {
                headers = FieldTable::default();
            }
            headers.insert("inferq-headers-dropped".into(), AMQPValue::Boolean(true));
        }
        if let Some(user) = self.user_id() {
            let user = AMQPValue::LongString(user.into());
            headers.insert("inferq-user-id".into(), user);
        }
        if !headers.inner().is_empty() {
            kept = kept.with_headers(headers);
        }
        Properties(kept).persistent()
    }

    fn headers_that(&self, stay: impl Fn(&str) -> bool) -> FieldTable {
        let all = self.headers().into_iter().flat_map(FieldTable::inner);
        let staying = all.filter(|(name, _)| stay(name.as_str()));
        let copied: BTreeMap<ShortString, AMQPValue> = staying
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        copied.into()
    }
}

/// About the bytes of a table on the wire, never less.
fn size_of(table: &FieldTable) -> usize {
    let entries = table.inner().iter();
    let each = entries.map(|(name, value)| 1 + name.as_str().len() + size_of_value(value));
    4 + each.sum::<usize>()
}

fn size_of_value(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(array) => {
            4 + array.as_slice().iter().map(size_of_value).sum::<usize>()
        }
        AMQPValue::FieldTable(table) => size_of(table),
        AMQPValue::Boolean(_)
        | AMQPValue::ShortShortInt(_)
        | AMQPValue::ShortShortUInt(_)
        | AMQPValue::ShortInt(_)
        | AMQPValue::ShortUInt(_)
        | AMQPValue::LongInt(_)
        | AMQPValue::LongUInt(_)
        | AMQPValue::LongLongInt(_)
        | AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::Timestamp(_)
        | AMQPValue::Void => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_fill_a_frame_do_not_keep_a_copy_from_being_published() {
        let big = "x".repeat(MOST_HEADERS);
        let properties = Properties::default()
            .with_header("mine", big.as_str())
            .with_header("inferq-deadline", 7_i64)
            .with_correlation_id("c");
        let kept = properties.kept();
        assert_eq!(kept.header("mine"), None);
        assert!(kept.header("inferq-deadline").is_some());
        assert!(kept.header("inferq-headers-dropped").is_some());
        assert_eq!(kept.correlation_id(), Some("c"));
        let hostile = Properties::default().with_header("inferq-version", big.as_str());
        assert_eq!(hostile.kept().header("inferq-version"), None);
    }
}
