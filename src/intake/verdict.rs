//! What becomes of a delivery, and how that is made sure of.

use std::{borrow::Cow, sync::Arc};

use crate::{
    broker::{Delivery, HeaderValue, Properties, Publication, PublishFault, topology},
    message::{
        rejection::{Rejection, Stage},
        reply::{Problem, Reply},
        request::{Head, ReplyTo, unix_ms},
        timings::Timings,
    },
    telemetry::metrics,
};

use super::{
    Intake, Source, encoding,
    head::{ATTEMPTS, DEADLINE, attempts, head},
};

/// A delivery's fate.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Answered: an outcome or a rejection.
    Reply(Letter),
    /// Copied to the dead letters for an operator to see; answered as well where somebody can be.
    Bury(Burial, Option<Letter>),
    /// Tried again later, on whichever worker gets it.
    Retry {
        reason: Cow<'static, str>,
        stage: Stage,
    },
}

/// Why a copy goes to the dead letters.
#[derive(Clone, Debug)]
pub(super) struct Burial {
    /// A stable word: `no_reply_to`, `poison`, a rejection's code …
    pub(super) reason: Cow<'static, str>,
    /// Where the way ended.
    pub(super) stage: Stage,
}

impl Burial {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>, stage: Stage) -> Burial {
        Burial {
            reason: reason.into(),
            stage,
        }
    }
}

/// A reply with what goes into its headers.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) reply: Reply,
    /// A rejection's code and stage.
    pub(super) code: Option<(Cow<'static, str>, Stage)>,
    pub(super) version: Option<String>,
    pub(super) timings: Timings,
}

impl Letter {
    pub(super) fn rejection(
        rejection: &Rejection,
        package: Option<&str>,
        version: Option<&str>,
        head: &Head<'_>,
    ) -> Letter {
        let problem = Problem::new(rejection, package, version, head.message_id);
        Letter {
            reply: Reply::rejection(&problem, encoding(head)),
            code: Some((rejection.code.as_str(), rejection.stage)),
            version: version.map(str::to_owned),
            timings: Timings::default(),
        }
    }
}

impl Intake {
    /// Publishes what the verdict asks for and awaits the broker's confirms.
    pub(super) async fn carry_out(
        &self,
        source: &Source,
        delivery: &Delivery,
        verdict: Verdict,
    ) -> Result<(), PublishFault> {
        let package = package_of(source, delivery);
        match verdict {
            Verdict::Reply(letter) => self.reply(source, delivery, letter).await,
            Verdict::Retry { reason, stage } => self.retry(&package, delivery, reason, stage).await,
            Verdict::Bury(burial, letter) => {
                if let Some(letter) = letter {
                    self.reply(source, delivery, letter).await?;
                }
                self.bury(&package, delivery, burial).await
            }
        }
    }

    async fn reply(
        &self,
        source: &Source,
        delivery: &Delivery,
        letter: Letter,
    ) -> Result<(), PublishFault> {
        let head = head(delivery);
        let package = &package_of(source, delivery);
        let (routing_key, mandatory) =
            match ReplyTo::of(head.reply_to, self.default_reply_to(package)) {
                ReplyTo::Queue(queue) => (queue, true),
                ReplyTo::Direct(queue) => (queue, false),
                ReplyTo::Nowhere | ReplyTo::Forbidden => return Ok(()),
            };
        match &letter.code {
            None => metrics::outcome(package),
            Some((code, stage)) => metrics::rejection(package, code, stage.as_str()),
        }
        let asked = match source {
            Source::Unknown => &delivery.routing_key,
            Source::Package(_) | Source::Died => &**package,
        };
        let properties = reply_properties(asked, &head, &delivery.body, &letter);
        let body = letter.reply.body;
        let publication = Publication {
            exchange: String::new(),
            routing_key,
            body,
            properties,
            mandatory,
        };
        match self.publisher.publish(publication).await {
            Err(PublishFault::Unroutable { .. } | PublishFault::Refused { .. }) => {
                metrics::undeliverable(package);
                let burial = Burial::new("reply_undeliverable", Stage::Encode);
                self.bury(package, delivery, burial).await
            }
            confirmed => confirmed,
        }
    }

    async fn retry(
        &self,
        package: &Arc<str>,
        delivery: &Delivery,
        reason: Cow<'static, str>,
        stage: Stage,
    ) -> Result<(), PublishFault> {
        let deadline = self.deadline(package, &head(delivery)).unwrap_or(u64::MAX);
        let properties = delivery.properties.kept().with_headers([
            (
                ATTEMPTS,
                HeaderValue::Int(i64::from(attempts(delivery)) + 1),
            ),
            (
                DEADLINE,
                HeaderValue::Int(i64::try_from(deadline).unwrap_or(i64::MAX)),
            ),
            ("inferq-reason", reason.into_owned().into()),
            ("inferq-stage", stage.as_str().into()),
        ]);
        self.publisher
            .publish(Publication {
                exchange: topology::retry_queue(self.config.retry_delay_ms),
                routing_key: package.to_string(),
                body: delivery.body.clone(),
                properties,
                mandatory: true,
            })
            .await
    }

    async fn bury(
        &self,
        package: &Arc<str>,
        delivery: &Delivery,
        burial: Burial,
    ) -> Result<(), PublishFault> {
        metrics::dead_letter(package, &burial.reason);
        tracing::warn!(package = &**package, reason = &*burial.reason, stage = %burial.stage, "a request goes to the dead letters");
        let properties = delivery.properties.kept().with_headers([
            (
                ATTEMPTS,
                HeaderValue::Int(i64::from(attempts(delivery)) + 1),
            ),
            ("inferq-reason", burial.reason.into_owned().into()),
            ("inferq-stage", burial.stage.as_str().into()),
            ("inferq-worker", self.worker.as_str().into()),
            (
                "inferq-died-at",
                HeaderValue::Int(i64::try_from(unix_ms()).unwrap_or(i64::MAX)),
            ),
        ]);
        self.broker
            .dead_letter(package, delivery.body.clone(), properties)
            .await
    }
}

/// Whose dead letters and metrics a delivery belongs to.
fn package_of(source: &Source, delivery: &Delivery) -> Arc<str> {
    match source {
        Source::Package(package) => Arc::clone(package),
        Source::Unknown => Arc::from("unknown"),
        Source::Died => super::died_of(delivery),
    }
}

/// `asked` is the package's name as the request has it.
fn reply_properties(asked: &str, head: &Head<'_>, body: &[u8], letter: &Letter) -> Properties {
    let mut properties = Properties::default()
        .persistent()
        .with_kind(letter.reply.kind.as_str())
        .with_content_type(letter.reply.content_type)
        .with_message_id(&head.identity(asked, body));
    if let Some(id) = head.correlation_id.or(head.message_id) {
        properties = properties.with_correlation_id(id);
    }
    let text = |key, value: Option<&str>| value.map(|value| (key, HeaderValue::from(value)));
    let headers = [
        text("inferq-package", Some(asked)),
        text("inferq-version", letter.version.as_deref()),
        text("server-timing", Some(&letter.timings.to_string())),
        text("traceparent", head.traceparent),
        text("tracestate", head.tracestate),
    ];
    properties.with_headers(headers.into_iter().flatten())
}
