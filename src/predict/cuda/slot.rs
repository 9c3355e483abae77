//! What a batch has of memory and events while it is in its slot.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, DriverError, sys::CUevent_flags};

use super::{
    Gpu, internal,
    memory::{OnDevice, Pinned, Pinning},
    told,
};
use crate::{
    fault::Fault,
    predict::ring::{Allocator, Area},
};

/// One slot.
pub(super) struct Slot {
    gpu: Arc<Gpu>,
    /// Where rows are written, by input.
    pub(super) staging: Vec<Pinned>,
    pub(super) inputs: Vec<OnDevice>,
    pub(super) outputs: Vec<OnDevice>,
    /// Where outputs are read, by output.
    pub(super) read: Vec<Pinned>,
    /// The inputs are on the device.
    pub(super) filled: CudaEvent,
    /// The run is over.
    pub(super) ran: CudaEvent,
    /// The outputs are on the host.
    pub(super) done: CudaEvent,
    /// Before the first part, between each and the next, and after the last.
    pub(super) marks: Vec<CudaEvent>,
}

impl Area for Slot {
    fn quiesce(&mut self) {
        self.gpu.quiesce();
    }
}

impl Slot {
    /// As many marks as that, or more.
    pub(super) fn marks(&mut self, count: usize) -> Result<&[CudaEvent], DriverError> {
        while self.marks.len() < count {
            let mark = self
                .gpu
                .context
                .new_event(Some(CUevent_flags::CU_EVENT_DEFAULT))?;
            self.marks.push(mark);
        }
        Ok(&self.marks)
    }
}

/// Bytes of the slots' inputs and outputs.
pub(super) struct Sizes {
    pub(super) gpu: Arc<Gpu>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

impl Sizes {
    fn each<T>(
        &self,
        sizes: &[usize],
        what: &str,
        allocate: impl Fn(usize) -> Result<T, DriverError>,
    ) -> Result<Vec<T>, Fault> {
        let one = |len: &usize| {
            allocate(*len).map_err(|fault| {
                let needed: usize = self.inputs.iter().chain(&self.outputs).sum();
                let (free, all) = self.gpu.memory().unwrap_or((0, 0));
                internal(format!(
                    "no {what} of {len} bytes on {}: {}; each of the slots takes {needed} bytes there and as many of the host; {free} of {all} bytes are free there; lower batch.max_size, or let fewer packages run there",
                    self.gpu.id,
                    told(fault)
                ))
            })
        };
        sizes.iter().map(one).collect()
    }
}

impl Allocator for Sizes {
    type Area = Slot;

    fn allocate(&mut self) -> Result<Slot, Fault> {
        let context = &self.gpu.context;
        let pinned = |how| move |len| Pinned::allocate(context, len, how);
        let device = |len| OnDevice::allocate(context, len);
        let event = |flags| {
            let event = context.new_event(flags);
            event.map_err(super::failed("an event"))
        };
        Ok(Slot {
            staging: self.each(&self.inputs, "pinned memory", pinned(Pinning::Written))?,
            inputs: self.each(&self.inputs, "device memory", device)?,
            outputs: self.each(&self.outputs, "device memory", device)?,
            read: self.each(&self.outputs, "pinned memory", pinned(Pinning::Read))?,
            filled: event(None)?,
            ran: event(None)?,
            // Whoever waits for it sleeps: to spin would take a core from those who write rows.
            done: event(Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC))?,
            marks: Vec::new(),
            gpu: Arc::clone(&self.gpu),
        })
    }
}
