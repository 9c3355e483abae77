//! The one reading of JSON and MessagePack: whatever the format, the same rules.

use std::fmt::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::message::document::{Document, Open, Writer};

/// Longest pointer that is given back: names of fields come from the sender.
const MAX_POINTER: usize = 256;

/// There is room for a value in so many bytes of a body, and for so many values at most, before they have been seen.
const VALUE: usize = 8;
const MAX_GUESSED: usize = 1_024;
/// The same of bytes of text.
const MAX_TEXT: usize = 16 * 1_024;

/// One walk over a body: what was read, its limit, and where it failed.
pub(super) struct Walk {
    depth: usize,
    writer: Writer,
    /// From the fault outwards; filled while the error travels up.
    way: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Walk {
    pub(super) fn new(depth: usize, bytes: usize) -> Self {
        Walk {
            depth,
            writer: Writer::with_capacity(
                bytes.min(MAX_TEXT),
                (bytes / VALUE + 1).min(MAX_GUESSED),
            ),
            way: Vec::new(),
        }
    }

    /// The seed for the whole value.
    pub(super) fn root(&mut self) -> Seed<'_> {
        let left = self.depth;
        Seed { walk: self, left }
    }

    /// What was read.
    pub(super) fn into_document(self) -> Document {
        self.writer.finish()
    }

    /// JSON pointer (RFC 6901) to where the walk failed, as far as it fits.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in self.way.iter().rev() {
            let whole = pointer.len();
            match step {
                Step::Key(key) => {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                // Writing to a `String` cannot fail.
                Step::Index(index) => drop(write!(pointer, "/{index}")),
            }
            if pointer.len() > MAX_POINTER {
                pointer.truncate(whole);
                break;
            }
        }
        pointer
    }
}

/// Reads one value, with `left` levels of nesting still allowed.
pub(super) struct Seed<'w> {
    walk: &'w mut Walk,
    left: usize,
}

impl Seed<'_> {
    /// Steps into an array or object.
    fn enter<E: Error>(&mut self) -> Result<(usize, Open), E> {
        let left = self.left.checked_sub(1).ok_or_else(|| {
            E::custom(format_args!(
                "arrays and objects are nested more than {} deep",
                self.walk.depth
            ))
        })?;
        Ok((left, self.walk.writer.open()))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.walk.writer.null();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.walk.writer.bool(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.walk.writer.number(value.into());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.walk.writer.number(value.into());
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let number = Number::from_f64(value)
            .ok_or_else(|| E::custom("a number is not finite; send null or leave the field out"))?;
        self.walk.writer.number(number);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.walk.writer.text(value);
        Ok(())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<(), E> {
        self.walk.writer.text(&STANDARD.encode(value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        let (left, array) = self.enter()?;
        let walk = self.walk;
        let mut len = 0;
        loop {
            match access.next_element_seed(Seed { walk, left }) {
                Ok(Some(())) => len += 1,
                Ok(None) => {
                    walk.writer.close_array(&array, len);
                    return Ok(());
                }
                Err(error) => {
                    walk.way.push(Step::Index(len));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<(), A::Error> {
        let (left, mut object) = self.enter()?;
        let walk = self.walk;
        loop {
            let writer = &mut walk.writer;
            let key = Key {
                writer,
                object: &mut object,
            };
            let Some(new) = access.next_key_seed(key)? else {
                walk.writer.close_object(object);
                return Ok(());
            };
            let read = if new {
                access.next_value_seed(Seed { walk, left })
            } else {
                Err(A::Error::custom("a key stands twice in the same object"))
            };
            if let Err(error) = read {
                let key = walk.writer.last_key(&object).to_owned();
                walk.way.push(Step::Key(key));
                return Err(error);
            }
        }
    }
}

/// Reads an object's key; false where it has that one already.
struct Key<'w> {
    writer: &'w mut Writer,
    object: &'w mut Open,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.writer.field(self.object, key))
    }
}
