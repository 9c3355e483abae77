//! Two packages of unequal weight, both with more than they can do.

use crate::deep::deep_for;
use crate::packages::Kind;
use crate::requester::{Requester, ran};
use crate::results::{Row, Spread};
use crate::{Site, start, worker};
use anyhow::Result;
use std::fs;
use std::time::{Duration, Instant};

/// The device time of the first ÷ that of the second, while both want it.
const WEIGHT: u32 = 3;
/// Until both have their credit.
const WARM: Duration = Duration::from_secs(4);

pub async fn run(site: &Site, rounds: usize) -> Result<Vec<Row>> {
    let repository = site.folder.join("shared");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kinds = [Kind::Conv, Kind::Transformer];
    for (kind, weight) in kinds.into_iter().zip([WEIGHT, 1]) {
        kind.write(&repository, cores)?;
        let manifest = repository.join(kind.name()).join("1.0.0/package.toml");
        let text = fs::read_to_string(&manifest)?;
        fs::write(&manifest, format!("{text}\n[share]\nweight = {weight}.0\n"))?;
    }
    worker::declare_topology(&site.url, &repository).await?;
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (mut first, mut second) = (
            Requester::open(&site.url, kinds[0]).await?,
            Requester::open(&site.url, kinds[1]).await?,
        );
        let mut worker = start(site, &repository, "shared")?;
        // Both are measured before either is served.
        tokio::try_join!(first.served(), second.served())?;
        let until = Instant::now() + WARM + site.lasts;
        let both = async {
            tokio::try_join!(
                device_time(&mut first, kinds[0], until),
                device_time(&mut second, kinds[1], until)
            )
        };
        let times = tokio::select! {
            times = both => times,
            error = worker.ended() => Err(error),
        };
        worker.stop().await?;
        let (a, b) = times?;
        println!(
            "{} of weight {WEIGHT} beside {} of 1: device time {:.1} s and {:.1} s, {:.2} to 1",
            kinds[0].name(),
            kinds[1].name(),
            a.as_secs_f64(),
            b.as_secs_f64(),
            a.as_secs_f64() / b.as_secs_f64()
        );
        ratios.push(a.as_secs_f64() / b.as_secs_f64());
        for requester in [first, second] {
            requester.close().await?;
        }
    }
    let spread = Spread::of(ratios);
    let name = format!("{} beside {}", kinds[0].name(), kinds[1].name());
    Ok(spread
        .map(|spread| {
            Row::new(
                (&name, "weights 3 to 1", "inferq"),
                "device time, 1st ÷ 2nd",
                spread,
            )
        })
        .into_iter()
        .collect())
}

/// Keeps the queue full until then, and gives the device time of what was answered meanwhile, but for the beginning.
async fn device_time(requester: &mut Requester, kind: Kind, until: Instant) -> Result<Duration> {
    let deep = deep_for(kind);
    requester.never_empty(deep, WARM).await?;
    let lasts = until.saturating_duration_since(Instant::now());
    let mut spent = Duration::ZERO;
    for reply in requester.never_empty(deep, lasts).await? {
        if let Some((run, rows)) = ran(&reply)? {
            spent += run / u32::try_from(rows)?;
        }
    }
    requester.empty().await?;
    Ok(spent)
}
