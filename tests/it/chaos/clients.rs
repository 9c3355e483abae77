//! Producers and consumers: plain lapin, reconnecting without end, honest about what they know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use tokio::sync::{Mutex, RwLock, watch};
use tokio_util::sync::CancellationToken;

use super::{
    checker::{Expected, Request},
    dice::Dice,
    lasting,
    ledger::Ledger,
};
use crate::faults::{PATIENCE, REPLIES, connect, consume, in_time, tick, with_header};

/// A queue that refuses everything.
pub(super) const FULL: &str = "replies-full";
/// A producer that hears nothing of a window for so long gives its connection up.
const SILENCE: Duration = Duration::from_secs(40);
/// A consumer takes another channel after so long. After its leader was killed RabbitMQ (3.10.8, and by
/// rabbitmq-server 15473 also 4) may keep messages of a quorum queue as handed out to a channel that never had them.
const AFRESH: Duration = Duration::from_secs(10);
/// The longest deadline a hurried request has.
const HURRY_MS: u64 = 60_000;
/// What an outage kept from being published is not published later, beyond so much.
const BURST: Duration = Duration::from_secs(1);

/// What all clients of a run share.
pub(super) struct Desk {
    pub(super) url: String,
    pub(super) ledger: Arc<Ledger>,
    /// Requests a second, of each producer.
    pub(super) rate: f64,
    /// Held for reading while a window is on its way to the broker: who holds it for writing knows that
    /// every publish is confirmed or given up.
    pub(super) producing: RwLock<()>,
    /// Held while replies are taken.
    pub(super) consuming: Mutex<()>,
    /// Whether replies are left where they are.
    pub(super) hold: watch::Sender<bool>,
    /// Whether requests may meet no queue.
    pub(super) homeless: AtomicBool,
    pub(super) produced: CancellationToken,
    pub(super) over: CancellationToken,
}

impl Desk {
    pub(super) fn new(url: String, ledger: Arc<Ledger>, rate: f64) -> Arc<Desk> {
        Arc::new(Desk {
            url,
            ledger,
            rate,
            producing: RwLock::default(),
            consuming: Mutex::default(),
            hold: watch::Sender::new(false),
            homeless: AtomicBool::new(false),
            produced: CancellationToken::new(),
            over: CancellationToken::new(),
        })
    }
}

/// Publishes as the clock says, whether or not the broker is there, and never a request twice.
pub(super) async fn produce(desk: Arc<Desk>, mut dice: Dice) {
    while !desk.produced.is_cancelled() {
        // An outage: what was not confirmed stays so.
        let _ = produce_on(&desk, &mut dice).await;
        tick().await;
    }
}

async fn produce_on(desk: &Desk, dice: &mut Dice) -> lapin::Result<()> {
    let (_connection, channel) = connect(&desk.url).await?;
    let options = ConfirmSelectOptions::default();
    in_time(channel.confirm_select(options)).await?;
    let mut paid = Instant::now();
    while !desk.produced.is_cancelled() {
        let turn = desk.producing.read().await;
        paid = paid.max(Instant::now().checked_sub(BURST).unwrap());
        let due = (paid.elapsed().as_secs_f64() * desk.rate) as u32;
        paid += Duration::from_secs_f64(f64::from(due) / desk.rate);
        let window = publish(desk, &channel, dice, due);
        let silent = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        tokio::time::timeout(SILENCE, window)
            .await
            .map_err(silent)??;
        drop(turn);
        tick().await;
    }
    Ok(())
}

async fn publish(desk: &Desk, channel: &Channel, dice: &mut Dice, due: u32) -> lapin::Result<()> {
    let mut confirms = Vec::new();
    for _ in 0..due {
        let request = draw(dice, desk.homeless.load(Ordering::Relaxed));
        let id = desk.ledger.checker(|checker| checker.attempted(request));
        let (properties, body) = message(id, request, dice);
        let publishing = channel.basic_publish(
            "inferq".into(),
            "labour".into(),
            BasicPublishOptions::default(),
            body.as_bytes(),
            properties,
        );
        confirms.push((id, publishing.await?));
    }
    let mut refused = false;
    for (id, confirm) in confirms {
        if confirm.await?.is_ack() {
            desk.ledger.checker(|checker| checker.acknowledged(id));
        } else {
            refused = true;
        }
    }
    // RabbitMQ 3.10 nacks for ever on a channel that was opened while a quorum queue had lost its leader.
    let nacked = || std::io::Error::other("nacked").into();
    if refused { Err(nacked()) } else { Ok(()) }
}

