//! Shape, dtype and the three things that cross the border to the device: [`Row`], `Batch`, [`Outputs`].
//!
//! A representation is 1..n rows. A row holds one example for *every* model input, packed into one
//! byte buffer in the order of its [`RowLayout`]; a batch is those bytes laid side by side, input by
//! input. Bytes and not typed vectors, because assembling a batch is then the same few `memcpy`s
//! whatever the dtype.

mod layout;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::layout::{Row, RowLayout, Slot};

/// Element type of a tensor, in the names that ONNX uses in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 16-bit float: inputs only, as outputs are widened.
    Float16,
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// 8-bit signed integer: inputs only, as outputs are widened.
    Int8,
    /// 8-bit unsigned integer.
    Uint8,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// Boolean, one byte an element.
    Bool,
    /// UTF-8 text. Has no bytes in a row's buffer; lives in [`Row::strings`].
    String,
}

impl Dtype {
    /// Bytes of one element; 0 for [`Dtype::String`].
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Dtype::Float32 | Dtype::Int32 => 4,
            Dtype::Float64 | Dtype::Int64 => 8,
            Dtype::Float16 => 2,
            Dtype::Int8 | Dtype::Uint8 | Dtype::Bool => 1,
            Dtype::String => 0,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::Float16 => "float16",
            Dtype::Float32 => "float32",
            Dtype::Float64 => "float64",
            Dtype::Int8 => "int8",
            Dtype::Uint8 => "uint8",
            Dtype::Int32 => "int32",
            Dtype::Int64 => "int64",
            Dtype::Bool => "bool",
            Dtype::String => "string",
        })
    }
}

/// Bytes that the inputs of one full batch may take, 1 GiB: every session holds a buffer of that size for good.
pub const MAX_BATCH_BYTES: usize = 1 << 30;

/// Values of one output for a whole batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats of any width, and booleans as 0 and 1.
    Float(Vec<f32>),
    /// 64-bit floats, kept exact.
    Double(Vec<f64>),
    /// Integers of any width.
    Int(Vec<i64>),
    /// Text, as label outputs of converted scikit-learn models have it.
    Text(Vec<String>),
}

impl Values {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Values::Float(v) => v.len(),
            Values::Double(v) => v.len(),
            Values::Int(v) => v.len(),
            Values::Text(v) => v.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One named output of a run: `[rows, …row_shape]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The ONNX output's name.
    pub name: String,
    /// Shape of one row, without the batch axis.
    pub row_shape: Vec<usize>,
    /// All rows, one after the other.
    pub values: Values,
}

/// What one run of the model gave for a whole batch. Every output has exactly `rows` rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// Rows of the batch, padding excluded.
    pub rows: usize,
    /// The outputs that the package's decision reads.
    pub outputs: Vec<Output>,
    /// What ran of sequences.
    pub steps: Steps,
}

/// Steps of the sequences of a batch; none where it has no sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// That the rows have.
    pub real: usize,
    /// That ran: rows that run together are all as long as the longest of them.
    pub padded: usize,
}

/// One request row's share of a batch's [`Outputs`].
#[derive(Clone, Debug)]
pub struct RowOutputs {
    /// The batch's outputs, shared by all its rows.
    pub outputs: Arc<Outputs>,
    /// Which row.
    pub row: usize,
}

/// The elements of one row of one output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowValues<'a> {
    /// See [`Values::Float`].
    Float(&'a [f32]),
    /// See [`Values::Double`].
    Double(&'a [f64]),
    /// See [`Values::Int`].
    Int(&'a [i64]),
    /// See [`Values::Text`].
    Text(&'a [String]),
}

impl RowOutputs {
    /// This row's elements of the output `name`; `None` when there is no such output or it is too short.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<RowValues<'_>> {
        let output = self.outputs.outputs.iter().find(|o| o.name == name)?;
        let n: usize = output.row_shape.iter().product();
        let range = self.row * n..(self.row + 1) * n;
        Some(match &output.values {
            Values::Float(v) => RowValues::Float(v.get(range)?),
            Values::Double(v) => RowValues::Double(v.get(range)?),
            Values::Int(v) => RowValues::Int(v.get(range)?),
            Values::Text(v) => RowValues::Text(v.get(range)?),
        })
    }
}

/// How a model's input or output carries the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchAxis {
    /// Any number of rows.
    Dynamic,
    /// Always this many: short batches are padded.
    Fixed(usize),
    /// None: one row a run.
    Absent,
}

/// One input or output of a model, as its graph declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The ONNX name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape of one row; `None` is an axis that the graph leaves open.
    pub row_shape: Vec<Option<usize>>,
    /// The first axis.
    pub batch: BatchAxis,
}

/// A model's inputs and outputs, in the graph's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// What it consumes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
}

impl Signature {
    /// The number of rows that every run has, where an input fixes it.
    #[must_use]
    pub fn fixed_batch(&self) -> Option<usize> {
        self.inputs.iter().find_map(|port| match port.batch {
            BatchAxis::Fixed(rows) => Some(rows),
            BatchAxis::Dynamic | BatchAxis::Absent => None,
        })
    }

    /// The layout of one row of all inputs. An axis behind the batch that the graph leaves open is a sequence, of
    /// `longest` steps at most.
    ///
    /// # Errors
    /// The first input with another open axis, or with any where there is no `longest`.
    pub fn layout(&self, longest: Option<usize>) -> Result<RowLayout, &Port> {
        let inputs = self.inputs.iter().map(|port| {
            let sequence = port.row_shape.first() == Some(&None);
            let first = port.row_shape.first().map(|axis| axis.or(longest));
            let axes = first
                .into_iter()
                .chain(port.row_shape.iter().skip(1).copied());
            let shape = axes.collect::<Option<Vec<_>>>();
            shape
                .map(|shape| (port.name.clone(), port.dtype, shape, sequence))
                .ok_or(port)
        });
        Ok(RowLayout::with_sequences(
            inputs.collect::<Result<Vec<_>, _>>()?,
        ))
    }
}
