//! MessagePack, as a serde deserializer over a slice.
//!
//! Ours rather than rmp-serde's, which hands text that is not UTF-8 to the visitor as if it were binary,
//! and cannot tell where in a slice it failed.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor, value::StrDeserializer,
};
use serde::forward_to_deserialize_any;

use crate::message::{
    codec::{hint, text::located, value::Walk},
    document::Document,
    rejection::Rejection,
};

pub(super) fn decode(body: &[u8], depth: usize) -> Result<Document, Rejection> {
    let mut walk = Walk::new(depth, body.len());
    let mut input = Input {
        rest: body,
        size: body.len(),
    };
    let read = walk.root().deserialize(&mut input);
    let read = read.and_then(|()| {
        if input.rest.is_empty() {
            Ok(())
        } else {
            Err(input.fault("something follows the value"))
        }
    });
    match read {
        Ok(()) => Ok(walk.into_document()),
        Err(fault) => {
            let at = fault.at.unwrap_or_else(|| input.offset());
            Err(located(
                format!(
                    "the body is not taken as MessagePack: {} at byte {at}{}",
                    fault.what,
                    hint(body)
                ),
                &walk,
            ))
        }
    }
}

/// What is still to be read.
struct Input<'de> {
    rest: &'de [u8],
    size: usize,
}

#[derive(Debug)]
struct Fault {
    what: String,
    /// `None` for a fault of the visitor's: then it is where the input stands.
    at: Option<usize>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Fault {
            what: what.to_string(),
            at: None,
        }
    }
}

/// What a marker announces.
enum Item<'de> {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    Float(f64),
    Text(&'de str),
    Binary(&'de [u8]),
    Array(usize),
    Map(usize),
}

impl<'de> Input<'de> {
    fn offset(&self) -> usize {
        self.size - self.rest.len()
    }

    fn fault(&self, what: &str) -> Fault {
        Fault {
            what: what.to_owned(),
            at: Some(self.offset()),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'de [u8], Fault> {
        let (taken, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.fault("the body ends inside a value (was it cut off?)"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.fault("the body ends inside a value (was it cut off?)"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A big-endian unsigned integer of `N` bytes.
    fn uint<const N: usize>(&mut self) -> Result<u64, Fault> {
        let bytes = self.array::<N>()?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A length of `N` bytes.
    fn len<const N: usize>(&mut self) -> Result<usize, Fault> {
        let len = self.uint::<N>()?;
        usize::try_from(len).map_err(|_| self.fault("a length does not fit into memory"))
    }

    fn text(&mut self, len: usize) -> Result<Item<'de>, Fault> {
        let start = self.offset();
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes)
            .map(Item::Text)
            .map_err(|error| Fault {
                what: "text is not UTF-8 (send binary as bin)".to_owned(),
                at: Some(start + error.valid_up_to()),
            })
    }

    fn item(&mut self) -> Result<Item<'de>, Fault> {
        let start = self.offset();
        let fault = |what: &str| Fault {
            what: what.to_owned(),
            at: Some(start),
        };
        let [marker] = self.array()?;
        let low = usize::from(marker & 0x0f);
        Ok(match marker {
            0x00..=0x7f => Item::Uint(marker.into()),
            0x80..=0x8f => Item::Map(low),
            0x90..=0x9f => Item::Array(low),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xc0 => Item::Nil,
            0xc1 => return Err(fault("the reserved marker 0xc1 stands")),
            0xc2 | 0xc3 => Item::Bool(marker == 0xc3),
            0xc4 => Item::Binary(self.len::<1>().and_then(|n| self.take(n))?),
            0xc5 => Item::Binary(self.len::<2>().and_then(|n| self.take(n))?),
            0xc6 => Item::Binary(self.len::<4>().and_then(|n| self.take(n))?),
            0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(fault(
                    "an extension type stands (send times as text, RFC 3339)",
                ));
            }
            0xca => Item::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Item::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Item::Uint(self.uint::<1>()?),
            0xcd => Item::Uint(self.uint::<2>()?),
            0xce => Item::Uint(self.uint::<4>()?),
            0xcf => Item::Uint(self.uint::<8>()?),
            0xd0 => Item::Int(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Item::Int(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Item::Int(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Item::Int(i64::from_be_bytes(self.array()?)),
            0xd9 => self.len::<1>().and_then(|n| self.text(n))?,
            0xda => self.len::<2>().and_then(|n| self.text(n))?,
            0xdb => self.len::<4>().and_then(|n| self.text(n))?,
            0xdc => Item::Array(self.len::<2>()?),
            0xdd => Item::Array(self.len::<4>()?),
            0xde => Item::Map(self.len::<2>()?),
            0xdf => Item::Map(self.len::<4>()?),
            0xe0..=0xff => Item::Int(i8::from_be_bytes([marker]).into()),
        })
    }
}

impl<'de> Deserializer<'de> for &mut Input<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.item()? {
            Item::Nil => visitor.visit_unit(),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Uint(value) => visitor.visit_u64(value),
            Item::Int(value) => visitor.visit_i64(value),
            Item::Float(value) => visitor.visit_f64(value),
            Item::Text(value) => visitor.visit_borrowed_str(value),
            Item::Binary(value) => visitor.visit_borrowed_bytes(value),
            Item::Array(left) => visitor.visit_seq(Items { input: self, left }),
            Item::Map(left) => visitor.visit_map(Items { input: self, left }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The elements of an array, or the fields of a map.
struct Items<'i, 'de> {
    input: &'i mut Input<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.input).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let at = self.input.offset();
        let Item::Text(key) = self.input.item()? else {
            return Err(Fault {
                what: "a key is not text".to_owned(),
                at: Some(at),
            });
        };
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(&mut *self.input)
    }
}
