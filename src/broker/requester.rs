//! The producer's side: publish a request, await its reply. What `inferq send` and tests speak.
//!
//! Replies come by direct reply-to, so a requester needs no permission but to write to the exchange. One
//! task owns the channel; confirms, returns and replies all arrive there.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions},
    types::{FieldTable, ShortString},
};
use tokio::sync::{mpsc, oneshot};

use crate::broker::{
    config::Config,
    connection::{Endpoint, Link},
    fault::ConnectFault,
    properties::Properties,
    topology,
};

const DIRECT: &str = "amq.rabbitmq.reply-to";

/// Why a request got no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequesterFault {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    /// A name longer than AMQP's 255 bytes.
    #[error("{what} has {found} bytes, AMQP allows 255; use a shorter one")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Its length.
        found: usize,
    },
    /// The broker did not take the request.
    #[error("the broker refused the request; its queue may be full: try again later")]
    Refused,
    /// The channel or the connection ended.
    #[error(
        "the broker ended the channel: {0}; has a worker or `inferq topology declare` made the exchange inferq?"
    )]
    Closed(String),
}

/// A reply as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// `outcome` or `rejection`.
    pub kind: Option<String>,
    /// What the body is written in.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Everything else.
    pub properties: Properties,
}

type Answer = oneshot::Sender<Result<Response, RequesterFault>>;

struct Ask {
    package: ShortString,
    body: Bytes,
    properties: BasicProperties,
    answer: Answer,
}

/// A connection that asks. Requests are answered in any order.
#[derive(Debug)]
pub struct Requester {
    asks: mpsc::Sender<Ask>,
    task: tokio::task::JoinHandle<()>,
}

impl Requester {
    /// Connects once and listens for replies.
    ///
    /// # Errors
    /// When there is no broker, or it does not let this user in.
    pub async fn connect(config: &Config) -> Result<Requester, RequesterFault> {
        let endpoint = Endpoint::of(config).map_err(ConnectFault::from)?;
        let link = endpoint.connect("inferq send").await?;
        let channel = link.channel().await.map_err(RequesterFault::Closed)?;
        let consumer = listen(&channel).await.map_err(|error| closed(&error))?;
        let (asks, inbox) = mpsc::channel(1);
        let task = tokio::spawn(serve(link, channel, consumer, inbox));
        Ok(Requester { asks, task })
    }

    /// Publishes one request and awaits its reply. Its correlation id is the requester's to choose.
    ///
    /// # Errors
    /// When the request cannot be published, or the connection ends before the reply.
    pub async fn request(
        &self,
        package: &str,
        body: Bytes,
        properties: Properties,
    ) -> Result<Response, RequesterFault> {
        let package = ShortString::try_new(package).map_err(|_| RequesterFault::TooLong {
            what: "the package's name",
            found: package.len(),
        })?;
        let (answer, reply) = oneshot::channel();
        let ask = Ask {
            package,
            body,
            properties: properties.0,
            answer,
        };
        let gone = || RequesterFault::Closed("the connection is gone".into());
        self.asks.send(ask).await.map_err(|_| gone())?;
        reply.await.map_err(|_| gone())?
    }

    /// Waits for nothing more and closes the connection.
    pub async fn close(self) {
        drop(self.asks);
        // The task ends by itself; it only closes the connection.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.task).await;
    }
}

async fn listen(channel: &Channel) -> lapin::Result<Consumer> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let arguments = FieldTable::default();
    channel
        .basic_consume(DIRECT.into(), "inferq-send".into(), options, arguments)
        .await
}

fn closed(error: &lapin::Error) -> RequesterFault {
    RequesterFault::Closed(error.to_string())
}

/// Owns the channel until the requester is dropped or the channel ends.
async fn serve(
    link: Link,
    channel: Channel,
    mut consumer: Consumer,
    mut inbox: mpsc::Receiver<Ask>,
) {
    let mut waiting: HashMap<String, Answer> = HashMap::new();
    let mut confirms = FuturesUnordered::new();
    let mut next = 0_u64;
    let ended = loop {
        tokio::select! {
            ask = inbox.recv() => {
                let Some(ask) = ask else { break None };
                next += 1;
                let id = next.to_string();
                waiting.insert(id.clone(), ask.answer);
                match publish(&channel, &id, ask.package, &ask.body, ask.properties).await {
                    Ok(confirm) => confirms.push(confirm.map(move |confirmed| (id, confirmed))),
                    Err(error) => break Some(closed(&error)),
                }
            }
            Some((id, confirmed)) = confirms.next() => match confirmed {
                Ok(Confirmation::Nack(_)) => answer(&mut waiting, &id, Err(RequesterFault::Refused)),
                Ok(_) => {}
                Err(error) => break Some(closed(&error)),
            },
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => reply(&mut waiting, delivery),
                Some(Err(error)) => break Some(closed(&error)),
                None => break Some(RequesterFault::Closed("the reply consumer was cancelled".into())),
            },
        }
    };
    if let Some(fault) = ended {
        for (_, answer) in waiting {
            // Whoever no longer waits needs no answer.
            let _ = answer.send(Err(fault.clone()));
        }
    }
    link.close().await;
}

async fn publish(
    channel: &Channel,
    id: &str,
    package: ShortString,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<impl Future<Output = lapin::Result<Confirmation>> + use<>> {
    let properties = properties
        .with_correlation_id(id.into())
        .with_reply_to(DIRECT.into())
        .with_delivery_mode(2);
    let exchange = topology::EXCHANGE.into();
    channel
        .basic_publish(
            exchange,
            package,
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await
}

fn reply(waiting: &mut HashMap<String, Answer>, delivery: Delivery) {
    let properties = &delivery.properties;
    let Some(id) = properties
        .correlation_id()
        .as_ref()
        .map(ToString::to_string)
    else {
        return;
    };
    let response = Response {
        kind: properties.kind().as_ref().map(ToString::to_string),
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        body: delivery.data.into(),
        properties: Properties(delivery.properties),
    };
    answer(waiting, &id, Ok(response));
}

/// The first answer counts; a duplicate reply finds nobody waiting.
fn answer(
    waiting: &mut HashMap<String, Answer>,
    id: &str,
    result: Result<Response, RequesterFault>,
) {
    if let Some(answer) = waiting.remove(id) {
        let _ = answer.send(result);
    }
}
