//! How long batches of a package take on this device: recalled, or measured on one of its sessions.

use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    batcher::{
        Config,
        curve::{Curve, Measured, Run, ladder, measure, most_tries},
        state::{self, Key, Recalled},
    },
    package::Package,
    predict::{DeviceId, Flight, Library, SessionThread, device_name},
    tensor::Row,
};

/// Whether a package is measured as it is loaded.
pub(super) enum Measure<'a> {
    No,
    /// Unless a curve is kept.
    UnlessKept(&'a Config),
    /// Whatever is kept, while somebody watches.
    Anew(&'a Config, Watch),
}

/// Hears of each try that measuring takes, and how many there are at most.
pub(super) type Watch = Box<dyn FnMut(usize) + Send>;

/// Rows that a try of a small size runs, one batch after another: the examples may differ in what they cost.
const MIX: usize = 16;

/// Batches that run one behind the other in a try, where they overlap.
const BEHIND: usize = 4;

/// Where the best size is not known, a batch takes no more than this part of what a run may take, and of how long a
/// request is wanted.
const IN_TIME: u32 = 4;

/// A package that is about to go live.
pub(super) struct Measuring<'a> {
    pub(super) library: &'a Library,
    pub(super) package: &'a Arc<Package>,
    pub(super) session: &'a SessionThread,
    /// Most rows that may run together.
    pub(super) max_size: usize,
}

/// What is known of how long batches take.
pub(super) struct Timed {
    /// Every size that can be had, or what ran until the time was up.
    pub(super) curve: Option<Curve>,
    /// Whether its best size is known.
    pub(super) whole: bool,
    /// Most rows of a batch.
    pub(super) most: usize,
    /// What batches may come to have, smallest first.
    pub(super) sizes: Vec<usize>,
    /// How long a batch of more rows may take that is tried live; `None` where none is.
    pub(super) within: Option<Duration>,
    /// Where it is kept, and as what.
    pub(super) kept: Option<(PathBuf, Key)>,
}

impl Timed {
    fn whole(self, curve: Curve, most: usize) -> Timed {
        Timed {
            curve: Some(curve),
            whole: true,
            most,
            ..self
        }
    }
}

