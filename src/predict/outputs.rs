//! What a run gave, copied out of ONNX Runtime's memory and widened to the few types of [`Values`].

use bytemuck::{CheckedBitPattern, checked::try_cast_slice};
use half::{bf16, f16};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType as Element, ValueType};

use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{Dtype, Output, Port, Values},
};

/// An output without rows yet.
pub(super) fn empty(port: &Port) -> Output {
    Output {
        name: port.name.clone(),
        row_shape: Vec::new(),
        values: match port.dtype {
            Dtype::Float16 | Dtype::Float32 | Dtype::Bool => Values::Float(Vec::new()),
            Dtype::Float64 => Values::Double(Vec::new()),
            Dtype::Int8 | Dtype::Uint8 | Dtype::Int32 | Dtype::Int64 => Values::Int(Vec::new()),
            Dtype::String => Values::Text(Vec::new()),
        },
    }
}

/// One run's share of the rows of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Rows that the run was given, padding included; `None` where the model knows no batch axis.
    pub(super) ran: Option<usize>,
    /// Rows that count.
    pub(super) rows: usize,
    /// Rows of the whole batch: the room to reserve.
    pub(super) batch: usize,
}

/// Where a run's elements are read.
#[derive(Clone, Copy)]
enum Given<'a> {
    Value(&'a DynValue),
    Bytes(&'a [u8]),
}

/// Adds the rows of a run, whose shape was fixed before it, from the memory that they are in.
pub(super) fn append_bytes(
    output: &mut Output,
    (element, bytes): (Element, &[u8]),
    row_shape: &[usize],
    share: Share,
) -> Result<(), Fault> {
    if output.values.is_empty() {
        output.row_shape = row_shape.to_vec();
    }
    widen(output, element, Given::Bytes(bytes), share)
}

/// Bytes of an element; `None` where it has no fixed size, or is of a type that no output has.
pub(super) fn size(element: Element) -> Option<usize> {
    let mut known = SIZES.iter();
    let (_, size) = known.find(|(elements, _)| elements.contains(&element))?;
    Some(*size)
}

const SIZES: [(&[Element], usize); 4] = [
    (&[Element::Float64, Element::Int64, Element::Uint64], 8),
    (&[Element::Float32, Element::Int32, Element::Uint32], 4),
    (
        &[
            Element::Float16,
            Element::Bfloat16,
            Element::Int16,
            Element::Uint16,
        ],
        2,
    ),
    (&[Element::Int8, Element::Uint8, Element::Bool], 1),
];

/// Adds a run's rows to `output`, once their number is what it must be.
pub(super) fn append(output: &mut Output, value: &DynValue, share: Share) -> Result<(), Fault> {
    let fault = |text: String| {
        let name = &output.name;
        Fault::model(Stage::Predict, format!("output `{name}` {text}"))
    };
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(fault(format!("is {}, not a tensor", value.dtype())));
    };
    let row_dims = match (share.ran, shape.split_first()) {
        (None, _) => &shape[..],
        (Some(ran), Some((rows, row_dims))) if usize::try_from(*rows) == Ok(ran) => row_dims,
        (Some(ran), Some((rows, _))) => {
            return Err(fault(format!(
                "has a row count of {rows} for a batch of {ran}; expected one row for each"
            )));
        }
        (Some(ran), None) => {
            return Err(fault(format!(
                "has no batch axis; expected a row count of {ran}"
            )));
        }
    };
    let row_shape: Vec<usize> = row_dims
        .iter()
        .map(|dim| usize::try_from(*dim).unwrap_or(0))
        .collect();
    if output.values.is_empty() {
        output.row_shape = row_shape;
    } else if output.row_shape != row_shape {
        return Err(fault(format!(
            "has rows of shape {row_shape:?} after rows of shape {:?}",
            output.row_shape
        )));
    }

    widen(output, *ty, Given::Value(value), share)
}

