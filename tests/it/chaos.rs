//! Faults of every kind under load, and a count of what came of every request.
//!
//! `CHAOS_SECONDS` says for how long, `CHAOS_SEED` which schedule, `CHAOS_RATE` how many requests a second.
//! `CHAOS_FAULTS` names the only kinds to strike, with commas between. With 300 s or more, a quarter of the time
//! goes to a cluster of three nodes.

mod checker;
mod clients;
mod crew;
mod dice;
mod fault;
mod ledger;
mod proxy;
mod queues;
mod report;
mod schedule;
mod site;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use checker::Counts;
use dice::Dice;
use fault::{CLUSTER, Fault, SINGLE};
use ledger::Ledger;
use report::{Event, Report, Rss};
use site::Site;

use crate::{
    faults::{packages::labour, tick},
    node::Node,
};

/// How long a fault lasts, or the calm that a rate is told by: nothing that happens ends it sooner.
async fn lasting(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// From here on faults last as long as they do in life, and there is a cluster.
const LONG: u64 = 300;

struct Settings {
    /// The names of the only faults to strike; none: all.
    only: Vec<String>,
    seed: u64,
    seconds: u64,
    rate: f64,
}

impl Settings {
    fn from_environment() -> Settings {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            let parsed = text.parse::<u64>();
            Some(parsed.unwrap_or_else(|_| panic!("{name}: found {text:?}, expected a number")))
        };
        let rate = if cfg!(debug_assertions) { 100 } else { 300 };
        let only = std::env::var("CHAOS_FAULTS").unwrap_or_default();
        let only = only.split(',').filter(|name| !name.is_empty());
        Settings {
            only: only.map(str::to_owned).collect(),
            seed: number("CHAOS_SEED").unwrap_or(1),
            seconds: number("CHAOS_SECONDS").unwrap_or(45),
            rate: number("CHAOS_RATE").unwrap_or(rate) as f64,
        }
    }

    fn chosen(&self, faults: &[Fault]) -> Vec<Fault> {
        let chosen = |fault: &&Fault| self.only.is_empty() || self.only.contains(&fault.name());
        faults.iter().filter(chosen).copied().collect()
    }

    fn brief(&self) -> bool {
        self.seconds < LONG
    }
}

/// What one site has seen, or several.
#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    restarts: u32,
    rss: Rss,
    scored: Vec<(String, u32, u64)>,
    misconduct: Vec<String>,
}

impl Seen {
    fn add(&mut self, more: Seen) {
        if self.events.is_empty() {
            self.rss = more.rss;
        }
        self.events.extend(more.events);
        self.scored.extend(more.scored);
        self.misconduct.extend(more.misconduct);
        self.restarts += more.restarts;
    }
}

/// Strikes faults at workers and nodes under load, then waits until all is accounted for.
async fn run(
    nodes: Vec<Node>,
    faults: &[Fault],
    ledger: &Arc<Ledger>,
    settings: &Settings,
    (seconds, dice): (u64, &mut Dice),
) -> Seen {
    let nodes = nodes.into_iter().map(Arc::new).collect();
    let (packages, home) = (labour(), tempfile::tempdir().unwrap());
    let (places, load) = (
        (packages.path(), home.path()),
        (settings.rate, settings.brief()),
    );
    let mut site = Site::start(nodes, places, Arc::clone(ledger), load, dice).await;
    let warm = Duration::from_secs(if settings.brief() { 3 } else { 30 });
    schedule::steady(&site, warm).await;
    let before = site.crew.rss();
    let until = Instant::now() + Duration::from_secs(seconds);
    let events = schedule::strike_all(&site, faults, dice, until).await;
    let after = site.crew.rss();
    site.stop_producers().await;
    settle(ledger).await;
    let crew = Arc::clone(&site.crew);
    if !ledger.checker(|checker| checker.settled()) {
        eprintln!("{}", crew.state());
    }
    site.stop().await;
    Seen {
        events,
        restarts: crew.restarts(),
        rss: Rss {
            after_warm_up: before,
            end: after,
            ratio: after as f64 / before as f64,
        },
        scored: crew.scored(),
        misconduct: crew.misconduct(),
    }
}

