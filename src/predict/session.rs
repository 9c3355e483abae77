//! One model, opened and ready to run.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ort::{
    ErrorCode,
    logging::LogLevel,
    session::{HasSelectedOutputs, OutputSelector, RunOptions, builder::GraphOptimizationLevel},
};

use super::{
    DeviceId, Library,
    buffers::{self, Buffers},
    cuda::{Bare, Gpu, Pipe, placement},
    flight::Flight,
    memory::Limited,
    open::open,
    outputs::{self, Share},
    parts::{self, Pace},
    signature::{self, Width},
    stop::{Options, Stopper},
};
use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{Outputs, Row, Signature, Steps},
};

/// What to open, and for what.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// The ONNX file. External data is found beside it.
    pub model: PathBuf,
    /// Intra-op threads: how many cores one run uses.
    pub threads: usize,
    /// Most rows of a batch; at least 1.
    pub max_size: usize,
    /// Bytes that a run may take, of tensors and scratch on the thread that runs; the weights are not of the run.
    pub run_memory: Option<usize>,
    /// The most steps of a sequence, which is what an axis behind the batch is that the graph leaves open.
    pub longest: Option<usize>,
    /// Where it runs.
    pub device: DeviceId,
    /// Names of the outputs to fetch; empty for all. ONNX Runtime skips what only the others need.
    pub outputs: Vec<String>,
}

/// A model that runs batches. Owned by one OS thread; see [`super::SessionThread`].
pub struct Session {
    // Dropped in this order: what is bound to the model goes before it.
    memory: Memory,
    pub(super) model: ort::session::Session,
    pub(super) options: Options,
    signature: Signature,
    width: Width,
    max_size: usize,
    run_memory: Option<usize>,
    pace: Arc<Mutex<Pace>>,
}

/// Where rows become the inputs of a run.
enum Memory {
    Host(Buffers),
    /// On a GPU, batch behind batch.
    Pipe(Box<Pipe>),
}

impl Session {
    /// Opens the model and allocates its buffers.
    ///
    /// # Errors
    /// As [`inspect`](super::inspect), and when an input's row has no fixed shape.
    pub fn open(library: &Library, spec: &SessionSpec) -> Result<Session, Fault> {
        if let (Some(_), Err(why)) = (spec.run_memory, library.limits_memory()) {
            let version = library.version();
            return Err(Fault::model(
                Stage::Predict,
                format!(
                    "limits.run_memory_bytes cannot be kept by ONNX Runtime {version}: {why}; take the limit away, or install the one of the onnxruntime package for Python"
                ),
            ));
        }
        let gpu = match spec.device {
            DeviceId::Cpu => None,
            DeviceId::Cuda(ordinal) => Some(Gpu::open(ordinal)?),
        };
        let model = open(library, &spec.model, gpu.as_deref(), |builder| {
            let builder = builder
                .with_intra_threads(spec.threads.max(1))?
                .with_optimization_level(GraphOptimizationLevel::All)?;
            let builder = match gpu {
                Some(_) => placement::noted(builder)?,
                None => builder,
            };
            // A pattern is kept for each shape, and sequences have many.
            let builder = if gpu.is_some() && spec.longest.is_some() {
                builder.with_memory_pattern(false)?
            } else {
                builder
            };
            match spec.run_memory {
                // A pattern is one block for the whole run, as large as the first run's, holes and all.
                Some(_) => Ok(builder.with_env_allocators()?.with_memory_pattern(false)?),
                None => Ok(builder),
            }
        })?;
        let signature = signature::read(&model, &spec.outputs)?;
        let width = signature::width(&signature.inputs)?;
        let max_size = spec.max_size.max(1);
        let (step, pace) = (width.step(max_size), Arc::<Mutex<Pace>>::default());
        let layout = buffers::layout(&signature, step, spec.longest)?;
        let pipe = match &gpu {
            None => None,
            Some(gpu) => {
                let runs = match width {
                    Width::Any => parts::MOST,
                    Width::Just(_) | Width::Scalar => max_size.div_ceil(step),
                };
                let rows = max_size.next_multiple_of(step);
                let of = (&signature, &layout, width);
                Pipe::new(gpu, &model, of, (rows, runs), &pace)?
            }
        };
        let mut options = run_options(&signature)
            .map_err(|fault| Fault::internal(Stage::Predict, fault.to_string()))?;
        let memory = match pipe {
            Some(pipe) => {
                // Events order what follows.
                let alone = options.disable_device_sync();
                alone.map_err(|fault| Fault::internal(Stage::Predict, fault.to_string()))?;
                Memory::Pipe(Box::new(pipe))
            }
            None => Memory::Host(Buffers::new(&signature, layout, step)),
        };
        Ok(Session {
            memory,
            model,
            options: Options::new(options),
            signature,
            width,
            max_size,
            run_memory: spec.run_memory,
            pace,
        })
    }

