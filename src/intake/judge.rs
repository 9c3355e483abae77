//! A request for a package: scored, and what follows from that.

use std::{sync::Arc, time::Instant};

use crate::{
    batcher::Coming,
    broker::{Delivery, topology},
    duplicates::{Entry, Stored},
    engine::{Answer, Asked, Engine},
    fault::Failure,
    message::{
        codec::{self, Limits},
        deadline::{Deadline, resolve_deadline, unix_ms},
        problem::Problem,
        rejection::{Code, Rejection, Stage},
        reply::{Kind, Reply},
        reply_to::{ReplyTo, reply_to},
        request::Head,
        timings::Timings,
    },
    repository::Live,
};

use super::{
    Desk, Intake,
    head::{attempts, destination, head},
    verdict::{Burial, Ran, Verdict, Written},
};

impl Intake {
    /// Answered, buried or tried again.
    pub(super) async fn judge(
        &self,
        package: &Arc<str>,
        (desk, delivery): (&Desk, &Delivery),
        entry: Option<&Entry>,
        mut coming: Option<Coming>,
    ) -> Verdict {
        let head = head(&delivery.properties);
        if let Err(reason) = destination(delivery, self.default_reply_to(package)) {
            return Verdict::Bury(Burial::new(reason, Stage::Decode), None);
        }
        let count = delivery.delivery_count;
        if count > 0 && delivery.blemish.is_none() {
            let suspecting = self.suspected(package, (desk, delivery), count, Stage::Predict);
            if let Some(verdict) = Box::pin(suspecting).await {
                return verdict;
            }
        }
        // What cannot be answered now is not run now either, and no batch waits for it meanwhile.
        if !self.broker.is_flowing() {
            drop(coming.take());
            self.broker.flowing().await;
        }
        if let Some(entry) = entry {
            drop(coming.take());
            let claimed = Box::pin(self.claim(entry, desk, package, &head)).await;
            if let Some(stored) = claimed {
                let returned = delivery.redelivered || delivery.properties.lost().is_some();
                return again(stored, returned);
            }
        }
        let coming = coming.or_else(|| self.engine.expect(package));
        let scoring = self.score(package, delivery, &head, coming);
        let answer = match entry {
            None => scoring.await,
            Some(entry) => Box::pin(entry.hold(scoring)).await,
        };
        for (stage, spent) in answer.timings.stages() {
            desk.metrics.stage(stage, spent);
        }
        if let Some(waited) = answer.timings.queue {
            desk.metrics.waited(waited);
        }
        self.conclude(package, desk, delivery, &head, answer)
    }

    fn conclude(
        &self,
        package: &Arc<str>,
        desk: &Desk,
        delivery: &Delivery,
        head: &Head<'_>,
        answer: Answer,
    ) -> Verdict {
        let Answer {
            result,
            version,
            timings,
            going,
        } = answer;
        let timings = Timings {
            total: Some(delivery.received.elapsed()),
            ..timings
        };
        let id = head.reply_id(&delivery.routing_key, &delivery.body);
        let answering = self.answering(head, &id, package, version.as_deref(), &timings);
        let written = result.and_then(|outcome| Ok(Reply::outcome(&answering, &outcome)?));
        match written {
            Ok(reply) => {
                let run = timings.predict.unwrap_or_default();
                Verdict::Reply(Written::outcome(reply, Ran { run, going }))
            }
            Err(Failure::Rejected(rejection)) => {
                // Another worker may be ahead of this one in a rollout.
                let ahead =
                    rejection.code == Code::UnknownVersion && attempts(&delivery.properties) == 0;
                let written = Written::rejection(&answering, &rejection);
                match self.next_try(package, delivery, head) {
                    Some(ms) if ahead => {
                        Verdict::Retry(ms, Burial::new("unknown_version", Stage::Resolve), written)
                    }
                    _ => Verdict::Reply(written),
                }
            }
            Err(Failure::Faulted(fault)) => {
                desk.metrics
                    .faulted(fault.kind.as_str(), fault.stage.as_str());
                tracing::warn!(package = &**package, %fault, "a request met a fault");
                let rejection = fault.rejection();
                let burial = Burial::new(rejection.code.as_str(), fault.stage);
                let written = Written::rejection(&answering, &rejection);
                match self.next_try(package, delivery, head) {
                    Some(ms) if fault.is_transient() => Verdict::Retry(ms, burial, written),
                    _ => Verdict::Bury(burial, Some(written)),
                }
            }
        }
    }