/// Waits until all that was acknowledged is accounted for and, a while longer, nothing more comes.
async fn settle(ledger: &Ledger) {
    const QUIET: Duration = Duration::from_secs(2);
    let answers = || {
        let counts = ledger.checker(|checker| checker.counts());
        counts.ok + counts.rejected + counts.duplicated + counts.recovered + counts.buried
    };
    let (start, mut last, mut since) = (Instant::now(), 0, Instant::now());
    while start.elapsed() < schedule::BOUND {
        let now = answers();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > QUIET && ledger.checker(|checker| checker.settled()) {
            return;
        }
        tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_schedule_of_faults_loses_nothing_and_invents_nothing() {
    let settings = Settings::from_environment();
    let Settings {
        seed,
        seconds,
        rate,
        ..
    } = settings;
    eprintln!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds} CHAOS_RATE={rate}");
    let (ledger, mut dice) = (Arc::new(Ledger::default()), Dice::new(seed));
    let (alone, mut together) = (settings.chosen(&SINGLE), settings.chosen(&CLUSTER));
    if settings.brief() && settings.only.is_empty() {
        together.clear();
    }
    let clustered = match (alone.is_empty(), together.is_empty()) {
        (_, true) => 0,
        (true, false) => seconds,
        (false, false) => seconds / 4,
    };
    let mut seen = Seen::default();
    for (size, faults, seconds) in [(1, alone, seconds - clustered), (3, together, clustered)] {
        if faults.is_empty() {
            continue;
        }
        let starting = tokio::task::spawn_blocking(move || Node::cluster(size));
        let (nodes, time) = (starting.await.unwrap(), (seconds, &mut dice));
        seen.add(run(nodes, &faults, &ledger, &settings, time).await);
    }
    let (during, counts, rejections, unexpected, lost, letters) = ledger.checker(|checker| {
        let during = report::attribute(checker, &seen.scored, &seen.events);
        let letters = report::unexplained(checker, &seen.events);
        let (rejections, unexpected) = (checker.rejections.clone(), checker.unexpected.clone());
        (
            during,
            checker.counts(),
            rejections,
            unexpected,
            checker.lost(),
            letters,
        )
    });
    let report = Report {
        seed,
        seconds,
        requests_per_second: rate,
        counts,
        scored_twice_during: during,
        rejected_by_code: rejections,
        faults: report::tally(&seen.events, true),
        missed: report::tally(&seen.events, false),
        recovery_s: report::recoveries(&seen.events),
        worker_restarts: seen.restarts,
        rss: seen.rss,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // What is a part of `make test` takes no place of a run that somebody made.
    let name = if settings.brief() { "brief" } else { "results" };
    report.write(&root.join(format!("target/chaos/{name}.json")));
    eprintln!("{}", report.table());
    assert_eq!(lost, Vec::<u64>::new(), "lost");
    assert_eq!(unexpected, Vec::<String>::new());
    assert_eq!(seen.misconduct, Vec::<String>::new());
    assert_eq!(report.counts.conflicting, 0, "two different answers");
    assert_eq!(report.counts.differing, 0, "other bytes, with the store on");
    assert!(letters.is_empty(), "dead for no reason: {letters:?}");
    let unexplained = report.scored_twice_during.get("none");
    assert_eq!(unexplained, None, "scored twice for no reason");
    if !settings.brief() {
        let slowest = report.recovery_s.get("all").map_or(0.0, |all| all.p99);
        assert!(
            slowest <= 15.0,
            "recovery took {slowest} s at the 99th percentile"
        );
        let growth = report.rss.ratio;
        assert!(
            growth <= 1.2,
            "a worker's memory grew to {growth} times what it was"
        );
    }
    let Counts {
        ok, acknowledged, ..
    } = report.counts;
    assert!(
        ok * 2 > acknowledged,
        "{ok} of {acknowledged}: this was no load"
    );
    let scored = seen.scored.len() as u64;
    assert!(
        scored >= ok,
        "{scored} scored, {ok} answered with an outcome"
    );
    assert!(!report.faults.is_empty());
    assert!(report.missed.is_empty(), "{:?}", report.missed);
}
