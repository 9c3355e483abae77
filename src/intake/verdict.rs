//! What becomes of a delivery, and how that is made sure of.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    batcher::Going,
    broker::{Delivery, HeaderValue, Publication, PublishFault, Texts, topology},
    duplicates::{Entry, Stored},
    message::{
        deadline::{Deadline, unix_ms},
        rejection::{Rejection, Stage},
        reply::{Answering, Reply},
        reply_to::reply_to,
        request::{DEADLINE, Head},
        timings::Timings,
    },
};

use super::{
    Case, Desk, Intake, Source,
    duplicates::properties_of,
    head::{ATTEMPTS, FIRST_AT, attempts, first_at, head},
    strays::{died_in, died_of},
};

/// Why a reply that was due is not in anybody's queue.
const UNDELIVERABLE: &str = "reply_undeliverable";

/// A delivery's fate.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Answered: an outcome or a rejection.
    Reply(Written),
    /// Copied to the dead letters for an operator to see; answered as well where somebody can be.
    Bury(Burial, Option<Written>),
    /// Tried again after so many milliseconds, on whichever worker gets it; buried and answered where not even
    /// that can be had.
    Retry(u64, Burial, Written),
    /// In a queue of ours again, where the broker's side is not closed.
    Elsewhere(Result<(), PublishFault>),
}

/// Why a copy goes to the dead letters, or to the retry queue.
#[derive(Clone, Debug)]
pub(super) struct Burial {
    /// A stable word: `no_reply_to`, `poison`, a rejection's code …
    reason: Cow<'static, str>,
    /// Where the way ended.
    stage: Stage,
}

/// What became of a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Confirmed,
    /// No queue takes it.
    Undeliverable,
}

impl Burial {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, stage: Stage) -> Burial {
        Burial {
            reason: reason.into(),
            stage,
        }
    }
}

/// Of an outcome: for when its reply is confirmed.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// How long its batch ran.
    pub(super) run: Duration,
    /// To be told.
    pub(super) going: Option<Going>,
}

/// A reply that is ready to be sent.
#[derive(Debug)]
pub(super) enum Written {
    /// This delivery's own.
    Own {
        reply: Reply,
        /// A rejection's code and stage.
        said: Option<(Cow<'static, str>, Stage)>,
        ran: Option<Ran>,
    },
    /// The one that the same request got before.
    Before(Stored),
}

impl Written {
    pub(super) fn outcome(reply: Reply, ran: Ran) -> Written {
        let (said, ran) = (None, Some(ran));
        Written::Own { reply, said, ran }
    }

    fn take_ran(&mut self) -> Option<Ran> {
        match self {
            Written::Own { ran, .. } => ran.take(),
            Written::Before(_) => None,
        }
    }

    pub(super) fn rejection(answering: &Answering<'_>, rejection: &Rejection) -> Written {
        Written::Own {
            reply: Reply::rejection(answering, rejection),
            said: Some((rejection.code.as_str(), rejection.stage)),
            ran: None,
        }
    }
}

impl Case {
    /// Publishes what the verdict asks for; the delivery is settled once the broker has confirmed it, whenever that
    /// is. Whatever the broker refuses goes to the dead letters; while it refuses even those it is ill, and the
    /// delivery stays in hand.
    pub(super) async fn carry_out(self, entry: Option<Entry>, verdict: Verdict) {
        let Case {
            intake,
            desk,
            delivery,
            ..
        } = &self;
        let (why, written) = match verdict {
            Verdict::Reply(written) => (None, Some(written)),
            Verdict::Bury(why, written) => (Some(why), written),
            Verdict::Elsewhere(end) => return self.close(end),
            Verdict::Retry(ms, why, written) => {
                let retrying = intake.retried(desk, delivery, entry.as_ref(), ms, &why);
                // Boxed, as it is rare: every delivery's task is as large as the largest of its awaits.
                match Box::pin(retrying).await {
                    Ok(false) => (Some(why), Some(written)),
                    Ok(true) => return self.close(Ok(())),
                    Err(closed) => return self.close(Err(closed)),
                }
            }
        };
        let Some(mut written) = written else {
            return self.replied(why, Ok(Sent::Confirmed));
        };
        let ran = written.take_ran();
        let publication = intake.publication(desk, delivery, entry.as_ref(), written);
        let Some(publication) = publication.await else {
            return self.replied(why, Ok(Sent::Undeliverable));
        };
        let publisher = intake.publisher.clone();
        // No task waits for the confirm: a thousand that do would not fit into the caches.
        publisher.publish_then(publication, move |confirmed| {
            let sent = match confirmed {
                Ok(written) => {
                    if let Some(Ran { run, going }) = ran {
                        let spent = written.saturating_duration_since(self.delivery.received);
                        self.desk.metrics.replied(spent, run);
                        going.into_iter().for_each(Going::arrived);
                    }
                    Ok(Sent::Confirmed)
                }
                Err(PublishFault::Unroutable { .. } | PublishFault::Refused { .. }) => {
                    self.desk.metrics.replies_unroutable.increment(1);
                    Ok(Sent::Undeliverable)
                }
                Err(closed @ PublishFault::Closed) => Err(closed),
            };
            self.replied(why, sent);
        });
    }

