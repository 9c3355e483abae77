//! The requests: what they say, and how they get into the queue.

use crate::wire::{self, Message};
use anyhow::Result;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Publishing channels of the producer, and messages of each under way.
const CHANNELS: u64 = 2;
const WINDOW: u64 = 256;

/// How a request is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The business object.
    Plain,
    /// A task of Celery's (message protocol 2), of which the business object is the argument.
    CeleryTask,
}

/// Where the requests of a run go, and where their replies shall.
#[derive(Clone)]
pub struct Route {
    pub form: Form,
    pub exchange: ShortString,
    pub key: ShortString,
    pub reply_to: ShortString,
}

/// What the model gives back for request `index`: exact in 32 bits, and always six digits, so that
/// all requests and all replies are of one size.
pub fn amount(index: u64) -> u64 {
    100_000 + index % 900_000
}

/// A payment transaction of 26 fields.
pub fn body(index: u64) -> String {
    let amount = amount(index);
    format!(
        concat!(
            r#"{{"transaction":"t-{:010}","amount":{},"currency":"EUR","time":"2026-03-14T09:26:53Z","#,
            r#""channel":"web","country":"DE","merchant":"m-47","category":5411,"terminal":17,"#,
            r#""instalments":1,"card":"c-902","card_age":812,"account_age":2431,"balance":1203.5,"#,
            r#""limit":5000,"today":3,"mean":54.25,"spread":12.5,"failed":0,"new_device":false,"#,
            r#""device":"a8","ip":"10.1.2.3","sender":"DE021","receiver":"NL9145","#,
            r#""purpose":"order","trusted":true}}"#
        ),
        index, amount
    )
}

pub fn request(route: &Route, index: u64) -> Message {
    let id = ShortString::from(index.to_string());
    let mut body = body(index);
    let mut properties = BasicProperties::default()
        .with_delivery_mode(wire::PERSISTENT)
        .with_content_type("application/json".into())
        .with_reply_to(route.reply_to.clone())
        .with_message_id(id.clone())
        .with_correlation_id(id.clone());
    if route.form == Form::CeleryTask {
        let mut headers = FieldTable::default();
        for (name, value) in [("task", "score"), ("id", id.as_str()), ("lang", "py")] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        body = format!("[[{body}],{{}},null]");
        properties = properties
            .with_headers(headers)
            .with_content_encoding("utf-8".into());
    }
    Message {
        exchange: route.exchange.clone(),
        key: route.key.clone(),
        body: body.into(),
        properties,
    }
}

/// Publishes the requests of these indices and returns once the broker has confirmed them all.
/// Each takes a permit and keeps it: whoever counts the replies gives permits back.
pub async fn publish(
    url: &str,
    route: &Route,
    indices: Range<u64>,
    permits: Arc<Semaphore>,
) -> Result<()> {
    let connection = wire::connect(url, "bench produces").await?;
    let mut producers = JoinSet::new();
    for lane in 0..CHANNELS {
        let channel = wire::confirming(&connection).await?;
        let (route, indices, permits) = (route.clone(), indices.clone(), Arc::clone(&permits));
        producers.spawn(async move {
            let stride = usize::try_from(CHANNELS * WINDOW)?;
            for first in indices
                .clone()
                .skip(usize::try_from(lane * WINDOW)?)
                .step_by(stride)
            {
                let window = first..indices.end.min(first + WINDOW);
                let wanted = u32::try_from(window.end - window.start)?;
                permits.acquire_many(wanted).await?.forget();
                let requests = window.map(|index| request(&route, index)).collect();
                wire::publish(&channel, requests).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = producers.join_next().await {
        ended??;
    }
    wire::close(connection).await;
    Ok(())
}