impl Measuring<'_> {
    /// Times batches, where that is wanted; what was wrong with it, or with the state directory, goes to `warnings`. No
    /// limit stops a run here that hangs, as none does among the golden examples.
    pub(super) fn time(&self, how: Measure<'_>, warnings: &mut Vec<String>) -> Timed {
        let limits = self.package.limits();
        let soon = limits.run.min(limits.deadline) / IN_TIME;
        let mut untimed = Timed {
            curve: None,
            whole: false,
            most: self.max_size,
            sizes: self.sizes(),
            within: None,
            kept: None,
        };
        let (config, anew, watch) = match how {
            Measure::No => return untimed,
            Measure::UnlessKept(config) => (config, false, Box::new(|_| {}) as Watch),
            Measure::Anew(config, watch) => (config, true, watch),
        };
        let Some(budget) = config.budget() else {
            return untimed;
        };
        // A GPU takes long to get used to another number of rows: one batch of them tells nothing.
        untimed.within = (self.library.device() == DeviceId::Cpu).then_some(soon);
        let dir = config.state_dir.clone();
        untimed.kept = dir.map(|dir| (dir, self.key()));
        let mut fault = None;
        if let Some((dir, key)) = &untimed.kept {
            match state::recall(dir, key) {
                Ok(Some(Recalled { curve, best })) if !anew => return untimed.whole(curve, best),
                Ok(_) => {}
                Err(found) => fault = Some(found),
            }
        }
        let timed = match self.measure(budget, watch) {
            Measured::Whole(curve) => {
                if let Some((dir, key)) = &untimed.kept
                    && let Err(found) = state::keep(dir, key, &curve, None)
                {
                    fault = fault.or(Some(found));
                }
                let most = curve.best().rows;
                untimed.whole(curve, most)
            }
            Measured::Failed(rows, why, curve) => {
                // It may run at the next start.
                untimed.kept = None;
                untimed.sizes.retain(|size| *size < rows);
                let timed = match curve {
                    Some(curve) => {
                        let most = curve.best().rows;
                        untimed.whole(curve, most)
                    }
                    None => Timed {
                        most: (rows / 2).max(1),
                        ..untimed
                    },
                };
                let most = timed.most;
                warnings.push(format!(
                    "a batch of {rows} rows could not be timed ({why}); batches have up to {most} rows; lower batch.max_size, or raise the limit that was met"
                ));
                timed
            }
            Measured::Short(curve) => {
                let most = curve.as_ref().map_or(1, |c| c.best_within(soon).rows);
                let ms = config.measure_ms;
                warnings.push(format!(
                    "found no best batch size within appetite.measure_ms = {ms}: batches have up to {most} rows; allow more time, or lower batch.max_size"
                ));
                Timed {
                    curve,
                    most,
                    ..untimed
                }
            }
        };
        warnings.extend(fault.map(|fault| fault.to_string()));
        timed
    }

    /// Batches of the golden examples' rows, timed on the session's own thread.
    fn measure(&self, budget: Duration, mut watch: Watch) -> Measured<String> {
        let mut rows = self.package.example_rows();
        if rows.is_empty() {
            return Measured::Failed(1, "no golden example makes a row".to_owned(), None);
        }
        let limit = self.package.limits().run;
        let sizes = self.sizes();
        let measured = self.session.call(move |session| {
            let began = Instant::now();
            // What was made shorter than it came may not be what the model takes.
            rows.retain(|row| {
                row.length == 0 || began.elapsed() < budget && session.run(&[row]).is_ok()
            });
            if rows.is_empty() {
                return Measured::Short(None);
            }
            let budget = budget.saturating_sub(began.elapsed());
            let (mut next, depth) = (rows.iter().cycle(), session.depth());
            let run = |size: usize| {
                watch(most_tries(&sizes));
                let batches = rows.len().min(MIX).div_ceil(size);
                // Where batches overlap, how long one takes behind another is what counts.
                let batches = if depth > 1 {
                    batches.max(BEHIND)
                } else {
                    batches
                };
                let mut launch = || {
                    let batch: Vec<&Row> = next.by_ref().take(size).collect();
                    let launched = if batch.iter().all(|row| row.length == 0) {
                        session.launch_exact(&batch)
                    } else {
                        session.launch(&batch)
                    };
                    launched.map_err(|fault| fault.to_string())
                };
                let tried = Instant::now();
                if depth > 1 {
                    // The device gets used to the size.
                    land(Some(launch()?))?;
                }
                let began = Instant::now();
                let mut aloft = VecDeque::new();
                for _ in 0..batches {
                    aloft.push_back(launch()?);
                    if aloft.len() >= depth {
                        land(aloft.pop_front())?;
                    }
                }
                while !aloft.is_empty() {
                    land(aloft.pop_front())?;
                }
                let (spent, batch) = (tried.elapsed(), began.elapsed());
                let batch = batch / u32::try_from(batches).unwrap_or(u32::MAX);
                if batch >= limit {
                    return Err(format!("it took {batch:?}, and limits.run_ms is {limit:?}"));
                }
                Ok(Run { batch, spent })
            };
            measure(&sizes, budget, run, &mut rand::rng())
        });
        measured.unwrap_or_else(|fault| Measured::Failed(1, fault.to_string(), None))
    }

    fn sizes(&self) -> Vec<usize> {
        ladder(self.max_size, self.session.signature().fixed_batch())
    }

    /// What its curve holds for.
    fn key(&self) -> Key {
        Key {
            package: self.package.name().to_owned(),
            digest: self.package.digest().to_string(),
            device: device(self.library.device()),
            library: self.library.version().to_owned(),
            threads: self.package.sessions().threads,
            sessions: self.package.sessions().count,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            max_size: self.max_size,
        }
    }
}

/// Waits until a batch is over.
fn land(flight: Option<Flight>) -> Result<(), String> {
    let landed = flight.map_or(Ok(()), |flight| flight.land().map(drop));
    landed.map_err(|fault| fault.to_string())
}

/// A device, and what it is.
fn device(id: DeviceId) -> String {
    let name = device_name(id).ok().flatten();
    format!("{id} {}", name.unwrap_or_else(processor))
}

/// The processor's model, as Linux tells it: by name, or on ARM by number; else the architecture.
fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key| {
        let line = told.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches([' ', '\t', ':']).trim())
    };
    let arm = || {
        Some(format!(
            "{} {}",
            value("CPU implementer")?,
            value("CPU part")?
        ))
    };
    let name = value("model name").map(str::to_owned).or_else(arm);
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
