//! A value, written down piece by piece.

use serde_json::{Number, Value};

use super::{Document, Extent, FEW, Hashed, Keys, Slot, hash};

/// Writes a document from its beginning to its end.
pub(in crate::message) struct Writer {
    document: Document,
    /// Keys of the objects that are open, the innermost last.
    pending: Vec<Hashed>,
}

/// An array or object that is being written.
pub(in crate::message) struct Open {
    at: usize,
    /// Fields so far.
    len: usize,
    /// Where its keys begin among those pending.
    keys: usize,
    /// Where the last of them is.
    last: usize,
    /// More than [`FEW`] of them.
    many: Option<Keys>,
}

impl Writer {
    /// With room for so many bytes of text and so many values.
    pub(in crate::message) fn with_capacity(text: usize, values: usize) -> Writer {
        Writer {
            document: Document {
                slots: Vec::with_capacity(values),
                text: String::with_capacity(text),
                ..Document::default()
            },
            pending: Vec::with_capacity(values.min(FEW)),
        }
    }

    /// What was written.
    pub(in crate::message) fn finish(self) -> Document {
        self.document
    }

    pub(in crate::message) fn null(&mut self) {
        self.document.slots.push(Slot::Null);
    }

    pub(in crate::message) fn bool(&mut self, value: bool) {
        self.document.slots.push(Slot::Bool(value));
    }

    pub(in crate::message) fn number(&mut self, value: Number) {
        self.document.slots.push(Slot::Number(value));
    }

    pub(in crate::message) fn text(&mut self, text: &str) {
        self.document.push_text(text);
    }

    /// Begins an array or object. What is written until it is closed is in it.
    pub(in crate::message) fn open(&mut self) -> Open {
        let at = self.document.slots.len();
        self.null();
        Open {
            at,
            len: 0,
            keys: self.pending.len(),
            last: at,
            many: None,
        }
    }

    /// The next value is a field of this object; false where it has one of that name.
    pub(in crate::message) fn field(&mut self, open: &mut Open, key: &str) -> bool {
        let at = self.document.slots.len();
        if open.len == FEW {
            let keys = self.pending.drain(open.keys..);
            let keys = keys.map(|key| (self.document.str(key.at).into(), key.at));
            open.many = Some(keys.collect());
        }
        let new = if let Some(keys) = &mut open.many {
            keys.insert(key.into(), at).is_none()
        } else {
            let hash = hash(key);
            let before = self.pending.get(open.keys..).unwrap_or_default();
            let new = self.document.find(before, hash, key).is_none();
            self.pending.push(Hashed { hash, at });
            new
        };
        open.len += 1;
        open.last = at;
        self.text(key);
        new
    }

    /// The key that was written last.
    pub(in crate::message) fn last_key(&self, open: &Open) -> &str {
        self.document.str(open.last)
    }

    /// Ends an array of so many elements.
    pub(in crate::message) fn close_array(&mut self, open: &Open, len: usize) {
        let end = self.document.slots.len();
        self.close(open.at, Slot::Array { len, end });
    }

    pub(in crate::message) fn close_object(&mut self, open: Open) {
        let document = &mut self.document;
        let keys = if let Some(keys) = open.many {
            document.many.push(keys);
            document.many.len() - 1
        } else {
            document.few.extend(self.pending.drain(open.keys..));
            document.few.len() - open.len
        };
        let object = Extent {
            len: open.len,
            end: document.slots.len(),
            keys,
        };
        self.close(open.at, Slot::Object(object));
    }

    fn close(&mut self, at: usize, whole: Slot) {
        if let Some(slot) = self.document.slots.get_mut(at) {
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
}

impl From<&Value> for Document {
    fn from(value: &Value) -> Document {
        let mut writer = Writer::with_capacity(0, 0);
        writer.write(value);
        writer.finish()
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Document {
        Document::from(&value)
    }
}