    /// Resolves the version, decodes within its limits and hands to the engine.
    async fn score(
        &self,
        package: &str,
        delivery: &Delivery,
        head: &Head<'_>,
        coming: Option<Coming>,
    ) -> Answer {
        let started = Instant::now();
        let live = resolve(&self.engine, package, delivery, head);
        let asked = live.map(|live| (live, read(live, delivery, head, coming)));
        let decode = started.elapsed();
        let mut answer = match asked {
            Ok((live, Ok(_))) if self.is_abandoned(head).await => {
                Answer::without_work(Some(live.package.version()), abandoned())
            }
            Ok((live, Ok(asked))) => self.engine.score_by(live, asked).await,
            Ok((live, Err(rejection))) => {
                Answer::without_work(Some(live.package.version()), rejection)
            }
            Err(rejection) => Answer::without_work(None, rejection),
        };
        answer.timings.decode = Some(decode);
        answer
    }

    /// Whether nobody waits for the reply any more; a queue counts as somebody.
    async fn is_abandoned(&self, head: &Head<'_>) -> bool {
        match reply_to(head.reply_to, None) {
            Ok(ReplyTo::Direct(requester)) => self.broker.is_gone(requester).await,
            Ok(ReplyTo::Queue(_)) | Err(_) => false,
        }
    }

    /// Milliseconds until the next try; `None` if none is left or it would come after the deadline.
    pub(super) fn next_try(
        &self,
        package: &str,
        delivery: &Delivery,
        head: &Head<'_>,
    ) -> Option<u64> {
        let delay = self
            .config
            .retry_delay_ms(attempts(&delivery.properties), &mut rand::rng())?;
        let deadline = self.deadline(package, head)?;
        (!deadline.passed(unix_ms() + delay)).then_some(delay)
    }

    /// When nobody wants the answer to a request any more; `None` where it says something that is no time.
    pub(super) fn deadline(&self, package: &str, head: &Head<'_>) -> Option<Deadline> {
        let live = self.engine.repository().resolve(package, None).ok()?;
        let default = u64::try_from(live.package.limits().deadline.as_millis()).ok()?;
        resolve_deadline(head, unix_ms(), default).ok()
    }
}

/// What becomes of a request that was answered before. Whoever answered it may have died before a fault's dead letter
/// was confirmed.
fn again(stored: Stored, returned: bool) -> Verdict {
    let problem = Problem::read(Some(&stored.content_type), &stored.body);
    let fault = problem.ok().filter(|problem| {
        returned && stored.kind == Kind::Rejection.as_str() && problem.code.ends_with("_fault")
    });
    let written = Written::Before(stored);
    match fault {
        Some(fault) => Verdict::Bury(Burial::new(fault.code, fault.stage), Some(written)),
        None => Verdict::Reply(written),
    }
}

/// What is said to a requester who has gone, should it be there after all.
fn abandoned() -> Rejection {
    let detail = "the channel that asked is closed, so nobody waits for the reply; ask again on the one that will take it";
    Rejection::new(Code::DeadlineExceeded, Stage::Resolve, detail)
}

/// The version that is asked, where the message says so readably.
fn resolve<'e>(
    engine: &'e Engine,
    package: &str,
    delivery: &Delivery,
    head: &Head<'_>,
) -> Result<&'e Arc<Live>, Rejection> {
    if let Some(blemish) = delivery.blemish {
        let detail = blemish.as_str();
        return Err(Rejection::new(
            Code::MalformedMessage,
            Stage::Decode,
            detail,
        ));
    }
    let pin = head.version_pin()?;
    engine.repository().resolve(package, pin.as_deref())
}

/// The request as the engine wants it, within the limits of the version that is asked.
fn read(
    live: &Live,
    delivery: &Delivery,
    head: &Head<'_>,
    coming: Option<Coming>,
) -> Result<Asked, Rejection> {
    let limits = live.package.limits();
    let now = unix_ms();
    let default = u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX);
    let deadline = resolve_deadline(head, now, default)?;
    if deadline.passed(now) {
        return Err(deadline.exceeded(Stage::Decode, now));
    }
    let takes = Limits {
        request_bytes: limits.request_bytes,
        accepts_pictures: live.package.plan().accepts_pictures(),
        ..Limits::default()
    };
    let (object, _) = codec::decode(
        head.content_type,
        head.content_encoding,
        &delivery.body,
        &takes,
    )?;
    Ok(Asked {
        object,
        deadline: Some(deadline.instant(Instant::now(), now)),
        priority: if topology::is_high(&delivery.queue) {
            u8::MAX
        } else {
            head.priority.unwrap_or_default()
        },
        coming,
    })
}
