//! Many packages, one device: whose batch runs next. Pure: time is an argument, there is no thread.
//!
//! **Fair by device time, not by requests.** Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): every member has
//! a virtual clock that advances by the device time it gets ÷ its weight. A claim starts at its member's clock, or
//! where the device's clock is (that of the claim that was granted last) if that is later, so that nobody saves up
//! what it did not use. The earliest start goes first: a member that uses little is next whenever it asks, whatever
//! waits of the others.
//!
//! **Slack.** A claim that can wait lets others go first: one that has to begin sooner precedes it if it is likely to be
//! over by the time at which the first has to begin itself.
//!
//! **What holds:**
//! 1. The runs that are granted have no more cores than the device has; one that asks for more gets all of them.
//! 2. Whenever anybody waits and the device is free, somebody is granted it.
//! 3. While two members both always want it and neither has slack, the device times that they got ÷ their weights
//!    differ by no more than one run of each ÷ its weight.
//! 4. A member that had nothing to do is granted the device as soon as the runs that were granted before it asked are
//!    over, but for other members that ask for the first time as well, and those that its own slack lets go first.
//! 5. A claim for many cores is not overtaken by those behind it while the cores are gathered.
//! 6. A run that takes [`HOLD`] times as long as it was likely to, and [`LEAST_HOLD`] at least, holds up nobody more.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How many times as long as it was likely to a run may take until others run beside it.
pub const HOLD: u32 = 4;
/// Nor do others before this.
pub const LEAST_HOLD: Duration = Duration::from_secs(1);

/// Who ran nothing for so long is not there.
pub const ALONE: Duration = Duration::from_secs(1);

/// What a package is given of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Of the device's time, in proportion to the others that want it; above 0.
    pub weight: f64,
    /// How long a row may take in the worker without harm, if others need the device more.
    pub latency: Duration,
    /// Cores that a run uses.
    pub cores: usize,
}

impl Default for Share {
    /// One core, as much of it as anybody, and no time to wait.
    fn default() -> Share {
        Share {
            weight: 1.0,
            latency: Duration::ZERO,
            cores: 1,
        }
    }
}

/// Who claims the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(u64);

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimId(u64);

#[derive(Debug)]
struct Member {
    share: Share,
    /// Where its next claim starts, in weighted seconds.
    clock: f64,
    /// When the last of its runs that are over was.
    ran: Option<Instant>,
}

#[derive(Debug)]
struct Claim {
    member: MemberId,
    cores: usize,
    start: f64,
    likely: Duration,
    last_start: Instant,
}

#[derive(Debug)]
struct Run {
    member: MemberId,
    /// That it still holds.
    cores: usize,
    likely: Duration,
    began: Instant,
}

/// Who has what of one device, and who is next.
#[derive(Debug)]
pub struct Sharing {
    cores: usize,
    free: usize,
    /// The start of the claim that was granted last.
    clock: f64,
    next_id: u64,
    members: BTreeMap<MemberId, Member>,
    waiting: BTreeMap<ClaimId, Claim>,
    running: BTreeMap<ClaimId, Run>,
}

