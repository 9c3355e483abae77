//! Requests with deadlines at a share of what ONNX Runtime alone does; what the best policy would make of them on a device
//! that always takes the same, and what ONNX Runtime alone does, given them one by one at the same moments.

use crate::bare::{self, Fed, Ran, Rate};
use crate::open::{Arrivals, ms, offer};
use crate::packages::{Kind, request};
use crate::results::{Row, Spread};
use crate::turns::{TURN, Waiting};
use crate::{ENGINE, Options};
use anyhow::{Context, Result};
use inferq::Engine;
use inferq::fault::Failure;
use inferq::message::rejection::Code;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is asked of the engine.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    pub per_s: f64,
    /// From when a request is due until its deadline.
    pub patience: Duration,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tally {
    /// When each was due, from the first moment on.
    pub arrivals: Vec<Duration>,
    /// Answered by their deadline.
    pub in_time: usize,
    /// Refused before that.
    pub refused: usize,
    /// Answered, or given up, later.
    pub late: usize,
    pub lasted: Duration,
    /// Device time a row: the mean over the answers.
    pub run: Duration,
    /// Rows of a batch: the mean over the answers.
    pub batch: f64,
}

/// Requests that are asked one by one, of which the first fifth does not count.
const ASKED: usize = 2_500;

/// How long the engine takes for one request that has the machine to itself, of a package that does nothing: the median.
pub async fn round_trip(engine: &Engine) -> Result<Duration> {
    let objects = Kind::Noop.objects(Kind::Noop.variety());
    let mut took = Vec::new();
    for object in objects.iter().cycle().take(ASKED) {
        let request = request(Kind::Noop, object);
        let began = Instant::now();
        let answer = engine.score(request).await;
        took.push(began.elapsed());
        answer.result.ok().context("the no-op was refused")?;
    }
    let mut took = took.split_off(ASKED / 5);
    took.sort_unstable();
    took.get(took.len() / 2).copied().context("requests")
}

pub async fn timely(engine: &Engine, kind: Kind, load: Load, lasts: Duration) -> Result<Tally> {
    let Load { per_s, patience } = load;
    let arrivals = Arrivals {
        per_s,
        lasts,
        patience: Some(patience),
        seed: 5,
    };
    let began = Instant::now();
    let offered = offer(engine, kind, arrivals).await?;
    let lasted = began.elapsed().max(lasts);
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
    let ran = offered.iter().map(|one| &one.answer.timings);
    let ran = ran.filter_map(|timings| Some((timings.predict?, timings.batch_rows?)));
    let ran: Vec<(Duration, usize)> = ran.collect();
    let run: Duration = ran.iter().map(|(run, rows)| *run / *rows as u32).sum();
    let rows: usize = ran.iter().map(|(_, rows)| rows).sum();
    let answers = ran.len().max(1);
    Ok(Tally {
        run: run / answers as u32,
        batch: rows as f64 / answers as f64,
        arrivals: offered.iter().map(|one| one.at - began).collect(),
        in_time,
        refused,
        late,
        lasted,
    })
}

/// t(b) of the device: as measured, and on the line between two sizes that were.
pub struct Device(Vec<(usize, f64)>);

impl Device {
    /// As ONNX Runtime alone was measured, but so many times as fast.
    pub fn of(rates: &[Rate], faster: f64) -> Device {
        let point = |rate: &Rate| (rate.rows, rate.rows as f64 / rate.rows_per_s / faster);
        Device(rates.iter().map(point).collect())
    }

    fn run(&self, rows: usize) -> f64 {
        let above = self.0.iter().position(|(size, _)| *size >= rows);
        let place = above.unwrap_or(self.0.len() - 1);
        let (high, slow) = self.0[place];
        let Some((low, fast)) = place.checked_sub(1).map(|below| self.0[below]) else {
            return slow;
        };
        fast + (slow - fast) * (rows - low) as f64 / (high - low) as f64
    }
}

