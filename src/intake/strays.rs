//! Requests that no package will score: nobody serves them, or the broker gave up on them.

use std::sync::Arc;

use crate::{
    broker::{Delivery, topology},
    message::{
        name::valid_package_name,
        rejection::{Code, Rejection, Stage},
    },
};

use super::{
    Desk, Intake,
    head::{destination, head},
    suspects::DIED_WITH,
    verdict::{Burial, Verdict},
};

impl Intake {
    /// A request for a package that nobody serves.
    pub(super) fn refuse(&self, delivery: &Delivery) -> Verdict {
        let head = head(&delivery.properties);
        if let Err(reason) = destination(delivery, None) {
            return Verdict::Bury(Burial::new(reason, Stage::Resolve), None);
        }
        let package = &delivery.routing_key;
        let rejection = self.engine.repository().unknown_package(package);
        let reply = self.rejection(delivery, &head, package, &rejection);
        match head.replayed {
            None => Verdict::Reply(reply),
            // It was a dead letter of a package whose queue is there and is bound no more.
            Some(_) => Verdict::Bury(
                Burial::new(rejection.code.as_str(), Stage::Resolve),
                Some(reply),
            ),
        }
    }

    /// What the broker gave up on: answered without a look at its body.
    pub(super) async fn explain(&self, desk: &Desk, delivery: &Delivery) -> Verdict {
        let head = head(&delivery.properties);
        let died = died_of(delivery);
        // The queue of the unknown does not tell what was asked for.
        let package = match &*died {
            "unknown" => delivery.routing_key.as_str(),
            package => package,
        };
        if let Err(reason) = destination(delivery, self.default_reply_to(package)) {
            return Verdict::Bury(Burial::new(reason, Stage::Decode), None);
        }
        let deaths = delivery.properties.deaths();
        let reason = deaths.first().map_or("", |death| death.reason.as_str());
        // Nobody knows what made the count, unless it was one of a request that had been set apart.
        let served = self.engine.repository().resolve(&died, None).is_ok();
        if reason == "delivery_limit" && served && delivery.blemish.is_none() {
            let suspecting = self.suspected(package, (desk, delivery), u64::MAX, Stage::Decode);
            if let Some(verdict) = Box::pin(suspecting).await {
                return verdict;
            }
        }
        let (code, detail, burial) = match reason {
            "expired" => (
                Code::DeadlineExceeded,
                "the request expired in the queue before a worker took it; send it again with more time",
                None,
            ),
            "delivery_limit" => (Code::ModelFault, DIED_WITH, Some("poison")),
            _ => (
                Code::InternalFault,
                "the broker gave this request up; send it again later",
                Some("given_up"),
            ),
        };
        let rejection = Rejection::new(code, Stage::Decode, detail);
        let reply = self.rejection(delivery, &head, package, &rejection);
        match burial {
            None => Verdict::Reply(reply),
            Some(reason) => Verdict::Bury(Burial::new(reason, Stage::Decode), Some(reply)),
        }
    }
}

/// The queue that a message died in.
pub(super) fn died_in(delivery: &Delivery) -> Arc<str> {
    let deaths = delivery.properties.deaths();
    deaths
        .first()
        .map_or("", |death| death.queue.as_str())
        .into()
}

/// The package whose queue a message died in, or whose dead letters it belongs to: `unknown`, `died`.
pub(super) fn died_of(delivery: &Delivery) -> Arc<str> {
    let queue = &*died_in(delivery);
    let name = queue.strip_prefix("inferq.").unwrap_or_default();
    let name = name.strip_suffix(".high").unwrap_or(name);
    // Whoever may publish to inferq.died writes the header as they like, and queues are named after this.
    let sound = queue == topology::UNKNOWN || valid_package_name(name).is_ok();
    Arc::from(if sound { name } else { "died" })
}