    /// Once it is known what became of the reply.
    fn replied(self, why: Option<Burial>, sent: Result<Sent, PublishFault>) {
        let (why, sent) = match (why, sent) {
            (None, Ok(Sent::Confirmed)) => return self.close(Ok(())),
            (_, Err(closed)) => return self.close(Err(closed)),
            (Some(why), Ok(sent)) => (why, sent),
            (None, Ok(sent)) => (Burial::new(UNDELIVERABLE, Stage::Encode), sent),
        };
        tokio::spawn(async move {
            let buried = self
                .intake
                .bury(&self.desk, &self.delivery, why, sent)
                .await;
            self.close(buried);
        });
    }
}

impl Intake {
    pub(super) fn default_reply_to(&self, package: &str) -> Option<&str> {
        let live = self.engine.repository().resolve(package, None).ok()?;
        live.package.manifest().default_reply_to.as_deref()
    }

    pub(super) fn answering<'a>(
        &self,
        head: &'a Head<'a>,
        reply_id: &'a str,
        package: &'a str,
        version: Option<&'a str>,
        timings: &'a Timings,
    ) -> Answering<'a> {
        let live = self.engine.repository().resolve(package, version);
        Answering {
            head,
            reply_id,
            package: Some(package),
            version,
            timings,
            reply_bytes: live.map_or(usize::MAX, |live| live.package.limits().reply_bytes),
        }
    }

    /// A rejection said before any version was asked.
    pub(super) fn rejection(
        &self,
        delivery: &Delivery,
        head: &Head<'_>,
        package: &str,
        rejection: &Rejection,
    ) -> Written {
        let id = head.reply_id(&delivery.routing_key, &delivery.body);
        let timings = Timings::default();
        Written::rejection(
            &self.answering(head, &id, package, None, &timings),
            rejection,
        )
    }

    /// Whether the request is in a retry queue.
    async fn retried(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        entry: Option<&Entry>,
        ms: u64,
        why: &Burial,
    ) -> Result<bool, PublishFault> {
        if let Some(entry) = entry {
            entry.release().await;
        }
        let deadline = self.deadline_header(&package_of(desk, delivery), delivery);
        let notes = marks(delivery, why).into_iter().chain([deadline]);
        match self.put_back(desk, delivery, ms, notes).await {
            Ok(()) => Ok(true),
            Err(PublishFault::Unroutable { .. } | PublishFault::Refused { .. }) => Ok(false),
            Err(closed @ PublishFault::Closed) => Err(closed),
        }
    }

    /// The reply, on its way to whoever asked; `None` where nobody can be reached.
    async fn publication(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        entry: Option<&Entry>,
        written: Written,
    ) -> Option<Publication> {
        let package = package_of(desk, delivery);
        let to = reply_to(
            delivery.properties.reply_to(),
            self.default_reply_to(&package),
        );
        let to = to.ok()?;
        let written = match entry {
            None => written,
            Some(entry) => Box::pin(self.settled(desk, entry, written)).await,
        };
        let (body, properties) = match written {
            Written::Own { reply, said, .. } => {
                match said {
                    None => desk.metrics.outcomes.increment(1),
                    Some((code, stage)) => desk.metrics.rejected(&code, stage.as_str()),
                }
                sealed(reply)
            }
            Written::Before(stored) => {
                let properties =
                    properties_of(&stored, head(&delivery.properties).reply_correlation());
                (stored.body, properties)
            }
        };
        Some(Publication {
            exchange: String::new(),
            routing_key: to.routing_key().to_owned(),
            body,
            properties: properties.into(),
            mandatory: to.mandatory(),
        })
    }

    /// Until when a request's answer is wanted, for its copy to say.
    pub(super) fn deadline_header(
        &self,
        package: &str,
        delivery: &Delivery,
    ) -> (&'static str, HeaderValue) {
        let deadline = self.deadline(package, &head(&delivery.properties));
        (
            DEADLINE,
            number(deadline.map_or(u64::MAX, Deadline::unix_ms)),
        )
    }

    /// Puts a request into a retry queue, with notes on its way so far.
    pub(super) async fn put_back(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        ms: u64,
        notes: impl IntoIterator<Item = (&'static str, HeaderValue)>,
    ) -> Result<(), PublishFault> {
        let properties = delivery.properties.kept().with_headers(notes);
        let high = if topology::is_high(&queue_of(desk, delivery)) {
            topology::HIGH
        } else {
            ""
        };
        let key = format!("{}{high}", package_of(desk, delivery));
        let body = delivery.body.clone();
        self.broker.retry_after(ms, &key, body, properties).await?;
        desk.metrics.retries.increment(1);
        Ok(())
    }

    async fn bury(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        why: Burial,
        sent: Sent,
    ) -> Result<(), PublishFault> {
        let package = package_of(desk, delivery);
        desk.metrics.dead_lettered(&why.reason);
        let (queue, reason, stage) = (&*delivery.queue, &*why.reason, why.stage);
        tracing::warn!(queue, reason, %stage, "a request goes to the dead letters");
        let mut headers = Vec::from(marks(delivery, &why));
        headers.push(("inferq-worker", self.worker.as_str().into()));
        headers.push(("inferq-died-at", number(unix_ms())));
        if sent == Sent::Undeliverable {
            headers.push(("inferq-reply", "undeliverable".into()));
        }
        let properties = delivery.properties.kept().with_headers(headers);
        let body = delivery.body.clone();
        let buried = self.broker.dead_letter(queue, &package, body, properties);
        buried.await
    }
}

