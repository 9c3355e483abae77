//! Who asks and takes the replies.

use crate::deep::deep_for;
use crate::figures::{Around, Ended, Figures};
use crate::load::Load;
use crate::packages::Kind;
use crate::process;
use crate::producer::Producer;
use crate::wire;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::ReadyChunks;
use inferq::message::object::Object;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, QueueDeleteOptions};
use lapin::{Channel, Connection, Consumer};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Semaphore, mpsc};

/// At first the worker has credit for one: these do not count.
const WARM: Duration = Duration::from_secs(2);
/// Channels that publish, and messages of each under way.
const CHANNELS: usize = 8;
pub const WINDOW: usize = 256;
/// A worker that is silent for so long will not speak again.
const PATIENCE: Duration = Duration::from_secs(60);
const PREFETCH: u16 = 2_000;
/// Scores of one request may differ by so much: a matrix product of more rows adds up in another order.
const SAME: f64 = 1e-4;

/// Requests of one package, and their replies.
pub struct Requester {
    kind: Kind,
    bodies: Vec<(Bytes, &'static str)>,
    connection: Connection,
    publishing: Connection,
    channels: Arc<Mutex<mpsc::Receiver<Channel>>>,
    free: mpsc::Sender<Channel>,
    declaring: Channel,
    replying: Channel,
    replies: ReadyChunks<Consumer>,
    queue: String,
    /// The first answer to each body.
    answers: HashMap<usize, Value>,
    /// Requests of [`Requester::never_empty`] so far, and those of them without a reply.
    pub asked: u64,
    pub open: usize,
}

/// A request that is under way.
#[derive(Clone, Copy)]
struct Sent {
    due: Instant,
    by: Option<Instant>,
}

impl Requester {
    pub async fn open(url: &str, kind: Kind) -> Result<Requester> {
        static RUN: AtomicU64 = AtomicU64::new(0);
        let run = RUN.fetch_add(1, Ordering::Relaxed);
        let queue = format!("bench.replies.{}.{run}", std::process::id());
        let connection = wire::connect(url, "bench requests").await?;
        let publishing = wire::connect(url, "bench produces").await?;
        let declaring = connection.create_channel().await?;
        wire::declare(&declaring, &queue, &[]).await?;
        let replying = connection.create_channel().await?;
        let replies = wire::consume(&replying, &queue, PREFETCH).await?;
        let (free, idle) = mpsc::channel(CHANNELS);
        for _ in 0..CHANNELS {
            free.send(wire::confirming(&publishing).await?).await?;
        }
        let body = |object: Object| match object {
            Object::Value(value) => (value.to_string().into(), "application/json"),
            Object::Picture(file) => (file, "image/jpeg"),
        };
        Ok(Requester {
            kind,
            bodies: kind.objects(kind.variety()).into_iter().map(body).collect(),
            connection,
            publishing,
            channels: Arc::new(Mutex::new(idle)),
            free,
            declaring,
            replying,
            replies: replies.ready_chunks(usize::from(PREFETCH)),
            queue,
            answers: HashMap::new(),
            asked: 0,
            open: 0,
        })
    }

    pub async fn close(self) -> Result<()> {
        let left = self.left().await?;
        let options = QueueDeleteOptions::default();
        let deleting = self.declaring.queue_delete(self.queue.into(), options);
        deleting.await?;
        wire::close(self.publishing).await;
        wire::close(self.connection).await;
        ensure!(left == 0, "{left} requests are left in the queue");
        Ok(())
    }

    /// Whether workers leave some in the queue, of what never ends.
    pub async fn is_deep(&self) -> Result<()> {
        ensure!(self.left().await? > 0, "the queue is empty");
        Ok(())
    }

    async fn left(&self) -> Result<u32> {
        let queue = format!("inferq.{}", self.kind.name());
        Ok(wire::ready(&self.declaring, &queue).await?.0)
    }

