//! Columns as they are written → columns that run; every fault is collected.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    cell::{self, Cell},
    column::{Categories, Column, Kind, TextColumn},
    nearest::dotted,
    pointer::Pointer,
    spec::{ColumnSpec, Encode, InputSpec, Label, OnMissing, Scalar, Transform, Unknown},
};
use crate::{
    fault::SpecFault,
    message::document::Document,
    tensor::{Dtype, Slot},
};

/// The columns of one numeric input, as many as its row has elements, or a step of its sequence.
pub(super) fn numbers(
    specs: &[ColumnSpec],
    slot: &Slot,
    faults: &mut Vec<SpecFault>,
) -> Vec<Column> {
    let before = faults.len();
    let mut columns: Vec<_> = specs
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| {
            Writer {
                key: column_key(slot, i),
                spec,
                dtype: slot.dtype,
            }
            .column(faults)
        })
        .collect();
    let siblings = columns.windows(2).map(|pair| match pair {
        [a, b] => a.origin == b.origin && a.pointer.is_sibling(&b.pointer),
        _ => false,
    });
    let siblings: Vec<bool> = siblings.collect();
    for (column, sibling) in columns.iter_mut().skip(1).zip(siblings) {
        column.sibling = sibling;
    }
    if faults.len() == before {
        count(
            columns.iter().map(|column| column.width).sum(),
            slot,
            faults,
        );
    }
    columns
}

/// The columns of one text input.
pub(super) fn texts(
    specs: &[ColumnSpec],
    slot: &Slot,
    faults: &mut Vec<SpecFault>,
) -> Vec<TextColumn> {
    count(specs.len(), slot, faults);
    specs
        .iter()
        .enumerate()
        .filter_map(|(i, spec)| {
            Writer {
                key: column_key(slot, i),
                spec,
                dtype: slot.dtype,
            }
            .text(faults)
        })
        .collect()
}

/// Checks a spec's dtype against the model's.
pub(super) fn dtype(spec: &InputSpec, slot: &Slot, faults: &mut Vec<SpecFault>) {
    if let Some(found) = spec.dtype.filter(|dtype| *dtype != slot.dtype) {
        faults.push(SpecFault::new(
            format!("{}.dtype", dotted("input", &slot.name)),
            format!("\"{found}\""),
            format!("\"{}\", as the model has it", slot.dtype),
            format!("write dtype = \"{}\", or leave it out", slot.dtype),
        ));
    }
}

fn column_key(slot: &Slot, i: usize) -> String {
    format!("{}.columns[{i}]", dotted("input", &slot.name))
}

fn count(found: usize, slot: &Slot, faults: &mut Vec<SpecFault>) {
    let elements = slot.elements();
    let one = if slot.sequence { "step" } else { "row" };
    if found != elements {
        faults.push(SpecFault::new(
            format!("{}.columns", dotted("input", &slot.name)),
            format!("{found} values a {one}"),
            format!(
                "{elements}, for the model takes {one}s of shape {:?}",
                slot.shape
            ),
            if found < elements {
                format!("add columns for {} more; a one_hot column counts once for each of its categories", elements - found)
            } else {
                format!("take {} away; a one_hot column counts once for each of its categories", found - elements)
            },
        ));
    }
}

struct Writer<'a> {
    key: String,
    spec: &'a ColumnSpec,
    dtype: Dtype,
}

