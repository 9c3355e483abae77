//! How requests get into the queue.

use crate::wire::{self, Message};
use anyhow::{Context, Result};
use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// Who publishes requests.
#[derive(Clone)]
pub struct Producer {
    pub bodies: Arc<[(Bytes, &'static str)]>,
    pub key: ShortString,
    pub reply_to: ShortString,
    pub channels: Arc<Mutex<mpsc::Receiver<Channel>>>,
    pub free: mpsc::Sender<Channel>,
}

impl Producer {
    pub async fn channel(&self) -> Result<Channel> {
        self.channels.lock().await.recv().await.context("a channel")
    }

    pub async fn publish(&self, window: Vec<(u64, Option<i64>)>) -> Result<()> {
        let channel = self.channel().await?;
        self.publish_on(channel, window).await
    }

    pub async fn publish_on(
        &self,
        channel: Channel,
        window: Vec<(u64, Option<i64>)>,
    ) -> Result<()> {
        let messages = window
            .into_iter()
            .map(|(index, by)| self.message(index, by));
        wire::publish(&channel, messages.collect()).await?;
        Ok(self.free.send(channel).await?)
    }

    /// Request number `index`; nobody wants its answer after so many milliseconds of Unix time.
    fn message(&self, index: u64, by: Option<i64>) -> Message {
        let (body, content_type) = &self.bodies[index as usize % self.bodies.len()];
        let id = ShortString::from(index.to_string());
        let mut properties = BasicProperties::default()
            .with_delivery_mode(wire::PERSISTENT)
            .with_content_type((*content_type).into())
            .with_reply_to(self.reply_to.clone())
            .with_message_id(id.clone())
            .with_correlation_id(id);
        if let Some(by) = by {
            let mut headers = FieldTable::default();
            headers.insert("inferq-deadline".into(), AMQPValue::LongLongInt(by));
            properties = properties.with_headers(headers);
        }
        Message {
            exchange: "inferq".into(),
            key: self.key.clone(),
            body: body.clone(),
            properties,
        }
    }
}