impl Sharing {
    /// A device of so many cores, at least one; a GPU, which runs one batch at a time, has one.
    #[must_use]
    pub fn new(cores: usize) -> Sharing {
        Sharing {
            cores: cores.max(1),
            free: cores.max(1),
            clock: 0.0,
            next_id: 0,
            members: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// A package that will want the device.
    pub fn join(&mut self, share: Share) -> MemberId {
        let id = MemberId(self.id());
        let clock = self.clock;
        let ran = None;
        self.members.insert(id, Member { share, clock, ran });
        id
    }

    /// It will not any more.
    pub fn leave(&mut self, member: MemberId) {
        self.members.remove(&member);
    }

    /// Claims the device for a run that is likely to take so long and should begin by `last_start`.
    pub fn claim(&mut self, member: MemberId, likely: Duration, last_start: Instant) -> ClaimId {
        let id = ClaimId(self.id());
        let mut claim = Claim {
            member,
            cores: 1,
            start: self.clock,
            likely,
            last_start,
        };
        if let Some(Member { share, clock, .. }) = self.members.get_mut(&member) {
            claim.cores = share.cores.clamp(1, self.cores);
            claim.start = self.clock.max(*clock);
            *clock = claim.start + cost(share, claim.cores, likely);
        }
        self.waiting.insert(id, claim);
        id
    }

    /// Whether a claim of this member would be granted at once: nobody waits, and there are cores enough.
    #[must_use]
    pub fn has_room(&self, member: MemberId) -> bool {
        let member = self.members.get(&member);
        let cores = member.map_or(1, |member| member.share.cores.clamp(1, self.cores));
        self.waiting.is_empty() && cores <= self.free
    }

    /// Grants the device to whoever is next, if there are cores enough for it.
    pub fn grant(&mut self, now: Instant) -> Option<ClaimId> {
        let id = self.next(now)?;
        if self.waiting.get(&id)?.cores > self.free {
            return None;
        }
        let claim = self.waiting.remove(&id)?;
        self.clock = self.clock.max(claim.start);
        self.free -= claim.cores;
        let run = Run {
            member: claim.member,
            cores: claim.cores,
            likely: claim.likely,
            began: now,
        };
        self.running.insert(id, run);
        Some(id)
    }

    /// Whether a claim was granted.
    #[must_use]
    pub fn is_granted(&self, claim: ClaimId) -> bool {
        self.running.contains_key(&claim)
    }

    /// Lets go of the cores of runs that take far longer than they were likely to, which go on: a run that hangs
    /// holds up nobody else. When there will be another to let go of.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for run in self.running.values_mut().filter(|run| run.cores > 0) {
            let until = run.began + LEAST_HOLD.max(run.likely * HOLD);
            if until <= now {
                self.free += std::mem::take(&mut run.cores);
            } else {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            }
        }
        next
    }

    /// A run is over.
    pub fn over(&mut self, claim: ClaimId, now: Instant) {
        let Some(run) = self.running.remove(&claim) else {
            return;
        };
        self.free += run.cores;
        if let Some(Member { share, clock, ran }) = self.members.get_mut(&run.member) {
            *ran = Some(now);
            let cores = share.cores.clamp(1, self.cores);
            let took = cost(share, cores, now.saturating_duration_since(run.began));
            *clock += took - cost(share, cores, run.likely);
        }
        if self.running.is_empty() && self.waiting.is_empty() {
            // Nobody owes anybody anything.
            let clocks = self.members.values().map(|member| member.clock);
            self.clock = clocks.fold(self.clock, f64::max);
        }
    }

    /// Whether no other member wants the device, nor did within [`ALONE`].
    #[must_use]
    pub fn is_alone(&self, member: MemberId, now: Instant) -> bool {
        let ran = |other: &Member| {
            let ran = other.ran.map(|ran| now.saturating_duration_since(ran));
            ran.is_some_and(|ago| ago < ALONE)
        };
        let mut others = self.members.iter().filter(|(id, _)| **id != member);
        let mut wants = self.waiting.values().map(|claim| claim.member);
        let mut runs = self.running.values().map(|run| run.member);
        !(others.any(|(_, other)| ran(other))
            || wants.any(|other| other != member)
            || runs.any(|other| other != member))
    }

    fn next(&self, now: Instant) -> Option<ClaimId> {
        let first = self
            .waiting
            .iter()
            .min_by(|(a_id, a), (b_id, b)| a.start.total_cmp(&b.start).then(a_id.cmp(b_id)));
        let (id, first) = first?;
        let sooner = |claim: &Claim| {
            claim.last_start < first.last_start && now + claim.likely <= first.last_start
        };
        let urgent = self.waiting.iter().filter(|(_, claim)| sooner(claim));
        let urgent = urgent.min_by_key(|(id, claim)| (claim.last_start, **id));
        Some(urgent.map_or(*id, |(id, _)| *id))
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Device time, in weighted seconds.
fn cost(share: &Share, cores: usize, run: Duration) -> f64 {
    let cores = u32::try_from(cores).unwrap_or(u32::MAX);
    run.as_secs_f64() * f64::from(cores) / share.weight
}

#[cfg(test)]
#[path = "tests/sharing.rs"]
mod tests;