impl Writer<'_> {
    fn fault(
        &self,
        part: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) -> SpecFault {
        SpecFault::new(format!("{}.{part}", self.key), found, expected, mend)
    }

    fn pointer(&self, part: &str, text: &str, faults: &mut Vec<SpecFault>) -> Option<Pointer> {
        Pointer::parse(text, format!("{}.{part}", self.key))
            .map_err(|fault| faults.push(fault))
            .ok()
    }

    fn column(&self, faults: &mut Vec<SpecFault>) -> Option<Column> {
        let pointer = self.pointer("pointer", &self.spec.pointer, faults);
        let kind = self.kind(faults);
        let default = self.default(faults);
        let kind = kind?;
        let width = if let Kind::OneHot(categories) = &kind {
            categories.len()
        } else {
            1
        };
        let mut column = Column {
            pointer: pointer?,
            origin: self.spec.from,
            sibling: false,
            kind,
            width,
            fallback: None,
        };
        if let Some(default) = default {
            column.fallback = self
                .fallback(&column, default)
                .map_err(|fault| faults.push(fault))
                .ok();
        }
        Some(column)
    }

    fn text(&self, faults: &mut Vec<SpecFault>) -> Option<TextColumn> {
        for (part, given) in [
            ("transform", self.spec.transform.is_some()),
            ("categories", self.spec.categories.is_some()),
            ("encode", self.spec.encode.is_some()),
            ("unknown", self.spec.unknown.is_some()),
        ] {
            if given {
                faults.push(self.fault(
                    part,
                    "it on a text input",
                    "text as it stands in the request",
                    format!("leave {part} out: this input of the model takes strings"),
                ));
            }
        }
        let fallback = match self.default(faults) {
            Some(Scalar::Text(text)) if !text.contains('\0') => Some(text.clone()),
            Some(other) => {
                faults.push(self.fault(
                    "default",
                    show(other),
                    "text without NUL characters",
                    "write it in quotes: this input of the model takes strings",
                ));
                None
            }
            None => None,
        };
        Some(TextColumn {
            pointer: self.pointer("pointer", &self.spec.pointer, faults)?,
            origin: self.spec.from,
            fallback,
        })
    }

    fn default(&self, faults: &mut Vec<SpecFault>) -> Option<&Scalar> {
        match (self.spec.on_missing, &self.spec.default) {
            (OnMissing::Default, None) => faults.push(self.fault(
                "default",
                "nothing",
                "the value that stands in for a missing one, since on_missing = \"default\"",
                "add default = …, or leave on_missing out to have such requests rejected",
            )),
            (OnMissing::Reject, Some(default)) => faults.push(self.fault(
                "default",
                show(default),
                "no default, since requests without the value are rejected",
                "add on_missing = \"default\", or take the default away",
            )),
            (OnMissing::Default, Some(default)) => return Some(default),
            (OnMissing::Reject, None) => {}
        }
        None
    }

    fn kind(&self, faults: &mut Vec<SpecFault>) -> Option<Kind> {
        match (&self.spec.categories, &self.spec.transform) {
            (Some(_), Some(_)) => {
                faults.push(self.fault(
                    "transform",
                    "it beside categories",
                    "one of the two",
                    "take either away",
                ));
                None
            }
            (Some(labels), None) => self.categories(labels, faults),
            (None, transform) => {
                for (part, given) in [
                    ("encode", self.spec.encode.is_some()),
                    ("unknown", self.spec.unknown.is_some()),
                ] {
                    if given {
                        faults.push(self.fault(
                            part,
                            "it without categories",
                            "categories = […] beside it",
                            format!("add categories, or take {part} away"),
                        ));
                    }
                }
                match transform {
                    None => Some(Kind::Number),
                    Some(transform) => self.transform(transform, faults),
                }
            }
        }
    }

    fn transform(&self, transform: &Transform, faults: &mut Vec<SpecFault>) -> Option<Kind> {
        let (kind, name, greatest) = match transform {
            Transform::Log1p => (Kind::Log1p, "log1p", Cell::Float(0.5)),
            Transform::Hour => (Kind::Hour, "hour", Cell::Int(23)),
            Transform::Weekday => (Kind::Weekday, "weekday", Cell::Int(6)),
            Transform::SameAs { other } => {
                let other = self.pointer("transform.same_as.other", other, faults)?;
                (Kind::SameAs(other), "same_as", Cell::Int(1))
            }
            Transform::SameNetwork { other, prefix } => {
                if *prefix > 128 {
                    faults.push(self.fault(
                        "transform.same_network.prefix",
                        prefix.to_string(),
                        "0 to 32 bits for IPv4, to 128 for IPv6",
                        "write how many leading bits name the network: 24 for 192.0.2.0/24",
                    ));
                }
                let other = self.pointer("transform.same_network.other", other, faults)?;
                (
                    Kind::SameNetwork(other, *prefix),
                    "same_network",
                    Cell::Int(1),
                )
            }
        };
        if !greatest.fits(self.dtype) {
            faults.push(self.fault(
                "transform",
                format!("\"{name}\" on a {} input", self.dtype),
                "a type that holds its values",
                "take the transform away, or convert the model with a float32 input",
            ));
        }
        Some(kind)
    }

    fn categories(&self, labels: &[Label], faults: &mut Vec<SpecFault>) -> Option<Kind> {
        if labels.is_empty() {
            faults.push(self.fault(
                "categories",
                "an empty list",
                "every value that the model learned",
                "list the categories in the model's order",
            ));
            return None;
        }
        let mut categories = Categories {
            texts: HashMap::new(),
            ints: HashMap::new(),
            open: self.spec.unknown == Some(Unknown::Zero),
        };
        for (i, label) in labels.iter().enumerate() {
            let known = match label {
                Label::Int(n) => categories.ints.insert(*n, i),
                Label::Text(text) => categories.texts.insert(text.clone(), i),
            };
            if let Some(first) = known {
                faults.push(self.fault(
                    &format!("categories[{i}]"),
                    format!("{label} again, as in categories[{first}]"),
                    "every category once",
                    "take one of the two away",
                ));
            }
        }
        if self.spec.encode == Some(Encode::OneHot) {
            return Some(Kind::OneHot(categories));
        }
        let last = i64::try_from(labels.len() - 1).ok().map(Cell::Int);
        if !last.is_some_and(|last| last.fits(self.dtype)) {
            faults.push(self.fault(
                "categories",
                format!("{} categories", labels.len()),
                format!(
                    "{}, for the places of the categories",
                    cell::range(self.dtype)
                ),
                "convert the model with an int64 or float32 input",
            ));
        } else if categories.open && !Cell::Int(-1).fits(self.dtype) {
            faults.push(self.fault(
                "unknown",
                "\"zero\" for an index",
                format!(
                    "{}, and unknown values would be -1",
                    cell::range(self.dtype)
                ),
                "write unknown = \"reject\", or encode = \"one_hot\"",
            ));
        }
        Some(Kind::Index(categories))
    }

    /// The bytes of a column whose value is missing.
    fn fallback(&self, column: &Column, default: &Scalar) -> Result<Vec<u8>, SpecFault> {
        let mut bytes = vec![0; column.width * self.dtype.size()];
        let document = Document::from(json(default));
        let value = document.root();
        let (stored, expected) = match &column.kind {
            Kind::Number | Kind::Log1p | Kind::Index(_) | Kind::OneHot(_) => (
                column.encode(value, self.dtype, &mut bytes),
                column.expected(self.dtype).into_owned(),
            ),
            // Where the value is no number, the default is the result.
            Kind::Hour | Kind::Weekday | Kind::SameAs(_) | Kind::SameNetwork(..) => (
                Cell::of(value).and_then(|cell| cell.store(self.dtype, &mut bytes)),
                format!(
                    "the result for a missing value, {}",
                    cell::range(self.dtype)
                ),
            ),
        };
        match stored {
            Some(()) => Ok(bytes),
            None => Err(self.fault(
                "default",
                show(default),
                expected,
                "write a default that the column could have made of a request",
            )),
        }
    }
}

fn json(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Bool(b) => (*b).into(),
        Scalar::Int(n) => (*n).into(),
        Scalar::Float(x) => (*x).into(),
        Scalar::Text(text) => text.as_str().into(),
    }
}

fn show(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(b) => b.to_string(),
        Scalar::Int(n) => n.to_string(),
        Scalar::Float(x) => x.to_string(),
        Scalar::Text(text) => format!("{text:?}"),
    }
}