fn draw(dice: &mut Dice, homeless: bool) -> Request {
    let expected = match dice.between(1, 400) {
        1..=8 => Expected::Rejection("unrepresentable"),
        9 => Expected::Undeliverable,
        _ => Expected::Outcome,
    };
    Request {
        expected,
        hurried: dice.one_in(4),
        homeless,
    }
}

fn message(id: u64, request: Request, dice: &mut Dice) -> (BasicProperties, String) {
    let mut properties = crate::faults::properties(&id.to_string());
    let mut body = json!({"x": id, "work": dice.between(1, 50)});
    match request.expected {
        Expected::Outcome => {}
        Expected::Rejection(_) => body["x"] = json!("no number"),
        Expected::Undeliverable => properties = properties.with_reply_to(FULL.into()),
    }
    if request.hurried {
        let deadline = (unix_ms() + HURRY_MS) as i64;
        let deadline = AMQPValue::LongLongInt(deadline);
        properties = with_header(properties, "inferq-deadline", deadline);
    }
    (properties, body.to_string())
}

/// The true time.
pub(super) fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

/// Takes replies, through every outage; leaves them where they are while told to.
pub(super) async fn collect(desk: Arc<Desk>) {
    let mut hold = desk.hold.subscribe();
    while !desk.over.is_cancelled() {
        if *hold.borrow_and_update() {
            tokio::select! {
                _ = hold.changed() => {}
                () = desk.over.cancelled() => {}
            }
            continue;
        }
        let consuming = desk.consuming.lock().await;
        let mut left = desk.hold.subscribe();
        if !*left.borrow_and_update() {
            let until = async { left.changed().await.is_ok() };
            // An outage: try again.
            let _ = take(&desk, REPLIES, until, |reply| desk.ledger.reply(reply)).await;
        }
        drop(consuming);
        tick().await;
    }
}

/// Reads the dead letters of a name, once there are any.
pub(super) async fn mourn(desk: Arc<Desk>, name: &'static str) {
    let queue = format!("inferq.dead.{name}");
    while !desk.over.is_cancelled() {
        // There is none yet, or an outage: try again.
        let until = std::future::pending::<bool>();
        let _ = take(&desk, &queue, until, |letter| {
            desk.ledger.dead_letter(letter);
        })
        .await;
        let again = Duration::from_millis(500);
        let _ = tokio::time::timeout(again, desk.over.cancelled()).await;
    }
}

/// Takes what comes to a queue, each message acked once it is entered, until told to end, and no longer than
/// [`AFRESH`].
async fn take(
    desk: &Desk,
    queue: &str,
    until: impl Future<Output = bool>,
    enter: impl Fn(&lapin::message::Delivery),
) -> lapin::Result<()> {
    let (connection, channel) = connect(&desk.url).await?;
    let mut messages = consume(&channel, queue).await?;
    let afresh = lasting(AFRESH);
    tokio::pin!(until, afresh);
    loop {
        tokio::select! {
            biased;
            _ = &mut until => break,
            () = desk.over.cancelled() => break,
            () = &mut afresh => break,
            next = tokio::time::timeout(PATIENCE, messages.next()) => match next {
                Ok(Some(message)) => {
                    let message = message?;
                    enter(&message);
                    in_time(message.ack(BasicAckOptions::default())).await?;
                }
                // lapin may forget to tell who waits that its connection is lost
                Err(_) if connection.status().connected() => {}
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
    // Acks that were written are read before the close is.
    let _ = tokio::time::timeout(PATIENCE, connection.close(200, "bye".into())).await;
    Ok(())
}

/// Declares a queue that refuses everything, on one node of a cluster.
pub(super) async fn declare_full(channel: &Channel) -> lapin::Result<()> {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declaring = channel.queue_declare(FULL.into(), options, arguments);
    declaring.await.map(drop)
}
