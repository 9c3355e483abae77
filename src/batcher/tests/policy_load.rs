//! The policy under load, around a simulated device and a simulated clock: how many are answered in time.
#![expect(clippy::cast_precision_loss, reason = "no count here has 2⁵²")]

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{tests::Next, *};
use crate::batcher::appetite::Appetite;

const MS: Duration = Duration::from_millis(1);

/// A device of which a batch of b rows takes `base` + b × `each`, and by chance up to a tenth less or more; and one in
/// `stalls` from half as much again to three times as long, if any does.
#[derive(Clone, Copy)]
struct Device {
    base: Duration,
    each: Duration,
    best: usize,
    stalls: Option<u32>,
}

impl Device {
    fn run(&self, rows: usize) -> Duration {
        self.base + self.each * u32::try_from(rows).unwrap()
    }

    fn by_chance(&self, rows: usize, rng: &mut StdRng) -> Duration {
        let stalls = self
            .stalls
            .is_some_and(|one_in| rng.random_ratio(1, one_in));
        let times = if stalls { 1.5..3.0 } else { 0.9..1.1 };
        self.run(rows).mul_f64(rng.random_range(times))
    }

    /// Rows a second, at the best batch.
    fn capacity(&self) -> f64 {
        let stalls = self.stalls.map_or(0.0, |one_in| 1.25 / f64::from(one_in));
        self.best as f64 / self.run(self.best).as_secs_f64() / (1.0 + stalls)
    }
}

/// What became of the rows of a load.
#[derive(Debug, Default)]
struct Tally {
    offered: usize,
    /// Done by their deadline.
    in_time: usize,
    /// Run, and done too late.
    late: usize,
    batches: usize,
    /// When the last run was over.
    lasted: Duration,
}

impl Tally {
    fn ran(&self) -> usize {
        self.in_time + self.late
    }
}

/// Rows that come at random (Poisson) at `rate` for so long, each with so much time.
fn offer(device: Device, rate: f64, lasts: Duration, patience: Duration, seed: u64) -> Tally {
    let mut appetite = Appetite::default();
    for rows in [1, device.best] {
        appetite.record(rows, device.run(rows));
    }
    offer_to(device, appetite, rate, (lasts, patience), seed)
}

fn offer_to(
    device: Device,
    mut appetite: Appetite,
    rate: f64,
    (lasts, patience): (Duration, Duration),
    seed: u64,
) -> Tally {
    let (mut rng, mut chance) = rngs(seed);
    let mut policy = Policy::new(PolicyConfig {
        max_size: device.best,
        max_delay: 2 * MS,
        queue_limit: 100_000,
    });
    let (start, mut tally) = (Instant::now(), Tally::default());
    let gap = |rng: &mut StdRng| gap(rng, rate);
    let (mut now, mut next) = (start, start + gap(&mut rng));
    loop {
        while next <= now && next < start + lasts {
            tally.offered += 1;
            let deadline = next + patience;
            if !policy.is_hopeless(next, (0, deadline), &appetite, 1) {
                let entry = Entry {
                    priority: 0,
                    deadline,
                    ticket: deadline,
                };
                let _ = policy.push(next, entry);
            }
            next += gap(&mut rng);
        }
        match policy.next(now, &appetite, Traffic::default()).next {
            Next::Run(batch) => {
                let run = device.by_chance(batch.len(), &mut chance);
                now += run;
                appetite.record(batch.len(), run);
                tally.batches += 1;
                tally.lasted = now - start;
                for deadline in batch {
                    let place = if now <= deadline {
                        &mut tally.in_time
                    } else {
                        &mut tally.late
                    };
                    *place += 1;
                }
            }
            Next::WaitUntil(until) => now = until.min(next.max(now)),
            Next::Idle if next < start + lasts => now = next,
            Next::Idle => return tally,
        }
    }
}

/// When requests come, and how long runs take, by chance.
fn rngs(seed: u64) -> (StdRng, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    let chance = StdRng::from_rng(&mut rng);
    (rng, chance)
}

fn gap(rng: &mut StdRng, rate: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / rate)
}

