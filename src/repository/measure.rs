//! How long batches of a package take on this device: recalled, or measured on one of its sessions.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    batcher::{
        Config,
        curve::{Curve, measure, most_runs},
        state::{self, Key},
    },
    package::Package,
    predict::{Library, SessionThread},
    tensor::Row,
};

/// Whether a package is measured as it is loaded.
pub(super) enum Appetite<'a> {
    /// No batch is smaller for it.
    Unasked,
    /// Unless a curve is kept already.
    Wanted(&'a Config),
    /// Whatever is kept, while somebody watches.
    Anew(&'a Config, Watch),
}

/// Hears of each run that measuring takes, and how many there are at most.
pub(super) type Watch = Box<dyn FnMut(usize) + Send>;

/// A package that is about to go live.
pub(super) struct Measuring<'a> {
    pub(super) library: &'a Library,
    pub(super) package: &'a Arc<Package>,
    pub(super) session: &'a SessionThread,
    /// Most rows that may run together.
    pub(super) max_size: usize,
}

impl Measuring<'_> {
    /// The curve, where one is wanted and can be had. What was wrong with the state directory goes to `warnings`.
    pub(super) fn curve(
        &self,
        appetite: Appetite<'_>,
        warnings: &mut Vec<String>,
    ) -> Option<Curve> {
        let (config, anew, watch) = match appetite {
            Appetite::Unasked => return None,
            Appetite::Wanted(config) => (config, false, Box::new(|_| {}) as Watch),
            Appetite::Anew(config, watch) => (config, true, watch),
        };
        let budget = config.budget()?;
        let Some(dir) = &config.state_dir else {
            return self.measure(budget, watch);
        };
        let key = self.key();
        match state::recall(dir, &key) {
            Ok(Some(curve)) if !anew => return Some(curve),
            Ok(_) => {}
            Err(fault) => warnings.push(fault.to_string()),
        }
        let curve = self.measure(budget, watch)?;
        if let Err(fault) = state::keep(dir, &key, &curve) {
            warnings.push(fault.to_string());
        }
        Some(curve)
    }

    /// Batches of the golden examples' rows, timed on the session's own thread.
    fn measure(&self, budget: Duration, mut watch: Watch) -> Option<Curve> {
        let (rows, most) = (self.package.example_rows(), self.max_size);
        let (limit, runs) = (self.package.limits().run, most_runs(most));
        if rows.is_empty() {
            return None;
        }
        let measured = self.session.call(move |session| {
            let run = |size| {
                watch(runs);
                let batch: Vec<&Row> = rows.iter().cycle().take(size).collect();
                let began = Instant::now();
                let ran = session.run(&batch);
                let took = began.elapsed();
                (ran.is_ok() && took < limit).then_some(took)
            };
            measure(most, budget, run, &mut rand::rng())
        });
        measured.ok().flatten()
    }

    /// What its curve holds for.
    fn key(&self) -> Key {
        Key {
            package: self.package.name().to_owned(),
            digest: self.package.digest().to_string(),
            device: format!("cpu {}", processor()),
            library: self.library.version().to_owned(),
            threads: self.package.sessions().threads,
            sessions: self.package.sessions().count,
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            max_size: self.max_size,
        }
    }
}

/// The processor's model, as Linux tells it; else its architecture.
fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim());
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}
