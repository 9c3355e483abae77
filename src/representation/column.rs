//! One column, ready to run: a place in the request → its elements in a row.

use std::{borrow::Cow, collections::HashMap, net::IpAddr};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{
    cell::{self, Cell},
    pointer::Pointer,
    spec::Origin,
};
use crate::{
    message::document::{Kind as Json, Node},
    tensor::Dtype,
};

/// A column of numbers.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) pointer: Pointer,
    pub(super) origin: Origin,
    /// Its value is found where that of the column before it is: thousands of numbers may be of one array.
    pub(super) sibling: bool,
    pub(super) kind: Kind,
    /// Elements that it fills.
    pub(super) width: usize,
    /// Their bytes when the value is missing.
    pub(super) fallback: Option<Vec<u8>>,
}

/// What a column makes of its value.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Number,
    Log1p,
    Hour,
    Weekday,
    SameAs(Pointer),
    SameNetwork(Pointer, u8),
    Index(Categories),
    OneHot(Categories),
}

/// A column of text.
#[derive(Clone, Debug)]
pub(super) struct TextColumn {
    pub(super) pointer: Pointer,
    pub(super) origin: Origin,
    pub(super) fallback: Option<String>,
}

/// Known values and their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Categories {
    pub(super) texts: HashMap<String, usize>,
    pub(super) ints: HashMap<i64, usize>,
    /// Whether unknown values are zeros (one-hot) or -1 (index).
    pub(super) open: bool,
}

/// Why a value cannot be used: where, what was expected, what was found. No values.
#[derive(Debug)]
pub(super) struct Unfit<'c> {
    pub(super) pointer: &'c Pointer,
    expected: Cow<'static, str>,
    /// The type of what was found; `None` when it is missing or null.
    found: Option<&'static str>,
}

impl<'c> Unfit<'c> {
    fn missing(pointer: &'c Pointer, expected: impl Into<Cow<'static, str>>) -> Self {
        Unfit {
            pointer,
            expected: expected.into(),
            found: None,
        }
    }

    /// For the requester.
    pub(super) fn detail(&self) -> String {
        let found = self.found.unwrap_or("nothing");
        format!("expected {}, found {found}", self.expected)
    }
}

