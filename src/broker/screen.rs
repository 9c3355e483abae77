//! Makes frames from the broker safe for lapin's parser, in place.
//!
//! Producers decide the bytes of properties, header names and routing keys; the broker checks little of
//! it. lapin 4.12 fails the whole connection on a short string that is not UTF-8, again on every
//! redelivery, and overflows its thread's stack (an abort) on deeply nested headers. So each such frame is
//! mended before lapin sees it, and the delivery is marked, so that its consumer can reject it by name:
//!
//! - short strings (properties, header names at any depth, exchange, routing key): each byte that is not
//!   UTF-8 becomes `?`; for `reply_to` the mark says so;
//! - a table or array nested deeper than [`MAX_DEPTH`] becomes a byte array of the same layout;
//! - a property list that cannot be walked becomes an empty one.
//!
//! Everything else passes byte-identical.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How deep headers may nest: the header table itself is level 1.
pub const MAX_DEPTH: usize = 16;

/// What was wrong with a delivery's frames before they were mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blemish {
    /// A property, a header's name, the exchange or the routing key held bytes that are not UTF-8.
    NotUtf8,
    /// Headers nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// `reply_to` held bytes that are not UTF-8. What is left of them may name a queue of somebody else's, so
    /// the delivery comes with an empty one.
    ReplyTo,
    /// The property list does not follow AMQP 0-9-1; nothing of it is left.
    Unreadable,
}

impl Blemish {
    /// What is wrong and how to mend it, for the one who sent it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Blemish::NotUtf8 => {
                "a property, a header name or the routing key holds bytes that are not UTF-8; encode such texts as UTF-8"
            }
            Blemish::TooDeep => {
                "the headers nest deeper than 16 levels; nest them less deep, or put what they hold into the body"
            }
            Blemish::ReplyTo => {
                "the property reply_to holds bytes that are not UTF-8; name the reply queue in UTF-8"
            }
            Blemish::Unreadable => {
                "the properties do not follow AMQP 0-9-1 and cannot be read; send them as its section 4.2 has them"
            }
        }
    }
}

/// Marks of one connection's mended deliveries, by channel and delivery tag: written by the stream before
/// lapin can hand the delivery out, taken by the consumer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    count: AtomicUsize,
    marks: Mutex<HashMap<(u16, u64), Blemish>>,
}

impl Marks {
    pub(super) fn take(&self, channel: u16, tag: u64) -> Option<Blemish> {
        // Relaxed: lapin's own hand-over of the delivery orders this load after the insertion.
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut marks = self.lock();
        let blemish = marks.remove(&(channel, tag));
        self.count.store(marks.len(), Ordering::Relaxed);
        blemish
    }

    fn put(&self, channel: u16, tag: u64, blemish: Blemish) {
        let mut marks = self.lock();
        let mark = marks.entry((channel, tag)).or_insert(blemish);
        *mark = blemish.max(*mark);
        self.count.store(marks.len(), Ordering::Relaxed);
    }

    /// A channel number that opens anew counts its tags from 1 again.
    fn forget(&self, channel: u16) {
        let mut marks = self.lock();
        marks.retain(|(of, _), _| *of != channel);
        self.count.store(marks.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u16, u64), Blemish>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a method frame told the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// `connection.open-ok`: the handshake is over.
    Opened,
    /// Anything else.
    Nothing,
}

/// The screen of one connection.
#[derive(Debug, Default)]
pub(super) struct Screen {
    marks: Arc<Marks>,
    /// The delivery whose content header comes next on a channel.
    expected: HashMap<u16, u64>,
}

impl Screen {
    pub(super) fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.marks)
    }

    /// Screens the payload of a method frame.
    pub(super) fn method(&mut self, channel: u16, payload: &mut [u8]) -> Told {
        let mut rest = Rest(payload);
        let (Some(class), Some(method)) = (rest.u16(), rest.u16()) else {
            return Told::Nothing;
        };
        let mut walk = Walk::default();
        match (class, method) {
            (10, 41) => return Told::Opened,
            (20, 11) => {
                self.marks.forget(channel);
                self.expected.remove(&channel);
            }
            // close: the broker's text quotes names and is cut at 255 bytes, maybe inside a character
            (10, 50) | (20, 40) => {
                let _ = rest.take(2).and_then(|_| walk.short_string(&mut rest));
            }
            (60, 50) => {
                let _ = rest.take(2).and_then(|_| walk.short_strings(&mut rest, 3));
                self.expected.remove(&channel);
            }
            (60, 60) => {
                let tag = walk.short_string(&mut rest).and_then(|()| rest.u64());
                self.content(channel, tag, &mut rest, walk);
            }
            (60, 71) => {
                let tag = rest.u64();
                self.content(channel, tag, &mut rest, walk);
            }
            _ => {}
        }
        Told::Nothing
    }

    /// The common end of deliver and get-ok: a bit, the exchange, the routing key.
    fn content(&mut self, channel: u16, tag: Option<u64>, rest: &mut Rest<'_>, mut walk: Walk) {
        let Some(tag) = tag else { return };
        let _ = rest.take(1).and_then(|_| walk.short_strings(rest, 2));
        self.expected.insert(channel, tag);
        if let Some(blemish) = walk.blemish {
            self.marks.put(channel, tag, blemish);
        }
    }

    /// Screens the payload of a content header; false when its property list must be replaced by an empty
    /// one.
    #[must_use]
    pub(super) fn header(&mut self, channel: u16, payload: &mut [u8]) -> bool {
        let tag = self.expected.remove(&channel);
        let mut walk = Walk::default();
        let mut rest = Rest(payload);
        // class, weight, body size
        if rest.take(12).is_none() {
            return true;
        }
        let readable = walk.properties(rest).is_some();
        if !readable {
            walk.blemish = Some(Blemish::Unreadable);
        }
        if let (Some(tag), Some(blemish)) = (tag, walk.blemish) {
            self.marks.put(channel, tag, blemish);
        }
        readable
    }
}

