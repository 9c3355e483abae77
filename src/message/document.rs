//! A JSON value that is read once, looked at a few times and dropped: all of it lies in two blocks of memory.
//!
//! A tree of [`Value`]s is an allocation for every key, text, array and object, and a hash for every key. Here values
//! stand one behind the other, parents before children, and texts one behind the other too.

use std::{collections::HashMap, fmt};

use serde_json::{Map, Number, Value};

/// Most fields of an object that are looked for one by one.
const FEW: usize = 32;

/// A JSON value, parsed. Keys are unique in each object; fields keep their order.
#[derive(Clone, Default)]
pub struct Document {
    /// Depth first: each array before its elements, each object before its keys, each key before its value.
    slots: Vec<Slot>,
    /// Every key and text.
    text: String,
    /// Where the keys of an object of more than [`FEW`] fields are.
    keys: Vec<Keys>,
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
    /// Its place among [`Document::keys`], if it has one.
    keys: Option<u32>,
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

/// The elements of an array.
#[derive(Clone, Copy, Default)]
pub struct Elements<'d> {
    /// `None` of an array that is not there.
    document: Option<&'d Document>,
    first: usize,
    end: usize,
    len: usize,
}

/// The fields of an object.
#[derive(Clone, Copy)]
pub struct Fields<'d> {
    document: &'d Document,
    first: usize,
    object: Extent,
}

/// An array or object that is being written.
#[derive(Default)]
pub(super) struct Open {
    at: usize,
    /// Fields so far.
    len: usize,
    /// Where the last of their keys is.
    last: usize,
    keys: Option<Keys>,
}

impl Document {
    /// One that is still to be written, with room for so many bytes of text and so many values.
    pub(super) fn with_capacity(text: usize, values: usize) -> Document {
        Document {
            slots: Vec::with_capacity(values),
            text: String::with_capacity(text),
            keys: Vec::new(),
        }
    }

    /// The whole of it; null before anything was written.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node {
            document: self,
            at: 0,
        }
    }

    /// Holds nothing but this text.
    pub(crate) fn set_text(&mut self, text: &str) {
        self.slots.clear();
        self.text.clear();
        self.text(text);
    }

    pub(super) fn null(&mut self) {
        self.slots.push(Slot::Null);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.slots.push(Slot::Bool(value));
    }

    pub(super) fn number(&mut self, value: Number) {
        self.slots.push(Slot::Number(value));
    }

    pub(super) fn text(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        let end = self.text.len();
        self.slots.push(Slot::Text { start, end });
    }

    /// Begins an array or object. What is written until it is closed is in it.
    pub(super) fn open(&mut self) -> Open {
        let at = self.slots.len();
        self.slots.push(Slot::Null);
        Open {
            at,
            ..Open::default()
        }
    }

    /// The next value is a field of it; false where it has one of that name.
    pub(super) fn field(&mut self, open: &mut Open, key: &str) -> bool {
        let fields = self.fields(open);
        if open.keys.is_none() && open.len == FEW {
            let keys = fields.keys().map(|(key, at)| (key.into(), at));
            open.keys = Some(keys.collect());
        }
        let new = match &mut open.keys {
            None => fields.find(key).is_none(),
            Some(keys) => keys.insert(key.into(), self.slots.len()).is_none(),
        };
        open.len += 1;
        open.last = self.slots.len();
        self.text(key);
        new
    }

    /// The key that was written last.
    pub(super) fn last_key(&self, open: &Open) -> &str {
        self.str(open.last)
    }

    fn fields(&self, open: &Open) -> Fields<'_> {
        Fields {
            document: self,
            first: open.at + 1,
            object: Extent {
                len: open.len,
                ..Extent::default()
            },
        }
    }

    /// Ends an array of so many elements.
    pub(super) fn close_array(&mut self, open: &Open, len: usize) {
        let end = self.slots.len();
        self.close(open.at, Slot::Array { len, end });
    }

    pub(super) fn close_object(&mut self, open: Open) {
        let place = open.keys.and_then(|keys| {
            let place = u32::try_from(self.keys.len()).ok()?;
            self.keys.push(keys);
            Some(place)
        });
        let object = Extent {
            len: open.len,
            end: self.slots.len(),
            keys: place,
        };
        self.close(open.at, Slot::Object(object));
    }

    fn close(&mut self, at: usize, whole: Slot) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = whole;
        }
    }

    fn write(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.bool(*value),
            Value::Number(number) => self.number(number.clone()),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                let open = self.open();
                for item in items {
                    self.write(item);
                }
                self.close_array(&open, items.len());
            }
            Value::Object(fields) => {
                let mut open = self.open();
                for (key, value) in fields {
                    self.field(&mut open, key);
                    self.write(value);
                }
                self.close_object(open);
            }
        }
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

