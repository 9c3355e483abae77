//! How long batches of a package take on this device: recalled, or measured on one of its sessions.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    batcher::{
        Config,
        curve::{Curve, measure},
        state::{self, Key},
    },
    package::Package,
    predict::{Library, SessionThread},
    tensor::Row,
};

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
    pub(super) fn curve(&self, config: &Config, warnings: &mut Vec<String>) -> Option<Curve> {
        let budget = config.budget()?;
        let Some(dir) = &config.state_dir else {
            return self.measure(budget);
        };
        let key = self.key();
        match state::recall(dir, &key) {
            Ok(Some(curve)) => return Some(curve),
            Ok(None) => {}
            Err(fault) => warnings.push(fault.to_string()),
        }
        let curve = self.measure(budget)?;
        if let Err(fault) = state::keep(dir, &key, &curve) {
            warnings.push(fault.to_string());
        }
        Some(curve)
    }

    /// Batches of the golden examples' rows, timed on the session's own thread.
    fn measure(&self, budget: Duration) -> Option<Curve> {
        let (rows, most) = (self.package.example_rows(), self.max_size);
        let limit = self.package.limits().run;
        if rows.is_empty() {
            return None;
        }
        let measured = self.session.call(move |session| {
            let run = |size| {
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
