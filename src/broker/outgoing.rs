//! What a message to publish says of itself.
//!
//! lapin takes a message's properties for good at each try, and a reply waits for its confirm in thousands: it keeps
//! its few texts, and the properties are made of them when it is published.

use crate::broker::properties::{HeaderValue, Properties};

/// The properties of a message to publish.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// Any.
    Whole(Properties),
    /// A reply's.
    Reply(ReplyLabel),
}

/// The properties of a persistent message whose headers are all text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyLabel {
    /// `type`.
    pub kind: &'static str,
    /// `content_type`.
    pub content_type: &'static str,
    /// `message_id`; longer than 255 bytes is cut.
    pub message_id: String,
    /// `correlation_id`; longer than 255 bytes is cut.
    pub correlation_id: Option<String>,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Label {
    /// As AMQP has them.
    #[must_use]
    pub fn properties(&self) -> Properties {
        match self {
            Label::Whole(properties) => properties.clone(),
            Label::Reply(label) => label.properties(),
        }
    }
}

impl ReplyLabel {
    fn properties(&self) -> Properties {
        let headers = self.headers.iter();
        let properties = Properties::default()
            .persistent()
            .with_kind(self.kind)
            .with_content_type(self.content_type)
            .with_message_id(&self.message_id)
            .with_headers(headers.map(|(name, value)| (*name, HeaderValue::from(value.as_str()))));
        match &self.correlation_id {
            Some(id) => properties.with_correlation_id(id),
            None => properties,
        }
    }
}

impl From<Properties> for Label {
    fn from(properties: Properties) -> Self {
        Label::Whole(properties)
    }
}
