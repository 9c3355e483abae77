//! What breaks, and how it is broken.
//!
//! Each fault is struck alone, ends, and says when.

use std::time::{Duration, Instant};

use crate::{node::Node, redis::Redis, worker::Worker};

use super::{
    crew::SPARED, dice::Dice, proxy::Weather, queues, report::Effects, schedule, site::Site,
};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    WorkerKilledAt(&'static str),
    WorkerKilled,
    WorkerDrained,
    BrokerKilled,
    BrokerStopped,
    BrokerRestarted,
    Network(Weather),
    MemoryAlarm,
    RequestQueueDeleted,
    ReplyQueueDeleted,
    RepliesNacked,
    ConsumerTimeout,
    ClockJumped,
    StoreKilled,
    StateFull,
    FollowerKilled,
    LeaderKilled,
}

/// What may happen to one node and its workers.
pub(super) const SINGLE: [Fault; 24] = [
    Fault::WorkerKilledAt("received"),
    Fault::WorkerKilledAt("represented"),
    Fault::WorkerKilledAt("predicted"),
    Fault::WorkerKilledAt("published"),
    Fault::WorkerKilledAt("confirmed"),
    Fault::WorkerKilledAt("acked"),
    Fault::WorkerKilled,
    Fault::WorkerDrained,
    Fault::BrokerKilled,
    Fault::BrokerStopped,
    Fault::BrokerRestarted,
    Fault::Network(Weather::Stalled),
    Fault::Network(Weather::Reset),
    Fault::Network(Weather::HalfOpen),
    Fault::Network(Weather::Slow),
    Fault::Network(Weather::Truncated),
    Fault::MemoryAlarm,
    Fault::RequestQueueDeleted,
    Fault::ReplyQueueDeleted,
    Fault::RepliesNacked,
    Fault::ConsumerTimeout,
    Fault::ClockJumped,
    Fault::StoreKilled,
    Fault::StateFull,
];

/// What may happen to a cluster.
pub(super) const CLUSTER: [Fault; 2] = [Fault::FollowerKilled, Fault::LeaderKilled];

/// A fault that is over.
pub(super) struct Struck {
    /// When it ended: recovery is counted from here.
    pub(super) end: Instant,
    /// Whether it happened at all, as far as is known yet.
    pub(super) hit: bool,
    /// What is left to do once all is well.
    pub(super) rest: Rest,
}

/// What a fault leaves to be done once recovery has been measured.
pub(super) enum Rest {
    Nothing,
    /// A node to start again: the others have shown that they do without it.
    Node(usize),
    /// A worker to dismiss, that was to miss its consumer timeout.
    Guest(Worker),
    /// Requests may be told again that they meet a queue.
    Homeless,
}

impl Struck {
    fn now() -> Struck {
        Struck::at(Instant::now(), Rest::Nothing)
    }

    fn at(end: Instant, rest: Rest) -> Struck {
        Struck {
            end,
            hit: true,
            rest,
        }
    }
}

impl Rest {
    /// Does it; whether it shows that the fault did happen.
    pub(super) async fn finish(self, site: &Site) -> bool {
        match self {
            Rest::Nothing => {}
            Rest::Node(number) => site.on_node(number, Node::restart).await,
            Rest::Homeless => queues::at_home(site).await,
            Rest::Guest(mut guest) => {
                site.ctl(&["eval", &timeouts(60_000, 1_800_000)]).await;
                guest.signal("TERM");
                let ended = tokio::task::spawn_blocking(move || (guest.wait(), guest.log()));
                let (status, log) = ended.await.unwrap();
                assert_eq!(status.code(), Some(0), "{log}");
                return log.contains("PRECONDITION");
            }
        }
        true
    }
}

