//! Delivery → engine → reply → settled: the only place where a delivery's fate is decided.
//!
//! Every path ends in one of two ways: something the broker confirmed (a reply, a retry, a dead letter)
//! and then an ack; or, when nothing could be confirmed, no ack, and the broker delivers again.

mod head;
mod verdict;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use crate::{
    broker::{Broker, Delivery, Handler, Publisher},
    engine::{Answer, Engine, Request},
    fault::{Failure, Fault},
    message::{
        codec::{self, Encoding, Limits},
        rejection::{Code, Rejection, Stage},
        reply::Reply,
        request::{Head, ReplyTo, unix_ms},
        timings::Timings,
    },
    repository::Live,
    telemetry::metrics,
};

use head::{attempts, head};
use verdict::{Burial, Letter, Verdict};

/// How deliveries are settled.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Tries of a request whose fault may pass, the first included.
    pub attempts: u32,
    /// Milliseconds between two tries.
    pub retry_delay_ms: u64,
    /// A message delivered this often has killed workers: it is answered `model_fault` without being run.
    pub poison_deliveries: u64,
    /// Seconds that a drain may take before what is left is given back.
    pub drain_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            attempts: 2,
            retry_delay_ms: 1_000,
            poison_deliveries: 4,
            drain_timeout_s: 25,
        }
    }
}

const A_YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Which of inferq's queues a delivery came from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A package's: to be scored.
    Package(Arc<str>),
    /// `inferq.unknown`: nobody serves what it asks for.
    Unknown,
    /// `inferq.died`: the broker gave up on it.
    Died,
}

/// Settles deliveries.
pub struct Intake {
    engine: Engine,
    broker: Arc<Broker>,
    publisher: Publisher,
    config: Config,
    /// Who says so, in the dead letters.
    worker: String,
    tasks: TaskTracker,
}

impl Intake {
    /// An intake that scores with `engine` and answers through `broker`.
    #[must_use]
    pub fn new(engine: Engine, broker: Arc<Broker>, config: Config, worker: String) -> Arc<Intake> {
        let publisher = broker.publisher();
        Arc::new(Intake {
            engine,
            broker,
            publisher,
            config,
            worker,
            tasks: TaskTracker::new(),
        })
    }

    /// What the consumer of a queue calls with each delivery.
    #[must_use]
    pub fn handler(self: &Arc<Self>, source: Source) -> Handler {
        let intake = Arc::clone(self);
        Arc::new(move |delivery| {
            let (intake, source) = (Arc::clone(&intake), source.clone());
            intake
                .tasks
                .clone()
                .spawn(async move { intake.settle(&source, delivery).await });
        })
    }

    /// Waits until every delivery in hand is settled, or for so long; returns how many are not.
    pub async fn finish(&self, patience: Duration) -> usize {
        self.tasks.close();
        // Too late is not an error: what is left is given back.
        let _ = tokio::time::timeout(patience, self.tasks.wait()).await;
        self.tasks.len()
    }

    async fn settle(&self, source: &Source, delivery: Delivery) {
        let verdict = match source {
            Source::Package(package) => self.judge(package, &delivery).await,
            Source::Unknown => self.refuse(&delivery),
            Source::Died => self.explain(&delivery),
        };
        match self.carry_out(source, &delivery, verdict).await {
            Ok(()) => delivery.receipt.ack(),
            Err(fault) => {
                tracing::warn!(queue = &*delivery.queue, %fault, "nothing confirmed, giving the delivery back");
                delivery.receipt.requeue();
            }
        }
    }

    /// A request for a package: answered, buried or tried again.
    async fn judge(&self, package: &Arc<str>, delivery: &Delivery) -> Verdict {
        let head = head(delivery);
        metrics::request(package);
        let default = self.default_reply_to(package);
        if let Some(burial) = unanswerable(&head, default) {
            return Verdict::Bury(burial, None);
        }
        if delivery.delivery_count >= self.config.poison_deliveries {
            let detail = "workers died while they had this request; it is not run again";
            let rejection = Rejection::new(Code::ModelFault, Stage::Predict, detail);
            let letter = Letter::rejection(&rejection, Some(package), None, &head);
            return Verdict::Bury(Burial::new("poison", Stage::Predict), Some(letter));
        }
        let scoring = AssertUnwindSafe(self.score(package, delivery, &head));
        let answer = scoring.catch_unwind().await.unwrap_or_else(|_| {
            let fault = Fault::internal(Stage::Decide, "a panic on the request's way");
            Answer {
                result: Err(fault.into()),
                version: None,
                timings: Timings::default(),
            }
        });
        let t = &answer.timings;
        metrics::stages(
            package,
            [t.decode, t.represent, t.predict, t.decide],
            t.queue,
        );
        self.conclude(package, delivery, &head, answer)
    }

