//! Shape, dtype and the three things that cross the border to the device: [`Row`], `Batch`, [`Outputs`].
//!
//! A representation is 1..n rows. A row holds one example for *every* model input, packed into one
//! byte buffer in the order of its [`RowLayout`]; a batch is those bytes laid side by side, input by
//! input. Bytes and not typed vectors, because assembling a batch is then the same few `memcpy`s
//! whatever the dtype.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Element type of a tensor, in the names that ONNX uses in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
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
            Dtype::Uint8 | Dtype::Bool => 1,
            Dtype::String => 0,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::Float32 => "float32",
            Dtype::Float64 => "float64",
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

/// One model input's place in a [`Row`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The ONNX input's name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape of one row, without the batch axis; the most that it may be where the first axis is a sequence.
    pub shape: Vec<usize>,
    /// Whether the first axis is a sequence: in a run it is as long as that of the longest row.
    pub sequence: bool,
    /// For strings: index of the first element in [`Row::strings`]; else byte offset in [`Row::bytes`].
    pub offset: usize,
}

impl Slot {
    /// Number of elements of one row; a shape beyond all memory has `usize::MAX`.
    #[must_use]
    pub fn elements(&self) -> usize {
        let elements = self.shape.iter().copied();
        elements.fold(1, usize::saturating_mul)
    }

    /// Number of bytes of one row; 0 for strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }

    /// Where the bytes of one row lie in [`Row::bytes`].
    #[must_use]
    pub fn bytes(&self) -> std::ops::Range<usize> {
        self.offset..self.offset.saturating_add(self.len())
    }

    /// Number of bytes of one step of a sequence.
    #[must_use]
    pub fn step(&self) -> usize {
        let rest = self.shape.iter().skip(1).copied();
        rest.fold(self.dtype.size(), usize::saturating_mul)
    }

    /// Whether a row has no bytes here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where each model input lies in a [`Row`]: fixed for a package version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowLayout {
    slots: Vec<Slot>,
    bytes: usize,
    strings: usize,
}

impl RowLayout {
    /// Lays out `(name, dtype, row shape)` one after the other, in the given order.
    #[must_use]
    pub fn new(inputs: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>) -> Self {
        let fixed = inputs.into_iter();
        RowLayout::with_sequences(fixed.map(|(name, dtype, shape)| (name, dtype, shape, false)))
    }

    /// The same of `(name, dtype, row shape, whether its first axis is a sequence)`.
    #[must_use]
    pub fn with_sequences(
        inputs: impl IntoIterator<Item = (String, Dtype, Vec<usize>, bool)>,
    ) -> Self {
        let mut layout = RowLayout::default();
        for (name, dtype, shape, sequence) in inputs {
            let mut slot = Slot {
                name,
                dtype,
                shape,
                sequence,
                offset: layout.bytes,
            };
            if dtype == Dtype::String {
                slot.offset = layout.strings;
                layout.strings = layout.strings.saturating_add(slot.elements());
            } else {
                layout.bytes = layout.bytes.saturating_add(slot.len());
            }
            layout.slots.push(slot);
        }
        layout
    }

    /// The inputs in the model's order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes of one row.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Strings of one row.
    #[must_use]
    pub fn strings(&self) -> usize {
        self.strings
    }

    /// The most steps that a row's sequences may have; 0 where it has none.
    #[must_use]
    pub fn longest(&self) -> usize {
        let mut sequences = self.slots.iter().filter(|slot| slot.sequence);
        let first = sequences.next().and_then(|slot| slot.shape.first());
        first.copied().unwrap_or(0)
    }

    /// Bytes of host memory that `rows` rows take in one batch.
    #[must_use]
    pub fn batch_bytes(&self, rows: usize) -> usize {
        let strings = self.strings.saturating_mul(size_of::<String>());
        self.bytes.saturating_add(strings).saturating_mul(rows)
    }

    /// The row with so many steps of its sequences, where it has more.
    #[must_use]
    pub fn shortened(&self, row: &Row, length: usize) -> Row {
        let mut row = row.clone();
        row.length = row.length.min(length);
        for slot in self.slots.iter().filter(|slot| slot.sequence) {
            let behind = slot.offset + slot.step() * row.length..slot.bytes().end;
            row.bytes.get_mut(behind).unwrap_or_default().fill(0);
        }
        row
    }

    /// A row of zeros and empty strings, as long as can be, to be filled in.
    #[must_use]
    pub fn row(&self) -> Row {
        Row {
            bytes: vec![0; self.bytes],
            strings: vec![String::new(); self.strings],
            length: self.longest(),
        }
    }
}

/// One example: a value for every model input, packed as its [`RowLayout`] says, native endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Elements of all inputs that are not strings.
    pub bytes: Vec<u8>,
    /// Elements of all string inputs.
    pub strings: Vec<String>,
    /// Steps that its sequences have; behind them all is zero. 0 where it has no sequence.
    pub length: usize,
}

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
