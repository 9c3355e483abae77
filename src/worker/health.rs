//! How the worker stands, from its first moment on: what `/livez`, `/readyz` and `/status` say.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::task::TaskTracker;

use crate::{
    admin::{self, PackageStatus, RefusedStatus, Status},
    broker::{Broker, Health, QueueHealth},
    duplicates::Duplicates,
    engine::{Engine, EngineFault},
    repository::Live,
    telemetry::metrics::PackageMetrics,
};

use super::WorkerFault;

/// A delivery this much older than the longest deadline is stuck, not waiting.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Nor is one of this age, whatever the deadlines: RabbitMQ takes back what is not settled in 30 minutes, with all
/// else that its channel has in hand.
const TOO_OLD: Duration = Duration::from_secs(15 * 60);

/// Where a worker is on its way.
#[derive(Clone, Debug)]
enum Phase {
    /// What it does or waits for.
    Starting(String),
    Serving,
    Draining,
}

/// What is known so far.
pub(super) struct Board {
    started: Instant,
    phase: Mutex<Phase>,
    engine: OnceLock<Engine>,
    broker: OnceLock<Arc<Broker>>,
    duplicates: OnceLock<Duplicates>,
    loading: TaskTracker,
}

impl Board {
    pub(super) fn new() -> Board {
        Board {
            started: Instant::now(),
            phase: Mutex::new(Phase::Starting("reading the configuration".to_owned())),
            engine: OnceLock::new(),
            broker: OnceLock::new(),
            duplicates: OnceLock::new(),
            loading: TaskTracker::new(),
        }
    }

    /// It does this, or waits for it.
    pub(super) fn starting(&self, what: impl Into<String>) {
        *self.phase() = Phase::Starting(what.into());
    }

    /// Makes the engine, on a thread of its own.
    pub(super) async fn load(
        self: &Arc<Self>,
        load: impl FnOnce() -> Result<Engine, EngineFault> + Send + 'static,
    ) -> Result<Engine, WorkerFault> {
        let board = Arc::clone(self);
        let loading = move || load().map(|engine| board.engine.get_or_init(|| engine).clone());
        let loaded = self.loading.spawn_blocking(loading).await;
        Ok(loaded.map_err(|error| WorkerFault::System(error.to_string()))??)
    }

    /// There is a broker, or will be.
    pub(super) fn connecting(&self, broker: &Arc<Broker>) {
        // The first is the only one.
        let _ = self.broker.set(Arc::clone(broker));
    }

    /// What was replied is remembered here.
    pub(super) fn remembering(&self, store: Option<&Duplicates>) {
        if let Some(store) = store {
            let _ = self.duplicates.set(store.clone());
        }
    }

    /// Requests are taken.
    pub(super) fn started(&self) {
        *self.phase() = Phase::Serving;
    }

    /// No more of them are.
    pub(super) fn draining(&self) {
        *self.phase() = Phase::Draining;
    }

