//! The broker dies and comes back amid the load.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicPublishOptions, ConfirmSelectOptions};
use serde_json::json;

use super::{
    Answer, BOUND, CORES, REPLIES, connect, consume, declare_replies, in_time, labour, properties,
    request, tick,
};
use crate::{node::Node, worker::Worker};

const COUNT: usize = 20_000;
/// Requests a second: well below what a debug build does on two busy cores.
const RATE: f64 = 700.0;
/// The rate is the median over windows of this length.
const WINDOW: Duration = Duration::from_millis(500);
/// So many windows in a row are looked at.
const WINDOWS: usize = 6;

/// What producer and consumer have seen, by request.
#[derive(Default)]
struct Tally {
    attempts: usize,
    acknowledged: Vec<usize>,
    replies: HashMap<usize, usize>,
    unexpected: Vec<String>,
    /// When each request was first answered.
    times: Vec<Instant>,
}

type Shared = Arc<Mutex<Tally>>;

/// Publishes request after request as the clock says, whether or not the broker is there; never one twice.
async fn produce(url: String, tally: Shared) {
    let start = Instant::now();
    while tally.lock().unwrap().attempts < COUNT {
        // An outage: what was not confirmed stays so.
        let _ = produce_on(&url, &tally, start).await;
        tick().await;
    }
}

async fn produce_on(url: &str, tally: &Shared, start: Instant) -> lapin::Result<()> {
    let (_connection, channel) = connect(url).await?;
    in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    loop {
        let due = (start.elapsed().as_secs_f64() * RATE) as usize;
        let window = {
            let mut tally = tally.lock().unwrap();
            let first = tally.attempts;
            tally.attempts = due.min(first + 500).min(COUNT).max(first);
            first..tally.attempts
        };
        if window.is_empty() && window.end == COUNT {
            return Ok(());
        }
        let mut confirms = Vec::new();
        for id in window {
            let body = request(id, 1).to_string();
            let publishing = channel.basic_publish(
                "inferq".into(),
                "labour".into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties(&id.to_string()),
            );
            confirms.push((id, in_time(publishing).await?));
        }
        for (id, confirm) in confirms {
            if in_time(confirm).await?.is_ack() {
                tally.lock().unwrap().acknowledged.push(id);
            }
        }
        tick().await;
    }
}

/// Takes replies, through every outage.
async fn collect(url: String, tally: Shared, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        // An outage: try again.
        let _ = collect_on(&url, &tally, &over).await;
        tick().await;
    }
}

async fn collect_on(url: &str, tally: &Shared, over: &AtomicBool) -> lapin::Result<()> {
    let (connection, channel) = connect(url).await?;
    let mut replies = consume(&channel, REPLIES).await?;
    // lapin may forget to tell who waits that the connection is lost
    while connection.status().connected() && !over.load(Ordering::Relaxed) {
        let next = tokio::time::timeout(Duration::from_millis(200), replies.next()).await;
        let Ok(next) = next else { continue };
        let Some(reply) = next else { return Ok(()) };
        let reply = reply?;
        tally.lock().unwrap().enter(
            reply.properties.correlation_id().as_ref().unwrap().as_str(),
            &Answer::of(&reply),
        );
        in_time(reply.ack(BasicAckOptions::default())).await?;
    }
    Ok(())
}

impl Tally {
    fn enter(&mut self, id: &str, answer: &Answer) {
        let number: usize = id.parse().unwrap();
        let expected = answer.kind == "outcome" && answer.body["y"] == json!(number);
        if !expected || number >= self.attempts {
            self.unexpected.push(format!("{id}: {answer:?}"));
        }
        let times = self.replies.entry(number).or_default();
        *times += 1;
        if *times == 1 {
            self.times.push(Instant::now());
        }
    }

    fn lost(&self) -> usize {
        let answered = |id: &&usize| self.replies.contains_key(id);
        self.acknowledged.len() - self.acknowledged.iter().filter(answered).count()
    }

    /// Requests answered in each window from `start` to `end`, per second.
    fn rates(&self, start: Instant, end: Instant) -> Vec<f64> {
        let count = (end - start).as_millis() / WINDOW.as_millis();
        let mut windows = vec![0.0; usize::try_from(count).unwrap()];
        for time in self.times.iter().filter(|time| **time >= start) {
            let place = (*time - start).as_millis() / WINDOW.as_millis();
            if let Some(window) = windows.get_mut(usize::try_from(place).unwrap()) {
                *window += 1.0 / WINDOW.as_secs_f64();
            }
        }
        windows
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_amid_20000_requests_costs_none_of_them_and_the_rate_is_back_within_15_s() {
    let _cores = CORES.lock().await;
    let node = Node::start();
    let (url, packages) = (node.url(), labour());
    let worker = Worker::start(&url, packages.path());
    let (tally, over) = (Shared::default(), Arc::new(AtomicBool::new(false)));
    let (_connection, arranging) = connect(&url).await.unwrap();
    declare_replies(&arranging).await.unwrap();
    let collecting = tokio::spawn(collect(url.clone(), Arc::clone(&tally), Arc::clone(&over)));
    let start = Instant::now();
    let producing = tokio::spawn(produce(url, Arc::clone(&tally)));

    while tally.lock().unwrap().replies.len() < COUNT / 3 {
        assert!(start.elapsed() < BOUND, "{}", worker.log());
        tick().await;
    }
    let killed = Instant::now();
    node.kill9();
    node.restart();
    let returned = Instant::now();

    producing.await.unwrap();
    let produced = Instant::now();
    while tally.lock().unwrap().lost() > 0 && produced.elapsed() < BOUND {
        tick().await;
    }
    let done = Instant::now();
    over.store(true, Ordering::Relaxed);
    collecting.await.unwrap();

    let tally = tally.lock().unwrap();
    let replies: usize = tally.replies.values().sum();
    let before = median(&tally.rates(start + Duration::from_secs(2), killed));
    let after = tally.rates(returned, done);
    let recovered = after
        .windows(WINDOWS)
        .position(|windows| median(windows) >= 0.8 * before);
    eprintln!(
        "attempt {COUNT} acknowledged {} ok {} lost {} duplicated {} unexpected {} recovered {}; \
         down {:.1} s, in all {:.1} s; before {before:.0}/s, after by half seconds {after:.0?}",
        tally.acknowledged.len(),
        tally.replies.len(),
        tally.lost(),
        replies - tally.replies.len(),
        tally.unexpected.len(),
        (tally.replies.len() + tally.lost()) as i64 - tally.acknowledged.len() as i64,
        (returned - killed).as_secs_f64(),
        (done - start).as_secs_f64(),
    );
    assert_eq!(tally.lost(), 0, "{}", worker.log());
    assert_eq!(tally.unexpected, Vec::<String>::new());
    let steady = recovered.map(|place| WINDOW * u32::try_from(place + WINDOWS).unwrap());
    eprintln!("the rate was back {steady:?} after the broker");
    assert!(steady.is_some_and(|steady| steady <= Duration::from_secs(15)));
    assert!(worker.status()["not_ready"].is_null());
}
