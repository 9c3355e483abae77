//! What must hold whatever breaks: broker, worker, connection, queue, model.
//!
//! Workers are processes of their own; the clients are plain lapin.

mod answers;
mod consuming;
mod draining;
mod duplicates;
mod hanging;
mod high;
mod hostile;
mod mates;
mod outage;
pub(crate) mod packages;
mod poison;
mod retrying;
mod sharing;
mod strays;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions,
        BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Value, json};

use packages::{Packages, labour};

/// No test waits longer for anything.
const BOUND: Duration = Duration::from_secs(90);
/// Held by a test that compares rates, and by those whose runs never end and take a core: none of them beside another.
static CORES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub(crate) const REPLIES: &str = "replies";

/// A requester: a confirm channel, and a durable quorum queue for the replies.
struct Client {
    connection: Connection,
    channel: Channel,
    replies: Consumer,
    /// Every reply so far, by correlation id.
    answers: BTreeMap<String, Vec<Answer>>,
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    kind: String,
    message_id: String,
    version: Option<String>,
    timing: String,
    body: Value,
}

impl Answer {
    fn of(delivery: &Delivery) -> Answer {
        let properties = &delivery.properties;
        let text = |part: &Option<ShortString>| part.as_ref().map(ToString::to_string);
        Answer {
            kind: text(properties.kind()).unwrap(),
            message_id: text(properties.message_id()).unwrap(),
            version: header_text(properties, "inferq-version"),
            timing: header_text(properties, "server-timing").unwrap_or_default(),
            body: serde_json::from_slice(&delivery.data).unwrap(),
        }
    }

    /// A rejection's code; of an outcome, `outcome`.
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or(&self.kind)
    }
}

fn header<'a>(properties: &'a BasicProperties, key: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(key)
}

pub(crate) fn header_text(properties: &BasicProperties, key: &str) -> Option<String> {
    match header(properties, key)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        other => panic!("header {key} is no text: {other:?}"),
    }
}

pub(crate) fn header_number(properties: &BasicProperties, key: &str) -> Option<i64> {
    header(properties, key).map(|value| match value {
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::LongInt(number) => i64::from(*number),
        other => panic!("header {key} is no number: {other:?}"),
    })
}

/// How often the broker has counted a delivery of it.
fn delivery_count(delivery: &Delivery) -> i64 {
    header_number(&delivery.properties, "x-delivery-count").unwrap_or(0)
}

/// What every request says.
pub(crate) fn properties(id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_reply_to(REPLIES.into())
        .with_correlation_id(id.into())
        .with_message_id(id.into())
}

pub(crate) fn with_header(
    properties: BasicProperties,
    key: &str,
    value: AMQPValue,
) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(key.into(), value);
    properties.with_headers(headers)
}

/// A request of the package `labour`: it is answered with `x`.
fn request(x: usize, work: u64) -> Value {
    json!({"x": x, "work": work})
}

impl Client {
    async fn connect(url: &str) -> Client {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .unwrap();
        let channel = confirming(&connection).await;
        let consuming = connection.create_channel().await.unwrap();
        declare_replies(&consuming).await.unwrap();
        let (tag, options) = ("replies".into(), BasicConsumeOptions::default());
        let replies = consuming
            .basic_consume(REPLIES.into(), tag, options, FieldTable::default())
            .await
            .unwrap();
        Client {
            connection,
            channel,
            replies,
            answers: BTreeMap::new(),
        }
    }

    /// Publishes one request; the broker has it when this returns.
    async fn send(&self, package: &str, properties: BasicProperties, body: &Value) {
        self.send_all(package, vec![(properties, body.to_string())])
            .await;
    }

    /// Publishes all; the broker has them when this returns.
    async fn send_all(&self, package: &str, requests: Vec<(BasicProperties, String)>) {
        publish(&self.channel, package, requests).await;
    }

    /// Takes the next reply. A caller that gives up has lost none.
    async fn next(&mut self) -> (String, Answer) {
        let next = tokio::time::timeout(BOUND, self.replies.next()).await;
        let missing = || format!("no reply in time after {} answered", self.answers.len());
        let delivery = next.unwrap_or_else(|_| panic!("{}", missing()));
        let delivery = delivery.expect("a consumer").unwrap();
        let id = delivery.properties.correlation_id().as_ref();
        let id = id.expect("a correlation id").to_string();
        let answer = Answer::of(&delivery);
        self.answers
            .entry(id.clone())
            .or_default()
            .push(answer.clone());
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        (id, answer)
    }

    /// Takes replies until so many requests are answered.
    async fn until_answered(&mut self, count: usize) {
        while self.answers.len() < count {
            self.next().await;
        }
    }

    /// Takes what has arrived, and what arrives while the queue is not empty.
    async fn take_rest(&mut self) {
        let pause = Duration::from_millis(300);
        while let Ok(Some(delivery)) = tokio::time::timeout(pause, self.replies.next()).await {
            let delivery = delivery.unwrap();
            delivery.ack(BasicAckOptions::default()).await.unwrap();
            let id = delivery.properties.correlation_id().clone().unwrap();
            let answers = self.answers.entry(id.to_string()).or_default();
            answers.push(Answer::of(&delivery));
        }
    }

