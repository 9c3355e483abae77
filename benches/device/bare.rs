//! ONNX Runtime alone: the limit of the device's side. One session, one thread, and as many different rows as the
//! engine is asked about: over the same tensor again and again, a processor learns each branch of a forest by heart,
//! and runs it six times as fast as any that anybody has a use for.

use crate::packages::Kind;
use crate::results::Spread;
use crate::turns;
use anyhow::{Context, Result};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, Tensor};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows a second at one batch size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    pub rows: usize,
    pub rows_per_s: f64,
}

/// Rows that come one by one, and have so much time each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fed {
    /// When each comes, from the first moment on.
    pub arrivals: Vec<Duration>,
    pub patience: Duration,
    /// How long one row is thought to take.
    pub run: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ran {
    pub in_time: usize,
    pub late: usize,
    /// How long one took: the mean.
    pub run: Duration,
}

/// What a turn tells.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    RowsPerS(f64),
    Ran(Ran),
}

/// Rounds over all sizes, in another order each; of a size, the median counts.
const ROUNDS: usize = 5;
/// Before a turn counts, as the engine has it.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long a size is run in each, at least.
const EACH: Duration = Duration::from_millis(150);

/// Batches of one size that are run one after another.
struct Size {
    rows: usize,
    batches: Vec<Inputs>,
}

/// The inputs of a batch, by name.
type Inputs = Vec<(&'static str, DynValue)>;

/// Tells how fast sizes of 1, 2, 4 … rows run, and then runs the fastest whenever it is its turn, or rows as they
/// come.
pub fn rows(library: &Path, model: &Path, kind: Kind, lasts: Duration) -> Result<()> {
    // First: it loads ONNX Runtime, which makes tensors.
    let session = open(library, model)?;
    let mut rng = StdRng::seed_from_u64(6);
    let width: usize = kind.row().iter().product();
    let all: Vec<f32> = (0..kind.variety() * width).map(|_| rng.random()).collect();
    let sizes = sizes(kind.max_size()).map(|rows| {
        let dims: Vec<usize> = [rows].into_iter().chain(kind.row()).collect();
        let mut next = all.chunks(width).cycle();
        let batches = (0..kind.variety().div_ceil(rows)).map(|_| {
            let values: Vec<f32> = next.by_ref().take(rows).flatten().copied().collect();
            let x = Tensor::from_array((dims.clone(), values))?;
            Ok(vec![("x", x.into_dyn())])
        });
        let batches = batches.collect::<Result<_>>()?;
        Ok(Size { rows, batches })
    });
    fastest(session, sizes.collect::<Result<_>>()?, lasts)
}

/// The same of texts of these lengths, if they may all wait for each other: sorted, so many rows at a time.
pub fn texts(library: &Path, model: &Path, mut lengths: Vec<usize>, lasts: Duration) -> Result<()> {
    let session = open(library, model)?;
    lengths.sort_unstable();
    let sizes = sizes(128).map(|rows| {
        let batches = lengths.chunks(rows).map(|texts| {
            let longest = texts.last().copied().unwrap_or(1);
            let dims = [texts.len(), longest];
            let ids: Vec<i64> = (0..texts.len() * longest)
                .map(|n| n as i64 % 1_000)
                .collect();
            let there = texts
                .iter()
                .flat_map(|length| (0..longest).map(move |step| i64::from(step < *length)));
            let mask = Tensor::from_array((dims, there.collect::<Vec<i64>>()))?;
            let ids = Tensor::from_array((dims, ids))?;
            Ok(vec![("ids", ids.into_dyn()), ("mask", mask.into_dyn())])
        });
        let batches = batches.collect::<Result<_>>()?;
        Ok(Size { rows, batches })
    });
    fastest(session, sizes.collect::<Result<_>>()?, lasts)
}

fn sizes(most: usize) -> impl Iterator<Item = usize> {
    let doubling = (0..).map(|power| 1_usize << power);
    doubling.take_while(move |rows| *rows <= most)
}

fn fastest(mut session: Session, mut sizes: Vec<Size>, lasts: Duration) -> Result<()> {
    let mut rates: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        sizes.shuffle(&mut rand::rng());
        for size in &sizes {
            let rate = rate(&mut session, size, EACH)?;
            rates.entry(size.rows).or_default().push(rate);
        }
    }
    let median = |(rows, rates)| {
        let spread = Spread::of(rates).context("rounds")?;
        let rows_per_s = spread.median;
        Ok(Rate { rows, rows_per_s })
    };
    let rates: Vec<Rate> = rates.into_iter().map(median).collect::<Result<_>>()?;
    let best = best(&rates)?;
    let size = sizes.iter().find(|size| size.rows == best.rows);
    let size = size.context("the best")?;
    let alone = sizes
        .iter()
        .find(|size| size.rows == 1)
        .context("one row")?;
    turns::take(&rates, |fed: Option<Fed>| {
        rate(&mut session, size, WARM_UP)?;
        match fed {
            None => Ok(Told::RowsPerS(rate(&mut session, size, lasts)?)),
            Some(fed) => Ok(Told::Ran(in_time(&mut session, alone, &fed)?)),
        }
    })
}

/// How many of these are over in time, one after another, but for those that are thought not to be.
fn in_time(session: &mut Session, alone: &Size, fed: &Fed) -> Result<Ran> {
    let (began, mut in_time, mut runs) = (Instant::now(), 0, Vec::new());
    for (at, row) in fed.arrivals.iter().zip(alone.batches.iter().cycle()) {
        std::thread::sleep(at.saturating_sub(began.elapsed()));
        let (by, start) = (*at + fed.patience, began.elapsed());
        if start + fed.run > by {
            continue;
        }
        run(session, row)?;
        let over = began.elapsed();
        in_time += usize::from(over <= by);
        runs.push(over.saturating_sub(start));
    }
    let run = runs.iter().sum::<Duration>() / runs.len().max(1) as u32;
    let late = runs.len() - in_time;
    Ok(Ran { in_time, late, run })
}

fn run(session: &mut Session, batch: &Inputs) -> Result<()> {
    let inputs: Vec<_> = batch.iter().map(|(name, value)| (*name, value)).collect();
    session.run(inputs)?;
    Ok(())
}

/// Rows a second: all batches, over and over, for so long at least.
fn rate(session: &mut Session, size: &Size, lasts: Duration) -> Result<f64> {
    run(session, size.batches.first().context("a batch")?)?;
    let (began, mut rows) = (Instant::now(), 0);
    // All of them or none: they may differ in what they cost.
    while began.elapsed() < lasts {
        for batch in &size.batches {
            run(session, batch)?;
        }
        rows += size.batches.len() * size.rows;
    }
    Ok(rows as f64 / began.elapsed().as_secs_f64())
}

fn open(library: &Path, model: &Path) -> Result<Session> {
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let open = || -> ort::Result<Session> {
        SessionBuilder::new(&environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .commit_from_file(model)
    };
    Ok(open()?)
}

/// The smallest size with at least 95 % of the highest rate, as inferq means it.
pub fn smallest_good(rates: &[Rate]) -> Result<Rate> {
    let enough = best(rates)?.rows_per_s * 0.95;
    let good = rates.iter().find(|rate| rate.rows_per_s >= enough);
    good.copied().context("nothing was measured")
}

/// The highest.
pub fn best(rates: &[Rate]) -> Result<Rate> {
    let best = rates
        .iter()
        .max_by(|a, b| a.rows_per_s.total_cmp(&b.rows_per_s));
    best.copied().context("nothing was measured")
}