    fn conclude(
        &self,
        package: &Arc<str>,
        delivery: &Delivery,
        head: &Head<'_>,
        answer: Answer,
    ) -> Verdict {
        let Answer {
            result,
            version,
            timings,
        } = answer;
        let encoded = result.and_then(|outcome| {
            let limit = self.reply_limit(package, version.as_deref());
            Ok(Reply::outcome(&outcome, encoding(head), limit)?)
        });
        let reject = |rejection: &Rejection| {
            let mut letter = Letter::rejection(rejection, Some(package), version.as_deref(), head);
            letter.timings = timings;
            letter
        };
        match encoded {
            Ok(reply) => Verdict::Reply(Letter {
                reply,
                code: None,
                version,
                timings,
            }),
            Err(Failure::Rejected(rejection)) => {
                // Another worker may be ahead of this one in a rollout.
                if rejection.code == Code::UnknownVersion && self.may_retry(package, delivery, head)
                {
                    return Verdict::Retry {
                        reason: "unknown_version".into(),
                        stage: Stage::Resolve,
                    };
                }
                Verdict::Reply(reject(&rejection))
            }
            Err(Failure::Faulted(fault)) => {
                metrics::fault(package, fault.kind.as_str(), fault.stage.as_str());
                tracing::warn!(package = &**package, %fault, "a request met a fault");
                let rejection = fault.rejection();
                let reason = rejection.code.as_str();
                if fault.is_transient() && self.may_retry(package, delivery, head) {
                    return Verdict::Retry {
                        reason,
                        stage: fault.stage,
                    };
                }
                Verdict::Bury(Burial::new(reason, fault.stage), Some(reject(&rejection)))
            }
        }
    }

    /// Decodes and hands to the engine.
    async fn score(&self, package: &str, delivery: &Delivery, head: &Head<'_>) -> Answer {
        let live = self.resolve(package, delivery, head);
        let version = live
            .as_ref()
            .ok()
            .map(|live| live.package.version().to_owned());
        let request = live.and_then(|live| Self::read(live, delivery, head));
        let decode = delivery.received.elapsed();
        let mut answer = match request {
            Ok(request) => self.engine.score(request).await,
            Err(rejection) => Answer {
                result: Err(rejection.into()),
                version,
                timings: Timings::default(),
            },
        };
        answer.timings.decode = decode;
        answer
    }

    /// The version that is asked, where the message says so readably.
    fn resolve(
        &self,
        package: &str,
        delivery: &Delivery,
        head: &Head<'_>,
    ) -> Result<&Arc<Live>, Rejection> {
        if let Some(blemish) = delivery.blemish {
            let detail = format!(
                "{}; send properties and headers as AMQP 0-9-1 and UTF-8 have them",
                blemish.as_str()
            );
            return Err(Rejection::new(
                Code::MalformedMessage,
                Stage::Decode,
                detail,
            ));
        }
        let pin = head.version_pin()?;
        self.engine.repository().resolve(package, pin)
    }

    /// A request for exactly that version: another may have gone live meanwhile.
    fn read(live: &Live, delivery: &Delivery, head: &Head<'_>) -> Result<Request, Rejection> {
        let limits = live.package.limits();
        let now = unix_ms();
        let deadline = head.deadline(now, limits.deadline)?;
        if deadline <= now {
            let detail = "the request's deadline had passed when a worker took it; send it again with a later one, or more workers are needed";
            return Err(Rejection::new(
                Code::DeadlineExceeded,
                Stage::Decode,
                detail,
            ));
        }
        let takes = Limits {
            request_bytes: limits.request_bytes,
            accepts_pictures: live.package.plan().accepts_pictures(),
        };
        let object = codec::decode(
            head.content_type,
            head.content_encoding,
            &delivery.body,
            &takes,
        )?;
        // A deadline years away is as good as none.
        let left = Duration::from_millis((deadline - now).min(A_YEAR_MS));
        let deadline = Some(Instant::now() + left);
        Ok(Request {
            package: live.package.name().to_owned(),
            version: Some(live.package.version().to_owned()),
            object,
            deadline,
            priority: head.priority,
        })
    }

