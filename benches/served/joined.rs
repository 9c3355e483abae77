//! A second worker joins one that has a deep backlog.

use crate::deep::deep_for;
use crate::packages::Kind;
use crate::requester::{Requester, ran};
use crate::results::{Row, Spread};
use crate::{Site, start, worker};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Until the first has all that it takes.
const WARM: Duration = Duration::from_secs(4);
/// From the second's first delivery to when it has its share; a batch takes less than half of it, which is looked at.
const JOINS: Duration = Duration::from_secs(1);
/// How often it is looked whether the second has a delivery, and for how long at most.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
const REQUESTS: &str = "inferq_requests_total";
const OUTCOMES: &str = "inferq_outcomes_total";
const WORKERS: [&str; 2] = ["joined-first", "joined-second"];

pub async fn run(site: &Site, kind: Kind, rounds: usize) -> Result<Option<Row>> {
    let repository = site.folder.join(kind.name());
    kind.write(&repository, 1)?;
    worker::declare_topology(&site.url, &repository).await?;
    let deep = deep_for(kind) * WORKERS.len();
    let mut shares = Vec::new();
    for _ in 0..rounds {
        let mut requester = Requester::open(&site.url, kind).await?;
        let [name, other] = WORKERS;
        let mut first = start(site, &repository, name)?;
        requester.served().await?;
        requester.never_empty(deep, WARM).await?;
        let mut second = start(site, &repository, other)?;
        let counted = async {
            let began = Instant::now();
            while counted(site, kind, other, REQUESTS)
                .await
                .unwrap_or_default()
                == 0.0
            {
                ensure!(began.elapsed() < PATIENCE, "the second worker gets nothing");
                requester.never_empty(deep, LOOK).await?;
            }
            requester.never_empty(deep, JOINS).await?;
            let before = both(site, kind).await?;
            requester.is_deep().await?;
            let replies = requester.never_empty(deep, site.lasts).await?;
            requester.is_deep().await?;
            let after = both(site, kind).await?;
            let runs = replies.iter().map(ran).collect::<Result<Vec<_>>>()?;
            let longest = runs.into_iter().flatten().map(|(run, _)| run).max();
            ensure!(longest < Some(JOINS / 2), "a run took {longest:?}");
            requester.empty().await?;
            anyhow::Ok([0, 1].map(|worker| after[worker] - before[worker]))
        };
        let counted = tokio::select! {
            counted = counted => counted,
            error = first.ended() => Err(error),
            error = second.ended() => Err(error),
        };
        first.stop().await?;
        second.stop().await?;
        let [first, second] = counted?;
        let share = second / (first + second);
        println!(
            "{}: a second worker answers {second} beside the first's {first}: {share:.2}",
            kind.name()
        );
        shares.push(share);
        requester.close().await?;
    }
    let of = (kind.name(), "backlog, a second worker joins", "inferq");
    Ok(Spread::of(shares).map(|share| Row::new(of, "the second's share", share)))
}

async fn both(site: &Site, kind: Kind) -> Result<[f64; 2]> {
    let [first, second] = WORKERS;
    let (first, second) = (
        counted(site, kind, first, OUTCOMES).await,
        counted(site, kind, second, OUTCOMES).await,
    );
    Ok([first.context("the first")?, second.context("the second")?])
}

/// What a worker has counted so far, as its metrics tell; `None` where it does not tell yet.
async fn counted(site: &Site, kind: Kind, name: &str, series: &str) -> Option<f64> {
    let page = worker::metrics(&site.folder.join(format!("{name}.log"))).await?;
    let series = format!("{series}{{package=\"{}\"}} ", kind.name());
    let count = page.lines().find_map(|line| line.strip_prefix(&series))?;
    count.parse().ok()
}