    /// The first reply to a request.
    fn answer(&self, id: &str) -> &Answer {
        let answers = self.answers.get(id);
        &answers.unwrap_or_else(|| panic!("{id} is not answered"))[0]
    }

    /// Replies beyond the first of each request.
    fn duplicates(&self) -> usize {
        let more = self.answers.values().map(|answers| answers.len() - 1);
        more.sum()
    }

    /// The numbered requests `ids` of the package `labour` have their outcome: their own number.
    fn assert_outcomes(&self, ids: impl IntoIterator<Item = usize>) {
        for id in ids {
            for answer in &self.answers[&id.to_string()] {
                assert_eq!((answer.code(), &answer.body["y"]), ("outcome", &json!(id)));
            }
        }
    }

    /// Takes one message off a queue, unsettled.
    async fn get(&self, queue: &str) -> Option<Delivery> {
        let options = BasicGetOptions::default();
        let message = self.channel.basic_get(queue.into(), options).await.unwrap();
        message.map(|message| message.delivery)
    }

    /// Takes everything off a queue that is ready when looked at.
    async fn drain(&self, queue: &str) -> Vec<Delivery> {
        let ready = self.ready(queue).await;
        if ready == 0 {
            return Vec::new();
        }
        let channel = self.connection.create_channel().await.unwrap();
        let (tag, options) = ("drain".into(), BasicConsumeOptions::default());
        let consuming = channel.basic_consume(queue.into(), tag, options, FieldTable::default());
        let mut consumer = consuming.await.unwrap();
        let mut all = Vec::new();
        while all.len() < ready as usize {
            let next = tokio::time::timeout(BOUND, consumer.next()).await;
            let message = next.unwrap().expect("a consumer").unwrap();
            let acking = message.ack(BasicAckOptions::default());
            acking.await.unwrap();
            all.push(message);
        }
        // behind the acknowledgements, which would be gone with the channel
        let cancelling = channel.basic_cancel("drain".into(), BasicCancelOptions::default());
        cancelling.await.unwrap();
        channel.close(200, "bye".into()).await.unwrap();
        all
    }

    /// Messages ready in a queue; none in one that is not there.
    async fn ready(&self, queue: &str) -> u32 {
        self.look(queue)
            .await
            .map_or(0, |queue| queue.message_count())
    }

    /// Waits until nobody consumes a queue, and it has taken back what was unsettled.
    async fn until_left(&self, queue: &str) {
        let start = Instant::now();
        while self.look(queue).await.unwrap().consumer_count() > 0 {
            assert!(start.elapsed() < BOUND);
            tick().await;
        }
    }

    async fn look(&self, queue: &str) -> Option<lapin::Queue> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.connection.create_channel().await.unwrap();
        let declaring = channel.queue_declare(queue.into(), options, FieldTable::default());
        let queue = declaring.await.ok()?;
        channel.close(200, "bye".into()).await.unwrap();
        Some(queue)
    }

    /// Waits until a queue has so many messages ready.
    async fn until_ready(&self, queue: &str, count: u32) {
        let start = Instant::now();
        loop {
            let ready = self.ready(queue).await;
            if ready == count {
                return;
            }
            assert!(
                start.elapsed() < BOUND,
                "{queue} has {ready}, expected {count}"
            );
            tick().await;
        }
    }
}

async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.unwrap();
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    channel
}

/// Publishes all, then awaits every confirm.
async fn publish(channel: &Channel, package: &str, requests: Vec<(BasicProperties, String)>) {
    let mut confirms = Vec::new();
    for (properties, body) in requests {
        let (exchange, key, body) = ("inferq".into(), package.into(), body.as_bytes());
        let options = BasicPublishOptions::default();
        let publishing = channel.basic_publish(exchange, key, options, body, properties);
        confirms.push(publishing.await.unwrap());
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
}

pub(crate) fn unix_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Between two looks at a condition.
pub(crate) async fn tick() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}

/// How long the broker is given for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What the broker answers, unless it keeps that for too long, or lapin does: where a connection is lost while a
/// future begins to wait, it may forget to wake it.
pub(crate) async fn in_time<T>(answer: impl Future<Output = lapin::Result<T>>) -> lapin::Result<T> {
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
}

/// A connection with a channel.
pub(crate) async fn connect(url: &str) -> lapin::Result<(Connection, Channel)> {
    in_time(async {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    })
    .await
}

pub(crate) async fn declare_replies(channel: &Channel) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    channel
        .queue_declare(REPLIES.into(), options, arguments)
        .await
        .map(drop)
}

/// Begins to take from a queue, no more than 500 messages ahead; the one for replies is made where it is missing.
pub(crate) async fn consume(channel: &Channel, queue: &str) -> lapin::Result<Consumer> {
    in_time(async {
        if queue == REPLIES {
            declare_replies(channel).await?;
        }
        channel.basic_qos(500, BasicQosOptions::default()).await?;
        let (tag, options) = ("taker".into(), BasicConsumeOptions::default());
        channel
            .basic_consume(queue.into(), tag, options, FieldTable::default())
            .await
    })
    .await
}

fn numbered(ids: std::ops::Range<usize>, work: u64) -> Vec<(BasicProperties, String)> {
    let each = ids.map(|id| (properties(&id.to_string()), request(id, work).to_string()));
    each.collect()
}