    /// Until a worker consumes what is asked.
    pub async fn served(&self) -> Result<()> {
        let queue = format!("inferq.{}", self.kind.name());
        let began = Instant::now();
        while wire::ready(&self.declaring, &queue).await?.1 == 0 {
            ensure!(began.elapsed() < PATIENCE, "nobody consumes {queue}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// A queue that is never empty, for so long.
    pub async fn backlog(&mut self, pid: u32, lasts: Duration) -> Result<Figures> {
        let deep = Arc::new(Semaphore::new(0));
        let (sent_tx, mut sent_rx) = mpsc::unbounded_channel();
        let producer = self.producer();
        let permits = Arc::clone(&deep);
        let producing = tokio::spawn(async move {
            let mut index = 0;
            while let Ok(some) = permits.acquire_many(1).await {
                some.forget();
                let mut window = vec![index];
                while window.len() < WINDOW
                    && let Ok(one) = permits.try_acquire()
                {
                    one.forget();
                    index += 1;
                    window.push(index);
                }
                index += 1;
                let due = Instant::now();
                let sent = Sent { due, by: None };
                for _ in &window {
                    let _ = sent_tx.send(sent);
                }
                producer
                    .publish(window.into_iter().map(|index| (index, None)).collect())
                    .await?;
            }
            anyhow::Ok(())
        });
        let mut sent = Vec::new();
        let deep_here = deep_for(self.kind);
        deep.add_permits(deep_here);
        let (mut counted, mut all) = (Vec::new(), 0);
        let mut since: Option<(Instant, Duration)> = None;
        let mut end: Option<(Instant, Duration, process::Memory)> = None;
        let mut first = None;
        while end.is_none() || all < sent.len() {
            let replies = self.next().await?;
            while let Ok(one) = sent_rx.try_recv() {
                sent.push(one);
            }
            all += replies.len();
            let now = Instant::now();
            let first = *first.get_or_insert(now);
            if end.is_some() {
                continue;
            }
            match since {
                None if now > first + WARM => since = Some((now, process::cpu(pid)?)),
                None => {}
                Some((since, _)) => {
                    for reply in &replies {
                        counted.push(ended(reply, &sent, now)?);
                    }
                    if now > since + lasts {
                        end = Some((now, process::cpu(pid)?, process::memory(pid)?));
                        // Nothing more is sent.
                        deep.close();
                    }
                }
            }
            if end.is_none() {
                deep.add_permits(replies.len());
            }
        }
        producing.await??;
        let ((since, cpu_before), (until, cpu, memory)) =
            (since.context("began")?, end.context("ended")?);
        let around = Around {
            lasted: until - since,
            cpu: cpu.saturating_sub(cpu_before),
            rss_kib: memory.rss_kib,
            capacity: None,
        };
        Ok(Figures::of(&counted, &around))
    }

    /// A share of what the worker can do, for so long; where there is `patience`, nobody wants an answer after it.
    pub async fn offer(
        &mut self,
        pid: u32,
        load: Load,
        (capacity, lasts, patience): (f64, Duration, Option<Duration>),
    ) -> Result<Figures> {
        let schedule = load.schedule(capacity, lasts + WARM);
        ensure!(!schedule.is_empty(), "nothing is due in {lasts:?}");
        let start = Instant::now();
        let began = unix_ms();
        let sent: Vec<Sent> = schedule
            .iter()
            .map(|due| Sent {
                due: start + *due,
                by: patience.map(|patience| start + *due + patience),
            })
            .collect();
        let deadlines: Vec<Option<i64>> = schedule
            .iter()
            .map(|due| Some(began + i64::try_from((*due + patience?).as_millis()).unwrap_or(0)))
            .collect();
        let (due_tx, mut due_rx) = mpsc::unbounded_channel();
        // A thread of its own: tokio's timers are of a millisecond.
        let times: Vec<Instant> = sent.iter().map(|one| one.due).collect();
        let clock = thread::spawn(move || {
            for (index, at) in times.into_iter().enumerate() {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                if due_tx.send(index as u64).is_err() {
                    return;
                }
            }
        });
        let producer = self.producer();
        let producing = tokio::spawn(async move {
            let mut windows = tokio::task::JoinSet::new();
            let mut window = Vec::with_capacity(WINDOW);
            while due_rx.recv_many(&mut window, WINDOW).await > 0 {
                let producer = producer.clone();
                let window: Vec<_> = window
                    .drain(..)
                    .map(|index| (index, deadlines[index as usize]))
                    .collect();
                let channel = producer.channel().await?;
                windows.spawn(async move { producer.publish_on(channel, window).await });
                while let Some(done) = windows.try_join_next() {
                    done??;
                }
            }
            while let Some(done) = windows.join_next().await {
                done??;
            }
            anyhow::Ok(())
        });
        let (mut counted, mut all) = (Vec::new(), 0);
        let mut before = None;
        while all < sent.len() {
            let replies = self.next().await?;
            let now = Instant::now();
            all += replies.len();
            for reply in &replies {
                if sent[index(reply)? as usize].due < start + WARM {
                    continue;
                }
                if before.is_none() {
                    before = Some(process::cpu(pid)?);
                }
                counted.push(ended(reply, &sent, now)?);
            }
        }
        producing.await??;
        let _ = clock.join();
        let around = Around {
            lasted: start.elapsed().saturating_sub(WARM),
            cpu: process::cpu(pid)?.saturating_sub(before.unwrap_or_default()),
            rss_kib: process::memory(pid)?.rss_kib,
            capacity: patience.map(|_| capacity),
        };
        Ok(Figures::of(&counted, &around))
    }

    /// The replies that have come, at least one; acknowledged.
    pub async fn next(&mut self) -> Result<Vec<Delivery>> {
        let replies = self.next_within(PATIENCE).await?;
        ensure!(!replies.is_empty(), "no reply for {PATIENCE:?}");
        Ok(replies)
    }

    /// The same; none, if none comes for so long.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Vec<Delivery>> {
        let Ok(chunk) = tokio::time::timeout(patience, self.replies.next()).await else {
            return Ok(Vec::new());
        };
        let chunk = chunk.context("the reply queue is gone")?;
        let chunk: Vec<Delivery> = chunk.into_iter().collect::<Result<_, _>>()?;
        if let Some(last) = chunk.last() {
            let multiple = BasicAckOptions { multiple: true };
            self.replying.basic_ack(last.delivery_tag, multiple).await?;
        }
        for reply in chunk.iter().filter(|reply| is_outcome(reply)) {
            self.check(reply)?;
        }
        Ok(chunk)
    }

    /// The same body has the same answer, whatever rows it ran with.
    fn check(&mut self, reply: &Delivery) -> Result<()> {
        let body = index(reply)? as usize % self.bodies.len();
        let answer: Value = serde_json::from_slice(&reply.data)?;
        let score = |answer: &Value| answer["score"].as_f64().context("no score");
        let first = self.answers.entry(body).or_insert_with(|| answer.clone());
        let (first, now) = (score(first)?, score(&answer)?);
        let bound = SAME * first.abs().max(1.0);
        ensure!(
            (first - now).abs() <= bound,
            "the same request had a score of {first}, and now of {now}"
        );
        Ok(())
    }

    pub fn producer(&self) -> Producer {
        Producer {
            bodies: self.bodies.clone().into(),
            key: self.kind.name().into(),
            reply_to: self.queue.as_str().into(),
            channels: Arc::clone(&self.channels),
            free: self.free.clone(),
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

fn index(reply: &Delivery) -> Result<u64> {
    let id = reply.properties.correlation_id().as_ref();
    Ok(id
        .context("a reply without correlation id")?
        .as_str()
        .parse()?)
}

fn ended(reply: &Delivery, sent: &[Sent], now: Instant) -> Result<Ended> {
    let Sent { due, by } = sent
        .get(index(reply)? as usize)
        .copied()
        .context("nobody asked that")?;
    Ok(Ended {
        took: now.saturating_duration_since(due),
        ran: ran(reply)?,
        in_time: by.is_none_or(|by| now <= by),
    })
}

fn is_outcome(reply: &Delivery) -> bool {
    let kind = reply.properties.kind().as_ref();
    kind.is_some_and(|kind| kind.as_str() == "outcome")
}

/// The run that a reply is of, and how many rows it had; `None` of a rejection as late as it says it is.
pub fn ran(reply: &Delivery) -> Result<Option<(Duration, usize)>> {
    if !is_outcome(reply) {
        let kind = reply.properties.kind();
        let said = String::from_utf8_lossy(&reply.data);
        ensure!(
            said.contains("\"deadline_exceeded\""),
            "a reply of type {kind:?}: {said}"
        );
        return Ok(None);
    }
    let headers = reply.properties.headers().as_ref().context("headers")?;
    let timing = headers
        .inner()
        .get("server-timing")
        .and_then(|value| value.as_long_string());
    let timing = timing.context("no server-timing")?.to_string();
    let part = timing
        .split(", ")
        .find_map(|part| part.strip_prefix("predict;dur="));
    let (ms, rows) = part
        .and_then(|part| part.split_once(";desc=\"b="))
        .context("no predict")?;
    let ms: f64 = ms.parse()?;
    Ok(Some((
        Duration::from_secs_f64(ms / 1e3),
        rows.trim_end_matches('"').parse()?,
    )))
}
