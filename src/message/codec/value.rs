//! The one reading of JSON and MessagePack: whatever the format, the same rules.

use std::fmt::{self, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

/// Longest pointer that is given back: names of fields come from the sender.
const MAX_POINTER: usize = 256;

/// How many elements are made room for before they have been seen: a header of a few bytes may promise billions.
const MAX_PROMISED: usize = 256;
/// The first object of a body has room for a field in so many bytes, and for so many fields at most.
const FIELD: usize = 16;
const MAX_GUESSED: usize = 64;

/// One walk over a body: its limit, and where it failed.
pub(super) struct Walk {
    depth: usize,
    /// What the next object has room for.
    room: usize,
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
            room: (bytes / FIELD).min(MAX_GUESSED),
            way: Vec::new(),
        }
    }

    /// The seed for the whole value.
    pub(super) fn root(&mut self) -> Node<'_> {
        let left = self.depth;
        Node { walk: self, left }
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
pub(super) struct Node<'w> {
    walk: &'w mut Walk,
    left: usize,
}

impl Node<'_> {
    /// Steps into an array or object.
    fn enter<E: Error>(&self) -> Result<usize, E> {
        self.left.checked_sub(1).ok_or_else(|| {
            E::custom(format_args!(
                "arrays and objects are nested more than {} deep",
                self.walk.depth
            ))
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is not finite; send null or leave the field out"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(STANDARD.encode(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let left = self.enter()?;
        let walk = self.walk;
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(MAX_PROMISED));
        loop {
            match access.next_element_seed(Node { walk, left }) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(error) => {
                    walk.way.push(Step::Index(items.len()));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let left = self.enter()?;
        let walk = self.walk;
        let guess = std::mem::take(&mut walk.room);
        let room = access.size_hint().unwrap_or(guess).min(MAX_PROMISED);
        let mut fields = Map::with_capacity(room);
        while let Some(key) = access.next_key_seed(Key)? {
            match fields.entry(key) {
                Entry::Occupied(field) => {
                    walk.way.push(Step::Key(field.key().clone()));
                    return Err(A::Error::custom("a key stands twice in the same object"));
                }
                Entry::Vacant(field) => match access.next_value_seed(Node { walk, left }) {
                    Ok(value) => {
                        field.insert(value);
                    }
                    Err(error) => {
                        walk.way.push(Step::Key(field.key().clone()));
                        return Err(error);
                    }
                },
            }
        }
        Ok(Value::Object(fields))
    }
}

/// Reads an object's key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_string(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E>(self, key: String) -> Result<String, E> {
        Ok(key)
    }
}