    /// A request for a package that nobody serves.
    fn refuse(&self, delivery: &Delivery) -> Verdict {
        let head = head(delivery);
        let package = &delivery.routing_key;
        metrics::request("unknown");
        unanswerable(&head, None).map_or_else(
            || {
                let rejection = self.engine.repository().unknown_package(package);
                Verdict::Reply(Letter::rejection(&rejection, Some(package), None, &head))
            },
            |burial| Verdict::Bury(burial, None),
        )
    }

    /// What the broker gave up on: answered without a look at its body.
    fn explain(&self, delivery: &Delivery) -> Verdict {
        let head = head(delivery);
        let deaths = delivery.properties.deaths();
        let death = deaths.first();
        let reason = death.map_or("", |death| death.reason.as_str());
        let package = died_of(delivery);
        if let Some(burial) = unanswerable(&head, self.default_reply_to(&package)) {
            return Verdict::Bury(burial, None);
        }
        let (code, detail) = match reason {
            "expired" => (
                Code::DeadlineExceeded,
                "the request expired in the queue before a worker took it; send it again with more time",
            ),
            "delivery_limit" => (
                Code::ModelFault,
                "workers died while they had this request; it is not run again",
            ),
            _ => (
                Code::InternalFault,
                "the broker gave this request up; send it again later",
            ),
        };
        let rejection = Rejection::new(code, Stage::Decode, detail);
        let letter = Letter::rejection(&rejection, Some(&package), None, &head);
        match reason {
            "expired" => Verdict::Reply(letter),
            "delivery_limit" => Verdict::Bury(Burial::new("poison", Stage::Decode), Some(letter)),
            _ => Verdict::Bury(Burial::new("given_up", Stage::Decode), Some(letter)),
        }
    }

    fn default_reply_to(&self, package: &str) -> Option<&str> {
        let live = self.engine.repository().resolve(package, None).ok()?;
        live.package.manifest().default_reply_to.as_deref()
    }

    fn reply_limit(&self, package: &str, version: Option<&str>) -> usize {
        let live = self.engine.repository().resolve(package, version);
        live.map_or(usize::MAX, |live| live.package.limits().reply_bytes)
    }

    /// Whether another try is left, and would come before the deadline.
    fn may_retry(&self, package: &str, delivery: &Delivery, head: &Head<'_>) -> bool {
        let again = unix_ms() + self.config.retry_delay_ms;
        let in_time = self
            .deadline(package, head)
            .is_some_and(|deadline| again < deadline);
        in_time && attempts(delivery) + 1 < self.config.attempts
    }

    /// The request's deadline in Unix milliseconds.
    fn deadline(&self, package: &str, head: &Head<'_>) -> Option<u64> {
        let live = self.engine.repository().resolve(package, None).ok()?;
        head.deadline(unix_ms(), live.package.limits().deadline)
            .ok()
    }
}

fn encoding(head: &Head<'_>) -> Encoding {
    Encoding::of(head.accept, head.content_type)
}

/// Why nobody can be answered, where nobody can.
fn unanswerable(head: &Head<'_>, default: Option<&str>) -> Option<Burial> {
    let reason = match ReplyTo::of(head.reply_to, default) {
        ReplyTo::Nowhere => "no_reply_to",
        ReplyTo::Forbidden => "reply_to_forbidden",
        ReplyTo::Queue(_) | ReplyTo::Direct(_) => return None,
    };
    Some(Burial::new(reason, Stage::Decode))
}

/// The package whose queue a message died in.
fn died_of(delivery: &Delivery) -> Arc<str> {
    let deaths = delivery.properties.deaths();
    let queue = deaths.first().map_or("", |death| death.queue.as_str());
    let name = queue.strip_prefix("inferq.").unwrap_or("died");
    Arc::from(name.strip_suffix(".high").unwrap_or(name))
}
