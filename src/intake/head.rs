//! AMQP properties, read in the contract's words.

use crate::{
    broker::{Blemish, Delivery, Header, Properties},
    message::{
        reply_to::{NoReply, ReplyTo, reply_to},
        request::{
            ACCEPT, DEADLINE, Head, HeaderValue, REPLAYED, TRACEPARENT, TRACESTATE, VERSION,
        },
    },
};

/// How often the request was tried before.
pub(super) const ATTEMPTS: &str = "inferq-attempts";

/// When it first met a fault, Unix ms.
pub(super) const FIRST_AT: &str = "inferq-first-at";

/// What the contract reads of a message.
pub(crate) fn head(properties: &Properties) -> Head<'_> {
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
        priority: properties.priority(),
        deadline: properties.header(DEADLINE).map(value),
        version: properties.header(VERSION).map(value),
        accept: text(ACCEPT),
        replayed: match properties.header(REPLAYED) {
            Some(Header::Int(died_at)) => Some(died_at),
            _ => None,
        },
        traceparent: text(TRACEPARENT),
        tracestate: text(TRACESTATE),
    }
}

/// Where the reply goes, or for which reason there is none.
pub(super) fn destination<'a>(
    delivery: &'a Delivery,
    package_default: Option<&'a str>,
) -> Result<ReplyTo<'a>, &'static str> {
    if delivery.blemish == Some(Blemish::ReplyTo) {
        return Err("reply_to_malformed");
    }
    reply_to(delivery.properties.reply_to(), package_default).map_err(NoReply::reason)
}

fn value(header: Header<'_>) -> HeaderValue<'_> {
    match header {
        Header::Int(number) => HeaderValue::Int(number),
        Header::Time(seconds) => HeaderValue::Time(seconds),
        Header::Text(text) => HeaderValue::Text(text),
        Header::Float(number) => HeaderValue::Float(number),
        Header::Bytes(_) | Header::Bool(_) | Header::Other => HeaderValue::Other,
    }
}

/// How often this request was tried before, as our own header counts it.
pub(super) fn attempts(properties: &Properties) -> u32 {
    match properties.header(ATTEMPTS) {
        Some(Header::Int(count)) => u32::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}

/// When this request first met a fault, as our own header says.
pub(super) fn first_at(properties: &Properties) -> Option<u64> {
    let Some(Header::Int(ms)) = properties.header(FIRST_AT) else {
        return None;
    };
    u64::try_from(ms).ok()
}

/// Whether it has just come back from a retry queue.
pub(super) fn returned(properties: &Properties) -> bool {
    let deaths = properties.deaths();
    let last = deaths.first().map_or("", |death| death.queue.as_str());
    last.starts_with("inferq.retry.") && (attempts(properties) > 0 || properties.lost().is_some())
}
