//! Batches one after another through the slots: written, copied up, run, copied down, read.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use cudarc::driver::{CudaEvent, CudaStream, DriverError};
use ort::session::{HasSelectedOutputs, RunOptions, Session};

use super::{
    Gpu,
    binding::{Binding, Failed, Tensor},
    failed,
    flying::Flying,
    internal,
    memory::ALIGNMENT,
    plant::{Wait, is_left_out},
    ports::{Input, Output, input, output},
    slot::{Sizes, Slot},
};
use crate::{
    fault::Fault,
    predict::{
        buffers::{self, Rows},
        outputs::Share,
        parts::Pace,
        ring::{Ring, Step},
        session::{lock, run_fault},
        signature::Width,
        widths::Widths,
    },
    tensor::{Row, RowLayout, Signature, Steps},
};

/// One batch runs, one waits behind it with its inputs on the device, one is written or read.
const SLOTS: usize = 3;

/// Most threads that write the rows of a batch: one wrote the pictures of 64 rows in more time than an H200 ran them.
const WRITERS: usize = 4;

/// So many shapes are remembered.
const SHAPES: usize = 4_096;

/// Rows of different lengths are padded to a multiple of so many steps: tensor cores want 16-bit floats by eights.
const ROUND: usize = 8;

/// A session's way through the GPU. Used by the session's own thread; what flies may land on any.
pub(in crate::predict) struct Pipe {
    pub(super) gpu: Arc<Gpu>,
    pub(super) binding: Binding,
    pub(super) ring: Ring<Slot>,
    layout: RowLayout,
    inputs: Vec<Input>,
    outputs: Arc<[Output]>,
    pace: Arc<Mutex<Pace>>,
    widths: Arc<Mutex<Widths>>,
    /// Rows and steps that have run.
    shapes: HashSet<(usize, usize)>,
    /// Most rows of a batch.
    most: usize,
    /// Threads that write rows.
    writers: usize,
}

/// Rows that run together.
pub(super) struct Part {
    pub(super) share: Share,
    pub(super) width: usize,
    pub(super) longest: usize,
    /// Whether the device is used to its shape, so that how long it takes says something.
    pub(super) settled: bool,
    /// Where it begins in each input, and in each output.
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

impl Pipe {
    /// The slots of a session for batches of so many rows, in at most so many parts; `None` where not all inputs and
    /// outputs are numbers whose shape is known before they run.
    pub(in crate::predict) fn new(
        gpu: &Arc<Gpu>,
        model: &Session,
        (signature, layout, width): (&Signature, &RowLayout, Width),
        (rows, parts): (usize, usize),
        pace: &Arc<Mutex<Pace>>,
    ) -> Result<Option<Pipe>, Fault> {
        let inputs = layout.slots().iter().zip(&signature.inputs);
        let inputs: Option<Vec<_>> = inputs.map(|of| input(model, of)).collect();
        let outputs = signature.outputs.iter();
        let outputs: Option<Vec<_>> = outputs.map(|port| output(model, port, width)).collect();
        let (Some(inputs), Some(outputs)) = (inputs, outputs) else {
            return Ok(None);
        };
        let area = |row: usize| row.saturating_mul(rows).saturating_add(parts * ALIGNMENT);
        let mut sizes = Sizes {
            gpu: Arc::clone(gpu),
            inputs: inputs.iter().map(|input| area(input.slot.len())).collect(),
            outputs: outputs
                .iter()
                .map(|output| area(output.row_bytes))
                .collect(),
        };
        Ok(Some(Pipe {
            binding: Binding::new(model)?,
            ring: Ring::new(SLOTS, &mut sizes)?,
            gpu: Arc::clone(gpu),
            layout: layout.clone(),
            inputs,
            outputs: outputs.into(),
            pace: Arc::clone(pace),
            widths: Arc::default(),
            shapes: HashSet::new(),
            most: rows,
            writers: (cores() / 2).clamp(1, WRITERS),
        }))
    }

    /// Rows of the runs that so many are best run in.
    pub(in crate::predict) fn plan(&self, rows: usize) -> usize {
        lock(&self.widths).plan(rows, self.most)
    }

