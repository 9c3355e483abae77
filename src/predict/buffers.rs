//! Host buffers: where rows become the input tensors of one run.

use std::thread;

use ort::{
    session::SessionInputValue,
    value::{Tensor, TensorRef},
};

use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{BatchAxis, Dtype, MAX_BATCH_BYTES, Port, Row, RowLayout, Signature, Slot},
};

/// Bytes that are worth a thread: what it copies in as much time as it takes to start.
const ENOUGH: usize = 2 << 20;

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
    /// Room for `rows` rows of all inputs of `signature`, laid out so.
    pub(super) fn new(signature: &Signature, layout: RowLayout, rows: usize) -> Self {
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
        Buffers {
            inputs: inputs.collect(),
            layout,
        }
    }

    /// Copies `rows` in, then the last of them again until there are `width`, all as long as the longest of them, and
    /// gives the tensors over the buffers, in the model's order. Texts have no buffer: ONNX Runtime copies them itself.
    pub(super) fn assemble<'a>(
        &'a mut self,
        rows: &[&'a Row],
        width: usize,
    ) -> Result<Vec<SessionInputValue<'a>>, Fault> {
        let rows = Rows::of(rows, width).ok_or_else(|| internal("no rows to assemble"))?;
        if !rows.given.iter().all(|row| fits(&self.layout, row)) {
            return Err(internal("the rows do not fit the model's layout"));
        }
        self.inputs
            .iter_mut()
            .map(|input| input.fill(rows))
            .collect()
    }
}

impl Input {
    fn fill(&mut self, rows: Rows<'_>) -> Result<SessionInputValue<'_>, Fault> {
        let (width, length) = (rows.width, rows.longest());
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
            let texts: Vec<String> = rows
                .padded() // owned, as ort takes no borrowed ones
                .flat_map(|row| row.strings.get(range.clone()).unwrap_or_default())
                .cloned()
                .collect();
            let tensor = Tensor::from_string_array((dims, texts.as_slice()));
            return tensor
                .map(SessionInputValue::from)
                .map_err(|_| text_with_nul(&slot.name));
        }

        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        rows.lay(slot, bytes);
        let len = slot.len_of(length);
        let used = bytes.get(..len * width).unwrap_or_default();
        let tensor = match slot.dtype {
            Dtype::Float16 => view::<half::f16>(dims, used),
            Dtype::Int8 => view::<i8>(dims, used),
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

/// The layout of a session's rows, once it is known that so many fit into a batch.
pub(super) fn layout(
    signature: &Signature,
    rows: usize,
    longest: Option<usize>,
) -> Result<RowLayout, Fault> {
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
    Ok(layout)
}

/// Whether a row is of this layout.
pub(super) fn fits(layout: &RowLayout, row: &Row) -> bool {
    row.bytes.len() == layout.bytes(row.length)
        && row.strings.len() == layout.strings()
        && row.length <= layout.longest()
}

/// The rows of one run.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    given: &'a [&'a Row],
    last: &'a Row,
    width: usize,
    longest: usize,
}

impl<'a> Rows<'a> {
    /// At least one, and no more than `width`.
    pub(super) fn of(rows: &'a [&'a Row], width: usize) -> Option<Self> {
        Some(Rows {
            last: rows.last().filter(|_| rows.len() <= width)?,
            longest: rows.iter().map(|row| row.length).max().unwrap_or(0),
            given: rows,
            width,
        })
    }

    /// Steps of the longest.
    pub(super) fn longest(self) -> usize {
        self.longest
    }

    /// With the longest a multiple of `steps`, but no longer than `most`; alone, a row stays as it is.
    pub(super) fn rounded(self, steps: usize, most: usize) -> Self {
        let rounded = self.longest.next_multiple_of(steps).min(most);
        Rows {
            longest: if self.width > 1 {
                rounded.max(self.longest)
            } else {
                self.longest
            },
            ..self
        }
    }

    /// The last one again until there are `width`.
    fn padded(self) -> impl Iterator<Item = &'a Row> {
        let again = std::iter::repeat(self.last);
        self.given.iter().copied().chain(again).take(self.width)
    }

    /// Writes what all have for one input side by side, front to back, each as long as the longest.
    pub(super) fn lay(self, slot: &Slot, bytes: &mut [u8]) {
        self.lay_from(0, slot, bytes);
    }

    /// The same on so many threads, where there is enough for each of them.
    pub(super) fn lay_on(self, threads: usize, slot: &Slot, bytes: &mut [u8]) {
        let len = slot.len_of(self.longest);
        let enough = (bytes.len() / ENOUGH).clamp(1, threads.max(1));
        let each = self.width.div_ceil(enough);
        if enough == 1 || len == 0 {
            return self.lay(slot, bytes);
        }
        let mut shares = bytes.chunks_mut(len * each).enumerate();
        let own = shares.next();
        thread::scope(|scope| {
            for (number, share) in shares {
                scope.spawn(move || self.lay_from(number * each, slot, share));
            }
            if let Some((_, share)) = own {
                self.lay_from(0, slot, share);
            }
        });
    }

    /// From this row on, as far as `bytes` go.
    fn lay_from(self, first: usize, slot: &Slot, bytes: &mut [u8]) {
        let len = slot.len_of(self.longest);
        if len == 0 {
            return;
        }
        for (row, place) in self.padded().skip(first).zip(bytes.chunks_exact_mut(len)) {
            let source = row.bytes.get(slot.bytes(row.length)).unwrap_or_default();
            if let Some((steps, padding)) = place.split_at_mut_checked(source.len()) {
                steps.copy_from_slice(source);
                padding.fill(0);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(layout: &RowLayout) -> &Slot {
        layout.slots().first().expect("one input")
    }

    #[test]
    fn many_threads_write_what_one_does() {
        let wide = ("x".to_owned(), Dtype::Uint8, vec![300_000]);
        let layout = RowLayout::new([wide]);
        let rows: Vec<Row> = (0..21_u8)
            .map(|n| Row {
                bytes: (0..300_000_usize)
                    .map(|i| n.wrapping_add(i.to_le_bytes()[0]))
                    .collect(),
                strings: Vec::new(),
                length: 0,
            })
            .collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let rows = Rows::of(&rows, 25).expect("rows");
        let (mut alone, mut together) = (vec![0; 25 * 300_000], vec![1; 25 * 300_000]);
        rows.lay(slot(&layout), &mut alone);
        for threads in [1, 2, 3, 4, 7] {
            together.fill(1);
            rows.lay_on(threads, slot(&layout), &mut together);
            assert!(alone == together, "{threads} threads");
        }
    }

    #[test]
    fn steps_are_rounded_up_where_rows_share_a_run() {
        let layout = RowLayout::with_sequences([("x".to_owned(), Dtype::Uint8, vec![20], true)]);
        let (short, long) = (layout.row(9), layout.row(3));
        let longest = |rows: &[&Row], width, most| {
            let rows = Rows::of(rows, width).expect("rows");
            rows.rounded(8, most).longest()
        };
        assert_eq!(longest(&[&short], 1, 20), 9, "alone");
        assert_eq!(longest(&[&short, &long], 2, 20), 16);
        assert_eq!(longest(&[&short, &long], 2, 12), 12);
        assert_eq!(longest(&[&short, &long], 2, 9), 9);
    }
}