/// The same rows as [`offer`]'s, one at a time, by somebody who knows how long each will run and runs none in vain.
fn foreseen(device: Device, rate: f64, lasts: Duration, patience: Duration, seed: u64) -> usize {
    let (mut rng, mut chance) = rngs(seed);
    let start = Instant::now();
    let (mut now, mut next, mut in_time) = (start, start + gap(&mut rng, rate), 0);
    let mut run = device.by_chance(1, &mut chance);
    while next < start + lasts {
        let over = now.max(next) + run;
        if over <= next + patience {
            in_time += 1;
            now = over;
            run = device.by_chance(1, &mut chance);
        }
        next += gap(&mut rng, rate);
    }
    in_time
}

/// Of which batches are worth it: an accelerator. Of which they hardly are: one core. And a fast model.
const DEVICES: [Device; 3] = [
    Device {
        base: Duration::from_millis(5),
        each: Duration::from_micros(100),
        best: 64,
        stalls: None,
    },
    Device {
        base: Duration::from_millis(5),
        each: Duration::from_millis(45),
        best: 2,
        stalls: None,
    },
    Device {
        base: Duration::from_micros(15),
        each: Duration::from_nanos(1_700),
        best: 64,
        stalls: None,
    },
];

#[test]
fn at_nine_tenths_of_its_capacity_nearly_everybody_is_answered_in_time() {
    for (device, seed) in DEVICES.into_iter().zip(1..) {
        let (best, rate) = (device.run(device.best), device.capacity());
        let tally = offer(device, 0.9 * rate, best * 500, best * 5, seed);
        let share = tally.in_time as f64 / tally.offered as f64;
        let kept = tally.in_time as f64 / tally.ran() as f64;
        eprintln!("in time {share:.3} of offered, {kept:.4} of run: {tally:?}");
        assert!(share >= 0.95 && kept >= 0.99, "{tally:?}");
    }
}

#[test]
fn offered_half_as_much_again_as_it_can_do_a_device_still_does_what_it_can() {
    for (device, seed) in DEVICES.into_iter().zip(11..) {
        let (best, rate) = (device.run(device.best), device.capacity());
        for patience in [5, 50] {
            let tally = offer(device, 1.5 * rate, best * 500, best * patience, seed);
            let could = rate * tally.lasted.as_secs_f64();
            let goodput = tally.in_time as f64 / could;
            let kept = tally.in_time as f64 / tally.ran() as f64;
            eprintln!("goodput {goodput:.3} of capacity, {kept:.4} of run in time: {tally:?}");
            assert!(goodput >= 0.9 && kept >= 0.99, "{tally:?}");
        }
    }
}

#[test]
fn what_was_measured_on_a_machine_that_stalled_is_soon_corrected() {
    let device = DEVICES[0];
    let mut stalled = Appetite::default();
    for rows in [1, 8, device.best] {
        stalled.record(rows, device.run(rows) * 100);
    }
    let times = (20_000 * MS, 200 * MS);
    let tally = offer_to(device, stalled, 0.3 * device.capacity(), times, 21);
    let share = tally.in_time as f64 / tally.offered as f64;
    eprintln!("in time {share:.3} of offered: {tally:?}");
    assert!(share >= 0.6, "{tally:?}");
}

#[test]
fn where_runs_are_uneven_hardly_more_are_late_or_refused_than_if_they_were_foreseen() {
    let device = Device {
        base: Duration::ZERO,
        each: 50 * MS,
        best: 1,
        stalls: Some(8),
    };
    let lasts = device.run(1) * 2_000;
    let patience = Duration::from_secs_f64(5.0 / device.capacity());
    for (load, least, least_kept) in [(0.9, 0.94, 0.99), (1.5, 0.95, 0.98)] {
        let (mut in_time, mut ran, mut ideal) = (0, 0, 0);
        for seed in 31..41 {
            let rate = load * device.capacity();
            let tally = offer(device, rate, lasts, patience, seed);
            in_time += tally.in_time;
            ran += tally.ran();
            ideal += foreseen(device, rate, lasts, patience, seed);
        }
        let (share, kept) = (in_time as f64 / ideal as f64, in_time as f64 / ran as f64);
        eprintln!("at {load}: in time {share:.3} of {ideal} foreseen, {kept:.4} of run");
        assert!(share >= least && kept >= least_kept, "{in_time} of {ran}");
    }
}
