//! ONNX Runtime alone: the limit of the device's side. One session, one thread, and as many different rows as the
//! engine is asked about: over the same tensor again and again, a processor learns each branch of a forest by heart,
//! and runs it six times as fast as any that anybody has a use for.

use crate::packages::Kind;
use crate::results::Spread;
use anyhow::{Context, Result};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows a second at one batch size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    pub rows: usize,
    pub rows_per_s: f64,
}

/// Rounds over all sizes, in another order each; of a size, the median counts.
const ROUNDS: usize = 5;
/// How long a size is run in each, at least.
const EACH: Duration = Duration::from_millis(150);

/// The rates over 1, 2, 4 … rows.
pub fn run(library: &Path, model: &Path, kind: Kind) -> Result<Vec<Rate>> {
    let mut session = open(library, model)?;
    let mut rng = StdRng::seed_from_u64(6);
    let mut sizes: Vec<(Rate, Vec<f64>, Vec<Tensor<f32>>)> = Vec::new();
    for rows in (0..)
        .map(|power| 1_usize << power)
        .take_while(|rows| *rows <= kind.max_size())
    {
        let dims: Vec<usize> = [rows].into_iter().chain(kind.row()).collect();
        let tensors = (0..kind.variety().div_ceil(rows)).map(|_| {
            let values = 0..dims.iter().product();
            let values: Vec<f32> = values.map(|_: usize| rng.random()).collect();
            Tensor::from_array((dims.clone(), values))
        });
        let tensors = tensors.collect::<ort::Result<_>>()?;
        let rate = Rate {
            rows,
            rows_per_s: 0.0,
        };
        sizes.push((rate, Vec::new(), tensors));
    }
    for _ in 0..ROUNDS {
        sizes.shuffle(&mut rand::rng());
        for (Rate { rows, .. }, rates, tensors) in &mut sizes {
            let mut next = tensors.iter().cycle();
            let mut run = || -> Result<()> {
                session.run(ort::inputs!["x" => next.next().context("a tensor")?])?;
                Ok(())
            };
            run()?;
            let (began, mut runs) = (Instant::now(), 0);
            while began.elapsed() < EACH {
                run()?;
                runs += 1;
            }
            rates.push((runs * *rows) as f64 / began.elapsed().as_secs_f64());
        }
    }
    sizes.sort_by_key(|(rate, ..)| rate.rows);
    let median = |(rate, rates, _)| {
        let spread = Spread::of(rates).context("rounds")?;
        Ok(Rate {
            rows_per_s: spread.median,
            ..rate
        })
    };
    sizes.into_iter().map(median).collect()
}

/// The rates at which texts of these lengths run if they may all wait for each other: sorted, so many rows at a time.
pub fn texts(library: &Path, model: &Path, mut lengths: Vec<usize>) -> Result<Vec<Rate>> {
    lengths.sort_unstable();
    let mut session = open(library, model)?;
    let mut sizes: Vec<(Rate, Vec<f64>)> = (0..8)
        .map(|power| {
            (
                Rate {
                    rows: 1 << power,
                    rows_per_s: 0.0,
                },
                Vec::new(),
            )
        })
        .collect();
    for round in 0..=ROUNDS {
        sizes.shuffle(&mut rand::rng());
        for (Rate { rows, .. }, rates) in &mut sizes {
            let mut spent = Duration::ZERO;
            for texts in lengths.chunks(*rows) {
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
                let began = Instant::now();
                session.run(ort::inputs!["ids" => ids, "mask" => mask])?;
                spent += began.elapsed();
            }
            if round > 0 {
                rates.push(lengths.len() as f64 / spent.as_secs_f64());
            }
        }
    }
    sizes.sort_by_key(|(rate, _)| rate.rows);
    let median = |(rate, rates)| {
        let spread = Spread::of(rates).context("rounds")?;
        Ok(Rate {
            rows_per_s: spread.median,
            ..rate
        })
    };
    sizes.into_iter().map(median).collect()
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

/// The highest.
pub fn best(rates: &[Rate]) -> Result<Rate> {
    let best = rates
        .iter()
        .max_by(|a, b| a.rows_per_s.total_cmp(&b.rows_per_s));
    best.copied().context("nothing was measured")
}
