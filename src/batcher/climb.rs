//! The best b, refreshed by batches that run anyway. Pure: no clock, no channel, no thread.
//!
//! What was measured at load may be wrong: the machine was busy, the examples are not what comes, the time was up. So,
//! while more rows wait than a batch takes, now and then one has another size of the ladder: a *trial*. A trial and the
//! full batches before and after it make a pair, of which the rows (the steps, where rows are sequences) a second are
//! compared, and the median of many pairs decides.
//!
//! **What holds**, whatever runs and waits:
//! 1. A trial's size is one step from sizes that ran, has no more rows than wait, and where it is larger than the best
//!    b, it is likely to be over within a limit.
//! 2. Trials take 2 % of all time that batches run, but for what they take longer than they were likely to, which is
//!    made up for before the next.
//! 3. The best b rises only for a gain of 5 %, and falls only where 97 % of the highest throughput stay. What was seen
//!    of two sizes counts whichever of them is the best b, so that it does not go to and fro. A size that was judged is
//!    left alone for twice as long each time.

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use super::{
    BatchObservation,
    appetite::size,
    curve::{Curve, Point},
    run_time::RunTime,
};

/// The part of all time that trials take.
const PART: f64 = 0.02;

/// Pairs between two verdicts on a size.
const PAIRS: usize = 9;

/// Pairs that are remembered of a size.
const MEMORY: usize = 3 * PAIRS;

/// A larger size must run so many times as many rows a second.
const GAIN: f64 = 1.05;

/// A smaller size must run so many times as many as the fastest.
const KEEPS: f64 = 0.97;

/// Runs for which a size is left alone that was judged once.
const REST: u64 = 1_000;

/// It is doubled no more often.
const MOST_RESTS: u32 = 6;

/// A size that took too much is left alone as if it had been judged so often.
const TOO_MANY: u32 = 5;

/// The weight of a new run in a size's time is one part in this many.
const RUNS: f64 = 8.0;

/// A run that takes more than this many averages counts as if it took so many.
const OUTLIER: f64 = 4.0;

/// The sizes that batches may have, and which is the best.
#[derive(Debug)]
pub struct Climb {
    /// Smallest first.
    sizes: Vec<Size>,
    /// The place of the best b.
    best: usize,
    /// How long a larger size may take; `None` where nothing is tried.
    within: Option<Duration>,
    /// Whether every size was measured that can be had.
    whole: bool,
    /// Whether anything was learnt since it was made.
    learnt: bool,
    runs: u64,
    /// Seconds that trials may take now; below nothing where one took longer than it was likely to.
    purse: f64,
    /// Seconds a row (a step) of the last batch of the best b.
    last: Option<f64>,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Size {
    rows: usize,
    /// t(b), as it was measured at load.
    measured: Option<Duration>,
    /// The same in seconds, of live batches, on average.
    live: Option<f64>,
    /// Its throughput ÷ that of the best b, of each pair, the oldest first.
    pairs: VecDeque<f64>,
    /// Of them, those since it was judged last.
    fresh: usize,
    /// How often it was judged, as far as that matters.
    rests: u32,
    /// It is left alone until so many runs.
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    place: usize,
    /// Seconds that it was likely to take.
    likely: f64,
    /// Seconds a row (a step), once it is over.
    each: Option<f64>,
}

impl Climb {
    /// Of these sizes, `best` is in force, and stays unless so many are [`too_many`](Climb::too_many). `curve` is what
    /// was measured.
    #[must_use]
    pub fn new(sizes: &[usize], best: usize, curve: Option<&Curve>) -> Climb {
        let points = curve.map_or(&[][..], Curve::points);
        let measured = points.iter().map(|point| point.rows);
        let mut all: Vec<usize> = sizes.iter().copied().chain(measured).collect();
        all.push(best);
        all.sort_unstable();
        all.dedup();
        let each = all.into_iter().map(|rows| Size {
            rows,
            measured: points
                .iter()
                .find(|point| point.rows == rows)
                .map(|point| point.run),
            live: None,
            pairs: VecDeque::new(),
            fresh: 0,
            rests: 0,
            until: 0,
        });
        let sizes: Vec<Size> = each.collect();
        Climb {
            best: sizes.iter().take_while(|size| size.rows < best).count(),
            sizes,
            within: None,
            whole: false,
            learnt: false,
            runs: 0,
            purse: 0.0,
            last: None,
            trial: None,
        }
    }

