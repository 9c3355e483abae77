//! An NVIDIA GPU under ONNX Runtime: memory, streams and events are ours, the kernels are its.
//!
//! Three streams of a GPU are shared by all sessions on it: one copies inputs up, one computes, one copies outputs down.
//! Whatever computes does so on the one stream, so that the batches of several packages run one after the other, while
//! the copies of the next batch and of the one before run beside it. Events order what has to be in order:
//!
//! ```text
//! up       copy k ─ filled ─ copy k+1 ─ filled
//! compute            └ wait ─ run k ─ ran ─ wait ─ run k+1 ─ ran
//! down                                 └ wait ─ copy k ─ done  …
//! ```
//!
//! A slot is written again only after its `done`, behind which nothing of it is under way: no other waits are needed.

mod bare;
mod binding;
mod claim;
mod flying;
mod memory;
mod open;
mod pipe;
pub(super) mod placement;
mod plant;
mod ports;
mod slot;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result as driver, sys};
use ort::{ep, session::builder::SessionBuilder};

pub(super) use self::open::Counted;
#[cfg(feature = "failpoints")]
pub use self::plant::{Wait, plant};
pub use self::{bare::Bare, open::wait_for_gpus};
use self::{
    binding::MemoryInfo,
    claim::{Claim, claim},
};
pub(super) use self::{flying::Flying, pipe::Pipe};
use super::DeviceId;
use crate::{fault::Fault, message::rejection::Stage};

/// A GPU, opened once a process.
pub(super) struct Gpu {
    pub(super) id: DeviceId,
    context: Arc<CudaContext>,
    up: Arc<CudaStream>,
    compute: Arc<CudaStream>,
    down: Arc<CudaStream>,
    memory: MemoryInfo,
    _claim: Option<Claim>,
}

impl Gpu {
    /// The GPU of this number. It stays open to the end of the process.
    ///
    /// # Errors
    /// Says what is missing, and how to mend it.
    pub(super) fn open(ordinal: usize) -> Result<Arc<Gpu>, Fault> {
        static OPEN: Mutex<BTreeMap<usize, Arc<Gpu>>> = Mutex::new(BTreeMap::new());

        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gpu) = open.get(&ordinal) {
            return Ok(Arc::clone(gpu));
        }
        let id = DeviceId::Cuda(ordinal);
        if !has_driver() {
            return Err(internal(format!(
                "{id} cannot be had: found no NVIDIA driver (libcuda.so.1); install the driver, or set runtime.device = \"cpu\""
            )));
        }
        let cannot = |why: &str| {
            internal(format!(
                "{id} cannot be had: {why}; look at what nvidia-smi lists, or set runtime.device = \"cpu\""
            ))
        };
        let found = driver::init().and_then(|()| CudaContext::device_count());
        let found = found.map_err(|fault| cannot(&told(fault)))?;
        if usize::try_from(found).is_ok_and(|found| found <= ordinal) {
            return Err(cannot(&format!("the driver has {found} GPUs")));
        }
        let gpu = Gpu::of(id, ordinal).map_err(|fault| cannot(&told(fault)))?;
        let gpu = Arc::new(gpu?);
        open.insert(ordinal, Arc::clone(&gpu));
        Ok(gpu)
    }

    fn of(id: DeviceId, ordinal: usize) -> Result<Result<Gpu, Fault>, DriverError> {
        let context = CudaContext::new(ordinal)?;
        Ok(MemoryInfo::of_gpu(ordinal).and_then(|memory| {
            let stream = || context.new_stream().map_err(failed("a stream"));
            Ok(Gpu {
                id,
                up: stream()?,
                compute: stream()?,
                down: stream()?,
                _claim: claimed(id, &context),
                context,
                memory,
            })
        }))
    }

    /// Has a session run here, on our stream.
    #[expect(
        unsafe_code,
        reason = "ONNX Runtime takes the stream as a bare pointer"
    )]
    pub(super) fn register(
        &self,
        mut builder: SessionBuilder,
        version: &str,
    ) -> Result<SessionBuilder, Fault> {
        use ort::ep::ExecutionProvider as _;

        let number = self.context.ordinal();
        let provider = ep::CUDA::default()
            .with_device_id(i32::try_from(number).unwrap_or(i32::MAX))
            // By powers of two an arena of a large model would take up to twice what it needs.
            .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
            // Exhaustive search gained nothing on an H100, and takes many times as long for each new shape.
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
            // The tensor cores' own order: 17 % of a ResNet-50 in 16-bit floats.
            .with_prefer_nhwc(true)
            // Results are to be those of the processor, to rounding.
            .with_tf32(false);
        let stream = self.compute.cu_stream().cast();
        // SAFETY: the stream lives as long as the process does (see `Gpu::open`).
        let provider = unsafe { provider.with_compute_stream(stream) };
        let registered = provider.register(&mut builder);
        registered.map_err(|fault| {
            internal(format!(
                "{} cannot be had: ONNX Runtime {version} does not give its CUDA provider: {fault}; point runtime.library at the library of its CUDA build, with libonnxruntime_providers_cuda.so beside it, and LD_LIBRARY_PATH at CUDA 13 and cuDNN 9; or set runtime.device = \"cpu\"",
                self.id
            ))
        })?;
        Ok(builder)
    }

    /// Bytes of its memory that are free, and all.
    pub(super) fn memory(&self) -> Result<(usize, usize), Fault> {
        self.context.mem_get_info().map_err(failed("free memory"))
    }

    /// Returns when nothing is under way any more that was asked for so far.
    fn quiesce(&self) {
        for stream in [&self.up, &self.compute, &self.down] {
            if let Err(fault) = stream.synchronize() {
                tracing::error!(device = %self.id, "a stream does not end: {}", told(fault));
            }
        }
    }
}

