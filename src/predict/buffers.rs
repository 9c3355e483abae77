//! Host buffers: where rows become the input tensors of one run.

use ort::{
    session::SessionInputValue,
    value::{Tensor, TensorRef},
};

use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{BatchAxis, Dtype, MAX_BATCH_BYTES, Port, Row, RowLayout, Signature, Slot},
};

/// One buffer for each model input, allocated once for the widest run and filled anew for every one.
pub(super) struct Buffers {
    inputs: Vec<Input>,
    layout: RowLayout,
}

struct Input {
    slot: Slot,
    /// Rows side by side. Words and not bytes, so that a view of any dtype is aligned.
    words: Vec<u64>,
    /// Shape of the tensor; the first axis, and that of a sequence, are set at each run.
    dims: Vec<i64>,
    has_batch_axis: bool,
}

impl Buffers {
    /// Room for `rows` rows of all inputs of `signature`, with sequences of `longest` steps at most.
    pub(super) fn new(
        signature: &Signature,
        rows: usize,
        longest: Option<usize>,
    ) -> Result<Self, Fault> {
        let layout = signature.layout(longest).map_err(|port| {
            Fault::model(
                Stage::Predict,
                format!(
                    "input `{}` leaves an axis besides the first one open; expected a fixed shape of one row; export the model with that axis fixed",
                    port.name
                ),
            )
        })?;
        if layout.batch_bytes(rows) > MAX_BATCH_BYTES {
            return Err(Fault::model(
                Stage::Predict,
                format!(
                    "a batch of {rows} rows takes {} bytes; expected at most {MAX_BATCH_BYTES}; lower batch.max_size, or export the model with smaller inputs",
                    layout.batch_bytes(rows)
                ),
            ));
        }
        let input = |(slot, port): (&Slot, &Port)| {
            let has_batch_axis = port.batch != BatchAxis::Absent;
            let row_dims = slot.shape.iter().map(|dim| dim_of(*dim));
            Input {
                words: vec![0; (slot.len() * rows).div_ceil(size_of::<u64>())],
                dims: has_batch_axis
                    .then_some(0)
                    .into_iter()
                    .chain(row_dims)
                    .collect(),
                has_batch_axis,
                slot: slot.clone(),
            }
        };
        let inputs = layout.slots().iter().zip(&signature.inputs).map(input);
        Ok(Buffers {
            inputs: inputs.collect(),
            layout,
        })
    }

    /// Copies `rows` in, then the last of them again until there are `width`, all as long as the longest of them, and
    /// gives the tensors over the buffers, in the model's order. Texts have no buffer: ONNX Runtime copies them itself.
    pub(super) fn assemble<'a>(
        &'a mut self,
        rows: &[&'a Row],
        width: usize,
    ) -> Result<Vec<SessionInputValue<'a>>, Fault> {
        let fits = |row: &&Row| {
            row.bytes.len() == self.layout.bytes(row.length)
                && row.strings.len() == self.layout.strings()
                && row.length <= self.layout.longest()
        };
        let Some(last) = rows.last().copied() else {
            return Err(internal("no rows to assemble"));
        };
        if rows.len() > width || !rows.iter().all(fits) {
            return Err(internal("the rows do not fit the model's layout"));
        }
        let padded = || {
            rows.iter()
                .copied()
                .chain(std::iter::repeat(last))
                .take(width)
        };
        let length = rows.iter().map(|row| row.length).max().unwrap_or(0);
        self.inputs
            .iter_mut()
            .map(|input| input.fill(padded(), width, length))
            .collect()
    }
}

impl Input {
    fn fill<'a>(
        &'a mut self,
        rows: impl Iterator<Item = &'a Row>,
        width: usize,
        length: usize,
    ) -> Result<SessionInputValue<'a>, Fault> {
        let mut dims = self.dims.iter_mut();
        if self.has_batch_axis
            && let Some(batch) = dims.next()
        {
            *batch = dim_of(width);
        }
        if self.slot.sequence
            && let Some(steps) = dims.next()
        {
            *steps = dim_of(length);
        }
        let (slot, dims) = (&self.slot, self.dims.as_slice());
        if slot.dtype == Dtype::String {
            let range = slot.offset..slot.offset + slot.elements();
            let texts: Vec<String> = rows // owned, as ort takes no borrowed ones
                .flat_map(|row| row.strings.get(range.clone()).unwrap_or_default())
                .cloned()
                .collect();
            let tensor = Tensor::from_string_array((dims, texts.as_slice()));
            return tensor
                .map(SessionInputValue::from)
                .map_err(|_| text_with_nul(&slot.name));
        }

        let len = slot.len_of(length);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        if len > 0 {
            for (row, place) in rows.zip(bytes.chunks_exact_mut(len)) {
                let source = row.bytes.get(slot.bytes(row.length)).unwrap_or_default();
                if let Some((steps, padding)) = place.split_at_mut_checked(source.len()) {
                    steps.copy_from_slice(source);
                    padding.fill(0);
                }
            }
        }
        let used = bytes.get(..len * width).unwrap_or_default();
        let tensor = match slot.dtype {
            Dtype::Float32 => view::<f32>(dims, used),
            Dtype::Float64 => view::<f64>(dims, used),
            Dtype::Uint8 => view::<u8>(dims, used),
            Dtype::Int32 => view::<i32>(dims, used),
            Dtype::Int64 => view::<i64>(dims, used),
            Dtype::Bool => view::<bool>(dims, used),
            Dtype::String => None,
        };
        tensor.ok_or_else(|| internal("a buffer is no valid tensor of its input"))
    }
}

/// The bytes as a tensor that borrows them.
fn view<'a, T>(dims: &'a [i64], bytes: &'a [u8]) -> Option<SessionInputValue<'a>>
where
    T: ort::value::PrimitiveTensorElementType
        + bytemuck::CheckedBitPattern
        + std::fmt::Debug
        + 'static,
{
    let elements: &[T] = bytemuck::checked::try_cast_slice(bytes).ok()?;
    TensorRef::from_array_view((dims, elements))
        .map(SessionInputValue::from)
        .ok()
}

fn dim_of(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn internal(detail: &str) -> Fault {
    Fault::internal(Stage::Predict, detail)
}

fn text_with_nul(input: &str) -> Fault {
    Fault::model(
        Stage::Predict,
        format!("a text for input `{input}` has a NUL character, which ONNX Runtime cannot take"),
    )
}
