//! The engine in this process, under load.

use crate::packages::{Kind, request};
use anyhow::{Context, Result};
use inferq::batcher::curve::Point;
use inferq::fault::Failure;
use inferq::message::object::Object;
use inferq::message::rejection::Code;
use inferq::{Answer, Engine};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// A deep backlog: as many requests in hand as keep the sessions busy, each followed by the next.
pub struct Backlog {
    answered: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Backlog {
    pub fn start(engine: &Engine, kind: Kind, in_hand: usize) -> Backlog {
        let objects: Arc<[Object]> = kind.objects(kind.variety()).into();
        let answered = Arc::new(AtomicUsize::new(0));
        let task = |first: usize| {
            let (engine, objects) = (engine.clone(), Arc::clone(&objects));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                for object in objects.iter().cycle().skip(first % objects.len()) {
                    let answer = engine.score(request(kind, object)).await;
                    // The engine closes while some are still asked.
                    if answer.result.is_err() {
                        return;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..in_hand).map(task).collect();
        Backlog { answered, tasks }
    }

    /// Answers a second, over so long.
    pub async fn rate(&self, lasts: Duration) -> f64 {
        let count = || self.answered.load(Ordering::Relaxed);
        let (began, before) = (Instant::now(), count());
        tokio::time::sleep(lasts).await;
        (count() - before) as f64 / began.elapsed().as_secs_f64()
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
    Ok(live.max_size)
}

/// What the package's sessions can have in hand with some to spare.
fn in_hand(engine: &Engine, kind: Kind) -> Result<usize> {
    let live = engine.repository().resolve(kind.name(), None);
    let live = live.map_err(|rejection| anyhow::anyhow!("{rejection:?}"))?;
    Ok((4 * live.max_size * live.package.sessions().count).max(64))
}

/// Answers a second under a deep backlog.
pub async fn capacity(engine: &Engine, kind: Kind, lasts: Duration) -> Result<f64> {
    let backlog = Backlog::start(engine, kind, in_hand(engine, kind)?);
    tokio::time::sleep(WARM_UP).await;
    Ok(backlog.rate(lasts).await)
}

/// Texts of many lengths under a deep backlog.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lengths {
    pub texts_per_s: f64,
    /// Words that ran ÷ words that the texts have.
    pub padding: f64,
}

pub async fn lengths(engine: &Engine, kind: Kind, lasts: Duration) -> Result<Lengths> {
    let registry = inferq::telemetry::recorder::install_recorder()?;
    let texts_per_s = capacity(engine, kind, lasts).await?;
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
    Ok(Lengths {
        texts_per_s,
        padding: counted("padded")? / counted("real")?,
    })
}

/// What was offered at random times.
#[derive(Debug)]
struct Offered {
    at: Instant,
    done: Instant,
    answer: Answer,
}

/// Poisson arrivals at `rate`, whatever becomes of them.
async fn offer(
    engine: &Engine,
    kind: Kind,
    (rate, lasts, patience): (f64, Duration, Option<Duration>),
) -> Result<Vec<Offered>> {
    let objects = kind.objects(kind.variety());
    let mut rng = StdRng::seed_from_u64(5);
    let (start, mut at) = (Instant::now(), Duration::ZERO);
    let mut asked = JoinSet::new();
    for object in objects.iter().cycle() {
        at += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / rate);
        if at > lasts {
            break;
        }
        let at = start + at;
        tokio::time::sleep_until(at.into()).await;
        let engine = engine.clone();
        let mut request = request(kind, object);
        request.deadline = patience.map(|patience| at + patience);
        asked.spawn(async move {
            let answer = engine.score(request).await;
            Offered {
                at,
                done: Instant::now(),
                answer,
            }
        });
    }
    let mut offered = Vec::new();
    while let Some(one) = asked.join_next().await {
        offered.push(one?);
    }
    offered.sort_by_key(|one| one.at);
    Ok(offered)
}

/// A light package beside a heavy one that never has enough.
#[derive(Debug, Serialize, Deserialize)]
pub struct Neighbours {
    pub alone_p99_ms: f64,
    pub beside_p99_ms: f64,
    /// One batch of the heavy one, beside the light one.
    pub heavy_batch_ms: f64,
    pub heavy_rows_per_s_alone: f64,
    pub heavy_rows_per_s_beside: f64,
}

/// Requests of the light package a second.
const LIGHT_RATE: f64 = 100.0;

pub async fn beside(
    engine: &Engine,
    light: Kind,
    heavy: Kind,
    lasts: Duration,
) -> Result<Neighbours> {
    let p99 = |offered: Vec<Offered>| -> Result<f64> {
        let took = offered.into_iter().map(|one| {
            one.answer
                .result
                .ok()
                .context("the light package was refused")?;
            Ok(ms(one.done - one.at))
        });
        quantile(took.collect::<Result<_>>()?, 0.99)
    };
    let load = (LIGHT_RATE, lasts, None);
    offer(engine, light, (LIGHT_RATE, WARM_UP, None)).await?;
    let alone_p99_ms = p99(offer(engine, light, load).await?)?;
    let heavy_rows_per_s_alone = capacity(engine, heavy, lasts).await?;
    let backlog = Backlog::start(engine, heavy, in_hand(engine, heavy)?);
    tokio::time::sleep(WARM_UP).await;
    let (offered, heavy_rows_per_s_beside) =
        tokio::join!(offer(engine, light, load), backlog.rate(lasts));
    // One more of the heavy ones tells how long its batch takes.
    let one = engine.score(request(heavy, &heavy.objects(1)[0])).await;
    drop(backlog);
    Ok(Neighbours {
        alone_p99_ms,
        beside_p99_ms: p99(offered?)?,
        heavy_batch_ms: ms(one.timings.predict.context("it ran")?),
        heavy_rows_per_s_alone,
        heavy_rows_per_s_beside,
    })
}

/// Requests with deadlines at a share of the capacity.
#[derive(Debug, Serialize, Deserialize)]
pub struct Timely {
    pub capacity_per_s: f64,
    pub load: f64,
    pub deadline_ms: f64,
    pub offered: usize,
    /// Answered by their deadline.
    pub in_time: usize,
    /// Refused before that.
    pub refused: usize,
    /// Answered, or given up, later.
    pub late: usize,
    /// What a policy that knows all run times would answer in time.
    pub ideal: usize,
    /// Answered in time a second ÷ capacity.
    pub goodput: f64,
}

pub async fn timely(engine: &Engine, kind: Kind, load: f64, lasts: Duration) -> Result<Timely> {
    let live = engine.repository().resolve(kind.name(), None);
    let live = live.map_err(|rejection| anyhow::anyhow!("{rejection:?}"))?;
    let curve = live.curve.as_ref().context("the package was measured")?;
    let best = curve.best();
    let capacity_per_s = capacity(engine, kind, lasts / 4).await?;
    // The curve as it is under this load: the decoding of pictures has a part of the machine.
    let slower = best.rows as f64 / best.run.as_secs_f64() / capacity_per_s;
    let points: Vec<Point> = curve
        .points()
        .iter()
        .map(|point| Point {
            rows: point.rows,
            run: point.run.mul_f64(slower),
        })
        .collect();
    let patience = best.run.mul_f64(slower) * 5;
    let began = Instant::now();
    let offered = offer(engine, kind, (load * capacity_per_s, lasts, Some(patience))).await?;
    let lasted = began.elapsed().max(lasts);
    let arrivals: Vec<Duration> = offered.iter().map(|one| one.at - began).collect();
    let (mut in_time, mut refused, mut late) = (0, 0, 0);
    for one in &offered {
        let by = one.at + patience;
        let place = match &one.answer.result {
            Ok(_) if one.done <= by => &mut in_time,
            Err(Failure::Rejected(why)) if one.done < by && why.code == Code::DeadlineExceeded => {
                &mut refused
            }
            _ => &mut late,
        };
        *place += 1;
    }
    Ok(Timely {
        capacity_per_s,
        load,
        deadline_ms: ms(patience),
        offered: offered.len(),
        in_time,
        refused,
        late,
        ideal: ideal(&arrivals, &points, best.rows, patience),
        goodput: in_time as f64 / lasted.as_secs_f64() / capacity_per_s,
    })
}

/// How many of these a device answers in time that takes the next rows as soon as it is free, as many as there are up
/// to the best batch, but none that would be late.
fn ideal(arrivals: &[Duration], curve: &[Point], best: usize, patience: Duration) -> usize {
    let run = |rows: usize| {
        let at_least = curve.iter().find(|point| point.rows >= rows);
        at_least
            .or(curve.last())
            .map_or(Duration::ZERO, |point| point.run)
    };
    let (mut now, mut in_time, mut next) = (Duration::ZERO, 0, 0);
    while let Some(first) = arrivals.get(next) {
        now = now.max(*first);
        if *first + patience < now + run(1) {
            next += 1;
            continue;
        }
        let waiting = arrivals[next..].iter().take_while(|at| **at <= now).count();
        let fits = |rows: &usize| *first + patience >= now + run(*rows);
        let rows = (1..=waiting.min(best)).rev().find(fits).unwrap_or(1);
        now += run(rows);
        in_time += rows;
        next += rows;
    }
    in_time
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The value at or below which this part of them lies.
fn quantile(mut values: Vec<f64>, part: f64) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values
        .get(place.saturating_sub(1))
        .copied()
        .context("nothing was offered")
}
