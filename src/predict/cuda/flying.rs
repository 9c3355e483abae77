//! A batch between its launch and its landing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{failed, pipe::Part, ports::Output, slot::Slot};
use crate::{
    fault::Fault,
    predict::{
        outputs,
        parts::Pace,
        ring::{Held, Step},
        session::lock,
        widths::Widths,
    },
    tensor::{Outputs, Steps},
};

/// A batch that the GPU has.
pub(in crate::predict) struct Flying {
    pub(super) held: Held<Slot>,
    pub(super) outputs: Arc<[Output]>,
    pub(super) parts: Vec<Part>,
    pub(super) rows: usize,
    /// Where each row of the batch belongs, if not where it ran.
    pub(super) places: Option<Vec<usize>>,
    pub(super) steps: Steps,
    pub(super) pace: Arc<Mutex<Pace>>,
    pub(super) widths: Arc<Mutex<Widths>>,
}

impl Flying {
    /// Waits for the GPU, and reads what it gave.
    pub(in crate::predict) fn land(mut self) -> Result<Outputs, Fault> {
        let slot = self.held.at(Step::Running)?;
        slot.done.synchronize().map_err(failed("a batch"))?;
        self.held.advance(Step::Running)?;
        let slot = self.held.at(Step::Readable)?;
        let marks = slot.marks.iter().zip(slot.marks.iter().skip(1));
        for (part, (from, to)) in self.parts.iter().zip(marks) {
            let ms = from.elapsed_ms(to).map_err(failed("a time"))?;
            let took = Duration::from_secs_f32((ms / 1e3).max(0.0));
            if !part.settled {
                continue;
            }
            if part.longest > 0 {
                lock(&self.pace).record(part.width * part.longest, took);
            } else {
                lock(&self.widths).ran(part.width, took);
            }
        }
        let mut given = Vec::with_capacity(self.outputs.len());
        let areas = self.outputs.iter().zip(&mut slot.read).enumerate();
        for (number, (output, read)) in areas {
            let (bytes, mut all) = (read.bytes(), outputs::empty(&output.port));
            for part in &self.parts {
                let start = part.outputs.get(number).copied().unwrap_or(0);
                let of = bytes.get(start..start + output.row_bytes * part.width);
                let of = (output.element, of.unwrap_or_default());
                outputs::append_bytes(&mut all, of, &output.row_shape, part.share)?;
            }
            if let Some(places) = &self.places {
                outputs::reorder(&mut all, places);
            }
            given.push(all);
        }
        Ok(Outputs {
            rows: self.rows,
            outputs: given,
            steps: self.steps,
        })
    }
}