/// What a policy does about requests that it cannot answer in time. It runs the next as soon as the device is free, as
/// many as wait up to a limit; all have the same time, so that the first to come has the nearest deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hopeless {
    /// Runs them all the same: first come, first served.
    Runs,
    /// Drops those that would be late even alone, and makes a batch smaller that its first would be late in.
    Shrinks,
    /// Drops those that would be late in as large a batch as there is.
    Drops,
}

/// A policy of the family, and how many it answers in time.
#[derive(Clone, Copy, Debug)]
pub struct Ideal {
    pub in_time: usize,
    limit: usize,
    hopeless: Hopeless,
}

impl fmt::Display for Ideal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.hopeless {
            Hopeless::Runs => "first come, first served",
            Hopeless::Shrinks => "nearest deadline first, smaller batches for it",
            Hopeless::Drops => "nearest deadline first, without those a full batch is too long for",
        };
        write!(f, "{how}, b ≤ {}", self.limit)
    }
}

/// The best of all limits that were measured and all ways with the hopeless, on these arrivals.
pub fn ideal(arrivals: &[Duration], device: &Device, patience: Duration) -> Option<Ideal> {
    let arrivals: Vec<f64> = arrivals.iter().map(Duration::as_secs_f64).collect();
    let limits = device.0.iter().map(|(rows, _)| *rows);
    let ways = [Hopeless::Runs, Hopeless::Shrinks, Hopeless::Drops];
    let family = limits.flat_map(|limit| ways.map(|hopeless| (limit, hopeless)));
    let all = family.map(|(limit, hopeless)| Ideal {
        in_time: in_time(&arrivals, device, patience.as_secs_f64(), (limit, hopeless)),
        limit,
        hopeless,
    });
    all.max_by_key(|ideal| ideal.in_time)
}

fn in_time(
    arrivals: &[f64],
    device: &Device,
    patience: f64,
    (limit, hopeless): (usize, Hopeless),
) -> usize {
    let (mut now, mut in_time, mut next) = (0.0_f64, 0, 0);
    while let Some(first) = arrivals.get(next) {
        now = now.max(*first);
        let waiting = arrivals[next..].iter().take_while(|at| **at <= now);
        let most = waiting.take(limit).count();
        let by = first + patience;
        let rows = match hopeless {
            Hopeless::Runs => most,
            Hopeless::Shrinks => {
                let mut sizes = (1..=most).rev();
                let size = sizes.find(|rows| now + device.run(*rows) <= by);
                size.unwrap_or_default()
            }
            Hopeless::Drops if now + device.run(most) <= by => most,
            Hopeless::Drops => 0,
        };
        if rows == 0 {
            next += 1;
            continue;
        }
        now += device.run(rows);
        let batch = &arrivals[next..next + rows];
        in_time += batch.iter().filter(|at| **at + patience >= now).count();
        next += rows;
    }
    in_time
}

/// What came of one turn with deadlines.
#[derive(Serialize)]
struct Timely {
    /// Of ONNX Runtime alone, rows a second: the mean of its turns before and after.
    capacity_per_s: f64,
    round_trip_ms: f64,
    deadline_ms: f64,
    offered: usize,
    in_time: usize,
    refused: usize,
    late: usize,
    /// What the best of the simulated policies answers in time, and which it is.
    ideal: usize,
    policy: String,
    /// What ONNX Runtime alone, which is given the rows one by one at the same moments, has over in time, and later.
    alone: usize,
    alone_late: usize,
    /// Device time a row, and rows of a batch.
    run_ms: f64,
    batch: f64,
    /// How long ONNX Runtime alone takes for a row when it is given them so, and when it always has another.
    alone_ms: f64,
    busy_ms: f64,
    /// Answered in time a second ÷ capacity.
    goodput: f64,
}

