//! The way from a request to its rows.

use std::{fmt, ops::Range};

use super::{
    column::{self, type_of},
    complaints::{Complaints, unrepresentable},
    image::No,
    plan::{Input, Plan},
    pointer::Pointer,
    spec::Origin,
};
use crate::{
    message::{
        document::{Kind, Node},
        object::Object,
        rejection::{Code, Rejection, Stage},
    },
    tensor::Row,
};

impl Plan {
    /// Turns a request into its rows: one, or with `each` one for each element of the array.
    ///
    /// # Errors
    /// `unrepresentable` with up to 20 places at fault, `request_too_large` for too many elements, or a
    /// code of the package's own.
    pub fn represent(&self, object: &Object) -> Result<Vec<Row>, Rejection> {
        match (object, &self.each) {
            (Object::Picture(bytes), _) => self.picture(bytes).map(|row| vec![row]),
            (Object::Value(request), None) => {
                let mut complaints = Complaints::default();
                let request = request.root();
                let row = self.row(request, request, "", &mut complaints)?;
                complaints.none_or(vec![row])
            }
            (Object::Value(request), Some(each)) => self.rows(request.root(), each),
        }
    }

    fn picture(&self, file: &[u8]) -> Result<Row, Rejection> {
        let mut row = self.layout.row(0);
        let (true, [Input::Picture { image, bytes }]) =
            (self.each.is_none(), self.inputs.as_slice())
        else {
            let detail = "a raw picture is not what this package takes: send JSON or MessagePack";
            return Err(Rejection::new(
                Code::Unrepresentable,
                Stage::Represent,
                detail,
            ));
        };
        match image.write(file, span(&mut row, bytes)) {
            Ok(()) => Ok(row),
            Err(No::Refused(rejection)) => Err(rejection),
            Err(No::Unfit(detail)) => Err(unrepresentable("", detail)),
        }
    }

    fn rows(&self, request: Node<'_>, each: &Pointer) -> Result<Vec<Row>, Rejection> {
        let found = each.present(request);
        let items = match found.map(Node::kind) {
            Some(Kind::Array(items)) if !items.is_empty() => items,
            Some(Kind::Array(_)) => {
                let detail = "expected at least one element, found an empty array";
                return Err(unrepresentable(each.as_str(), detail));
            }
            _ => {
                let found = found.map_or("nothing", type_of);
                let detail = format!("expected an array, found {found}");
                return Err(unrepresentable(each.as_str(), detail));
            }
        };
        if items.len() > self.max_rows {
            let detail = format!(
                "{} elements were sent and {} are the most: send them in several requests",
                items.len(),
                self.max_rows
            );
            let rejection = Rejection::new(Code::RequestTooLarge, Stage::Represent, detail);
            return Err(rejection.at(
                each.as_str(),
                format!("expected at most {} elements", self.max_rows),
            ));
        }
        let mut complaints = Complaints::default();
        let mut rows = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let place = Place { each, i };
            rows.push(self.row(request, item, place, &mut complaints)?);
            if complaints.enough() {
                break;
            }
        }
        complaints.none_or(rows)
    }

    fn row(
        &self,
        request: Node<'_>,
        element: Node<'_>,
        place: impl std::fmt::Display + Copy,
        complaints: &mut Complaints,
    ) -> Result<Row, Rejection> {
        let base = |origin| match origin {
            Origin::Element => element,
            Origin::Request => request,
        };
        let absolute = |origin, pointer: &Pointer| match origin {
            Origin::Element => format!("{place}{}", pointer.as_str()),
            Origin::Request => pointer.as_str().to_owned(),
        };
        // Of each sequence in turn; all have as many, which is the row's length.
        let (mut sequences, mut steps) = (Vec::new(), None);
        for input in &self.inputs {
            if let Input::Sequence(sequence) = input {
                let elements = sequence.elements(element, steps);
                let found = elements.map_err(|detail| {
                    complaints.push(absolute(Origin::Element, &sequence.pointer), detail);
                });
                let elements = found.unwrap_or_default();
                steps = steps.or(Some(elements.len()).filter(|found| *found > 0));
                sequences.push(elements);
            }
        }
        let steps = steps.unwrap_or(0);
        let mut sequences = sequences.into_iter();
        let mut row = self.layout.row(steps);
        for input in &self.inputs {
            match input {
                Input::Numbers {
                    columns,
                    dtype,
                    bytes,
                } => {
                    let out = span(&mut row, bytes);
                    column::write(columns, base, *dtype, out, |origin, unfit| {
                        complaints.push(absolute(origin, unfit.pointer), unfit.detail());
                    });
                }
                Input::Texts { columns, first } => {
                    let places = row.strings.iter_mut().skip(*first);
                    for (column, place) in columns.iter().zip(places) {
                        match column.text(base(column.origin)) {
                            Ok(text) => *place = text,
                            Err(unfit) => {
                                let pointer = absolute(column.origin, unfit.pointer);
                                complaints.push(pointer, unfit.detail());
                            }
                        }
                    }
                }
                Input::Sequence(sequence) => {
                    let place = absolute(Origin::Element, &sequence.pointer);
                    let elements = sequences.next().unwrap_or_default();
                    sequence.write((request, elements), &place, &mut row, complaints);
                }
                Input::Mask(mask) => mask.write(steps, &mut row),
                Input::Picture { image, bytes } => {
                    let Some(pointer) = &image.pointer else {
                        let detail = "expected one PNG, JPEG or WebP picture as the message's body, with its content type";
                        return Err(unrepresentable("", detail));
                    };
                    let pointer_here = || absolute(Origin::Element, pointer);
                    match image.write_base64(pointer.get(element), span(&mut row, bytes)) {
                        Ok(()) => {}
                        Err(No::Unfit(detail)) => complaints.push(pointer_here(), detail),
                        Err(No::Refused(rejection)) => {
                            let title = rejection.detail.clone();
                            return Err(rejection.at(pointer_here(), title));
                        }
                    }
                }
            }
        }
        Ok(row)
    }
}

/// Where an element of `each` is, written out only for those at fault.
#[derive(Clone, Copy)]
struct Place<'a> {
    each: &'a Pointer,
    i: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.each.as_str(), self.i)
    }
}

fn span<'r>(row: &'r mut Row, bytes: &Range<usize>) -> &'r mut [u8] {
    row.bytes.get_mut(bytes.clone()).unwrap_or_default()
}
