//! One run: a full queue, a worker, and the clock between the first reply and the last.

use crate::load::{self, Route};
use crate::process::{self, Memory};
use crate::replies::{Books, Replies, ReplySize};
use crate::subject::Subject;
use crate::wire;
use crate::worker::{self, Worker};
use anyhow::{Context, Result, ensure};
use lapin::options::QueueDeleteOptions;
use lapin::types::AMQPValue;
use lapin::{Channel, Connection};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Between runs, for the broker to finish what it does behind them.
const REST: Duration = Duration::from_secs(1);

/// Where everything happens.
pub struct Site {
    pub url: String,
    /// For logs and results.
    pub folder: PathBuf,
    /// What must be known of the machine to read the figures; from before the first run.
    pub machine: serde_json::Value,
}

/// What came out of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    pub round_trips_per_s: f64,
    /// CPU time of the worker for each message.
    pub cpu_us: f64,
    /// CPU time of everything on the machine for each message: broker, producer and consumer of the replies included.
    pub machine_cpu_us: f64,
    /// Of the worker, at the last reply.
    pub memory: Memory,
    pub reply_size: ReplySize,
}

/// The queues of one run. They have fresh names: a queue deleted and declared again within
/// milliseconds marks its first deliveries as redelivered.
pub struct Queues {
    connection: Connection,
    channel: Channel,
    pub request: String,
    pub reply: String,
    pub route: Route,
    /// Whether the request queue is ours to delete.
    ours: bool,
    /// Whether a worker that stops must leave nothing of what it has answered: peers need not have acknowledged it.
    clean: bool,
}

impl Queues {
    pub async fn open(site: &Site, subject: &Subject) -> Result<Queues> {
        static RUN: AtomicU64 = AtomicU64::new(0);
        let run = RUN.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{}.{run}", std::process::id());
        let connection = wire::connect(&site.url, "bench declares").await?;
        let channel = connection.create_channel().await?;
        let (request, exchange, key, ours) = match subject {
            Subject::Echo { .. } | Subject::Peer(_) => {
                let queue = format!("bench.requests.{unique}");
                wire::declare(&channel, &queue, &as_inferq_has_them()).await?;
                (queue.clone(), "", queue, true)
            }
            Subject::Inferq { repository } => {
                worker::declare_topology(&site.url, repository).await?;
                let package = crate::package::NAME;
                (
                    format!("inferq.{package}"),
                    "inferq",
                    package.to_owned(),
                    false,
                )
            }
        };
        let (left, consumers) = wire::ready(&channel, &request).await?;
        ensure!(
            left == 0 && consumers == 0,
            "{request} is in use: {left} messages, {consumers} consumers; free it, or use another broker"
        );
        let reply = format!("bench.replies.{unique}");
        wire::declare(&channel, &reply, &[]).await?;
        let route = Route {
            form: subject.form(),
            exchange: exchange.into(),
            key: key.into(),
            reply_to: reply.as_str().into(),
        };
        Ok(Queues {
            connection,
            channel,
            request,
            reply,
            route,
            ours,
            clean: !matches!(subject, Subject::Peer(_)),
        })
    }

    /// Deletes what is ours. A run that answered everything leaves nothing in the request queue.
    pub async fn close(self) -> Result<()> {
        let (left, _) = wire::ready(&self.channel, &self.request).await?;
        let clean = self.clean;
        let request = self.ours.then_some(self.request);
        for queue in request.into_iter().chain([self.reply]) {
            let options = QueueDeleteOptions::default();
            self.channel.queue_delete(queue.into(), options).await?;
        }
        wire::close(self.connection).await;
        ensure!(
            left == 0 || !clean,
            "{left} requests came back to the queue when the worker stopped"
        );
        Ok(())
    }
}

/// The arguments of inferq's request queues, so that the broker's work is the same.
fn as_inferq_has_them() -> Vec<(&'static str, AMQPValue)> {
    let text = |value: &str| AMQPValue::LongString(value.into());
    vec![
        ("x-dead-letter-exchange", text("bench.died")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongInt(20)),
    ]
}

/// Runs `subject` on a backlog of `requests`.
pub async fn run(site: &Site, subject: &Subject, requests: u64) -> Result<Figures> {
    run_from(site, subject, (1, requests)).await
}

/// The same, but the clock starts only with this reply.
pub async fn run_from(
    site: &Site,
    subject: &Subject,
    (first, requests): (u64, u64),
) -> Result<Figures> {
    let queues = Queues::open(site, subject).await?;
    let unlimited = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    let prefill = load::publish(&site.url, &queues.route, 0..requests, unlimited);
    let answering = async {
        prefill.await.context("while filling the request queue")?;
        let mut replies = Replies::open(&site.url, &queues.reply).await?;
        let mut books = Books::new(requests, subject.expected())?;
        let mut worker = subject.start(site, &queues.request)?;
        let figures = clock(&mut worker, &mut replies, (first, &mut books)).await?;
        worker.stop().await?;
        replies.finish(&mut books).await?;
        anyhow::Ok(figures)
    };
    let figures = answering.await;
    let closed = queues.close().await;
    let void = || subject.void(site);
    let figures = figures.with_context(void)?;
    closed.with_context(void)?;
    tokio::time::sleep(REST).await;
    Ok(figures)
}

/// From this reply to the last.
async fn clock(
    worker: &mut Worker,
    replies: &mut Replies,
    (first, books): (u64, &mut Books),
) -> Result<Figures> {
    let pid = worker.pid()?;
    while books.count < first {
        tokio::select! {
            more = replies.next(books) => more?,
            error = worker.ended() => return Err(error),
        };
    }
    let (before, cpu_before, start) = (books.count, process::cpu(pid)?, Instant::now());
    let machine_before = process::machine_cpu()?;
    while !books.complete() {
        tokio::select! {
            more = replies.next(books) => more?,
            error = worker.ended() => return Err(error),
        };
    }
    let elapsed = start.elapsed();
    let cpu = process::cpu(pid)?.saturating_sub(cpu_before);
    let machine = process::machine_cpu()?.saturating_sub(machine_before);
    let counted = u32::try_from(books.count - before)?;
    ensure!(
        counted > 0,
        "all replies came at once; more requests are needed"
    );
    Ok(Figures {
        round_trips_per_s: f64::from(counted) / elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(counted),
        machine_cpu_us: machine.as_secs_f64() * 1e6 / f64::from(counted),
        memory: process::memory(pid)?,
        reply_size: books.reply_size.context("no reply")?,
    })
}
