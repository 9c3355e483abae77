//! Memory of a worker: after N requests of its life and after ten times as many; on a short backlog and on a long one.

use crate::load;
use crate::process::{self, Memory};
use crate::replies::{Books, Replies};
use crate::report::{self, Row, Spread};
use crate::subject::Subject;
use crate::trial::{self, Queues, Site};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests under way at most: the backlog is bounded, as it is where workers keep up.
const IN_FLIGHT: usize = 20_000;
/// From the last reply to the look at an idle worker.
const IDLE: Duration = Duration::from_secs(2);

/// A backlog that is in hand at once.
const SHORT: u64 = 100;
/// KiB that the peak on a long backlog may be above the peak on a short one.
const ALLOWANCE: u64 = 50_000;

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Growth {
    pub requests: u64,
    pub after_first: Memory,
    pub after_all: Memory,
    /// RSS of the idle worker, after all ÷ after the first tenth.
    pub ratio: f64,
}

pub async fn run(site: &Site, subject: &Subject, first: u64) -> Result<Growth> {
    let queues = Queues::open(site, subject).await?;
    let growth = live(site, subject, &queues, first).await;
    let closed = queues.close().await;
    let void = || subject.void(site);
    let growth = growth.with_context(void)?;
    closed.with_context(void)?;
    Ok(growth)
}

async fn live(site: &Site, subject: &Subject, queues: &Queues, first: u64) -> Result<Growth> {
    let all = 10 * first;
    let mut replies = Replies::open(&site.url, &queues.reply).await?;
    let mut books = Books::new(all, subject.expected())?;
    let mut worker = subject.start(site, &queues.request)?;
    let pid = worker.pid()?;
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut marks = Vec::new();
    for indices in [0..first, first..all] {
        tokio::select! {
            fed = feed(site, queues, indices, &permits, &mut replies, &mut books) => fed?,
            error = worker.ended() => return Err(error),
        }
        tokio::time::sleep(IDLE).await;
        marks.push(process::memory(pid)?);
    }
    worker.stop().await?;
    replies.finish(&mut books).await?;
    let [after_first, after_all] = marks[..] else {
        unreachable!("two marks")
    };
    let kib = |memory: Memory| u32::try_from(memory.rss_kib).map(f64::from);
    Ok(Growth {
        requests: all,
        after_first,
        after_all,
        ratio: kib(after_all)? / kib(after_first)?,
    })
}

/// Sends these requests while it takes the replies, until all are answered.
async fn feed(
    site: &Site,
    queues: &Queues,
    indices: Range<u64>,
    permits: &Arc<Semaphore>,
    replies: &mut Replies,
    books: &mut Books,
) -> Result<()> {
    let until = indices.end;
    let sending = load::publish(&site.url, &queues.route, indices, Arc::clone(permits));
    let taking = async {
        while books.count < until {
            permits.add_permits(replies.next(books).await?);
        }
        Ok(())
    };
    tokio::try_join!(sending, taking)?;
    Ok(())
}

/// Measures two workers, each on a backlog that is there when it starts.
///
/// # Errors
/// When the peak on the long one is more than [`ALLOWANCE`] above that on the short one.
pub async fn backlog(site: &Site, subject: &Subject, long: u64) -> Result<()> {
    let peak = async |requests| {
        let Memory { peak_kib, .. } = trial::run(site, subject, requests).await?.memory;
        println!("{subject}: at most {peak_kib} KiB on a backlog of {requests}");
        anyhow::Ok(peak_kib)
    };
    let (short_kib, long_kib) = (peak(SHORT).await?, peak(long).await?);
    let results = json!({
        "requests": [SHORT, long],
        "peak_kib": [short_kib, long_kib],
    });
    let more = long_kib.saturating_sub(short_kib);
    let row = Row::new(
        (
            report::MODEL,
            "a backlog of 10⁶ and of 100",
            &subject.to_string(),
        ),
        "peak MiB more",
        Spread::once(more as f64 / 1024.0),
    );
    report::write(site, "backlog", &[row], &results)?;
    ensure!(
        more <= ALLOWANCE,
        "the long backlog takes {more} KiB more, above {ALLOWANCE}"
    );
    Ok(())
}