    /// The model's inputs, and those of its outputs that are fetched.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The nodes of a model on a GPU that run on the processor all the same: their operators and names.
    ///
    /// # Errors
    /// ONNX Runtime does not tell; nor does it of a model on the processor.
    pub fn on_processor(&self) -> Result<Vec<(String, String)>, Fault> {
        placement::on_processor(&self.model)
    }

    /// Ends its runs from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.options.stopper()
    }

    /// How many batches may be on their way at a time: see [`launch`](Self::launch).
    #[must_use]
    pub fn depth(&self) -> usize {
        match self.memory {
            Memory::Host(_) => 1,
            Memory::Pipe(_) => 2,
        }
    }

    /// Runs 1 to `max_size` rows and gives every output's rows in the same order.
    ///
    /// A model exported for a fixed number of rows runs as often as it must; short runs are padded. Rows whose
    /// sequences differ in length run in parts.
    /// Whether the numbers are finite is not looked at here: that is the decision's, row by row.
    ///
    /// # Errors
    /// A model fault when the run fails or an output has another number of rows than was run.
    pub fn run(&mut self, rows: &[&Row]) -> Result<Outputs, Fault> {
        self.launch(rows)?.land()
    }

    /// Begins to run as many: on a GPU the rows are written and the rest is asked of it, while the batch before runs.
    /// Elsewhere the run is over when this returns. Waits where more batches than [`depth`](Self::depth) and one are on
    /// their way.
    ///
    /// # Errors
    /// As [`run`](Self::run), of what fails by then.
    pub fn launch(&mut self, rows: &[&Row]) -> Result<Flight, Fault> {
        // Every run has as many rows as any, or there is nothing to tell them apart by.
        if self.width != Width::Any || rows.iter().all(|row| row.length == 0) {
            if let (Memory::Pipe(pipe), Width::Any) = (&self.memory, self.width) {
                let width = pipe.plan(rows.len().min(self.max_size));
                return self.launch_parts(rows, &[rows.len()], (width, None));
            }
            return self.launch_exact(rows);
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let length = |place: &usize| rows.get(*place).map_or(0, |row| row.length);
        order.sort_by_key(length);
        let lengths: Vec<usize> = order.iter().map(length).collect();
        let sorted: Vec<&Row> = order
            .iter()
            .filter_map(|place| rows.get(*place).copied())
            .collect();
        let parts = lock(&self.pace).parts(&lengths);
        let places = (!order.is_sorted()).then_some(order);
        self.launch_parts(&sorted, &parts, (0, places))
    }

    /// As [`launch`](Self::launch), but all rows run together, as many as there are and however long each is.
    ///
    /// # Errors
    /// As [`launch`](Self::launch).
    pub fn launch_exact(&mut self, rows: &[&Row]) -> Result<Flight, Fault> {
        self.launch_parts(rows, &[rows.len()], (0, None))
    }

    /// From now on no row is run with copies of others, where that would spare time: the model minds company.
    pub fn never_pad(&mut self) {
        if let Memory::Pipe(pipe) = &mut self.memory {
            pipe.never_pad();
        }
    }

    /// As [`run`](Self::run), but all rows run together, however long each is.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_together(&mut self, rows: &[&Row]) -> Result<Outputs, Fault> {
        self.launch_exact(rows)?.land()
    }

    /// Runs rows in parts of so many each, one after the other, of `width` rows where that is not nothing; `places` says
    /// where each belongs in the batch.
    fn launch_parts(
        &mut self,
        rows: &[&Row],
        parts: &[usize],
        (width, places): (usize, Option<Vec<usize>>),
    ) -> Result<Flight, Fault> {
        if rows.is_empty() || rows.len() > self.max_size {
            let (found, most) = (rows.len(), self.max_size);
            let detail = format!("a batch of {found} rows; expected 1 to {most}");
            return Err(Fault::internal(Stage::Predict, detail));
        }
        let width = match width {
            0 => self.width,
            width => Width::Just(width),
        };
        let step = width.step(self.max_size);
        let mut chunks = Vec::with_capacity(parts.len());
        for part in parts {
            let mut left = *part;
            while left > 0 {
                chunks.push(left.min(step));
                left -= left.min(step);
            }
        }
        if let Memory::Pipe(pipe) = &mut self.memory {
            let runs = (chunks.as_slice(), width);
            let flying = pipe.launch(rows, runs, self.options.of_run(), places)?;
            return Ok(Flight::flying(flying));
        }
        let mut outputs = self.run_here(rows, &chunks)?;
        if let Some(places) = places {
            for output in &mut outputs.outputs {
                outputs::reorder(output, &places);
            }
        }
        Ok(Flight::landed(outputs))
    }

    /// For benches: how long such a batch runs where nothing is copied, and its copies; `None` where it runs from the
    /// host's memory.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    #[doc(hidden)]
    pub fn bare(&mut self, rows: &[&Row], times: u32) -> Option<Result<Bare, Fault>> {
        let Memory::Pipe(pipe) = &mut self.memory else {
            return None;
        };
        Some(pipe.bare(
            rows,
            (&[rows.len()], self.width),
            self.options.of_run(),
            times,
        ))
    }

    /// From the host's memory into the host's memory.
    fn run_here(&mut self, rows: &[&Row], chunks: &[usize]) -> Result<Outputs, Fault> {
        let mut outputs: Vec<_> = self.signature.outputs.iter().map(outputs::empty).collect();
        let (mut steps, mut rest) = (Steps::default(), rows);
        let chunks = chunks.iter().filter_map(|chunk| rest.split_off(..*chunk));
        for some in chunks {
            let Memory::Host(buffers) = &mut self.memory else {
                return Err(Fault::internal(Stage::Predict, "a session without buffers"));
            };
            let share = Share {
                ran: self.width.axis(some.len()),
                rows: some.len(),
                batch: rows.len(),
            };
            let width = share.ran.unwrap_or(1);
            let inputs = buffers.assemble(some, width)?;
            let limited = self.run_memory.map(Limited::to);
            let began = Instant::now();
            let given = self
                .model
                .run_with_options(inputs.as_slice(), self.options.of_run())
                .map_err(|fault| match limited.as_ref().and_then(Limited::exceeded) {
                    Some(most) => too_much(most),
                    None => run_fault(fault.code(), fault.message()),
                })?;
            let longest = some.iter().map(|row| row.length).max().unwrap_or(0);
            if longest > 0 {
                lock(&self.pace).record(width * longest, began.elapsed());
            }
            steps.real += some.iter().map(|row| row.length).sum::<usize>();
            steps.padded += width * longest;
            for (output, value) in outputs.iter_mut().zip(given.values()) {
                outputs::append(output, &value, share)?;
            }
        }
        Ok(Outputs {
            rows: rows.len(),
            outputs,
            steps,
        })
    }
}

