//! What a message to publish says of itself.
//!
//! lapin takes a message's properties for good at each try, and replies wait for their confirms in thousands: they keep
//! a few texts, and the properties are made of them when they are published.

use crate::broker::properties::Properties;
use std::borrow::Cow;

/// The properties of a message to publish.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// Any.
    Any(Properties),
    /// Those of a persistent message that are all text.
    Texts(Texts),
}

/// Properties that are all text. What AMQP has no room for (255 bytes) is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// `type`.
    pub kind: Cow<'static, str>,
    /// `content_type`.
    pub content_type: Cow<'static, str>,
    /// `message_id`.
    pub message_id: String,
    /// `correlation_id`.
    pub correlation_id: Option<String>,
    /// Headers, whose values may be of any length.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

impl Outgoing {
    /// As AMQP has them.
    #[must_use]
    pub fn to_properties(&self) -> Properties {
        match self {
            Outgoing::Any(properties) => properties.clone(),
            Outgoing::Texts(texts) => texts.to_properties(),
        }
    }
}

impl Texts {
    fn to_properties(&self) -> Properties {
        let headers = self.headers.iter();
        let properties = Properties::default()
            .persistent()
            .with_kind(&self.kind)
            .with_content_type(&self.content_type)
            .with_message_id(&self.message_id)
            .with_headers(headers.map(|(name, value)| (&**name, value.as_str().into())));
        match &self.correlation_id {
            Some(id) => properties.with_correlation_id(id),
            None => properties,
        }
    }
}

impl From<Properties> for Outgoing {
    fn from(properties: Properties) -> Self {
        Outgoing::Any(properties)
    }
}

impl From<Texts> for Outgoing {
    fn from(texts: Texts) -> Self {
        Outgoing::Texts(texts)
    }
}
