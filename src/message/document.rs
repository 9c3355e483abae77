//! A JSON value that is read once, looked at a few times and dropped: all of it lies in two blocks of memory.
//!
//! A tree of [`Value`]s is an allocation for every key, text, array and object. Here values stand one behind the other,
//! parents before children, and texts one behind the other too. Of an object with few fields the keys' hashes are
//! compared one by one, which is sooner done than a look-up in a map; those of more have a map.

mod parts;
mod writer;

use std::{collections::HashMap, fmt, hash::BuildHasher};

use foldhash::fast::FixedState;
use jsonschema::json::cmp;
use serde_json::{Map, Number, Value};

pub use self::parts::{Elements, Fields, Members, Nodes};
pub(super) use self::writer::{Open, Writer};

/// Most fields of an object whose keys' hashes are compared one by one. Whoever makes hashes collide makes no more than
/// so many keys be compared.
const FEW: usize = 32;

/// A JSON value, parsed. Keys are unique in each object; fields keep their order.
#[derive(Clone, Default)]
pub struct Document {
    /// Depth first: each array before its elements, each object before its keys, each key before its value.
    slots: Vec<Slot>,
    /// Every key and text.
    text: String,
    /// The keys of objects of few fields, object by object.
    few: Vec<Hashed>,
    /// Those of others, by object.
    many: Vec<Keys>,
}

/// A key's hash, and where it is among the slots.
#[derive(Clone, Copy)]
struct Hashed {
    hash: u64,
    at: usize,
}

/// Keys, and where they are among the slots.
type Keys = HashMap<Box<str>, usize>;

#[derive(Clone)]
enum Slot {
    Null,
    Bool(bool),
    Number(Number),
    Text { start: usize, end: usize },
    Array { len: usize, end: usize },
    Object(Extent),
}

#[derive(Clone, Copy, Default)]
struct Extent {
    /// Fields.
    len: usize,
    /// The first slot behind it.
    end: usize,
    /// Where its keys begin in [`Document::few`], or its place in [`Document::many`].
    keys: usize,
}

/// One value of a [`Document`].
#[derive(Clone, Copy)]
pub struct Node<'d> {
    document: &'d Document,
    at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'d> {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number that is finite.
    Number(&'d Number),
    /// Text.
    Text(&'d str),
    /// Elements in their order.
    Array(Elements<'d>),
    /// Fields in their order.
    Object(Fields<'d>),
}

fn hash(key: &str) -> u64 {
    FixedState::default().hash_one(key)
}

impl Document {
    /// The whole of it; null where nothing was written.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node {
            document: self,
            at: 0,
        }
    }

    /// Holds nothing but this text.
    pub(crate) fn set_text(&mut self, text: &str) {
        *self = Document {
            slots: std::mem::take(&mut self.slots),
            text: std::mem::take(&mut self.text),
            ..Document::default()
        };
        self.slots.clear();
        self.text.clear();
        self.push_text(text);
    }

    fn push_text(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        let end = self.text.len();
        self.slots.push(Slot::Text { start, end });
    }

    /// Where this key is, looked for among some.
    fn find(&self, keys: &[Hashed], hash: u64, key: &str) -> Option<usize> {
        let mut same = keys.iter().filter(|other| other.hash == hash);
        same.find(|other| self.str(other.at) == key)
            .map(|found| found.at)
    }

    fn slot(&self, at: usize) -> &Slot {
        self.slots.get(at).unwrap_or(&Slot::Null)
    }

    fn str(&self, at: usize) -> &str {
        match self.slot(at) {
            Slot::Text { start, end } => self.text.get(*start..*end).unwrap_or_default(),
            Slot::Null | Slot::Bool(_) | Slot::Number(_) | Slot::Array { .. } | Slot::Object(_) => {
                ""
            }
        }
    }

    /// The first slot behind what begins here.
    fn behind(&self, at: usize) -> usize {
        match self.slot(at) {
            Slot::Array { end, .. } | Slot::Object(Extent { end, .. }) => *end,
            Slot::Null | Slot::Bool(_) | Slot::Number(_) | Slot::Text { .. } => at + 1,
        }
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.root() == other.root()
    }
}

/// As JSON.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().to_value().fmt(f)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

impl<'d> Node<'d> {
    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind<'d> {
        let Node { document, at } = self;
        match document.slot(at) {
            Slot::Null => Kind::Null,
            Slot::Bool(value) => Kind::Bool(*value),
            Slot::Number(number) => Kind::Number(number),
            Slot::Text { .. } => Kind::Text(document.str(at)),
            Slot::Array { len, end } => Kind::Array(Elements {
                document: Some(document),
                first: at + 1,
                end: *end,
                len: *len,
            }),
            Slot::Object(object) => Kind::Object(Fields {
                document,
                first: at + 1,
                object: *object,
            }),
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(self.document.slot(self.at), Slot::Null)
    }

    /// The text that it is.
    #[must_use]
    pub fn as_str(self) -> Option<&'d str> {
        match self.kind() {
            Kind::Text(text) => Some(text),
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    /// The number that it is.
    #[must_use]
    pub fn as_f64(self) -> Option<f64> {
        match self.kind() {
            Kind::Number(number) => number.as_f64(),
            Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::Array(_) | Kind::Object(_) => None,
        }
    }

    /// The same as a tree.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool(value) => value.into(),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => text.into(),
            Kind::Array(items) => items.iter().map(Node::to_value).collect(),
            Kind::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, node)| (key.to_owned(), node.to_value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// Where it is: no other value that lives has the same.
    pub(crate) fn address(self) -> usize {
        std::ptr::from_ref(self.document.slot(self.at)).addr()
    }
}

/// As JSON Schema has it: fields in any order, and 1 is 1.0.
impl PartialEq for Node<'_> {
    fn eq(&self, other: &Node<'_>) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Number(a), Kind::Number(b)) => cmp::equal_numbers(&a, b),
            (Kind::Text(a), Kind::Text(b)) => a == b,
            (Kind::Array(a), Kind::Array(b)) => a.len() == b.len() && a.iter().eq(b.iter()),
            (Kind::Object(a), Kind::Object(b)) => {
                let same = |(key, node)| b.get(key) == Some(node);
                a.len() == b.len() && a.iter().all(same)
            }
            (
                Kind::Null
                | Kind::Bool(_)
                | Kind::Number(_)
                | Kind::Text(_)
                | Kind::Array(_)
                | Kind::Object(_),
                _,
            ) => false,
        }
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Null => f.write_str("null"),
            Kind::Bool(value) => value.fmt(f),
            Kind::Number(number) => number.fmt(f),
            Kind::Text(text) => text.fmt(f),
            Kind::Array(items) => items.fmt(f),
            Kind::Object(fields) => fields.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
