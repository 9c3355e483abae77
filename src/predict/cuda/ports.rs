//! A model's inputs and outputs, as far as they can be bound before a run.

use std::ffi::CString;

use ort::{
    session::Session,
    value::{TensorElementType as Element, ValueType},
};

use super::binding::Name;
use crate::{
    predict::{outputs, signature::Width},
    tensor::{self, BatchAxis, Dtype, Port},
};

/// An input, as it is bound.
pub(super) struct Input {
    pub(super) name: Name,
    pub(super) slot: tensor::Slot,
    pub(super) has_batch_axis: bool,
}

/// An output, as it is bound and read.
pub(super) struct Output {
    pub(super) name: Name,
    pub(super) port: Port,
    pub(super) element: Element,
    pub(super) row_shape: Vec<usize>,
    pub(super) row_bytes: usize,
    pub(super) has_batch_axis: bool,
}

/// `None` of what is no number.
pub(super) fn input(model: &Session, (slot, port): (&tensor::Slot, &Port)) -> Option<Input> {
    let declared = model
        .inputs()
        .iter()
        .find(|input| input.name() == port.name);
    let (name, _) = name(declared?).filter(|_| port.dtype != Dtype::String)?;
    Some(Input {
        name,
        slot: slot.clone(),
        has_batch_axis: port.batch != BatchAxis::Absent,
    })
}

/// `None` of what has no fixed shape.
pub(super) fn output(model: &Session, port: &Port, width: Width) -> Option<Output> {
    let known = match (width, port.batch) {
        (Width::Any | Width::Just(_), BatchAxis::Dynamic) | (Width::Scalar, BatchAxis::Absent) => {
            true
        }
        (Width::Just(rows), BatchAxis::Fixed(declared)) => rows == declared,
        // What such a model gives is not told by what it declares.
        (Width::Any, BatchAxis::Fixed(_) | BatchAxis::Absent)
        | (Width::Just(_), BatchAxis::Absent)
        | (Width::Scalar, BatchAxis::Dynamic | BatchAxis::Fixed(_)) => false,
    };
    if !known {
        return None;
    }
    let declared = model
        .outputs()
        .iter()
        .find(|output| output.name() == port.name);
    let (name, element) = name(declared?)?;
    let row_shape: Vec<usize> = port.row_shape.iter().copied().collect::<Option<_>>()?;
    let elements = row_shape.iter().copied().fold(1, usize::saturating_mul);
    Some(Output {
        name,
        port: port.clone(),
        element,
        row_bytes: elements.saturating_mul(outputs::size(element)?),
        row_shape,
        has_batch_axis: port.batch != BatchAxis::Absent,
    })
}

fn name(outlet: &ort::value::Outlet) -> Option<(Name, Element)> {
    let ValueType::Tensor { ty, .. } = outlet.dtype() else {
        return None;
    };
    let name = CString::new(outlet.name()).ok()?;
    let element = (*ty).into();
    Some((Name { name, element }, *ty))
}