/// Requests with deadlines at a share of what ONNX Runtime alone does at its best, measured in turn.
pub fn bench(
    options: &Options,
    folder: &Path,
    (name, share): (&str, f64),
) -> Result<(Vec<Row>, serde_json::Value)> {
    let repository = folder.join("device/timely");
    let model = Kind::Conv.write(&repository, 1)?;
    Kind::Noop.write(&repository, 1)?;
    let (mut bare, rates) = Waiting::start::<Vec<Rate>>("bare", (Kind::Conv, &model), TURN)?;
    let lasts = Duration::from_secs(options.seconds);
    let conv = (Kind::Conv, repository.as_path());
    let (mut engine, round_trip) = Waiting::start::<Duration>("timely", conv, lasts)?;
    let (highest, best) = (bare::best(&rates)?, bare::smallest_good(&rates)?);
    let mut before: f64 = bare.turn()?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds.get() {
        let faster = before / highest.rows_per_s;
        let run = Duration::from_secs_f64(best.rows as f64 / best.rows_per_s / faster);
        let patience = (run * 5).max(round_trip * 10);
        let load = Load {
            per_s: share * before,
            patience,
        };
        let tally: Tally = engine.turn_with(&load)?;
        let after: f64 = bare.turn()?;
        let capacity = f64::midpoint(before, after);
        let device = Device::of(&rates, capacity / highest.rows_per_s);
        let alone: Ran = bare.turn_with(&Some(Fed {
            arrivals: tally.arrivals.clone(),
            patience,
            run: Duration::from_secs_f64(device.run(1)),
        }))?;
        before = bare.turn()?;
        let best_policy = ideal(&tally.arrivals, &device, patience).context("sizes")?;
        let timely = Timely {
            capacity_per_s: capacity,
            round_trip_ms: ms(round_trip),
            deadline_ms: ms(patience),
            offered: tally.arrivals.len(),
            in_time: tally.in_time,
            refused: tally.refused,
            late: tally.late,
            ideal: best_policy.in_time,
            policy: best_policy.to_string(),
            alone: alone.in_time,
            alone_late: alone.late,
            run_ms: ms(tally.run),
            batch: tally.batch,
            alone_ms: ms(alone.run),
            busy_ms: 1e3 / capacity,
            goodput: tally.in_time as f64 / tally.lasted.as_secs_f64() / capacity,
        };
        println!(
            "{name:<10} {} offered at {:.2} of {capacity:.1} rows/s, deadline {:.0} ms: in time {:.3} of offered ({:.3} of ideal: {best_policy}), {:.4} of accepted; {:.3} of what ONNX Runtime alone is in time with ({:.4} of what it runs); a row {:.1} ms in batches of {:.2}, alone {:.1}, busy {:.1}; goodput {:.3}",
            timely.offered,
            load.per_s / capacity,
            timely.deadline_ms,
            timely.in_time as f64 / timely.offered as f64,
            timely.in_time as f64 / timely.ideal as f64,
            timely.in_time as f64 / (timely.in_time + timely.late) as f64,
            timely.in_time as f64 / timely.alone as f64,
            timely.alone as f64 / (timely.alone + timely.alone_late) as f64,
            timely.run_ms,
            timely.batch,
            timely.alone_ms,
            timely.busy_ms,
            timely.goodput,
        );
        rounds.push(timely);
    }
    let of = |figure: fn(&Timely) -> f64| Spread::of(rounds.iter().map(figure));
    let told = [
        (
            "in time ÷ offered",
            of(|t| t.in_time as f64 / t.offered as f64),
        ),
        ("in time ÷ ideal", of(|t| t.in_time as f64 / t.ideal as f64)),
        (
            "in time ÷ bare loop's",
            of(|t| t.in_time as f64 / t.alone as f64),
        ),
        (
            "device time a row ÷ bare loop's",
            of(|t| t.run_ms / t.alone_ms),
        ),
        (
            "device time a row ÷ bare loop's that is always busy",
            of(|t| t.run_ms / t.busy_ms),
        ),
        (
            "in time ÷ accepted",
            of(|t| t.in_time as f64 / (t.in_time + t.late) as f64),
        ),
        ("goodput ÷ bare loop", of(|t| t.goodput)),
    ];
    let load = format!("{name}, deadline max(5 t(best b), 10 round trips)");
    let told = told
        .into_iter()
        .filter_map(|(figure, spread)| Some(Row::new(("conv", &load, ENGINE), figure, spread?)));
    Ok((told.collect(), json!({ "bare": rates, "rounds": rounds })))
}
