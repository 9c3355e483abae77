//! What becomes of a delivery, and how that is made sure of.

use std::{borrow::Cow, sync::Arc};

use crate::{
    broker::{Delivery, HeaderValue, Properties, Publication, PublishFault, topology},
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
    Desk, Intake, Source,
    head::{ATTEMPTS, attempts, head},
    strays::died_of,
};

/// A delivery's fate.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Answered: an outcome or a rejection.
    Reply(Written),
    /// Copied to the dead letters for an operator to see; answered as well where somebody can be.
    Bury(Burial, Option<Written>),
    /// Tried again later, on whichever worker gets it.
    Retry(Burial),
}

/// Why a copy goes to the dead letters, or to the retry queue.
#[derive(Clone, Debug)]
pub(super) struct Burial {
    /// A stable word: `no_reply_to`, `poison`, a rejection's code …
    reason: Cow<'static, str>,
    /// Where the way ended.
    stage: Stage,
}

impl Burial {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, stage: Stage) -> Burial {
        Burial {
            reason: reason.into(),
            stage,
        }
    }
}

/// A reply that is ready to be sent.
#[derive(Debug)]
pub(super) struct Written {
    reply: Reply,
    /// A rejection's code and stage.
    said: Option<(Cow<'static, str>, Stage)>,
}

impl Written {
    pub(super) fn outcome(reply: Reply) -> Written {
        Written { reply, said: None }
    }

    pub(super) fn rejection(answering: &Answering<'_>, rejection: &Rejection) -> Written {
        Written {
            reply: Reply::rejection(answering, rejection),
            said: Some((rejection.code.as_str(), rejection.stage)),
        }
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

    /// Publishes what the verdict asks for and awaits the broker's confirms.
    pub(super) async fn carry_out(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        verdict: Verdict,
    ) -> Result<(), PublishFault> {
        match verdict {
            Verdict::Reply(written) => self.reply(desk, delivery, written).await,
            Verdict::Retry(why) => self.retry(desk, delivery, why).await,
            Verdict::Bury(why, written) => {
                if let Some(written) = written {
                    self.reply(desk, delivery, written).await?;
                }
                self.bury(desk, delivery, why).await
            }
        }
    }

    async fn reply(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        written: Written,
    ) -> Result<(), PublishFault> {
        let package = package_of(desk, delivery);
        let Ok(to) = reply_to(
            delivery.properties.reply_to(),
            self.default_reply_to(&package),
        ) else {
            return Ok(());
        };
        match &written.said {
            None => desk.metrics.outcomes.increment(1),
            Some((code, stage)) => desk.metrics.rejected(code, stage.as_str()),
        }
        let properties = properties(&written.reply);
        let publication = Publication {
            exchange: String::new(),
            routing_key: to.routing_key().to_owned(),
            body: written.reply.body,
            properties,
            mandatory: to.mandatory(),
        };
        match self.publisher.publish(publication).await {
            Err(PublishFault::Unroutable { .. } | PublishFault::Refused { .. }) => {
                desk.metrics.replies_unroutable.increment(1);
                let why = Burial::new("reply_undeliverable", Stage::Encode);
                self.bury(desk, delivery, why).await
            }
            confirmed => confirmed,
        }
    }

    async fn retry(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        why: Burial,
    ) -> Result<(), PublishFault> {
        let package = package_of(desk, delivery);
        let deadline = self.deadline(&package, &head(delivery));
        let deadline = deadline.map_or(u64::MAX, Deadline::unix_ms);
        let headers = marks(delivery, why).into_iter();
        let headers = headers.chain([(DEADLINE, number(deadline))]);
        self.publisher
            .publish(Publication {
                exchange: topology::retry_queue(self.config.retry_delay_ms),
                routing_key: package.to_string(),
                body: delivery.body.clone(),
                properties: delivery.properties.kept().with_headers(headers),
                mandatory: true,
            })
            .await
    }

    async fn bury(
        &self,
        desk: &Desk,
        delivery: &Delivery,
        why: Burial,
    ) -> Result<(), PublishFault> {
        let package = package_of(desk, delivery);
        desk.metrics.dead_lettered(&why.reason);
        let (reason, stage) = (&*why.reason, why.stage);
        tracing::warn!(queue = &*delivery.queue, reason, %stage, "a request goes to the dead letters");
        let headers = marks(delivery, why).into_iter().chain([
            ("inferq-worker", self.worker.as_str().into()),
            ("inferq-died-at", number(unix_ms())),
        ]);
        let properties = delivery.properties.kept().with_headers(headers);
        self.broker
            .dead_letter(&package, delivery.body.clone(), properties)
            .await
    }
}

/// What a copy says of its way so far.
fn marks(delivery: &Delivery, why: Burial) -> [(&'static str, HeaderValue); 3] {
    [
        (
            ATTEMPTS,
            HeaderValue::Int(i64::from(attempts(delivery)) + 1),
        ),
        ("inferq-reason", why.reason.into_owned().into()),
        ("inferq-stage", why.stage.as_str().into()),
    ]
}

fn number(value: u64) -> HeaderValue {
    HeaderValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Whose dead letters a delivery belongs to.
fn package_of(desk: &Desk, delivery: &Delivery) -> Arc<str> {
    match &desk.source {
        Source::Package(package) => Arc::clone(package),
        Source::Unknown => Arc::from("unknown"),
        Source::Died => died_of(delivery),
    }
}

fn properties(reply: &Reply) -> Properties {
    let properties = Properties::default()
        .persistent()
        .with_kind(reply.kind.as_str())
        .with_content_type(reply.content_type)
        .with_message_id(&reply.message_id);
    let properties = match &reply.correlation_id {
        Some(id) => properties.with_correlation_id(id),
        None => properties,
    };
    let headers = reply.headers.iter();
    properties.with_headers(headers.map(|(name, value)| (*name, value.as_str().into())))
}
