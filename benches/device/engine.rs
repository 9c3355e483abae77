//! The engine in this process under a deep backlog.

use crate::packages::{Kind, request};
use anyhow::{Context, Result};
use inferq::Engine;
use inferq::message::object::Object;
use inferq::message::timings::Timings;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Before anything is counted.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// A deep backlog: as many requests in hand as keep the sessions busy, each followed by the next.
pub struct Backlog {
    answered: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Seen>>>,
}

/// What an answer told of its way.
#[derive(Clone, Copy)]
pub struct Seen {
    /// When its row came to wait for a batch.
    came: Instant,
    /// When that batch left; what rows of one batch tell of that differs by microseconds.
    pub left: Instant,
    pub run: Duration,
    /// Rows of that batch.
    rows: usize,
}

impl Seen {
    fn of(asked: Instant, timings: &Timings) -> Seen {
        let took = |stage: Option<Duration>| stage.unwrap_or_default();
        let came = asked + took(timings.validate) + took(timings.represent);
        Seen {
            came,
            left: came + took(timings.queue),
            run: took(timings.predict),
            rows: timings.batch_rows.unwrap_or_default(),
        }
    }
}

impl Backlog {
    pub fn start(engine: &Engine, kind: Kind) -> Result<Backlog> {
        let objects: Arc<[Object]> = kind.objects(kind.variety()).into();
        let answered = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let task = |first: usize| {
            let (engine, objects) = (engine.clone(), Arc::clone(&objects));
            let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for object in objects.iter().cycle().skip(first % objects.len()) {
                    let request = request(kind, object);
                    let asked = Instant::now();
                    let answer = engine.score(request).await;
                    // The engine closes while some are still asked.
                    if answer.result.is_err() {
                        break;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                    seen.push(Seen::of(asked, &answer.timings));
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                seen
            })
        };
        let tasks = (0..in_hand(engine, kind)?).map(task).collect();
        Ok(Backlog {
            answered,
            over,
            tasks,
        })
    }

    /// Answers a second, over so long.
    pub async fn rate(&self, lasts: Duration) -> f64 {
        let count = || self.answered.load(Ordering::Relaxed);
        let (began, before) = (Instant::now(), count());
        tokio::time::sleep(lasts).await;
        (count() - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Asks no more, and gives what all answers told once they are here: of those that waited longest as well.
    pub async fn finish(mut self) -> Result<Vec<Seen>> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in std::mem::take(&mut self.tasks) {
            all.extend(task.await?);
        }
        Ok(all)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Most rows of a batch.
pub fn most_rows(engine: &Engine, kind: Kind) -> Result<usize> {
    let live = engine.repository().resolve(kind.name(), None);
    let live = live.map_err(|rejection| anyhow::anyhow!("{rejection:?}"))?;
    Ok(live.max_size())
}

/// What the package's sessions can have in hand with some to spare.
fn in_hand(engine: &Engine, kind: Kind) -> Result<usize> {
    let live = engine.repository().resolve(kind.name(), None);
    let live = live.map_err(|rejection| anyhow::anyhow!("{rejection:?}"))?;
    Ok((4 * live.max_size() * live.sessions.count).max(64))
}

/// Answers a second under a deep backlog.
pub async fn capacity(engine: &Engine, kind: Kind, lasts: Duration) -> Result<f64> {
    let backlog = Backlog::start(engine, kind)?;
    tokio::time::sleep(WARM_UP).await;
    Ok(backlog.rate(lasts).await)
}

/// Texts of many lengths under a deep backlog.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lengths {
    pub tokens_per_s: f64,
    /// Tokens that ran ÷ tokens that the texts have.
    pub padding: f64,
    pub overtaking: Overtaking,
}

pub async fn lengths(engine: &Engine, kind: Kind, lasts: Duration) -> Result<Lengths> {
    let backlog = Backlog::start(engine, kind)?;
    tokio::time::sleep(WARM_UP).await;
    let ([real, padded], began) = (tokens(kind)?, Instant::now());
    tokio::time::sleep(lasts).await;
    let ([real_now, padded_now], lasted) = (tokens(kind)?, began.elapsed());
    let real = real_now - real;
    Ok(Lengths {
        tokens_per_s: real / lasted.as_secs_f64(),
        padding: (padded_now - padded) / real,
        overtaking: overtaking(backlog.finish().await?),
    })
}

/// The tokens that texts had, and those that ran, so far.
fn tokens(kind: Kind) -> Result<[f64; 2]> {
    let registry = inferq::telemetry::recorder::install_recorder()?;
    let page = inferq::telemetry::recorder::render(&registry)?;
    let counted = |of: &str| -> Result<f64> {
        let name = format!(
            "inferq_sequence_steps_total{{kind=\"{of}\",package=\"{}\"}} ",
            kind.name()
        );
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix(name.as_str()));
        Ok(count.context("no steps are counted")?.parse()?)
    };
    Ok([counted("real")?, counted("padded")?])
}

/// How rows of one package and priority, with one session, were overtaken: a row is by each batch that left while it
/// waited and had a row that came later.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overtaking {
    pub rows: usize,
    pub batches: usize,
    /// Batches that are not told apart for sure: they had another number of rows than their answers say.
    pub misread: usize,
    /// The most batches that overtook a row.
    pub most: usize,
    /// The part of the rows that more than two batches overtook.
    pub by_more_than_2: f64,
}

fn overtaking(mut seen: Vec<Seen>) -> Overtaking {
    seen.sort_by_key(|row| row.left);
    let mut batches: Vec<Vec<Seen>> = Vec::new();
    for row in seen {
        match batches.last_mut() {
            // No batch leaves while another runs.
            Some(batch) if row.left < batch[0].left + batch[0].run / 2 => batch.push(row),
            _ => batches.push(vec![row]),
        }
    }
    let newest: Vec<Option<Instant>> = batches
        .iter()
        .map(|batch| batch.iter().map(|row| row.came).max())
        .collect();
    let mut by = Vec::new();
    for (place, batch) in batches.iter().enumerate() {
        for row in batch {
            let before = batches[..place].iter().zip(&newest).rev();
            let meanwhile = before.take_while(|(batch, _)| batch[0].left > row.came);
            by.push(
                meanwhile
                    .filter(|(_, newest)| **newest > Some(row.came))
                    .count(),
            );
        }
    }
    let misread = batches.iter().filter(|batch| batch.len() != batch[0].rows);
    Overtaking {
        rows: by.len(),
        batches: batches.len(),
        misread: misread.count(),
        most: by.iter().copied().max().unwrap_or_default(),
        by_more_than_2: by.iter().filter(|by| **by > 2).count() as f64 / by.len() as f64,
    }
}
