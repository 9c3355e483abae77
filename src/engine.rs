//! The story: score one request, no broker in sight.
//!
//! [`Engine::score`] is the product, read top to bottom, for any Rust program. The requests of a queue (`intake`) enter
//! it one step later, at `score_by`: what may be decoded is up to the version, so that it is resolved by then.
//!
//! ```
//! use inferq::{Engine, Request};
//! use serde_json::Value;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::open("compose/packages".as_ref(), None)?;
//! let payment: Value = serde_json::from_str(&std::fs::read_to_string("compose/samples/fraud/not-fraud-1.json")?)?;
//! let answer = engine.score(Request::new("fraud", payment)).await;
//! assert_eq!(answer.result?["verdict"], "not_fraud");
//! # Ok(())
//! # }
//! ```

use std::{path::Path, sync::Arc, time::Instant};

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    batcher::{self, Coming, Going, Predicted},
    decision::Thresholds,
    failpoint,
    fault::{Failure, Fault},
    message::{
        object::Object,
        rejection::{Code, Rejection, Stage},
        timings::Timings,
    },
    predict::{Library, LibraryFault},
    repository::{Live, Repository, RepositoryFault},
    tensor::Row,
};

/// One business object to score.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which package is asked.
    pub package: String,
    /// Pins a version; `None` is the highest live one.
    pub version: Option<String>,
    /// What is asked about.
    pub object: Object,
    /// After it nobody wants the answer; `None` is the package's default, from now.
    pub deadline: Option<Instant>,
    /// Higher first.
    pub priority: u8,
}

impl Request {
    /// A request for the highest version of `package`, with the package's default deadline.
    pub fn new(package: impl Into<String>, object: impl Into<Value>) -> Request {
        Request {
            package: package.into(),
            version: None,
            object: Object::from(object.into()),
            deadline: None,
            priority: 0,
        }
    }
}

/// A request without whom it asks.
pub(crate) struct Asked {
    pub(crate) object: Object,
    pub(crate) deadline: Option<Instant>,
    pub(crate) priority: u8,
    /// The batcher knows of it.
    pub(crate) coming: Option<Coming>,
}

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The outcome in the package's own terms, or why there is none.
    pub result: Result<Value, Failure>,
    /// The version that answered; `None` when none was found.
    pub version: Option<String>,
    /// Time spent in each stage.
    pub timings: Timings,
    /// Of an outcome: to be told when it is where it is wanted.
    pub(crate) going: Option<Going>,
}