impl From<&Value> for Document {
    fn from(value: &Value) -> Document {
        let mut document = Document::default();
        document.write(value);
        document
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Document {
        Document::from(&value)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Document) -> bool {
        self.root() == other.root()
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

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Node<'_>) -> bool {
        match (self.kind(), other.kind()) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Number(a), Kind::Number(b)) => a == b,
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

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'d> Elements<'d> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The one at `index`, from 0.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Node<'d>> {
        // Where none has children, each is one slot.
        if self.end - self.first == self.len {
            let at = self.first + index;
            let document = self.document.filter(|_| index < self.len)?;
            return Some(Node { document, at });
        }
        self.iter().nth(index)
    }

    /// Each in turn.
    #[must_use]
    pub fn iter(self) -> Nodes<'d> {
        Nodes {
            document: self.document,
            at: self.first,
            left: self.len,
        }
    }
}

impl<'d> Fields<'d> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.object.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.object.len == 0
    }

    /// The value of the field that is called `key`.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Node<'d>> {
        let keys = self.object.keys.and_then(|place| {
            let place = usize::try_from(place).ok()?;
            self.document.keys.get(place)
        });
        let at = match keys {
            Some(keys) => *keys.get(key)?,
            None => self.find(key)?,
        };
        Some(Node {
            document: self.document,
            at: at + 1,
        })
    }

    /// Each name and value in turn.
    #[must_use]
    pub fn iter(self) -> Members<'d> {
        Members(Nodes {
            document: Some(self.document),
            at: self.first,
            left: self.object.len * 2,
        })
    }

    /// Each name, and where it is.
    fn keys(self) -> impl Iterator<Item = (&'d str, usize)> {
        self.iter().map(|(key, node)| (key, node.at - 1))
    }

    /// Where this key is, looked for from the first on.
    fn find(self, key: &str) -> Option<usize> {
        self.keys().find(|(name, _)| *name == key).map(|(_, at)| at)
    }
}

/// Values that stand one behind the other.
#[derive(Clone)]
pub struct Nodes<'d> {
    document: Option<&'d Document>,
    at: usize,
    left: usize,
}

/// The names and values of an object.
#[derive(Clone)]
pub struct Members<'d>(Nodes<'d>);

impl<'d> Iterator for Nodes<'d> {
    type Item = Node<'d>;

    fn next(&mut self) -> Option<Node<'d>> {
        let (document, at) = (self.document?, self.at);
        self.left = self.left.checked_sub(1)?;
        self.at = document.behind(at);
        Some(Node { document, at })
    }
}

impl<'d> Iterator for Members<'d> {
    type Item = (&'d str, Node<'d>);

    fn next(&mut self) -> Option<(&'d str, Node<'d>)> {
        let key = self.0.next()?;
        Some((key.document.str(key.at), self.0.next()?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(fields: usize) -> Value {
        let fields = (0..fields).map(|i| (format!("k{i}"), json!([i, { "in": i }])));
        Value::Object(fields.collect())
    }

    #[test]
    fn a_value_is_what_it_was_and_every_part_is_found() {
        for fields in [0, 1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
            let value = json!([null, object(fields), "", -0.5, true, [[], {}]]);
            let document = Document::from(&value);
            assert_eq!(document.root().to_value(), value);
            let Kind::Array(items) = document.root().kind() else {
                panic!("an array");
            };
            assert_eq!(items.get(2).unwrap().as_str(), Some(""));
            assert_eq!(items.get(6), None);
            let Kind::Object(found) = items.get(1).unwrap().kind() else {
                panic!("an object");
            };
            assert_eq!(found.len(), fields);
            for i in 0..fields {
                let node = found.get(&format!("k{i}")).unwrap();
                assert_eq!(node.to_value(), json!([i, { "in": i }]));
            }
            assert_eq!(found.get("k"), None);
        }
        assert_eq!(Document::default().root().to_value(), Value::Null);
    }

    #[test]
    fn order_is_kept_and_says_nothing_of_what_is_equal() {
        let of = |text: &str| Document::from(serde_json::from_str::<Value>(text).unwrap());
        let (one, other) = (of(r#"{"b":1,"a":[2]}"#), of(r#"{"a":[2],"b":1}"#));
        assert_eq!(one.root().to_value().to_string(), r#"{"b":1,"a":[2]}"#);
        assert_eq!(one, other);
        assert_ne!(one, of(r#"{"a":[2],"b":2}"#));
        assert_ne!(one, of(r#"{"a":[2]}"#));
        assert_ne!(of("[1,2]"), of("[2,1]"));
    }
}
