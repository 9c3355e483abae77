//! What a run gave, copied out of ONNX Runtime's memory and widened to the few types of [`Values`].

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
            Dtype::Float32 | Dtype::Bool => Values::Float(Vec::new()),
            Dtype::Float64 => Values::Double(Vec::new()),
            Dtype::Uint8 | Dtype::Int32 | Dtype::Int64 => Values::Int(Vec::new()),
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

    let elements: usize = output.row_shape.iter().product();
    let (take, room) = (elements * share.rows, elements * share.batch);
    let done = match (&mut output.values, ty) {
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

fn extend<T: PrimitiveTensorElementType + Copy, U>(
    to: &mut Vec<U>,
    value: &DynValue,
    take: usize,
    room: usize,
    widen: impl Fn(T) -> Option<U>,
) -> Result<(), String> {
    let (_, from) = value.try_extract_tensor::<T>().map_err(|e| e.to_string())?;
    let from = from.get(..take).ok_or("is shorter than its shape says")?;
    to.reserve_exact(room.saturating_sub(to.len()));
    for element in from {
        to.push(widen(*element).ok_or("has a number beyond 64-bit signed integers")?);
    }
    Ok(())
}

fn extend_text(to: &mut Vec<String>, value: &DynValue, take: usize) -> Result<(), String> {
    let (_, from) = value.try_extract_strings().map_err(|e| e.to_string())?;
    to.extend(from.into_iter().take(take));
    Ok(())
}