/// Tells of another inferq that runs on this GPU.
fn claimed(id: DeviceId, context: &CudaContext) -> Option<Claim> {
    let uuid = context.uuid().map_err(told);
    let uuid = uuid.map(|uuid| uuid.bytes.map(|byte| byte.to_ne_bytes()[0]));
    let claimed = uuid.and_then(|uuid| {
        let claimed = claim(uuid, std::process::id());
        claimed.map_err(|fault| fault.to_string())
    });
    match claimed {
        Ok((claim, others)) => {
            if others {
                tracing::warn!(
                    device = %id,
                    "another inferq runs on this GPU: their batches slow each other, which neither foresees, and what memory one takes the other lacks; give each a GPU of its own, or let one worker serve all packages"
                );
            }
            claim
        }
        Err(why) => {
            tracing::debug!(device = %id, why, "whether another inferq runs there is not known");
            None
        }
    }
}

/// What the driver calls a device; `None` of the processor.
///
/// # Errors
/// There is no such device.
pub fn device_name(device: DeviceId) -> Result<Option<String>, Fault> {
    match device {
        DeviceId::Cpu => Ok(None),
        DeviceId::Cuda(ordinal) => {
            let name = Gpu::open(ordinal)?.context.name();
            name.map(Some).map_err(failed("a name"))
        }
    }
}

/// To be called when a session that ran on a GPU is gone.
pub(super) fn unloaded() {
    memory::trim();
}

/// Bytes of a device's memory that are free, and all; `None` of the processor.
///
/// # Errors
/// There is no such device.
pub fn device_memory(device: DeviceId) -> Result<Option<(usize, usize)>, Fault> {
    match device {
        DeviceId::Cpu => Ok(None),
        DeviceId::Cuda(ordinal) => Gpu::open(ordinal)?.memory().map(Some),
    }
}

#[expect(unsafe_code, reason = "loading a library runs its initialisers")]
fn has_driver() -> bool {
    // SAFETY: it is the driver's own library, by the name under which it is about to be used.
    unsafe { sys::is_culib_present() }
}

/// What the driver says of a fault.
fn told(fault: DriverError) -> String {
    let name = fault.error_name().ok();
    let name = name.map_or_else(
        || format!("{:?}", fault.0),
        |name| name.to_string_lossy().into_owned(),
    );
    match fault.error_string() {
        Ok(text) => format!("{name} ({})", text.to_string_lossy()),
        Err(_) => name,
    }
}

fn failed(what: &'static str) -> impl Fn(DriverError) -> Fault {
    move |fault| internal(format!("the driver failed at {what}: {}", told(fault)))
}

fn internal(detail: impl Into<String>) -> Fault {
    Fault::internal(Stage::Predict, detail)
}
