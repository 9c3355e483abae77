//! The same request again: claimed before it is scored, and answered with what was answered first.

use std::time::Instant;

use crate::{
    broker::{Delivery, Texts},
    duplicates::{Claim, Entry, Settled, Stored},
    message::{deadline::unix_ms, request::Head},
};

use super::{Desk, Intake, head::head, verdict::Written};

impl Intake {
    /// What the store knows a delivery's request by. A message that had to be mended does not say who it is.
    pub(super) fn entry(&self, delivery: &Delivery) -> Option<Entry> {
        let store = self.duplicates.as_ref()?;
        let readable = delivery.blemish.is_none();
        readable
            .then(|| {
                store.entry(
                    &delivery.routing_key,
                    &head(&delivery.properties),
                    &delivery.body,
                )
            })
            .flatten()
    }

    /// The reply that was given before; `None` where this delivery is to be scored. While another worker is at
    /// it, waits, but not past the deadline.
    pub(super) async fn claim(
        &self,
        entry: &Entry,
        desk: &Desk,
        package: &str,
        head: &Head<'_>,
    ) -> Option<Stored> {
        let now = Instant::now();
        let deadline = self.deadline(package, head);
        let until = deadline.map_or(now, |deadline| deadline.instant(now, unix_ms()));
        match entry.claim(until).await {
            Claim::Done(stored) => {
                desk.metrics.duplicates.increment(1);
                Some(stored)
            }
            Claim::Mine { reused } => {
                desk.metrics.message_ids_reused.increment(reused.into());
                None
            }
            Claim::Without => None,
        }
    }

    /// The reply that counts: the first that was given.
    pub(super) async fn settled(&self, desk: &Desk, entry: &Entry, written: Written) -> Written {
        let Written::Own { reply, .. } = &written else {
            return written;
        };
        match entry.settle(&Stored::from(reply)).await {
            Settled::Offered => written,
            Settled::Before(stored) => {
                desk.metrics.late_duplicates.increment(1);
                Written::Before(stored)
            }
        }
    }
}

/// A stored reply's properties, correlated with the delivery that it answers now.
pub(super) fn properties_of(stored: &Stored, correlation_id: Option<&str>) -> Texts {
    let headers = stored.headers.iter();
    Texts {
        kind: stored.kind.clone().into(),
        content_type: stored.content_type.clone().into(),
        message_id: stored.message_id.clone(),
        correlation_id: correlation_id.map(str::to_owned),
        headers: headers
            .map(|(name, value)| (name.clone().into(), value.clone()))
            .collect(),
    }
}