/// A panic elsewhere says nothing of how long runs take.
pub(super) fn lock<T>(times: &Mutex<T>) -> MutexGuard<'_, T> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_options(signature: &Signature) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let fetched = signature.outputs.iter();
    let selector = fetched.fold(OutputSelector::no_default(), |s, port| s.with(&port.name));
    let mut options = RunOptions::new()?.with_outputs(selector);
    // A failing kernel's message quotes the values it failed on. What may be told of it is in the fault.
    options.set_log_level(LogLevel::Fatal)?;
    Ok(options)
}

fn too_much(most: usize) -> Fault {
    Fault::memory(format!(
        "the run needs more than {most} bytes of memory (limits.run_memory_bytes)"
    ))
}

/// What is said where there is no memory left: by ONNX Runtime's arena (microsoft/onnxruntime#16307), the C++ library,
/// CUDA, and cuBLAS or cuDNN.
const NO_MEMORY: [&str; 4] = [
    "Failed to allocate memory",
    "std::bad_alloc",
    "out of memory",
    "STATUS_ALLOC_FAILED",
];

/// What an operator may read of a failed run: which node failed, not on which value.
pub(super) fn run_fault(code: ErrorCode, message: &str) -> Fault {
    const VALUES_FROM: &str = "Status Message:";
    let detail = match message.split_once(VALUES_FROM) {
        Some((place, _)) => format!("{code:?}: {}", place.trim()),
        // The checks ahead of the run, which compare shapes and types only.
        None if code == ErrorCode::InvalidArgument => format!("{code:?}: {message}"),
        None => format!("{code:?}"),
    };
    if NO_MEMORY.iter().any(|words| message.contains(words)) {
        return Fault::memory(format!("the run found no memory: {detail}"));
    }
    Fault::model(Stage::Predict, format!("the run failed: {detail}"))
}
