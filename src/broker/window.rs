//! One window of publications on one confirm channel.
//!
//! The futures of all publications are polled once, in order, before any is awaited, so that their frames
//! leave together; then every confirm is awaited. Nothing else is published on the channel meanwhile: once
//! *all* confirms of a window have resolved, every message that the broker returned has been handed out on
//! *some* confirm of it, though not always on its own. Whose it is, is told by what it is (exchange, key,
//! properties, body): nothing is added to the message, and of two equal ones it does not matter which.

use crate::broker::properties::short;
use crate::broker::publisher::Publication;
use crate::failpoint;
use futures::FutureExt;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, PublisherConfirm};
use std::pin::Pin;

/// What became of one publication of a window.
pub(super) enum Fate {
    Ack,
    Nack,
    Unroutable,
    Failed(lapin::Error),
}

/// Publishes the window and awaits every confirm.
pub(super) async fn fates(channel: &Channel, window: Vec<&Publication>) -> Vec<Fate> {
    let mut fates: Vec<Option<Fate>> = Vec::new();
    fates.resize_with(window.len(), || None);
    let mut confirms: Vec<Option<PublisherConfirm>> = Vec::new();
    for (published, fate) in publish_all(channel, &window)
        .await
        .into_iter()
        .zip(&mut fates)
    {
        confirms.push(match published {
            Ok(confirm) => Some(confirm),
            Err(error) => {
                *fate = Some(Fate::Failed(error));
                None
            }
        });
    }
    failpoint::hit("published");
    let mut returned = Vec::new();
    // Last to first: when the last has resolved most others have, and wake nobody.
    for (confirm, fate) in confirms.into_iter().zip(&mut fates).rev() {
        let Some(confirm) = confirm else { continue };
        *fate = Some(match confirm.await {
            Ok(confirmation) => {
                let fate = if confirmation.is_nack() {
                    Fate::Nack
                } else {
                    Fate::Ack
                };
                returned.extend(confirmation.take_message());
                fate
            }
            Err(error) => Fate::Failed(error),
        });
    }
    for message in &returned {
        if let Some(Some(fate)) = owner(message, &window, &fates).and_then(|i| fates.get_mut(i)) {
            *fate = Fate::Unroutable;
        }
    }
    let unknown = || Fate::Failed(lapin::ErrorKind::FutureCompleted.into());
    fates
        .into_iter()
        .map(|fate| fate.unwrap_or_else(unknown))
        .collect()
}

async fn publish_all(
    channel: &Channel,
    window: &[&Publication],
) -> Vec<lapin::Result<PublisherConfirm>> {
    type Publishing<'a> =
        Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;
    let mut waiting: Vec<Publishing<'_>> = Vec::with_capacity(window.len());
    let mut published = Vec::with_capacity(window.len());
    for message in window {
        let options = BasicPublishOptions {
            mandatory: message.mandatory,
            immediate: false,
        };
        let mut future = channel
            .basic_publish(
                short(&message.exchange),
                short(&message.routing_key),
                options,
                &message.body,
                message.properties.0.clone(),
            )
            .boxed();
        // The first poll registers the confirm and queues the frames.
        published.push(future.as_mut().now_or_never());
        waiting.push(future);
    }
    for (future, result) in waiting.iter_mut().zip(&mut published).rev() {
        if result.is_none() {
            *result = Some(future.await);
        }
    }
    published.into_iter().flatten().collect()
}

/// Whose message came back: the one most like it among those of its exchange and key.
fn owner(
    message: &BasicReturnMessage,
    window: &[&Publication],
    fates: &[Option<Fate>],
) -> Option<usize> {
    let likeness = |ours: &Publication| {
        let same_properties = ours.properties.0 == message.properties;
        (ours.body == message.data, same_properties)
    };
    window
        .iter()
        .zip(fates)
        .enumerate()
        .filter(|(_, (ours, fate))| {
            ours.mandatory
                && short(&ours.exchange) == message.exchange
                && short(&ours.routing_key) == message.routing_key
                && !matches!(fate, Some(Fate::Unroutable))
        })
        .max_by_key(|(_, (ours, _))| likeness(ours))
        .map(|(place, _)| place)
}