/// A JSON type in words.
pub(super) fn type_of(value: Node<'_>) -> &'static str {
    match value.kind() {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::Text(_) => "text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Writes the elements of `columns`, found from what is at their origins, side by side into `out`, which is all zeros;
/// `complain` is told of each that is unfit.
pub(super) fn write<'c, 'v>(
    columns: &'c [Column],
    at: impl Fn(Origin) -> Node<'v>,
    dtype: Dtype,
    out: &mut [u8],
    mut complain: impl FnMut(Origin, &Unfit<'c>),
) {
    let (mut rest, mut parent) = (out, None);
    for column in columns {
        let base = at(column.origin);
        if !column.sibling {
            parent = column.pointer.parent(base);
        }
        let width = column.width * dtype.size();
        let cells = rest.split_off_mut(..width).unwrap_or_default();
        if let Err(unfit) = column.write(base, parent, dtype, cells) {
            complain(column.origin, &unfit);
        }
    }
}

impl Column {
    /// Writes the elements of this column, found from `base` at its pointer's `parent` there, into `out`, which is all
    /// zeros.
    fn write(
        &self,
        base: Node<'_>,
        parent: Option<Node<'_>>,
        dtype: Dtype,
        out: &mut [u8],
    ) -> Result<(), Unfit<'_>> {
        match (self.read(base, parent, dtype, out), &self.fallback) {
            (Err(Unfit { found: None, .. }), Some(fallback)) => {
                out.copy_from_slice(fallback);
                Ok(())
            }
            (result, _) => result,
        }
    }

    fn read(
        &self,
        base: Node<'_>,
        parent: Option<Node<'_>>,
        dtype: Dtype,
        out: &mut [u8],
    ) -> Result<(), Unfit<'_>> {
        let value = parent.and_then(|parent| self.pointer.present_below(parent));
        let Some(value) = value else {
            return Err(Unfit::missing(&self.pointer, self.expected(dtype)));
        };
        let cell = match &self.kind {
            Kind::SameAs(other) => match other.present(base) {
                None => return Err(Unfit::missing(other, "a value to compare with")),
                Some(second) => Cell::Int(same(value, second).into()),
            },
            Kind::SameNetwork(other, prefix) => match (ip(value), other.present(base)) {
                (_, None) => return Err(Unfit::missing(other, self.expected(dtype))),
                (None, _) => return Err(self.unfit(value, dtype)),
                (Some(a), Some(second)) => match ip(second) {
                    None => {
                        return Err(Unfit {
                            pointer: other,
                            ..self.unfit(second, dtype)
                        });
                    }
                    Some(b) => Cell::Int(same_network(a, b, *prefix).into()),
                },
            },
            Kind::Number
            | Kind::Log1p
            | Kind::Hour
            | Kind::Weekday
            | Kind::Index(_)
            | Kind::OneHot(_) => {
                return self
                    .encode(value, dtype, out)
                    .ok_or_else(|| self.unfit(value, dtype));
            }
        };
        cell.store(dtype, out)
            .ok_or_else(|| self.unfit(value, dtype))
    }

    /// Writes what this column makes of a value that stands alone; `None` when it cannot.
    pub(super) fn encode(&self, value: Node<'_>, dtype: Dtype, out: &mut [u8]) -> Option<()> {
        let cell = match &self.kind {
            Kind::Number => Cell::of(value)?,
            Kind::Log1p => {
                let x = Cell::of(value)?.as_f64();
                Cell::Float(Some(x).filter(|x| *x > -1.0)?.ln_1p())
            }
            Kind::Hour => Cell::Int(utc(value)?.hour().into()),
            Kind::Weekday => Cell::Int(utc(value)?.weekday().number_days_from_monday().into()),
            Kind::Index(categories) => match categories.find(value) {
                Some(place) => Cell::Int(i64::try_from(place).ok()?),
                None if categories.open => Cell::Int(-1),
                None => return None,
            },
            Kind::OneHot(categories) => match categories.find(value) {
                Some(place) => {
                    let hot = out.chunks_exact_mut(dtype.size()).nth(place)?;
                    return Cell::Int(1).store(dtype, hot);
                }
                None => return categories.open.then_some(()),
            },
            Kind::SameAs(_) | Kind::SameNetwork(..) => return None,
        };
        cell.store(dtype, out)
    }

    fn unfit(&self, value: Node<'_>, dtype: Dtype) -> Unfit<'_> {
        let found = match (self.kind.takes(value), type_of(value)) {
            (true, "text") => "other text",
            (true, "a number") => "another number",
            (_, other) => other,
        };
        Unfit {
            pointer: &self.pointer,
            expected: self.expected(dtype),
            found: Some(found),
        }
    }

    pub(super) fn expected(&self, dtype: Dtype) -> Cow<'static, str> {
        match &self.kind {
            Kind::Number => cell::range(dtype).into(),
            Kind::Log1p => "a number above -1".into(),
            Kind::Hour | Kind::Weekday => {
                "an RFC 3339 time such as \"2024-05-01T12:30:00Z\"".into()
            }
            Kind::SameAs(_) => "a value to compare".into(),
            Kind::SameNetwork(..) => "an IPv4 or IPv6 address as text".into(),
            Kind::Index(categories) | Kind::OneHot(categories) => categories.describe().into(),
        }
    }
}

impl Kind {
    /// Whether it is the value and not its type that can be wrong.
    fn takes(&self, value: Node<'_>) -> bool {
        let value = value.kind();
        match self {
            Kind::Number | Kind::Log1p => matches!(value, Json::Number(_)),
            Kind::Hour | Kind::Weekday | Kind::SameNetwork(..) => matches!(value, Json::Text(_)),
            Kind::Index(_) | Kind::OneHot(_) => {
                matches!(value, Json::Text(_) | Json::Number(_))
            }
            Kind::SameAs(_) => false,
        }
    }
}

impl TextColumn {
    /// The text found from `base`.
    pub(super) fn text(&self, base: Node<'_>) -> Result<String, Unfit<'_>> {
        let found = self.pointer.present(base);
        match (found.map(Node::kind), &self.fallback) {
            // ONNX Runtime's texts end at the first NUL.
            (Some(Json::Text(text)), _) if text.contains('\0') => Err(Unfit {
                pointer: &self.pointer,
                expected: "text without NUL characters".into(),
                found: Some("text with one"),
            }),
            (Some(Json::Text(text)), _) => Ok(text.to_owned()),
            (Some(_), _) => Err(Unfit {
                pointer: &self.pointer,
                expected: "text".into(),
                found: found.map(type_of),
            }),
            (None, Some(fallback)) => Ok(fallback.clone()),
            (None, None) => Err(Unfit::missing(&self.pointer, "text")),
        }
    }
}

impl Categories {
    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.ints.len()
    }

    fn find(&self, value: Node<'_>) -> Option<usize> {
        match value.kind() {
            Json::Text(text) => self.texts.get(text).copied(),
            Json::Number(_) => self.ints.get(&Cell::of(value)?.as_i64()?).copied(),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// Names the categories where they are few: they stand in the package, not in the request.
    fn describe(&self) -> String {
        let texts = self
            .texts
            .iter()
            .map(|(text, place)| (place, format!("{text:?}")));
        let ints = self.ints.iter().map(|(n, place)| (place, n.to_string()));
        let mut all: Vec<_> = texts.chain(ints).collect();
        all.sort();
        let rest = all.len().saturating_sub(12);
        all.truncate(12);
        let names: Vec<_> = all.into_iter().map(|(_, name)| name).collect();
        let more = if rest == 0 {
            String::new()
        } else {
            format!(" or {rest} more")
        };
        format!("one of {}{more}", names.join(", "))
    }
}

fn utc(value: Node<'_>) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    time.checked_to_offset(UtcOffset::UTC)
}

fn same(a: Node<'_>, b: Node<'_>) -> bool {
    match (a.kind(), b.kind()) {
        // 1 and 1.0 are one number in JSON and two in serde_json.
        (Json::Number(x), Json::Number(y)) if x.is_f64() != y.is_f64() => x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn ip(value: Node<'_>) -> Option<IpAddr> {
    let address: IpAddr = value.as_str()?.parse().ok()?;
    Some(address.to_canonical())
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(prefix.min(32))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(prefix.min(128))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
