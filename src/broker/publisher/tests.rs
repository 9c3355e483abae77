use super::*;
use crate::broker::properties::Properties;
use std::sync::mpsc;

#[test]
fn with_the_runtime_ends_what_waits_to_be_published_and_what_it_kept() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.enter();
    let (_state, disconnected) = watch::channel(LinkState::default());
    let stop = CancellationToken::new();
    let counter = Counter::noop();
    let (publisher, _tasks) = Publisher::start(2, 8, &disconnected, &stop, counter);
    let publication = Publication {
        exchange: String::new(),
        routing_key: "replies".into(),
        body: "1".into(),
        properties: Properties::default().into(),
        mandatory: true,
    };
    let (heard, hear) = mpsc::channel();
    let kept = publisher.clone();
    publisher.publish_then(publication, move |outcome| {
        heard.send(outcome).unwrap();
        drop(kept);
    });
    assert_eq!(hear.try_recv(), Err(mpsc::TryRecvError::Empty));
    drop(guard);
    drop(runtime);
    assert_eq!(hear.try_recv(), Ok(Err(PublishFault::Closed)));
    assert_eq!(Arc::strong_count(&publisher.shared), 1);
}
