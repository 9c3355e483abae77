//! What the store knows a request by.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::message::request::Head;

/// The names of a request's entries. What a producer wrote is in them only as a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Holds the claim, then the reply.
    pub(super) entry: String,
    /// Holds which request had this `message_id` last.
    pub(super) id: String,
    /// The request among those with this `message_id`.
    pub(super) digest: String,
}

impl Key {
    /// The key of a request that names itself: without a `message_id` there is none.
    ///
    /// Like [`Head::reply_id`] made from what survives the retry and dead-letter hops; the `correlation_id` is not
    /// in it, for the copy that a producer sends again may have one of its own.
    pub(super) fn of(vhost: &str, routing_key: &str, head: &Head<'_>, body: &[u8]) -> Option<Key> {
        let id = head.message_id?;
        let id =
            hash(&[Some(vhost), Some(routing_key), Some(id)].map(|part| part.map(str::as_bytes)));
        let pin = head.version_pin();
        // Two headers that say nothing readable are not alike, and not like none.
        let unreadable = pin.is_err().then(|| format!("{:?}", head.version));
        let pin = pin.ok().flatten();
        let replayed = head.replayed.map(i64::to_le_bytes);
        let digest = hash(&[
            Some(body),
            head.content_type.map(str::as_bytes),
            head.content_encoding.map(str::as_bytes),
            head.reply_to.map(str::as_bytes),
            head.accept.map(str::as_bytes),
            pin.as_deref().map(str::as_bytes),
            unreadable.as_deref().map(str::as_bytes),
            replayed.as_ref().map(<[u8; 8]>::as_slice),
        ]);
        Some(Key {
            // In braces: both names lie in one slot of a Redis cluster, as one script needs them to.
            entry: format!("inferq:{{{id}}}:{digest}"),
            id: format!("inferq:{{{id}}}"),
            digest,
        })
    }
}

fn hash(parts: &[Option<&[u8]>]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // A length before each part: else ("ab", "c") and ("a", "bc") would be the same request.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(length.to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        // A String takes whatever is written to it.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::request::HeaderValue;

    type Parts = (String, String, String, Vec<u8>, [Option<String>; 5]);

    fn key((vhost, routing_key, id, body, rest): &Parts) -> Key {
        let [media, encoding, reply_to, accept, version] = rest.each_ref().map(Option::as_deref);
        let head = Head {
            message_id: Some(id),
            content_type: media,
            content_encoding: encoding,
            reply_to,
            accept,
            version: version.map(HeaderValue::Text),
            ..Head::default()
        };
        Key::of(vhost, routing_key, &head, body).unwrap()
    }

    /// Few and short texts, so that two draws differ in where one part ends and the next begins.
    fn parts() -> impl Strategy<Value = Parts> {
        let text = || "[ab]{0,2}";
        let optional = || proptest::option::of(text());
        let body = proptest::collection::vec(97..99_u8, 0..3);
        let rest = [optional(), optional(), optional(), optional(), optional()];
        (text(), text(), text(), body, rest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn two_requests_have_the_same_key_only_where_every_part_is_the_same(a in parts(), b in parts()) {
            prop_assert_eq!(key(&a).entry == key(&b).entry, a == b);
            prop_assert_eq!(key(&a).id == key(&b).id, (&a.0, &a.1, &a.2) == (&b.0, &b.1, &b.2));
        }

        #[test]
        fn a_letter_moved_from_one_part_to_the_next_makes_another_request(a in parts(), at in 0..8_usize) {
            let mut b = a.clone();
            let mut texts: Vec<&mut String> = vec![&mut b.0, &mut b.1, &mut b.2];
            texts.extend(b.4.iter_mut().map(Option::get_or_insert_default));
            if let Some(letter) = texts[at].pop() {
                let next = (at + 1) % texts.len();
                texts[next].insert(0, letter);
                prop_assert_ne!(key(&a).entry, key(&b).entry);
            }
        }
    }

    #[test]
    fn a_request_that_does_not_name_itself_has_no_key() {
        assert_eq!(Key::of("/", "digits", &Head::default(), b"{}"), None);
    }

    #[test]
    fn how_it_is_correlated_prioritised_and_timed_does_not_make_another_request() {
        let plain = Head {
            message_id: Some("m"),
            ..Head::default()
        };
        let dressed = Head {
            correlation_id: Some("c"),
            priority: Some(3),
            expiration: Some("9"),
            deadline: Some(HeaderValue::Int(9)),
            ..plain
        };
        let of = |head: &Head<'_>| Key::of("/", "digits", head, b"{}");
        assert_eq!(of(&plain), of(&dressed));
        for version in [
            HeaderValue::Float(1.0),
            HeaderValue::Float(2.0),
            HeaderValue::Other,
        ] {
            let pinned = Head {
                version: Some(version),
                ..plain
            };
            assert_ne!(of(&plain), of(&pinned), "{version:?}");
        }
        let replayed = |died_at| Head {
            replayed: Some(died_at),
            ..plain
        };
        assert_ne!(of(&plain), of(&replayed(0)), "sent again by an operator");
        assert_ne!(of(&replayed(1)), of(&replayed(2)), "after another death");
    }

    #[test]
    fn what_a_producer_wrote_does_not_stand_in_the_names() {
        let head = Head {
            message_id: Some("secret"),
            ..Head::default()
        };
        let key = Key::of("/", "secret", &head, b"secret").unwrap();
        let names = format!("{key:?}");
        assert!(!names.contains("secret"), "{names}");
        assert_eq!(key.entry.len(), "inferq:{}:".len() + 128);
        assert!(key.entry.starts_with(&key.id));
    }
}