    /// From now on no row is run with others that nobody asked for.
    pub(in crate::predict) fn never_pad(&mut self) {
        lock(&self.widths).never_pad();
    }

    /// Writes the rows into a slot, once there is one, part by part, and has the GPU do the rest.
    pub(in crate::predict) fn launch(
        &mut self,
        rows: &[&Row],
        (chunks, width): (&[usize], Width),
        options: &RunOptions<HasSelectedOutputs>,
        places: Option<Vec<usize>>,
    ) -> Result<Flying, Fault> {
        if !rows.iter().all(|row| buffers::fits(&self.layout, row)) {
            return Err(internal("the rows do not fit the model's layout"));
        }
        let mut held = self.ring.acquire();
        let mut parts = self.fill(held.at(Step::Filling)?, rows, (chunks, width))?;
        held.advance(Step::Filling)?;
        self.send_up(held.at(Step::Sealed)?, &parts)?;
        held.advance(Step::Sealed)?;
        self.run(held.at(Step::Running)?, &mut parts, options)?;
        self.fetch(held.at(Step::Running)?, &parts)?;
        let steps = Steps {
            real: rows.iter().map(|row| row.length).sum(),
            padded: parts.iter().map(|part| part.width * part.longest).sum(),
        };
        Ok(Flying {
            held,
            outputs: Arc::clone(&self.outputs),
            parts,
            rows: rows.len(),
            places,
            steps,
            pace: Arc::clone(&self.pace),
            widths: Arc::clone(&self.widths),
        })
    }