fn widen(
    output: &mut Output,
    element: Element,
    value: Given<'_>,
    share: Share,
) -> Result<(), Fault> {
    let elements: usize = output.row_shape.iter().product();
    let (take, room) = (elements * share.rows, elements * share.batch);
    let done = match (&mut output.values, element) {
        (Values::Float(to), Element::Float32) => extend(to, value, take, room, |v: f32| Some(v)),
        (Values::Float(to), Element::Float16) => {
            extend(to, value, take, room, |v: f16| Some(v.to_f32()))
        }
        (Values::Float(to), Element::Bfloat16) => {
            extend(to, value, take, room, |v: bf16| Some(v.to_f32()))
        }
        (Values::Float(to), Element::Bool) => extend(to, value, take, room, |v: bool| {
            Some(f32::from(u8::from(v)))
        }),
        (Values::Double(to), Element::Float64) => extend(to, value, take, room, |v: f64| Some(v)),
        (Values::Int(to), Element::Int8) => extend(to, value, take, room, |v: i8| Some(v.into())),
        (Values::Int(to), Element::Uint8) => extend(to, value, take, room, |v: u8| Some(v.into())),
        (Values::Int(to), Element::Int16) => extend(to, value, take, room, |v: i16| Some(v.into())),
        (Values::Int(to), Element::Uint16) => {
            extend(to, value, take, room, |v: u16| Some(v.into()))
        }
        (Values::Int(to), Element::Int32) => extend(to, value, take, room, |v: i32| Some(v.into())),
        (Values::Int(to), Element::Uint32) => {
            extend(to, value, take, room, |v: u32| Some(v.into()))
        }
        (Values::Int(to), Element::Int64) => extend(to, value, take, room, |v: i64| Some(v)),
        (Values::Int(to), Element::Uint64) => {
            extend(to, value, take, room, |v: u64| v.try_into().ok())
        }
        (Values::Text(to), Element::String) => extend_text(to, value, take),
        (_, found) => Err(format!(
            "is of type {found}, not of the type that the graph declares"
        )),
    };
    done.map_err(|text| Fault::model(Stage::Predict, format!("output `{}` {text}", output.name)))
}

/// Puts the rows in another order: the one that is at `i` goes to `places[i]`.
pub(super) fn reorder(output: &mut Output, places: &[usize]) {
    let elements: usize = output.row_shape.iter().product();
    match &mut output.values {
        Values::Float(values) => move_rows(values, places, elements),
        Values::Double(values) => move_rows(values, places, elements),
        Values::Int(values) => move_rows(values, places, elements),
        Values::Text(values) => move_rows(values, places, elements),
    }
}

fn move_rows<T: Clone>(values: &mut [T], places: &[usize], elements: usize) {
    let before = values.to_vec();
    for (row, place) in before.chunks_exact(elements.max(1)).zip(places) {
        if let Some(to) = values.get_mut(place * elements..(place + 1) * elements) {
            to.clone_from_slice(row);
        }
    }
}

fn extend<T: PrimitiveTensorElementType + CheckedBitPattern, U>(
    to: &mut Vec<U>,
    value: Given<'_>,
    take: usize,
    room: usize,
    widen: impl Fn(T) -> Option<U>,
) -> Result<(), String> {
    let from: &[T] = match value {
        Given::Value(value) => value.try_extract_tensor().map_err(|e| e.to_string())?.1,
        Given::Bytes(bytes) => try_cast_slice(bytes).map_err(|e| e.to_string())?,
    };
    let from = from.get(..take).ok_or("is shorter than its shape says")?;
    to.reserve_exact(room.saturating_sub(to.len()));
    for element in from {
        to.push(widen(*element).ok_or("has a number beyond 64-bit signed integers")?);
    }
    Ok(())
}

fn extend_text(to: &mut Vec<String>, value: Given<'_>, take: usize) -> Result<(), String> {
    let Given::Value(value) = value else {
        return Err("is text, which has no bytes of its own".to_owned());
    };
    let (_, from) = value.try_extract_strings().map_err(|e| e.to_string())?;
    to.extend(from.into_iter().take(take));
    Ok(())
}
