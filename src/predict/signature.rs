//! What a model's graph declares, in this house's words.

use ort::value::{Outlet, TensorElementType as Element, ValueType};

use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{BatchAxis, Dtype, Port, Signature},
};

/// Reads the ports of an opened model.
///
/// The first axis is the batch, always: symbolic or open is any number of rows, a number is just that
/// many, as models exported for one example have it; a scalar has none. `wanted` are the outputs that
/// will be fetched (empty: all); others may be of any type.
pub(super) fn read(model: &ort::session::Session, wanted: &[String]) -> Result<Signature, Fault> {
    let inputs = model.inputs().iter().map(input).collect::<Result<_, _>>()?;
    let outputs = if wanted.is_empty() {
        model
            .outputs()
            .iter()
            .map(output)
            .collect::<Result<_, _>>()?
    } else {
        let find = |name: &String| {
            let found = model.outputs().iter().find(|o| o.name() == name);
            found.map_or_else(|| Err(no_such_output(name, model.outputs())), output)
        };
        wanted.iter().map(find).collect::<Result<_, _>>()?
    };
    Ok(Signature { inputs, outputs })
}

fn no_such_output(name: &str, outputs: &[Outlet]) -> Fault {
    let known: Vec<_> = outputs.iter().map(|o| format!("`{}`", o.name())).collect();
    fault(format!(
        "the model has no output `{name}`; it has {}; name one of those",
        known.join(", ")
    ))
}

fn fault(detail: String) -> Fault {
    Fault::model(Stage::Predict, detail)
}

const INPUTS: &[(Element, Dtype)] = &[
    (Element::Float32, Dtype::Float32),
    (Element::Float64, Dtype::Float64),
    (Element::Uint8, Dtype::Uint8),
    (Element::Int32, Dtype::Int32),
    (Element::Int64, Dtype::Int64),
    (Element::Bool, Dtype::Bool),
    (Element::String, Dtype::String),
];

/// Inputs that are taken as they are, and whose like is widened where it is an output.
const NARROW_INPUTS: &[(Element, Dtype)] = &[
    (Element::Float16, Dtype::Float16),
    (Element::Int8, Dtype::Int8),
];

/// Outputs are widened when read, so these are understood besides.
const NARROW_OUTPUTS: &[(Element, Dtype)] = &[
    (Element::Float16, Dtype::Float32),
    (Element::Bfloat16, Dtype::Float32),
    (Element::Int8, Dtype::Int32),
    (Element::Int16, Dtype::Int32),
    (Element::Uint16, Dtype::Int32),
    (Element::Uint32, Dtype::Int64),
    (Element::Uint64, Dtype::Int64),
];

fn input(outlet: &Outlet) -> Result<Port, Fault> {
    port(outlet, &[INPUTS, NARROW_INPUTS]).map_err(|found| {
        fault(format!(
            "input `{}` is {found}; expected a tensor of float16, float32, float64, int8, uint8, int32, int64, bool or string; export the model with such an input, or put a Cast before it",
            outlet.name()
        ))
    })
}

fn output(outlet: &Outlet) -> Result<Port, Fault> {
    port(outlet, &[INPUTS, NARROW_OUTPUTS]).map_err(|found| {
        let mend = if found.contains("map of") {
            "convert with options={\"zipmap\": False}, which gives a tensor [N, classes]"
        } else {
            "export the model with a tensor output of floats, integers, booleans or strings"
        };
        fault(format!(
            "output `{}` is {found}; expected a tensor; {mend}",
            outlet.name()
        ))
    })
}

/// The port, or the type found in words.
fn port(outlet: &Outlet, known: &[&[(Element, Dtype)]]) -> Result<Port, String> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(in_words(outlet.dtype()));
    };
    let mut known = known.iter().copied().flatten();
    let (_, dtype) = known
        .find(|(element, _)| element == ty)
        .ok_or_else(|| in_words(outlet.dtype()))?;
    let mut dims = shape.iter().map(|dim| usize::try_from(*dim).ok());
    let batch = match dims.next() {
        None => BatchAxis::Absent,
        Some(None) => BatchAxis::Dynamic,
        Some(Some(rows)) => BatchAxis::Fixed(rows),
    };
    Ok(Port {
        name: outlet.name().to_owned(),
        dtype: *dtype,
        row_shape: dims.collect(),
        batch,
    })
}

fn in_words(kind: &ValueType) -> String {
    match kind {
        ValueType::Tensor { ty, .. } => format!("a tensor of {ty}"),
        ValueType::Sequence(inner) => format!("a sequence: each {}", in_words(inner)),
        ValueType::Map { key, value } => format!("a map of {key} to {value}"),
        ValueType::Optional(inner) => format!("optional: {}", in_words(inner)),
    }
}

/// How many rows one run of the model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// As many as there are.
    Any,
    /// Just so many: a short run is padded.
    Just(usize),
    /// One, and neither inputs nor outputs have an axis for it.
    Scalar,
}

impl Width {
    /// Most rows of one run.
    pub(super) fn step(self, max_size: usize) -> usize {
        match self {
            Width::Any => max_size,
            Width::Just(width) => width,
            Width::Scalar => 1,
        }
    }

    /// The first axis of a run of so many rows, padding included; `None` where there is none.
    pub(super) fn axis(self, rows: usize) -> Option<usize> {
        match self {
            Width::Any => Some(rows),
            Width::Just(width) => Some(width),
            Width::Scalar => None,
        }
    }
}

/// Whether the inputs agree on how they carry the batch.
pub(super) fn width(inputs: &[Port]) -> Result<Width, Fault> {
    if inputs.iter().all(|port| port.batch == BatchAxis::Absent) {
        return Ok(Width::Scalar);
    }
    let rows = |port: &Port| match port.batch {
        BatchAxis::Dynamic => None,
        BatchAxis::Fixed(rows) => Some(rows),
        BatchAxis::Absent => Some(1),
    };
    let mut numbers = inputs.iter().filter_map(rows);
    let Some(first) = numbers.next() else {
        return Ok(Width::Any);
    };
    if first == 0 || numbers.any(|other| other != first) {
        let found: Vec<_> = inputs
            .iter()
            .map(|port| format!("`{}`: {:?}", port.name, port.batch))
            .collect();
        return Err(fault(format!(
            "the inputs disagree on how many rows a run takes ({}); export the model with a dynamic first axis on every input",
            found.join(", ")
        )));
    }
    Ok(Width::Just(first))
}
