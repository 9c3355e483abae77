//! How long batches of a package take on this device: recalled, or measured on its sessions.

use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    batcher::{
        Config,
        curve::{Curve, Measured, Run, ladder, measure, most_tries},
        state::{self, Key, Recalled},
    },
    fault::Fault,
    package::{Package, Sessions},
    predict::{DeviceId, Devices, Library, SessionThread, device_name},
};

use super::company::{Company, land, launch};

/// Whether a package is measured as it is loaded.
#[derive(Clone)]
pub(super) enum Measure<'a> {
    No,
    /// Unless a curve is kept.
    UnlessKept(&'a Config),
    /// Whatever is kept, while somebody watches.
    Anew(&'a Config, Watch),
}

/// Hears of each try that measuring takes, and how many there are at most.
pub(super) type Watch = Arc<dyn Fn(usize) + Send + Sync>;

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
    /// How its sessions run.
    pub(super) way: Sessions,
    /// How many ways may be tried, for whoever watches.
    pub(super) ways: usize,
    /// What is left of the time, where another way was timed before.
    pub(super) left: Option<Duration>,
    /// The rows that every run has, where the model says so.
    pub(super) fixed: Option<usize>,
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
    /// What measuring left of its time, where it was measured now, and that was enough for as much again.
    pub(super) left: Option<Duration>,
    /// Where it is kept, and as what.
    pub(super) kept: Option<(PathBuf, Key)>,
}

impl Measure<'_> {
    /// Whether it leads to anything.
    pub(super) fn measures(&self) -> bool {
        match self {
            Measure::No => false,
            Measure::UnlessKept(config) | Measure::Anew(config, _) => config.budget().is_some(),
        }
    }
}

impl Timed {
    /// Rows a second of all sessions that run this way, where that is known.
    pub(super) fn throughput(&self, way: Sessions) -> Option<f64> {
        let curve = self.curve.as_ref().filter(|_| self.whole)?;
        Some(throughput(curve, self.most, way))
    }

    fn whole(self, curve: Curve, most: usize) -> Timed {
        Timed {
            curve: Some(curve),
            whole: true,
            most,
            ..self
        }
    }
}

/// Rows a second of all sessions of a device.
#[expect(clippy::cast_precision_loss, reason = "64 sessions at most")]
fn throughput(curve: &Curve, rows: usize, way: Sessions) -> f64 {
    curve.throughput(rows) * way.count as f64
}

impl Measuring<'_> {
    /// Times batches on its sessions, where that is wanted; what was wrong with it, or with the state directory, goes to
    /// `warnings`. No limit stops a run here that hangs, as none does among the golden examples.
    pub(super) fn time(
        &self,
        how: Measure<'_>,
        sessions: &[SessionThread],
        warnings: &mut Vec<String>,
    ) -> Timed {
        let limits = self.package.limits();
        let soon = limits.run.min(limits.deadline) / IN_TIME;
        let mut untimed = Timed {
            curve: None,
            whole: false,
            most: self.max_size,
            sizes: self.sizes(),
            within: None,
            left: None,
            kept: None,
        };
        let (config, anew, watch) = match how {
            Measure::No => return untimed,
            Measure::UnlessKept(config) => (config, false, Arc::new(|_| {}) as Watch),
            Measure::Anew(config, watch) => (config, true, watch),
        };
        let Some(budget) = config.budget() else {
            return untimed;
        };
        let budget = self.left.map_or(budget, |left| left.min(budget));
        // A GPU takes long to get used to another number of rows: one batch of them tells nothing.
        untimed.within = (self.library.devices().first() == DeviceId::Cpu).then_some(soon);
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
        let began = Instant::now();
        let measured = self.measure(sessions, budget, watch);
        let spent = began.elapsed();
        untimed.left = budget.checked_sub(spent).filter(|left| *left >= spent);
        let measured =
            measured.unwrap_or_else(|fault| Measured::Failed(1, fault.to_string(), None));
        let timed = match measured {
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
                    // The next smaller one ran, if only once.
                    None => Timed {
                        most: untimed.sizes.last().copied().unwrap_or(1),
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

    /// Batches of the golden examples' rows, timed on the first session while the others run as large ones.
    fn measure(
        &self,
        sessions: &[SessionThread],
        budget: Duration,
        watch: Watch,
    ) -> Result<Measured<String>, Fault> {
        let Some((timed, others)) = sessions.split_first() else {
            return Ok(Measured::Short(None));
        };
        let mut rows = self.package.example_rows();
        if rows.is_empty() {
            let why = "no golden example makes a row".to_owned();
            return Ok(Measured::Failed(1, why, None));
        }
        let began = Instant::now();
        let rows = timed.call(move |session| {
            // What was made shorter than it came may not be what the model takes.
            rows.retain(|row| {
                row.length == 0 || began.elapsed() < budget && session.run(&[row]).is_ok()
            });
            Arc::new(rows)
        })?;
        if rows.is_empty() {
            return Ok(Measured::Short(None));
        }
        let (sizes, limit) = (self.sizes(), self.package.limits().run);
        let (together, _) = others.split_at(others.len().min(self.at_once() - 1));
        let company = Company::of(together, &rows, sizes.first().copied().unwrap_or(1));
        let (busy, most) = (company.busy(), most_tries(&sizes) * self.ways);
        let measured = timed.call(move |session| {
            let budget = budget.saturating_sub(began.elapsed());
            let (mut next, depth) = (rows.iter().cycle(), session.depth());
            let run = |size: usize| {
                watch(most);
                busy.take_on(size);
                let batches = rows.len().min(MIX).div_ceil(size);
                // Where batches overlap, how long one takes behind another is what counts.
                let batches = if depth > 1 {
                    batches.max(BEHIND)
                } else {
                    batches
                };
                let mut launch =
                    || launch(session, &mut next, size).map_err(|fault| fault.to_string());
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
        })?;
        Ok(match (measured, company.failed()) {
            (Measured::Whole(_) | Measured::Short(_), Some((rows, why))) => {
                Measured::Failed(rows, format!("beside others: {why}"), None)
            }
            (measured, _) => measured,
        })
    }

    /// Sessions that the devices let run at once: the first ones.
    fn at_once(&self) -> usize {
        let devices = self.library.devices();
        match devices.first() {
            DeviceId::Cpu => (cores() / self.way.threads).max(1),
            DeviceId::Cuda(_) => devices.all().count(),
        }
    }

    /// The throughput that this way is known to have.
    pub(super) fn known(&self, how: &Measure<'_>) -> Option<f64> {
        let Measure::UnlessKept(config) = how else {
            return None;
        };
        let Recalled { curve, best } =
            state::recall(config.state_dir.as_ref()?, &self.key()).ok()??;
        Some(throughput(&curve, best, self.way))
    }

    fn sizes(&self) -> Vec<usize> {
        ladder(self.max_size, self.fixed)
    }

    /// What its curve holds for.
    fn key(&self) -> Key {
        Key {
            package: self.package.name().to_owned(),
            digest: self.package.digest().to_string(),
            device: named(self.library.devices()),
            library: self.library.version().to_owned(),
            threads: self.way.threads,
            sessions: self.way.count,
            cores: cores(),
            max_size: self.max_size,
        }
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// The devices, and what the first of them is.
fn named(devices: &Devices) -> String {
    let name = device_name(devices.first()).ok().flatten();
    format!("{devices} {}", name.unwrap_or_else(processor))
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
