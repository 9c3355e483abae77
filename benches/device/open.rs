//! The engine in this process under an open load: requests come when they are due, whatever becomes of those before.

use crate::engine::{Backlog, WARM_UP};
use crate::packages::{Kind, request};
use crate::results::Spread;
use anyhow::{Context, Result};
use inferq::{Answer, Engine};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What was offered at random times.
#[derive(Debug)]
pub struct Offered {
    pub at: Instant,
    pub done: Instant,
    pub answer: Answer,
}

/// Requests that come at random (Poisson).
#[derive(Clone, Copy)]
pub struct Arrivals {
    pub per_s: f64,
    pub lasts: Duration,
    /// From when a request is due until its deadline; none where the package's default will do.
    pub patience: Option<Duration>,
    pub seed: u64,
}

/// Sleeping ends so much too late at the most, as a rule; the rest is waited for at work.
const NEAR: Duration = Duration::from_micros(150);

/// Offers them, in the order in which they are due. A thread of its own keeps time: timers of tokio are of a
/// millisecond.
pub async fn offer(engine: &Engine, kind: Kind, arrivals: Arrivals) -> Result<Vec<Offered>> {
    let (engine, runtime) = (engine.clone(), Handle::current());
    let clock = move || {
        let objects = kind.objects(kind.variety());
        let mut rng = StdRng::seed_from_u64(arrivals.seed);
        let (start, mut at, mut asked) = (Instant::now(), Duration::ZERO, Vec::new());
        for object in objects.iter().cycle() {
            at += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / arrivals.per_s);
            if at > arrivals.lasts {
                break;
            }
            let (at, engine) = (start + at, engine.clone());
            let mut request = request(kind, object);
            request.deadline = arrivals.patience.map(|patience| at + patience);
            let left = at.saturating_duration_since(Instant::now());
            std::thread::sleep(left.saturating_sub(NEAR));
            while Instant::now() < at {
                std::hint::spin_loop();
            }
            asked.push(runtime.spawn(async move {
                let answer = engine.score(request).await;
                let done = Instant::now();
                Offered { at, done, answer }
            }));
        }
        asked
    };
    let mut offered = Vec::new();
    for asked in tokio::task::spawn_blocking(clock).await? {
        offered.push(asked.await?);
    }
    Ok(offered)
}

/// A light package beside a heavy one that never has enough.
#[derive(Debug, Serialize, Deserialize)]
pub struct Neighbours {
    /// Requests of the light one that were timed, alone and as many beside.
    pub timed: [usize; 2],
    pub alone_p99_ms: f64,
    pub beside_p99_ms: f64,
    /// One batch of the heavy one while it is alone: the median over its answers.
    pub heavy_batch_ms: f64,
    /// One beside the light one that one in a hundred takes.
    pub heavy_batch_p99_ms: f64,
    pub heavy_rows_per_s_alone: f64,
    pub heavy_rows_per_s_beside: f64,
}

/// Requests of the light package a second.
const LIGHT_RATE: f64 = 100.0;
/// The light one is measured alone and beside the other in turn, at the same times.
const TURNS: u32 = 4;

pub async fn beside(
    engine: &Engine,
    light: Kind,
    heavy: Kind,
    lasts: Duration,
) -> Result<Neighbours> {
    let lasts = lasts / 2;
    let mut load = Arrivals {
        per_s: LIGHT_RATE,
        lasts: WARM_UP,
        patience: None,
        seed: 0,
    };
    offer(engine, light, load).await?;
    load.lasts = lasts;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut runs_alone, mut runs_beside) = (Vec::new(), Vec::new());
    let (mut heavy_alone, mut heavy_beside) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        load.seed = u64::from(turn);
        alone.extend(took(offer(engine, light, load).await?)?);
        let work = async |backlog: &Backlog| Ok(backlog.rate(lasts).await);
        let (rate, runs) = under(engine, heavy, work).await?;
        heavy_alone.push(rate);
        runs_alone.extend(runs);
        let work = async |backlog: &Backlog| {
            let (offered, rate) = tokio::join!(offer(engine, light, load), backlog.rate(lasts));
            Ok((took(offered?)?, rate))
        };
        let ((took, rate), runs) = under(engine, heavy, work).await?;
        beside.extend(took);
        heavy_beside.push(rate);
        runs_beside.extend(runs);
    }
    let median =
        |values: Vec<f64>| Ok::<_, anyhow::Error>(Spread::of(values).context("turns")?.median);
    Ok(Neighbours {
        timed: [alone.len(), beside.len()],
        alone_p99_ms: quantile(alone, 0.99)?,
        beside_p99_ms: quantile(beside, 0.99)?,
        heavy_batch_ms: median(runs_alone)?,
        heavy_batch_p99_ms: quantile(runs_beside, 0.99)?,
        heavy_rows_per_s_alone: median(heavy_alone)?,
        heavy_rows_per_s_beside: median(heavy_beside)?,
    })
}

/// Does `work` under a backlog; with what came of it, how long each of the backlog's rows ran meanwhile, ms.
async fn under<T>(
    engine: &Engine,
    kind: Kind,
    work: impl AsyncFnOnce(&Backlog) -> Result<T>,
) -> Result<(T, Vec<f64>)> {
    let backlog = Backlog::start(engine, kind)?;
    tokio::time::sleep(WARM_UP).await;
    let began = Instant::now();
    let done = work(&backlog).await?;
    let ended = Instant::now();
    // What runs at either end has something else beside it.
    let rows = backlog.finish().await?.into_iter();
    let rows = rows.filter(|row| row.left >= began && row.left + row.run <= ended);
    Ok((done, rows.map(|row| ms(row.run)).collect()))
}

/// From when each was due until it was answered, ms.
fn took(offered: Vec<Offered>) -> Result<Vec<f64>> {
    let took = offered.into_iter().map(|one| {
        let answered = one.answer.result.ok();
        answered.context("the light package was refused")?;
        Ok(ms(one.done - one.at))
    });
    took.collect()
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The value at or below which this part of them lies.
fn quantile(mut values: Vec<f64>, part: f64) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    let value = values.get(place.saturating_sub(1));
    value.copied().context("nothing was offered")
}
