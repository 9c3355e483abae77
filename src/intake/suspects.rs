//! Requests that workers died with, or that look like it.
//!
//! The broker counts how often a request was lost, but not with whom. When it is back after a crash it takes what a
//! worker had in hand back for one worker after the other that it misses, and sends it to the next that it has not
//! missed yet: one crash beside eight workers was counted eight times (RabbitMQ 3.10). So where a request has two losses
//! left it is *set apart*: published anew, with a note of what it had and a count that begins at 0. It runs alone. If it
//! is lost, that is one loss, whatever the broker counts, and it is set apart once more. Whoever waits beside a poison
//! the first time runs before it the second time (`broker::credit`). A request that is lost then as well has most likely
//! killed its workers.

use crate::{
    broker::{Delivery, HeaderValue, LOST, PublishFault},
    message::rejection::{Code, Rejection, Stage},
};

use super::{
    Desk, Intake,
    config::APART_MS,
    head::head,
    verdict::{Burial, Verdict},
};

/// What its requester is told of a poison.
pub(super) const DIED_WITH: &str = "workers died while they had this request; it is not run again";

/// What is to be done with a request that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// To set it apart with so many losses.
    Apart(u64),
    /// Not to run it again.
    Poison,
}

/// What comes of a request that the broker counted so often since it was published, or set apart with so many losses
/// `before`, where a poison may kill `most` workers; `None` where it just runs.
fn suspicion(count: u64, before: Option<u64>, most: u64) -> Option<Suspicion> {
    let enough = most.saturating_sub(2).max(1);
    let lost = match before {
        _ if count == 0 => return None,
        Some(before) => before + 1,
        None if count < enough => return None,
        None => enough,
    };
    Some(if lost < most {
        Suspicion::Apart(lost)
    } else {
        Suspicion::Poison
    })
}

impl Intake {
    /// What becomes of a request that the broker counted so often, unless it runs now. Where it cannot be set apart it
    /// runs, until the broker gives it up.
    pub(super) async fn suspected(
        &self,
        package: &str,
        (desk, delivery): (&Desk, &Delivery),
        count: u64,
        stage: Stage,
    ) -> Option<Verdict> {
        let (before, most) = (delivery.properties.lost(), self.config.poison_deliveries);
        if let Suspicion::Apart(lost) = suspicion(count, before, most)? {
            return match self.set_apart(package, (desk, delivery), lost).await {
                Err(PublishFault::Unroutable { .. } | PublishFault::Refused { .. }) => None,
                end @ (Ok(()) | Err(PublishFault::Closed)) => Some(Verdict::Elsewhere(end)),
            };
        }
        let rejection = Rejection::new(Code::ModelFault, stage, DIED_WITH);
        let head = head(&delivery.properties);
        let reply = self.rejection(delivery, &head, package, &rejection);
        Some(Verdict::Bury(Burial::new("poison", stage), Some(reply)))
    }

    async fn set_apart(
        &self,
        package: &str,
        (desk, delivery): (&Desk, &Delivery),
        lost: u64,
    ) -> Result<(), PublishFault> {
        let head = head(&delivery.properties);
        // A header stays, whatever it says; what the package has by default is from arrival on, as for everybody.
        let expires = head.deadline.is_none() && head.expiration.is_some();
        let deadline = expires.then(|| self.deadline_header(package, delivery));
        let note = HeaderValue::Int(i64::try_from(lost).unwrap_or(i64::MAX));
        let notes = [(LOST, note)].into_iter().chain(deadline);
        self.put_back(desk, delivery, APART_MS, notes).await?;
        let queue = &*delivery.queue;
        tracing::warn!(
            queue,
            lost,
            "a request was lost so often that it is to run alone"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With how many losses a request is a poison, where each is counted so often.
    fn losses(most: u64, counted: u64) -> u64 {
        let (mut before, mut count, mut losses) = (None, 0, 0);
        loop {
            match suspicion(count, before, most) {
                None => (count, losses) = (count + counted, losses + 1),
                Some(Suspicion::Apart(lost)) => (before, count) = (Some(lost), 0),
                Some(Suspicion::Poison) => return losses,
            }
        }
    }

    #[test]
    fn a_poison_kills_as_many_workers_as_it_may() {
        for most in 1..=19 {
            assert_eq!(losses(most, 1), most);
        }
    }

    #[test]
    fn crashes_of_the_broker_that_count_for_many_are_not_taken_for_many() {
        for counted in 4..100 {
            assert_eq!(losses(4, counted), 3);
            assert_eq!(losses(19, counted.max(17)), 3);
            assert_eq!(losses(2, counted), 2);
        }
    }
}