/// One walk through a frame: mends what it passes, `None` where it cannot go on.
#[derive(Debug, Default)]
struct Walk {
    blemish: Option<Blemish>,
}

/// Property kinds in the order of their flag bits, from bit 15 down.
const PROPERTIES: [Kind; 14] = {
    use Kind::{Octet, Table, Text, Time};
    [
        Text, Text, Table, Octet, Octet, Text, Text, Text, Text, Time, Text, Text, Text, Text,
    ]
};
/// Where `reply_to` stands among them.
const REPLY_TO: usize = 6;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Table,
    Octet,
    Time,
}

impl Walk {
    fn note(&mut self, blemish: Blemish) {
        self.blemish = self.blemish.max(Some(blemish));
    }

    fn properties(&mut self, mut rest: Rest<'_>) -> Option<()> {
        let flags = rest.u16()?;
        for (bit, kind) in PROPERTIES.into_iter().enumerate() {
            if flags & (0x8000 >> bit) == 0 {
                continue;
            }
            match kind {
                Kind::Text => self.text(
                    &mut rest,
                    if bit == REPLY_TO {
                        Blemish::ReplyTo
                    } else {
                        Blemish::NotUtf8
                    },
                )?,
                Kind::Octet => drop(rest.take(1)?),
                Kind::Time => drop(rest.take(8)?),
                Kind::Table => {
                    let table = rest.long()?;
                    self.table(table, 1)?;
                }
            }
        }
        rest.is_empty().then_some(())
    }

    fn table(&mut self, mut entries: Rest<'_>, depth: usize) -> Option<()> {
        while !entries.is_empty() {
            self.short_string(&mut entries)?;
            self.value(&mut entries, depth)?;
        }
        Some(())
    }

    /// Field types as RabbitMQ and lapin read them: `s` is a 16-bit integer, `l` and `L` are both 64-bit.
    fn value(&mut self, rest: &mut Rest<'_>, depth: usize) -> Option<()> {
        let [tag] = rest.take(1)? else { return None };
        let size = match *tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => return rest.long().map(drop),
            b'F' | b'A' if depth >= MAX_DEPTH => {
                *tag = b'x';
                self.note(Blemish::TooDeep);
                return rest.long().map(drop);
            }
            b'F' => {
                let table = rest.long()?;
                return self.table(table, depth + 1);
            }
            b'A' => {
                let mut items = rest.long()?;
                while !items.is_empty() {
                    self.value(&mut items, depth + 1)?;
                }
                return Some(());
            }
            _ => return None,
        };
        rest.take(size).map(drop)
    }

    fn short_strings(&mut self, rest: &mut Rest<'_>, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.short_string(rest))
    }

    fn short_string(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        self.text(rest, Blemish::NotUtf8)
    }

    fn text(&mut self, rest: &mut Rest<'_>, blemish: Blemish) -> Option<()> {
        let [size] = rest.take(1)? else { return None };
        let text = rest.take(usize::from(*size))?;
        if mend(text) {
            self.note(blemish);
        }
        Some(())
    }
}

/// Puts `?` for each byte that is not UTF-8; true if there was one.
fn mend(text: &mut [u8]) -> bool {
    let mut mended = false;
    let mut rest = Rest(text);
    while let Err(fault) = std::str::from_utf8(rest.0) {
        let size = fault
            .error_len()
            .unwrap_or(rest.0.len() - fault.valid_up_to());
        if rest.take(fault.valid_up_to()).is_none() {
            break;
        }
        let Some(bad) = rest.take(size) else {
            break;
        };
        bad.fill(b'?');
        mended = true;
    }
    mended
}

/// What is left of a frame to walk through.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes; where there are too few, nothing is left.
    fn take(&mut self, size: usize) -> Option<&'a mut [u8]> {
        let (head, tail) = std::mem::take(&mut self.0).split_at_mut_checked(size)?;
        self.0 = tail;
        Some(head)
    }

    fn long(&mut self) -> Option<Rest<'a>> {
        let size: [u8; 4] = self.take(4)?.try_into().ok()?;
        let size = usize::try_from(u32::from_be_bytes(size)).ok()?;
        self.take(size).map(Rest)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes: [u8; 8] = self.take(8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    }
}