impl Answer {
    /// What was refused before the work began.
    pub(crate) fn without_work(version: Option<&str>, rejection: Rejection) -> Answer {
        Answer {
            result: Err(rejection.into()),
            version: version.map(str::to_owned),
            timings: Timings::default(),
            going: None,
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineFault {
    /// ONNX Runtime cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryFault),
    /// The packages cannot be had.
    #[error(transparent)]
    Repository(#[from] RepositoryFault),
    /// A setting of how they are measured cannot be used.
    #[error(transparent)]
    Appetite(#[from] batcher::ConfigFault),
}

/// Scores requests of every package in a repository. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    repository: Arc<Repository>,
    /// Heavy representations (pictures) that may run at once: one a core.
    cores: Arc<Semaphore>,
}

impl Engine {
    /// Loads ONNX Runtime (`library`, or where it is usually found) and every package below `repository`, and measures
    /// each for about 10 s at most: no batch is larger than its best size.
    ///
    /// # Errors
    /// When ONNX Runtime or the repository cannot be had. A broken package is no error: see
    /// [`Repository::refused`].
    pub fn open(repository: &Path, library: Option<&Path>) -> Result<Engine, EngineFault> {
        Engine::measured(repository, library, &batcher::Config::default())
    }

    /// The same, with packages measured as `appetite` says.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn measured(
        repository: &Path,
        library: Option<&Path>,
        appetite: &batcher::Config,
    ) -> Result<Engine, EngineFault> {
        Engine::over(Library::open(library)?, repository, appetite)
    }

    /// The same, with sessions where this library has them: see [`Library::on`].
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn over(
        library: Library,
        repository: &Path,
        appetite: &batcher::Config,
    ) -> Result<Engine, EngineFault> {
        appetite.validate()?;
        Ok(Engine::new(Repository::open(
            library, repository, appetite,
        )?))
    }

    /// Finishes what waits and ends every session. Later requests meet an internal fault.
    pub async fn close(&self) {
        for live in self.repository.live() {
            live.batcher.close().await;
        }
    }

    /// Ends every session without running what waits; what runs is stopped. Whoever waits meets an internal fault.
    pub async fn abandon(&self) {
        for live in self.repository.live() {
            live.batcher.abandon();
        }
        self.close().await;
    }

    /// An engine over packages that are already loaded.
    #[must_use]
    pub fn new(repository: Repository) -> Engine {
        let cores = std::thread::available_parallelism().map_or(1, Into::into);
        Engine {
            repository: Arc::new(repository),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// What is live.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Tells of a request for a package that is to be scored; `None` where nobody serves it.
    pub(crate) fn expect(&self, package: &str) -> Option<Coming> {
        let live = self.repository.resolve(package, None).ok()?;
        Some(live.batcher.expect())
    }

    /// Scores one request. Dropping the future abandons it: what has not reached the device never will.
    pub async fn score(&self, request: Request) -> Answer {
        let Request {
            package,
            version,
            object,
            deadline,
            priority,
        } = request;
        match self.repository.resolve(&package, version.as_deref()) {
            Ok(live) => {
                let asked = Asked {
                    object,
                    deadline,
                    priority,
                    coming: Some(live.batcher.expect()),
                };
                let mut answer = self.score_by(live, asked).await;
                if let Some(going) = answer.going.take() {
                    going.arrived();
                }
                answer
            }
            Err(rejection) => Answer::without_work(None, rejection),
        }
    }

    /// Scores by a version that is resolved already.
    pub(crate) async fn score_by(&self, live: &Arc<Live>, asked: Asked) -> Answer {
        let mut timings = Timings::default();
        let walked = self.walk(live, asked, &mut timings).await;
        let (result, going) = match walked {
            Ok((outcome, going)) => (Ok(outcome), going),
            Err(failure) => (Err(failure), None),
        };
        Answer {
            result,
            version: Some(live.package.version().to_owned()),
            timings,
            going,
        }
    }

    /// The way of a request through one package version: invariant 7 holds because `live` is all of it.
    async fn walk(
        &self,
        live: &Arc<Live>,
        asked: Asked,
        timings: &mut Timings,
    ) -> Result<(Value, Option<Going>), Failure> {
        let started = Instant::now();
        let deadline = deadline(live, started, asked.deadline)?;
        live.package.validate(&asked.object)?;
        let validated = Instant::now();
        timings.validate = Some(validated - started);
        // The object goes here: what is to be decided by it is known before the model runs.
        let (rows, thresholds) = self.represent(live, asked.object).await?;
        timings.represent = Some(validated.elapsed());
        failpoint::hit("represented");
        let (priority, coming) = (asked.priority, asked.coming);
        let submitted = live.batcher.submit(rows, priority, deadline, coming);
        let predicted = submitted.await?;
        failpoint::hit("predicted");
        let outcome = decide(live, &thresholds, &predicted, timings)?;
        Ok((outcome, predicted.going))
    }

    /// Object → rows, and what it says of the decision; off the event loop, one a core, where it is heavy.
    async fn represent(
        &self,
        live: &Arc<Live>,
        object: Object,
    ) -> Result<(Vec<Row>, Thresholds), Failure> {
        let done = if live.package.plan().is_heavy() {
            let _core = self
                .cores
                .acquire()
                .await
                .map_err(|_| gone(Stage::Represent))?;
            let live = Arc::clone(live);
            let work = move || live.package.prepare(&object);
            tokio::task::spawn_blocking(work).await.map_err(|error| {
                Fault::internal(
                    Stage::Represent,
                    format!("representation panicked: {error}"),
                )
            })?
        } else {
            live.package.prepare(&object)
        };
        Ok(done?)
    }
}

/// The request's own deadline or the package's default; refused here when it has passed, before any work.
fn deadline(live: &Live, now: Instant, asked: Option<Instant>) -> Result<Instant, Rejection> {
    let deadline = asked.unwrap_or(now + live.package.limits().deadline);
    if deadline <= now {
        let detail = "the deadline had passed before the work began; send the request again with a later one";
        return Err(Rejection::new(
            Code::DeadlineExceeded,
            Stage::Resolve,
            detail,
        ));
    }
    Ok(deadline)
}

fn decide(
    live: &Live,
    thresholds: &Thresholds,
    predicted: &Predicted,
    timings: &mut Timings,
) -> Result<Value, Failure> {
    timings.queue = Some(predicted.queue_wait);
    timings.predict = Some(predicted.predict);
    timings.batch_rows = Some(predicted.batch_size);
    let started = Instant::now();
    let outcome = live.package.decide(thresholds, &predicted.rows);
    let outcome = outcome.and_then(|outcome| {
        live.package.conform(&outcome)?;
        Ok(outcome)
    });
    timings.decide = Some(started.elapsed());
    outcome
}

fn gone(stage: Stage) -> Fault {
    Fault::internal(stage, "the engine is shutting down")
}
