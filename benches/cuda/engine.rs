//! The engine's batcher around one session, under a deep backlog.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use inferq::{
    batcher::{BatchObservation, Batcher, Device, PolicyConfig, Share, Sizing},
    predict::SessionThread,
    tensor::Row,
};
use tokio::runtime::Runtime;

use crate::rows::{Case, Kind};

/// So many full batches of requests are asked at a time.
const BATCHES: usize = 6;

pub struct Engine {
    runtime: Runtime,
    batcher: Batcher,
    case: Case,
    rows: Arc<[Row]>,
    seen: Arc<Seen>,
    pub mean_length: f64,
}

#[derive(Default)]
struct Seen {
    batches: AtomicUsize,
    rows: AtomicUsize,
    real: AtomicUsize,
    padded: AtomicUsize,
}

/// What came of a turn.
#[derive(Clone, Copy)]
pub struct Rate {
    pub rows_per_s: f64,
    pub rows_per_batch: f64,
    /// Padded ÷ real steps.
    pub padding: f64,
}

impl Engine {
    pub fn start(session: SessionThread, kind: Kind, case: Case) -> Result<Engine> {
        let layout = session.signature().layout(kind.longest());
        let layout = layout.map_err(|port| anyhow!("{} has open axes", port.name))?;
        let variety = if kind == Kind::Picture { 256 } else { 4_096 };
        let rows = kind.mixed(&layout, variety);
        let length: usize = rows.iter().map(|row| row.length).sum();
        let seen = Arc::new(Seen::default());
        let hears = Arc::clone(&seen);
        let config = PolicyConfig {
            max_size: case.max_size,
            max_delay: Duration::from_millis(5),
            queue_limit: case.max_size * BATCHES * 4,
        };
        let batcher = Batcher::start(
            "bench",
            config,
            Sizing::default(),
            Duration::from_secs(60),
            vec![(Device::gpu().join(Share::default()), vec![session])],
            move |observed: BatchObservation| {
                hears.batches.fetch_add(1, Ordering::Relaxed);
                hears.rows.fetch_add(observed.rows, Ordering::Relaxed);
                hears.real.fetch_add(observed.steps.real, Ordering::Relaxed);
                hears
                    .padded
                    .fetch_add(observed.steps.padded, Ordering::Relaxed);
            },
        );
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Engine {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads((cores / 2).max(1))
                .enable_all()
                .build()?,
            batcher,
            case,
            mean_length: length as f64 / rows.len() as f64,
            rows: rows.into(),
            seen,
        })
    }

    /// Rows a second, once as many are asked as ever.
    pub fn rate(&self, lasts: Duration) -> Rate {
        let ends = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let requests = (self.case.max_size * BATCHES).div_ceil(self.case.each);
        let ask = |first: usize| {
            let (batcher, rows) = (self.batcher.clone(), Arc::clone(&self.rows));
            let (ends, answered, each) = (Arc::clone(&ends), Arc::clone(&answered), self.case.each);
            self.runtime.spawn(async move {
                let mut next = first * each;
                while !ends.load(Ordering::Relaxed) {
                    let asked = (next..next + each).map(|n| rows[n % rows.len()].clone());
                    let deadline = Instant::now() + Duration::from_secs(60);
                    let asked = batcher.submit(asked.collect(), 0, deadline, None);
                    asked.await.expect("every row runs");
                    answered.fetch_add(each, Ordering::Relaxed);
                    next += 17 * each;
                }
            })
        };
        let tasks: Vec<_> = (0..requests).map(ask).collect();
        let read = || {
            let seen = &self.seen;
            let all = [
                &*answered,
                &seen.batches,
                &seen.rows,
                &seen.real,
                &seen.padded,
            ];
            all.map(|count| count.load(Ordering::Relaxed) as f64)
        };
        std::thread::sleep(lasts / 3);
        let (began, before) = (Instant::now(), read());
        std::thread::sleep(lasts);
        let (took, after) = (began.elapsed().as_secs_f64(), read());
        ends.store(true, Ordering::Relaxed);
        for task in tasks {
            self.runtime.block_on(task).expect("no task panics");
        }
        let counted: Vec<f64> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        Rate {
            rows_per_s: counted[0] / took,
            rows_per_batch: counted[2] / counted[1],
            padding: counted[4] / counted[3],
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.runtime.block_on(self.batcher.close());
    }
}