impl Fault {
    /// Its name in the table.
    pub(super) fn name(self) -> String {
        match self {
            Fault::WorkerKilledAt(point) => format!("worker_killed_at_{point}"),
            Fault::WorkerKilled => "worker_killed".into(),
            Fault::WorkerDrained => "worker_drained".into(),
            Fault::BrokerKilled => "broker_killed".into(),
            Fault::BrokerStopped => "broker_stopped".into(),
            Fault::BrokerRestarted => "broker_restarted".into(),
            Fault::Network(Weather::HalfOpen) => "network_half_open".into(),
            Fault::Network(weather) => format!("network_{weather:?}").to_lowercase(),
            Fault::MemoryAlarm => "memory_alarm".into(),
            Fault::RequestQueueDeleted => "request_queue_deleted".into(),
            Fault::ReplyQueueDeleted => "reply_queue_deleted".into(),
            Fault::RepliesNacked => "replies_nacked".into(),
            Fault::ConsumerTimeout => "consumer_timeout".into(),
            Fault::ClockJumped => "clock_jumped".into(),
            Fault::StoreKilled => "store_killed".into(),
            Fault::StateFull => "state_full".into(),
            Fault::FollowerKilled => "follower_killed".into(),
            Fault::LeaderKilled => "leader_killed".into(),
        }
    }

    pub(super) fn effects(self) -> Effects {
        Effects {
            repeats: matches!(
                self,
                Fault::WorkerKilledAt(_)
                    | Fault::WorkerKilled
                    | Fault::ConsumerTimeout
                    | Fault::StoreKilled
            ),
            forgets: self == Fault::StoreKilled,
            refuses: matches!(self, Fault::RepliesNacked | Fault::ReplyQueueDeleted),
        }
    }

    /// Breaks something and, but for a node of a cluster, mends it.
    pub(super) async fn strike(self, site: &Site, dice: &mut Dice) -> Struck {
        match self {
            Fault::WorkerKilledAt(point) => return doom(site, dice, point).await,
            Fault::WorkerKilled => site.crew.kill(victim(site, dice)),
            Fault::WorkerDrained => site.crew.drain(victim(site, dice)).await,
            Fault::BrokerKilled => {
                site.on_node(0, |node| {
                    node.kill9();
                    node.restart();
                })
                .await;
            }
            Fault::BrokerStopped => {
                site.on_node(0, |node| node.signal("STOP")).await;
                pause(if site.brief { 3_000 } else { 12_000 }).await;
                site.on_node(0, |node| node.signal("CONT")).await;
            }
            Fault::BrokerRestarted => {
                site.ctl(&["stop_app"]).await;
                site.ctl(&["start_app"]).await;
            }
            Fault::Network(weather) => storm(site, dice, weather).await,
            Fault::MemoryAlarm => {
                site.ctl(&["set_vm_memory_high_watermark", "0"]).await;
                pause(dice.between(1_000, 4_000)).await;
                site.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
            }
            Fault::RequestQueueDeleted => {
                let end = queues::delete_requests(site).await;
                return Struck::at(end, Rest::Homeless);
            }
            Fault::ReplyQueueDeleted => queues::delete_replies(site, dice).await,
            Fault::RepliesNacked => nack(site, dice).await,
            Fault::ConsumerTimeout => return time_out(site, dice).await,
            Fault::ClockJumped => {
                let far = dice.between(61_000, 3_600_000) as i64;
                site.crew.clock(if dice.one_in(2) { far } else { -far });
                pause(dice.between(1_000, 3_000)).await;
                site.crew.clock(0);
            }
            Fault::StoreKilled => {
                site.on_store(Redis::kill9).await;
                pause(dice.between(1_000, 4_000)).await;
                site.on_store(Redis::restart).await;
            }
            Fault::StateFull => {
                let hit = site.crew.without_room(victim(site, dice)).await;
                return Struck {
                    hit,
                    ..Struck::now()
                };
            }
            Fault::FollowerKilled => return cut(site, false).await,
            Fault::LeaderKilled => return cut(site, true).await,
        }
        Struck::now()
    }
}

