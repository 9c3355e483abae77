//! What a pipe could do at best, for the bench: the same batch again and again, where it is.

use std::time::{Duration, Instant};

use cudarc::driver::{CudaStream, DriverError};
use ort::session::{HasSelectedOutputs, RunOptions};

use super::{binding::Failed, failed, pipe::Pipe};
use crate::{
    fault::Fault,
    predict::{ring::Step, session::run_fault, signature::Width},
    tensor::Row,
};

/// How long parts of a batch take, each by itself.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    /// The run, on inputs that are on the device already, with its outputs left there.
    pub run: Duration,
    /// The copies of its inputs.
    pub up: Duration,
    /// The copies of its outputs.
    pub down: Duration,
}

impl Pipe {
    /// Runs one batch so many times behind itself; nothing is copied meanwhile. Then copies it as often.
    pub(in crate::predict) fn bare(
        &mut self,
        rows: &[&Row],
        runs: (&[usize], Width),
        options: &RunOptions<HasSelectedOutputs>,
        times: u32,
    ) -> Result<Bare, Fault> {
        let mut held = self.ring.acquire();
        let parts = self.fill(held.at(Step::Filling)?, rows, runs)?;
        held.advance(Step::Filling)?;
        let slot = held.at(Step::Sealed)?;
        let gpu = std::sync::Arc::clone(&self.gpu);
        let up = each(&gpu.up, times, || self.copy_up(slot, &parts))?;
        held.advance(Step::Sealed)?;
        let slot = held.at(Step::Running)?;
        let (run, began) = (&gpu.compute, Instant::now());
        for time in 0..=times {
            for part in &parts {
                // What is bound stays so.
                if time == 0 || parts.len() > 1 {
                    self.bind(slot, part)?;
                }
                let ran = self.binding.run(options);
                ran.map_err(|Failed(code, text)| run_fault(code, &text))?;
            }
        }
        run.synchronize().map_err(failed("a run"))?;
        let run = began.elapsed() / (times + 1);
        let down = each(&gpu.down, times, || self.copy_down(slot, &parts))?;
        Ok(Bare { run, up, down })
    }
}

fn each(
    stream: &CudaStream,
    times: u32,
    mut copy: impl FnMut() -> Result<(), DriverError>,
) -> Result<Duration, Fault> {
    let began = Instant::now();
    let copied = (0..times.max(1)).try_for_each(|_| copy());
    let copied = copied.and_then(|()| stream.synchronize());
    copied.map_err(failed("a copy"))?;
    Ok(began.elapsed() / times.max(1))
}