    /// The same, refreshed by live batches. No size above the best b is tried that is likely to take longer than
    /// `within`. `whole` says whether every size was measured.
    #[must_use]
    pub fn refreshed(self, within: Duration, whole: bool) -> Climb {
        Climb {
            within: Some(within),
            whole,
            ..self
        }
    }

    /// The best b: rows of a full batch that is no trial.
    #[must_use]
    pub fn best(&self) -> usize {
        self.sizes.get(self.best).map_or(1, |size| size.rows)
    }

    /// What was measured before anything ran.
    pub(super) fn measured(&self) -> impl Iterator<Item = Point> {
        self.sizes.iter().filter_map(|size| {
            let (rows, run) = (size.rows, size.measured?);
            Some(Point { rows, run })
        })
    }

    /// The most rows that a batch may be given soon.
    #[must_use]
    pub fn reach(&self, runs: &impl RunTime) -> usize {
        let places = self.next(runs).into_iter();
        let sizes = places.filter_map(|place| self.rows(place));
        sizes.fold(self.best(), usize::max)
    }

    /// Rows of the trial that the next batch is to be, if it is to be one: `waiting` rows wait, and `may` says whether
    /// the next so many may run together: all of them in time, and to nobody else's harm.
    pub fn trial(
        &mut self,
        waiting: usize,
        runs: &impl RunTime,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        // Before a full batch there is nothing to compare with.
        self.last?;
        if waiting < self.best() || self.purse <= 0.0 {
            return None;
        }
        for place in self.next(runs) {
            let rows = self.rows(place)?;
            let likely = runs.likely(rows).as_secs_f64();
            if rows <= waiting && likely <= self.purse && may(rows) {
                // Nothing is saved up.
                self.purse = 0.0;
                self.trial = Some(Trial {
                    place,
                    likely,
                    each: None,
                });
                return Some(rows);
            }
        }
        None
    }

    /// Takes note of a run that went well; the best b may be another one then.
    pub fn ran(&mut self, observed: &BatchObservation) {
        let BatchObservation { rows, run, steps } = *observed;
        let run = run.max(Duration::from_nanos(1)).as_secs_f64();
        let amount = if steps.padded > 0 { steps.real } else { rows };
        let each = run / size(amount.max(1));
        self.runs += 1;
        self.purse += run * PART;
        if let Some(size) = self.sizes.iter_mut().find(|size| size.rows == rows) {
            let old = size.live.unwrap_or(run);
            size.live = Some(old + (run.min(old * OUTLIER) - old) / RUNS);
        }
        let tried = self.trial.and_then(|trial| self.rows(trial.place));
        if let Some(trial) = &mut self.trial
            && trial.each.is_none()
            && tried == Some(rows)
        {
            self.purse -= run - trial.likely;
            trial.each = Some(each);
            return;
        }
        if rows != self.best() {
            return;
        }
        let before = self.last.replace(each);
        let over = self.trial.take_if(|trial| trial.each.is_some());
        if let (
            Some(before),
            Some(Trial {
                place,
                each: Some(tried),
                ..
            }),
        ) = (before, over)
        {
            self.saw(place, f64::midpoint(before, each) / tried);
        }
    }

    /// A run failed, perhaps for a row of it. A size that fails when it is tried is left alone.
    pub fn failed(&mut self, observed: &BatchObservation) {
        let Some(trial) = self.trial.filter(|trial| trial.each.is_none()) else {
            return;
        };
        if let Some(size) = self.sizes.get_mut(trial.place)
            && size.rows == observed.rows
        {
            size.rest(self.runs);
            self.purse -= observed.run.as_secs_f64() - trial.likely;
            self.trial = None;
        }
    }

    /// A run of so many rows took too much time, or memory: the best b has fewer, and so it stays for long. False
    /// where it has as many as before.
    pub fn too_many(&mut self, rows: usize) -> bool {
        let Some(place) = self.sizes.iter().rposition(|size| size.rows < rows) else {
            return false;
        };
        for size in self.sizes.iter_mut().skip(place + 1) {
            size.rests = size.rests.max(TOO_MANY);
            size.rest(self.runs);
        }
        let fewer = place < self.best;
        if fewer {
            self.move_to(place);
        }
        self.learnt = true;
        fewer
    }

