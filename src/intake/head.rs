//! AMQP properties, read in the contract's words.

use crate::{
    broker::{Delivery, Header},
    message::request::{Given, Head},
};

/// How often the request was tried before.
pub(super) const ATTEMPTS: &str = "inferq-attempts";
/// The deadline, once inferq has published the request again.
pub(super) const DEADLINE: &str = "inferq-deadline";

/// What the contract reads of a delivery.
pub(super) fn head(delivery: &Delivery) -> Head<'_> {
    let properties = &delivery.properties;
    let text = |key| match properties.header(key) {
        Some(Header::Text(text)) => Some(text),
        _ => None,
    };
    Head {
        content_type: properties.content_type(),
        content_encoding: properties.content_encoding(),
        reply_to: properties.reply_to(),
        correlation_id: properties.correlation_id(),
        message_id: properties.message_id(),
        expiration: properties.expiration(),
        timestamp: properties.timestamp(),
        priority: properties.priority().unwrap_or_default(),
        deadline: given(properties.header(DEADLINE)),
        version: given(properties.header("inferq-version")),
        accept: text("inferq-accept"),
        traceparent: text("traceparent"),
        tracestate: text("tracestate"),
    }
}

fn given(header: Option<Header<'_>>) -> Given<'_> {
    match header {
        None => Given::Absent,
        Some(Header::Int(number)) => Given::Int(number),
        Some(Header::Text(text)) => Given::Text(text),
        Some(Header::Bytes(_) | Header::Float(_) | Header::Bool(_) | Header::Other) => Given::Other,
    }
}

/// How often this request was tried before, as our own header counts it.
pub(super) fn attempts(delivery: &Delivery) -> u32 {
    match delivery.properties.header(ATTEMPTS) {
        Some(Header::Int(count)) => u32::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}
