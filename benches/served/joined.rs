//! A second worker joins one that has a deep backlog.

use crate::deep::deep_for;
use crate::packages::Kind;
use crate::requester::Requester;
use crate::results::{Row, Spread};
use crate::{Site, start, worker};
use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Until the first has all that it takes.
const WARM: Duration = Duration::from_secs(4);
/// From when the second has answered something to when it has its share; a batch takes less than half of it.
const JOINS: Duration = Duration::from_secs(1);
/// How often it is looked whether the second has answered something.
const LOOK: Duration = Duration::from_millis(20);
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
            while outcomes(site, kind, other).await.unwrap_or_default() == 0.0 {
                requester.never_empty(deep, LOOK).await?;
            }
            requester.never_empty(deep, JOINS).await?;
            let before = both(site, kind).await?;
            requester.never_empty(deep, site.lasts).await?;
            let after = both(site, kind).await?;
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
        outcomes(site, kind, first).await,
        outcomes(site, kind, second).await,
    );
    Ok([first.context("the first")?, second.context("the second")?])
}

/// What a worker has answered so far, as its metrics tell; `None` where it does not tell yet.
async fn outcomes(site: &Site, kind: Kind, worker: &str) -> Option<f64> {
    let log = fs::read_to_string(site.folder.join(format!("{worker}.log"))).ok()?;
    let (_, admin) = log.split_once("starting admin=\"")?;
    let (admin, _) = admin.split_once('"')?;
    let mut stream = TcpStream::connect(admin).await.ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let series = format!("inferq_outcomes_total{{package=\"{}\"}} ", kind.name());
    let count = answer.lines().find_map(|line| line.strip_prefix(&series))?;
    count.parse().ok()
}
