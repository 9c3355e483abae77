//! Requests that no package will score: nobody serves them, or the broker gave up on them.

use std::sync::Arc;

use crate::{
    broker::Delivery,
    message::{
        rejection::{Code, Rejection, Stage},
        reply_to::reply_to,
    },
};

use super::{
    Intake,
    head::head,
    verdict::{Burial, Verdict},
};

impl Intake {
    /// A request for a package that nobody serves.
    pub(super) fn refuse(&self, delivery: &Delivery) -> Verdict {
        let head = head(delivery);
        if let Err(nobody) = reply_to(head.reply_to, None) {
            return Verdict::Bury(Burial::new(nobody.reason(), Stage::Resolve), None);
        }
        let package = &delivery.routing_key;
        let rejection = self.engine.repository().unknown_package(package);
        Verdict::Reply(self.rejection(delivery, &head, package, &rejection))
    }

    /// What the broker gave up on: answered without a look at its body.
    pub(super) fn explain(&self, delivery: &Delivery) -> Verdict {
        let head = head(delivery);
        let package = died_of(delivery);
        if let Err(nobody) = reply_to(head.reply_to, self.default_reply_to(&package)) {
            return Verdict::Bury(Burial::new(nobody.reason(), Stage::Decode), None);
        }
        let deaths = delivery.properties.deaths();
        let reason = deaths.first().map_or("", |death| death.reason.as_str());
        let (code, detail, burial) = match reason {
            "expired" => (
                Code::DeadlineExceeded,
                "the request expired in the queue before a worker took it; send it again with more time",
                None,
            ),
            "delivery_limit" => (
                Code::ModelFault,
                "workers died while they had this request; it is not run again",
                Some("poison"),
            ),
            _ => (
                Code::InternalFault,
                "the broker gave this request up; send it again later",
                Some("given_up"),
            ),
        };
        let rejection = Rejection::new(code, Stage::Decode, detail);
        let reply = self.rejection(delivery, &head, &package, &rejection);
        match burial {
            None => Verdict::Reply(reply),
            Some(reason) => Verdict::Bury(Burial::new(reason, Stage::Decode), Some(reply)),
        }
    }
}

/// The package whose queue a message died in.
pub(super) fn died_of(delivery: &Delivery) -> Arc<str> {
    let deaths = delivery.properties.deaths();
    let queue = deaths.first().map_or("", |death| death.queue.as_str());
    let name = queue.strip_prefix("inferq.").unwrap_or("died");
    Arc::from(name.strip_suffix(".high").unwrap_or(name))
}