/// What a copy says of its way so far.
fn marks(delivery: &Delivery, why: &Burial) -> [(&'static str, HeaderValue); 4] {
    let attempts = i64::from(attempts(&delivery.properties)) + 1;
    let first = first_at(&delivery.properties).unwrap_or_else(unix_ms);
    [
        (ATTEMPTS, HeaderValue::Int(attempts)),
        (FIRST_AT, number(first)),
        ("inferq-reason", why.reason.clone().into_owned().into()),
        ("inferq-stage", why.stage.as_str().into()),
    ]
}

fn number(value: u64) -> HeaderValue {
    HeaderValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Whose dead letters a delivery belongs to.
pub(super) fn package_of(desk: &Desk, delivery: &Delivery) -> Arc<str> {
    match &desk.source {
        Source::Package(package) => Arc::clone(package),
        Source::Unknown => Arc::from("unknown"),
        Source::Died => died_of(delivery),
    }
}

/// The queue that a request was published to.
fn queue_of(desk: &Desk, delivery: &Delivery) -> Arc<str> {
    match &desk.source {
        Source::Died => died_in(delivery),
        Source::Package(_) | Source::Unknown => Arc::clone(&delivery.queue),
    }
}

/// A reply as it is published.
fn sealed(reply: Reply) -> (Bytes, Texts) {
    let texts = Texts {
        kind: reply.kind.as_str().into(),
        content_type: reply.content_type.into(),
        message_id: reply.message_id,
        correlation_id: reply.correlation_id,
        headers: reply.headers,
    };
    (reply.body, texts)
}