    /// t(b) as far as it is known, live where that was seen; `None` where nothing was learnt, or it is not known yet
    /// whether another size is better than the best b, or never will be, as nothing is tried.
    #[must_use]
    pub fn curve(&self) -> Option<Curve> {
        self.within?;
        let judged = |place: usize| {
            self.sizes
                .get(place)
                .is_none_or(|size| size.level().is_some())
        };
        let below = self.best.checked_sub(1);
        let known = self.whole || judged(self.best + 1) && below.is_none_or(judged);
        if !known || !self.learnt {
            return None;
        }
        let points = self.sizes.iter().filter_map(|size| {
            let run = size.live.map(Duration::from_secs_f64).or(size.measured)?;
            let rows = size.rows;
            Some(Point { rows, run })
        });
        Curve::try_from(points.collect::<Vec<_>>()).ok()
    }

    fn rows(&self, place: usize) -> Option<usize> {
        self.sizes.get(place).map(|size| size.rows)
    }

    /// The places that are to be tried, the first first: what was begun is brought to its end.
    fn next(&self, runs: &impl RunTime) -> Vec<usize> {
        let Some(within) = self.within else {
            return Vec::new();
        };
        let up = self.best + 1;
        // Two steps may gain what one does not.
        let level = self.sizes.get(up).and_then(Size::level);
        let further = level.is_some_and(|level| level >= KEEPS).then_some(up + 1);
        let places = [Some(up), further, self.best.checked_sub(1)];
        let open = |place: &usize| {
            let size = self.sizes.get(*place);
            let open = size.filter(|size| size.until <= self.runs);
            open.is_some_and(|size| *place < self.best || runs.likely(size.rows) <= within)
        };
        let mut places: Vec<usize> = places.into_iter().flatten().filter(open).collect();
        places.sort_by_key(|place| {
            Reverse(self.sizes.get(*place).is_some_and(|size| size.fresh > 0))
        });
        places
    }

    /// A pair: the trial of a size ran so many times as many rows a second as the best b.
    fn saw(&mut self, place: usize, ratio: f64) {
        let Some(size) = self.sizes.get_mut(place) else {
            return;
        };
        size.pairs.push_back(ratio);
        if size.pairs.len() > MEMORY {
            size.pairs.pop_front();
        }
        size.fresh += 1;
        if size.fresh < PAIRS {
            return;
        }
        size.rest(self.runs);
        self.learnt = true;
        let level = size.level();
        let levels = self.sizes.iter().filter_map(Size::level);
        let highest = levels.fold(1.0, f64::max);
        let least = if place > self.best {
            GAIN
        } else {
            KEEPS * highest
        };
        if level.is_some_and(|level| level >= least) {
            self.move_to(place);
        }
    }

    /// Another b is the best. What was seen of all is put in proportion to it, if anything was seen of it.
    fn move_to(&mut self, place: usize) {
        let runs = self.runs;
        let new = self.sizes.get_mut(place);
        let (level, own) = new.map_or((None, VecDeque::new()), |new| {
            (new.level(), std::mem::take(&mut new.pairs))
        });
        for size in &mut self.sizes {
            size.fresh = 0;
            match level {
                Some(level) => size.pairs.iter_mut().for_each(|ratio| *ratio /= level),
                None => size.pairs.clear(),
            }
        }
        if let Some(old) = self.sizes.get_mut(self.best) {
            old.pairs = own.into_iter().map(|ratio| 1.0 / ratio).collect();
            old.rest(runs);
        }
        (self.best, self.last, self.trial) = (place, None, None);
    }
}

impl Size {
    /// Its throughput ÷ that of the best b: the median, once there are pairs enough.
    fn level(&self) -> Option<f64> {
        let mut pairs: Vec<f64> = self.pairs.iter().copied().collect();
        pairs.sort_unstable_by(f64::total_cmp);
        let middle = pairs.get(pairs.len() / 2).copied();
        middle.filter(|_| pairs.len() >= PAIRS)
    }

    /// It was judged, after so many runs of all.
    fn rest(&mut self, runs: u64) {
        self.fresh = 0;
        self.until = runs + (REST << self.rests);
        self.rests = (self.rests + 1).min(MOST_RESTS);
    }
}

#[cfg(test)]
#[path = "tests/climb.rs"]
mod tests;
