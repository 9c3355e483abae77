//! Arrays and objects of a document.

use std::fmt;

use super::{Document, Extent, FEW, Node, hash};

/// The elements of an array.
#[derive(Clone, Copy, Default)]
pub struct Elements<'d> {
    /// `None` of an array that is not there.
    pub(super) document: Option<&'d Document>,
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) len: usize,
}

/// The fields of an object.
#[derive(Clone, Copy)]
pub struct Fields<'d> {
    pub(super) document: &'d Document,
    pub(super) first: usize,
    pub(super) object: Extent,
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
        let Extent { len, keys, .. } = self.object;
        let at = if len > FEW {
            *self.document.many.get(keys)?.get(key)?
        } else {
            let keys = self.document.few.get(keys..keys + len)?;
            self.document.find(keys, hash(key), key)?
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

/// Values that stand one behind the other.
#[derive(Clone)]
pub struct Nodes<'d> {
    pub(super) document: Option<&'d Document>,
    pub(super) at: usize,
    pub(super) left: usize,
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
