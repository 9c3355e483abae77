//! A reply as it stands in the store.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::message::reply::Reply;

/// What an entry begins with while somebody works on the request.
pub(super) const CLAIM: u8 = b'c';
/// What an entry begins with that holds a reply of this form; another form needs another letter.
const REPLY: u8 = b'1';

/// A reply that was given before: all of it but the `correlation_id`, which is each delivery's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// AMQP `type`.
    pub kind: String,
    /// AMQP `content_type`.
    pub content_type: String,
    /// AMQP `message_id`.
    pub message_id: String,
    /// Headers, all of them text.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl From<&Reply> for Stored {
    fn from(reply: &Reply) -> Self {
        let headers = reply.headers.iter();
        Stored {
            kind: reply.kind.as_str().to_owned(),
            content_type: reply.content_type.to_owned(),
            message_id: reply.message_id.clone(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            body: reply.body.clone(),
        }
    }
}

impl Stored {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![REPLY];
        // Texts and bytes always encode; an entry of one letter would be read as unreadable.
        if rmp_serde::encode::write(&mut bytes, self).is_err() {
            bytes.truncate(1);
        }
        bytes
    }

    /// `None` where it is of a form that this version does not know.
    pub(super) fn read(bytes: &[u8]) -> Option<Stored> {
        let (&REPLY, rest) = bytes.split_first()? else {
            return None;
        };
        rmp_serde::from_slice(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored() -> Stored {
        Stored {
            kind: "outcome".into(),
            content_type: "application/json".into(),
            message_id: "0123".into(),
            headers: vec![("inferq-package".into(), "digits".into())],
            body: Bytes::from_static(b"{\"digit\":7}"),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            kind in ".*",
            message_id in ".*",
            headers in proptest::collection::vec((".*", ".*"), 0..4),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let stored = Stored { kind, message_id, headers, body: body.into(), ..stored() };
            prop_assert_eq!(Stored::read(&stored.write()), Some(stored));
        }

        #[test]
        fn whatever_stands_there_is_read_or_not_but_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Stored::read(&[&[REPLY], &bytes[..]].concat());
        }
    }

    #[test]
    fn the_form_is_the_one_that_workers_of_other_versions_read() {
        let form = b"1\x95\xa7outcome\xb0application/json\xa40123\x91\x92\xaeinferq-package\xa6digits\xc4\x0b{\"digit\":7}";
        assert_eq!(stored().write(), form);
        assert_eq!(Stored::read(form), Some(stored()));
    }

    #[test]
    fn another_form_a_claim_and_half_a_reply_are_no_replies() {
        let mut form = stored().write();
        assert_eq!(Stored::read(&form[..form.len() - 1]), None);
        form[0] = b'2';
        assert_eq!(Stored::read(&form), None);
        assert_eq!(Stored::read(&[CLAIM; 17]), None);
        assert_eq!(Stored::read(b""), None);
    }
}