/// A worker that may be killed.
fn victim(site: &Site, dice: &mut Dice) -> usize {
    dice.between(SPARED as u64 + 1, site.crew.size() as u64 - 1) as usize
}

async fn doom(site: &Site, dice: &mut Dice, point: &str) -> Struck {
    // A window of replies gets there at once; and a worker that has just started has little in hand.
    let most = match (point, site.brief) {
        ("published", _) => 20,
        (_, true) => 40,
        (_, false) => 300,
    };
    let times = dice.between(1, most);
    let hit = site.crew.doom(victim(site, dice), point, times).await;
    Struck {
        hit,
        ..Struck::now()
    }
}

/// The weather changes for some of the workers, for a while.
async fn storm(site: &Site, dice: &mut Dice, weather: Weather) {
    let mut struck: Vec<_> = site.proxies.iter().collect();
    dice.shuffle(&mut struck);
    struck.truncate(dice.between(1, site.proxies.len() as u64) as usize);
    let lasts = match weather {
        // Shorter and longer than the heartbeat allows.
        Weather::Stalled if !site.brief && dice.one_in(2) => 15_000,
        Weather::Stalled => dice.between(1_000, 3_000),
        Weather::Slow => dice.between(2_000, if site.brief { 3_000 } else { 6_000 }),
        Weather::Fair | Weather::Reset | Weather::HalfOpen | Weather::Truncated => {
            dice.between(100, 1_000)
        }
    };
    for proxy in &struck {
        proxy.set(weather);
    }
    pause(lasts).await;
    for proxy in &struck {
        proxy.set(Weather::Fair);
    }
}

/// The reply queue takes nothing for a while, shorter or longer than a worker tries.
async fn nack(site: &Site, dice: &mut Dice) {
    let full = r#"{"max-length":0,"overflow":"reject-publish"}"#;
    let replies = ["--apply-to", "queues", "full", "^replies$", full];
    site.ctl(&[&["set_policy"], replies.as_slice()].concat())
        .await;
    let long = !site.brief && dice.one_in(3);
    pause(if long {
        12_000
    } else {
        dice.between(500, 3_000)
    })
    .await;
    site.ctl(&["clear_policy", "full"]).await;
}

/// A worker beside the others does not ack in time.
async fn time_out(site: &Site, dice: &mut Dice) -> Struck {
    site.ctl(&["eval", &timeouts(500, 2_000)]).await;
    let slot = victim(site, dice);
    let guest = site.crew.guest(slot);
    // From here on it is delivered to, stopped or not.
    let start = Instant::now();
    while guest.get("/readyz").is_none_or(|(code, _)| code != 200) {
        assert!(start.elapsed() < schedule::BOUND, "{}", guest.log());
        pause(20).await;
    }
    guest.signal("STOP");
    pause(5_000).await;
    guest.signal("CONT");
    Struck::at(Instant::now(), Rest::Guest(guest))
}

/// What new channels are held to.
fn timeouts(tick_ms: u64, consumer_ms: u64) -> String {
    let set = |key, value| format!("application:set_env(rabbit, {key}, {value})");
    let tick = set("channel_tick_interval", tick_ms);
    format!("{tick}, {}.", set("consumer_timeout", consumer_ms))
}

/// A node of the cluster goes: the one that leads the request queue, or another.
async fn cut(site: &Site, leader: bool) -> Struck {
    let table = site.ctl(&["list_queues", "name", "leader"]).await;
    let row = table.lines().find(|row| row.starts_with("inferq.labour\t"));
    let leads = row
        .and_then(|row| row.split('\t').nth(1))
        .unwrap_or_default();
    let mut nodes = site.nodes.iter();
    let down = nodes
        .position(|node| (node.name() == leads) == leader)
        .unwrap();
    site.on_node(down, Node::kill9).await;
    Struck::at(Instant::now(), Rest::Node(down))
}

async fn pause(ms: u64) {
    super::lasting(Duration::from_millis(ms)).await;
}