    pub(super) fn fill(
        &self,
        slot: &mut Slot,
        mut rows: &[&Row],
        (chunks, width): (&[usize], Width),
    ) -> Result<Vec<Part>, Fault> {
        let batch = rows.len();
        let (mut inputs, mut outputs) = (vec![0; self.inputs.len()], vec![0; self.outputs.len()]);
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let some = rows.split_off(..*chunk).unwrap_or_default();
            let share = Share {
                ran: width.axis(some.len()),
                rows: some.len(),
                batch,
            };
            let width = share.ran.unwrap_or(1);
            let some = Rows::of(some, width).ok_or_else(|| internal("no rows to assemble"))?;
            let some = some.rounded(ROUND, self.layout.longest());
            let part = Part {
                share,
                width,
                longest: some.longest(),
                settled: false,
                inputs: inputs.clone(),
                outputs: outputs.clone(),
            };
            let areas = slot.staging.iter_mut().zip(&self.inputs).zip(&mut inputs);
            for ((staging, input), at) in areas {
                let len = input.slot.len_of(part.longest) * part.width;
                let place = staging.bytes().get_mut(*at..*at + len);
                some.lay_on(
                    self.writers,
                    &input.slot,
                    place.ok_or_else(|| internal("a slot is too small"))?,
                );
                *at = (*at + len).next_multiple_of(ALIGNMENT);
            }
            for (output, at) in self.outputs.iter().zip(&mut outputs) {
                *at = (*at + output.row_bytes * part.width).next_multiple_of(ALIGNMENT);
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// Enqueues the copies of all inputs, and has the run wait for them.
    fn send_up(&self, slot: &mut Slot, parts: &[Part]) -> Result<(), Fault> {
        self.copy_up(slot, parts)
            .map_err(failed("copying inputs"))?;
        let recorded = slot.filled.record(&self.gpu.up);
        recorded.map_err(failed("an event"))?;
        order(&self.gpu.compute, &slot.filled, Wait::Filled)
    }

    pub(super) fn copy_up(&self, slot: &mut Slot, parts: &[Part]) -> Result<(), DriverError> {
        let areas = slot
            .inputs
            .iter_mut()
            .zip(&mut slot.staging)
            .zip(&self.inputs);
        for (number, ((device, staging), input)) in areas.enumerate() {
            let last = parts.last();
            let used = last.map_or(0, |part| {
                let start = part.inputs.get(number).copied().unwrap_or(0);
                start + input.slot.len_of(part.longest) * part.width
            });
            device.copy_up(staging, used, &self.gpu.up)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        slot: &mut Slot,
        parts: &mut [Part],
        options: &RunOptions<HasSelectedOutputs>,
    ) -> Result<(), Fault> {
        let (count, stream) = (parts.len() + 1, Arc::clone(&self.gpu.compute));
        let mark = |slot: &mut Slot, number: usize| {
            let marks = slot.marks(count).map(|marks| marks.get(number))?;
            marks.map_or(Ok(()), |mark| mark.record(&stream))
        };
        for (number, part) in parts.iter_mut().enumerate() {
            mark(slot, number).map_err(failed("an event"))?;
            self.bind(slot, part)?;
            let began = Instant::now();
            let ran = self.binding.run(options);
            ran.map_err(|Failed(code, text)| run_fault(code, &text))?;
            part.settled = if part.longest == 0 {
                lock(&self.widths).launched(part.width, self.most, began.elapsed())
            } else {
                self.has_run((part.width, part.longest))
            };
        }
        mark(slot, parts.len()).map_err(failed("an event"))?;
        let ran = slot.ran.record(&stream);
        ran.map_err(failed("an event"))
    }

    /// Whether so many rows of so many steps have run before. A new shape is slow the first time.
    fn has_run(&mut self, shape: (usize, usize)) -> bool {
        if self.shapes.len() >= SHAPES {
            self.shapes.clear();
        }
        !self.shapes.insert(shape)
    }

    /// Binds the part's rows of every input and output.
    pub(super) fn bind(&mut self, slot: &Slot, part: &Part) -> Result<(), Fault> {
        let (memory, mut dims) = (&self.gpu.memory, Vec::new());
        let too_small = || internal("a slot is too small");
        let areas = slot.inputs.iter().zip(&self.inputs).zip(&part.inputs);
        for ((area, input), at) in areas {
            let len = input.slot.len_of(part.longest) * part.width;
            dims.clear();
            dims.extend(input.has_batch_axis.then_some(dim_of(part.width)));
            dims.extend(input.slot.shape.iter().map(|dim| dim_of(*dim)));
            if input.slot.sequence
                && let Some(steps) = dims.get_mut(usize::from(input.has_batch_axis))
            {
                *steps = dim_of(part.longest);
            }
            let start = area.address(*at, len).ok_or_else(too_small)?;
            let dims = dims.as_slice();
            self.binding
                .input(&input.name, memory, Tensor { start, len, dims })?;
        }
        let areas = slot.outputs.iter().zip(&*self.outputs).zip(&part.outputs);
        for ((area, output), at) in areas {
            let len = output.row_bytes * part.width;
            dims.clear();
            dims.extend(output.has_batch_axis.then_some(dim_of(part.width)));
            dims.extend(output.row_shape.iter().map(|dim| dim_of(*dim)));
            let start = area.address(*at, len).ok_or_else(too_small)?;
            let dims = dims.as_slice();
            self.binding
                .output(&output.name, memory, Tensor { start, len, dims })?;
        }
        Ok(())
    }

    /// Enqueues the copies of all outputs behind the run.
    fn fetch(&self, slot: &mut Slot, parts: &[Part]) -> Result<(), Fault> {
        order(&self.gpu.down, &slot.ran, Wait::Ran)?;
        self.copy_down(slot, parts)
            .map_err(failed("copying outputs"))?;
        slot.done.record(&self.gpu.down).map_err(failed("an event"))
    }

    pub(super) fn copy_down(&self, slot: &mut Slot, parts: &[Part]) -> Result<(), DriverError> {
        let areas = slot.outputs.iter().zip(&mut slot.read).zip(&*self.outputs);
        for (number, ((device, read), output)) in areas.enumerate() {
            let used = parts.last().map_or(0, |part| {
                let start = part.outputs.get(number).copied().unwrap_or(0);
                start + output.row_bytes * part.width
            });
            device.copy_down(read, used, &self.gpu.down)?;
        }
        Ok(())
    }
}

/// What is asked of the stream from now on waits for the event.
fn order(stream: &CudaStream, event: &CudaEvent, wait: Wait) -> Result<(), Fault> {
    if is_left_out(wait) {
        return Ok(());
    }
    stream.wait(event).map_err(failed("an event"))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

fn dim_of(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
