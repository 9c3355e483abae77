//! An input that has as many steps as an array of the request has elements.

use super::{
    column::{self, Column, type_of},
    complaints::Complaints,
    pointer::Pointer,
    spec::Origin,
};
use crate::{
    message::document::{Elements, Kind, Node},
    tensor::{Row, Slot},
};

/// A sequence, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) pointer: Pointer,
    /// Of a step.
    pub(super) columns: Vec<Column>,
    /// The most steps.
    pub(super) longest: usize,
    pub(super) slot: Slot,
}

/// 1 for each step, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    /// 1.
    pub(super) one: Vec<u8>,
    pub(super) slot: Slot,
}

impl Sequence {
    /// The elements that become steps; `others` is how many another sequence of the row has. What is wrong with them.
    pub(super) fn elements<'v>(
        &self,
        base: Node<'v>,
        others: Option<usize>,
    ) -> Result<Elements<'v>, String> {
        let found = self.pointer.present(base);
        let Some(Kind::Array(items)) = found.map(Node::kind) else {
            let found = found.map_or("nothing", type_of);
            return Err(format!("expected an array, found {found}"));
        };
        let (found, longest) = (items.len(), self.longest);
        match others {
            _ if items.is_empty() => {
                Err("expected at least one element, found an empty array".into())
            }
            _ if found > longest => Err(format!(
                "expected at most {longest} elements, found {found}"
            )),
            Some(others) if found != others => Err(format!(
                "expected {others} elements, as many as the other sequences have, found {found}"
            )),
            Some(_) | None => Ok(items),
        }
    }

    /// Writes the steps into `row`, which is all zeros. `place` is where the elements are.
    pub(super) fn write(
        &self,
        (request, elements): (Node<'_>, Elements<'_>),
        place: &str,
        row: &mut Row,
        complaints: &mut Complaints,
    ) {
        let dtype = self.slot.dtype;
        let steps = span(row, &self.slot).chunks_exact_mut(self.slot.step().max(1));
        for (number, (element, out)) in elements.iter().zip(steps).enumerate() {
            if complaints.enough() {
                return;
            }
            let at = |origin| match origin {
                Origin::Element => element,
                Origin::Request => request,
            };
            column::write(&self.columns, at, dtype, out, |origin, unfit| {
                let pointer = unfit.pointer.as_str();
                let pointer = match origin {
                    Origin::Element => format!("{place}/{number}{pointer}"),
                    Origin::Request => pointer.to_owned(),
                };
                complaints.push(pointer, unfit.detail());
            });
        }
    }
}

impl Mask {
    /// Marks so many steps in `row`, which is all zeros.
    pub(super) fn write(&self, steps: usize, row: &mut Row) {
        let places = span(row, &self.slot).chunks_exact_mut(self.one.len().max(1));
        for place in places.take(steps) {
            place.copy_from_slice(&self.one);
        }
    }
}

fn span<'r>(row: &'r mut Row, slot: &Slot) -> &'r mut [u8] {
    row.bytes
        .get_mut(slot.bytes(row.length))
        .unwrap_or_default()
}
