use super::*;
use crate::broker::properties::Properties;
use std::sync::mpsc;

/// Of one byte, for a queue.
pub(in crate::broker) fn reply() -> Publication {
    Publication {
        exchange: String::new(),
        routing_key: "replies".into(),
        body: "1".into(),
        properties: Properties::default().into(),
        mandatory: true,
    }
}

#[test]
fn with_the_runtime_ends_what_waits_to_be_published_and_what_it_kept() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.enter();
    let (_state, disconnected) = watch::channel(LinkState::default());
    let stop = CancellationToken::new();
    let counter = Counter::noop();
    let (publisher, _tasks) = Publisher::start(2, 8, &disconnected, &stop, counter);
    let (heard, hear) = mpsc::channel();
    let kept = publisher.clone();
    publisher.publish_then(reply(), move |outcome| {
        heard.send(outcome).unwrap();
        drop(kept);
    });
    assert_eq!(hear.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(guard);
    drop(runtime);
    assert_eq!(hear.try_recv(), Ok(Err(PublishFault::Closed)));
    assert_eq!(Arc::strong_count(&publisher.shared), 1);
}

#[tokio::test(start_paused = true)]
async fn what_pauses_before_its_next_try_waits_to_be_published() {
    let (_state, state) = watch::channel(LinkState::default());
    let task = Task {
        shared: Arc::new(Shared {
            outbox: Outbox::default(),
            in_flight: AtomicUsize::new(0),
            tasks: AtomicUsize::new(1),
            published: Counter::noop(),
        }),
        lane: Lane::Main,
        state,
        window: 1,
        stop: CancellationToken::new(),
    };
    let publisher = Publisher {
        shared: Arc::clone(&task.shared),
    };
    let outbox = &task.shared.outbox;
    let outcome = publisher.publish(reply());
    let fails = |lane| {
        let job = outbox.take(lane, 1).pop().expect("it waits");
        assert!(!task.later_or_never(job, "full"));
        assert_eq!((outbox.waiting(), publisher.waiting()), (0, 1), "it pauses");
    };
    fails(Lane::Main);
    outbox.arrival(Lane::Side).await;
    assert_eq!((outbox.waiting(), publisher.waiting()), (1, 1));
    fails(Lane::Side);
    publisher.close();
    assert_eq!(outcome.await, Err(PublishFault::Closed));
    assert_eq!(publisher.waiting(), 0);
}
