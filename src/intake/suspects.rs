//! Requests that workers died with, or that look like it.
//!
//! The broker counts how often a request was lost, but not with whom: after a crash it takes what a worker had in hand
//! back for one worker after the other that it misses, and sends it to the next that it has not missed yet. One crash
//! beside eight workers was counted eight times (RabbitMQ 3.10). So where a request has one loss left it is *set
//! apart*: published anew, with a count that begins at 0 and a header that has it run alone. The next loss is its
//! worker's death, or else everybody saw the broker go.

use crate::{
    broker::Delivery,
    message::{
        deadline::unix_ms,
        rejection::{Code, Rejection, Stage},
    },
};

use super::{
    Intake,
    head::head,
    verdict::{Again, Burial, Verdict},
};

/// What is thought of a request that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// It is to be set apart, or set apart once more.
    Doubt,
    /// It is not run again.
    Poison,
}

/// Of a request that was set apart.
#[derive(Clone, Copy, Debug)]
struct Apart {
    /// Whether this worker was without the broker since.
    outage: bool,
}

/// What comes of `count` losses since a request was published, or set apart; a poison may kill `most` workers.
fn suspicion(count: u64, apart: Option<Apart>, most: u64) -> Option<Suspicion> {
    match apart {
        _ if count == 0 => None,
        Some(Apart { outage: true }) => Some(Suspicion::Doubt),
        Some(Apart { outage: false }) => Some(Suspicion::Poison),
        None if most == 1 => Some(Suspicion::Poison),
        None => (count >= most - 1).then_some(Suspicion::Doubt),
    }
}

impl Intake {
    /// What becomes of a request that was lost so often, unless it may run.
    pub(super) fn suspected(
        &self,
        package: &str,
        delivery: &Delivery,
        count: u64,
        stage: Stage,
    ) -> Option<Verdict> {
        let apart = delivery.properties.apart_since().map(|ms| Apart {
            outage: self.was_out_since(ms),
        });
        let suspicion = suspicion(count, apart, self.config.poison_deliveries)?;
        let detail = "workers died while they had this request; it is not run again";
        let rejection = Rejection::new(Code::ModelFault, stage, detail);
        let head = head(&delivery.properties);
        let reply = self.rejection(delivery, &head, package, &rejection);
        let why = Burial::new("poison", stage);
        Some(match suspicion {
            Suspicion::Poison => Verdict::Bury(why, Some(reply)),
            Suspicion::Doubt => Verdict::Retry(Again::Alone, why, reply),
        })
    }

    /// Whether deliveries could not come to this worker at some time since then, Unix ms.
    fn was_out_since(&self, ms: u64) -> bool {
        let ago = self.broker.reconnected().map(|at| at.elapsed());
        ago.and_then(|ago| u64::try_from(ago.as_millis()).ok())
            .is_some_and(|ago| unix_ms().saturating_sub(ago) >= ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many workers a request kills, each of which the broker counts once.
    fn deaths(most: u64) -> u64 {
        let (mut apart, mut count, mut deaths) = (None, 0, 0);
        loop {
            match suspicion(count, apart, most) {
                None => (count, deaths) = (count + 1, deaths + 1),
                Some(Suspicion::Doubt) => (apart, count) = (Some(Apart { outage: false }), 0),
                Some(Suspicion::Poison) => return deaths,
            }
        }
    }

    #[test]
    fn a_poison_kills_as_many_workers_as_it_may() {
        for most in 1..=19 {
            assert_eq!(deaths(most), most);
        }
    }

    #[test]
    fn no_crash_of_the_broker_makes_a_poison_however_many_workers_it_misses() {
        for missed in 1..100 {
            for apart in [None, Some(Apart { outage: true })] {
                assert_ne!(suspicion(missed, apart, 4), Some(Suspicion::Poison));
            }
        }
    }
}