    /// When some run does not end; until then it looks once a second.
    pub(super) async fn hung(&self) -> WorkerFault {
        loop {
            let live = self.engine.get().into_iter();
            let live = live.flat_map(|engine| engine.repository().live());
            let mut stats = live.map(|live| (live, live.batcher.stats().hung));
            if let Some((live, Some(run))) = stats.find(|(_, hung)| hung.is_some()) {
                let package = live.package.name().to_owned();
                return WorkerFault::Hung { package, run };
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Closes what there is. Whoever loads is waited for: a process that ends while ONNX Runtime opens a
    /// session crashes.
    pub(super) async fn close(&self) {
        self.loading.close();
        self.loading.wait().await;
        if let Some(broker) = self.broker.get() {
            broker.close().await;
        }
        // What was still in hand has gone back: nobody wants what comes of it here.
        if let Some(engine) = self.engine.get() {
            engine.abandon().await;
        }
    }

    /// For the admin pages; brings gauges up to date as well.
    pub(super) fn probe(self: Arc<Self>) -> admin::Probe {
        Arc::new(move || self.status())
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let engine = self.engine.get();
        let health = self.broker.get().map(|broker| broker.health());
        health.iter().for_each(measure);
        let live = || {
            engine
                .into_iter()
                .flat_map(|engine| engine.repository().live())
        };
        let packages: Vec<_> = live().map(|live| package_status(live)).collect();
        let longest = live().map(|live| live.package.limits().deadline).max();
        let stuck_after = stuck_after(longest.unwrap_or_default());
        Status {
            version: env!("CARGO_PKG_VERSION"),
            onnx_runtime: engine.map(|engine| engine.repository().library().version().to_owned()),
            uptime_s: self.started.elapsed().as_secs_f64(),
            not_ready: not_ready(&self.phase(), health.as_ref()),
            not_live: not_live(health.as_ref(), &packages, stuck_after),
            broker: health,
            duplicates: self.duplicates.get().map(Duplicates::health),
            packages,
            refused: engine.map(refused).unwrap_or_default(),
        }
    }
}

fn measure(health: &Health) {
    for queue in &health.queues {
        let name = queue.queue.strip_prefix("inferq.").unwrap_or(&queue.queue);
        let oldest = Duration::from_secs_f64(queue.oldest_unsettled_s.unwrap_or_default());
        PackageMetrics::new(name).oldest_unsettled(oldest);
    }
}

fn refused(engine: &Engine) -> Vec<RefusedStatus> {
    let refused = engine.repository().refused().iter();
    refused
        .map(|refused| RefusedStatus {
            dir: refused.dir.display().to_string(),
            faults: refused.faults.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

fn package_status(live: &Live) -> PackageStatus {
    let stats = live.batcher.stats();
    PackageStatus {
        name: live.package.name().to_owned(),
        version: live.package.version().to_owned(),
        digest: live.package.digest().to_string(),
        warnings: live.warnings.clone(),
        device: live.devices.to_string(),
        batch: live.max_size(),
        sessions: stats.sessions_alive,
        threads: live.sessions.threads,
        waiting_rows: stats.waiting_rows,
        running_batches: stats.running_batches,
        hung_s: stats.hung.map(|run| run.as_secs_f64()),
    }
}

/// Why no requests are taken.
fn not_ready(phase: &Phase, health: Option<&Health>) -> Option<String> {
    let trouble = health.and_then(trouble);
    match (phase, trouble) {
        (Phase::Starting(what), None) => Some(format!("starting: {what}")),
        (Phase::Starting(what), Some(trouble)) => Some(format!("starting: {what}: {trouble}")),
        (Phase::Serving, trouble) => trouble,
        (Phase::Draining, _) => Some("draining: no new requests are taken".to_owned()),
    }
}

/// What is wrong with the broker's side.
fn trouble(health: &Health) -> Option<String> {
    for (name, link) in [
        ("consuming", &health.consuming),
        ("publishing", &health.publishing),
    ] {
        if !link.connected {
            let reason = link.reason.as_deref().unwrap_or("connecting");
            return Some(format!(
                "the {name} connection to the broker is down: {reason}"
            ));
        }
    }
    if let Some(reason) = &health.publishing.blocked {
        return Some(format!("the broker takes no publications: {reason}"));
    }
    if let Some(fault) = &health.topology {
        return Some(fault.clone());
    }
    if let Some((queue, count)) = health.refused_letters.first_key_value() {
        return Some(format!(
            "dead letters are not taken: {count} requests of queue {queue} are kept in hand until they are; look at the queues inferq.dead.…"
        ));
    }
    let idle = health.queues.iter().find(|queue| !queue.subscribed)?;
    let reason = idle.reason.as_deref().unwrap_or("subscribing");
    Some(format!("queue {} is not consumed: {reason}", idle.queue))
}

/// How old a delivery in hand may be, if nobody waits for the answer to a request for longer than this.
fn stuck_after(longest: Duration) -> Duration {
    (STUCK_AFTER + longest).min(TOO_OLD)
}

/// Why the process should be replaced: work that should flow does not, and the broker is not the reason.
fn not_live(
    health: Option<&Health>,
    packages: &[PackageStatus],
    stuck_after: Duration,
) -> Option<String> {
    if let Some(dead) = packages.iter().find(|package| package.sessions == 0) {
        return Some(format!(
            "{}@{} has no session left",
            dead.name, dead.version
        ));
    }
    if let Some((package, run)) = packages.iter().find_map(|p| Some((p, p.hung_s?))) {
        let (name, version) = (&package.name, &package.version);
        return Some(format!(
            "a run of {name}@{version} has been going on for {run:.0} s and does not end when it is stopped"
        ));
    }
    let health = health?;
    // What waited for the broker has its time from when that was over.
    let flowing = health.publishing.flowing_s?;
    let oldest = |queue: &QueueHealth| queue.oldest_unsettled_s.unwrap_or_default().min(flowing);
    let stuck = health
        .queues
        .iter()
        .filter(|queue| !health.refused_letters.contains_key(&queue.queue))
        .find(|queue| {
            // Those that wait to run alone do so one after another.
            let most = if queue.held > 0 { TOO_OLD } else { stuck_after };
            oldest(queue) > most.as_secs_f64()
        })?;
    Some(format!(
        "a delivery of queue {} has been in hand for {:.0} s",
        stuck.queue,
        oldest(stuck)
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::broker::LinkHealth;

    fn health() -> Health {
        let link = LinkHealth {
            connected: true,
            blocked: None,
            flowing_s: Some(1e6),
            reason: None,
            reconnects: 0,
        };
        Health {
            consuming: link.clone(),
            publishing: link,
            waiting_publications: 0,
            sick_destinations: 0,
            refused_letters: BTreeMap::new(),
            topology: None,
            queues: Vec::new(),
        }
    }

    #[test]
    fn a_worker_is_ready_while_it_serves_and_nothing_of_the_broker_is_amiss() {
        let starting = Phase::Starting("loading packages".to_owned());
        let said = |phase: &Phase, health: Option<&Health>| not_ready(phase, health);
        let sound = health();
        assert_eq!(
            said(&starting, None).as_deref(),
            Some("starting: loading packages")
        );
        assert!(said(&starting, Some(&sound)).is_some());
        assert_eq!(said(&Phase::Serving, Some(&sound)), None);
        assert!(said(&Phase::Draining, Some(&sound)).is_some());

        let mut lacking = health();
        lacking.topology = Some("exchange \"inferq\": gone".to_owned());
        assert_eq!(said(&Phase::Serving, Some(&lacking)), lacking.topology);
        let mut lost = health();
        lost.publishing.connected = false;
        lost.publishing.reason = Some("no broker".to_owned());
        let text = said(&starting, Some(&lost)).unwrap();
        assert!(text.starts_with("starting: loading packages: ") && text.ends_with("no broker"));
    }

    #[test]
    fn a_worker_is_to_be_replaced_only_for_what_is_not_the_brokers_doing() {
        let package = |sessions, hung_s| PackageStatus {
            name: "digits".to_owned(),
            version: "1.0.0".to_owned(),
            digest: String::new(),
            device: String::new(),
            warnings: Vec::new(),
            batch: 1,
            sessions,
            threads: 1,
            waiting_rows: 0,
            running_batches: 0,
            hung_s,
        };
        let sound = || package(1, None);
        let after = stuck_after(Duration::from_secs(30));
        assert_eq!(after, Duration::from_secs(90));
        assert_eq!(stuck_after(Duration::from_secs(3_600)), TOO_OLD);
        let said = |health: &Health, package| not_live(Some(health), &[package], after);
        let told = |health: &Health, package, words: &str| {
            let text = said(health, package).unwrap();
            assert!(text.contains(words), "{text}");
        };
        assert_eq!(not_live(None, &[sound()], after), None);
        assert_eq!(said(&health(), sound()), None);
        told(&health(), package(0, None), "digits@1.0.0 has no session");
        told(&health(), package(1, Some(61.0)), "for 61 s");

        let with = |oldest| Health {
            queues: vec![QueueHealth {
                queue: "inferq.digits".to_owned(),
                subscribed: true,
                reason: None,
                credit: 1,
                in_hand: 1,
                held: 0,
                oldest_unsettled_s: Some(oldest),
                delivered: 1,
                redelivered: 0,
                dropped: 0,
            }],
            ..health()
        };
        assert_eq!(said(&with(89.0), sound()), None);
        told(&with(91.0), sound(), "inferq.digits has been in hand");
        // Suspects take their turns.
        let mut held = with(899.0);
        held.queues[0].held = 3;
        assert_eq!(said(&held, sound()), None);
        held.queues[0].oldest_unsettled_s = Some(901.0);
        told(&held, sound(), "inferq.digits has been in hand");
        // The broker's doing, and another worker would fare no better.
        let mut lost = with(91.0);
        lost.publishing.connected = false;
        lost.publishing.flowing_s = None;
        let mut blocked = with(91.0);
        blocked.publishing.blocked = Some("low on memory".to_owned());
        blocked.publishing.flowing_s = None;
        let mut ill = with(91.0);
        ill.refused_letters = BTreeMap::from([("inferq.digits".to_owned(), 1)]);
        for health in [lost, blocked, ill] {
            assert_eq!(said(&health, sound()), None);
            assert!(not_ready(&Phase::Serving, Some(&health)).is_some());
            told(&health, package(0, None), "no session");
        }
        let mut resumed = with(91.0);
        resumed.publishing.flowing_s = Some(89.0);
        assert_eq!(said(&resumed, sound()), None, "it waited for the broker");
        let mut other = with(91.0);
        other.refused_letters = BTreeMap::from([("inferq.fraud".to_owned(), 1)]);
        told(&other, sound(), "inferq.digits has been in hand"); // no excuse for another
    }
}
