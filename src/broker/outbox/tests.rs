use super::*;
use crate::broker::publisher::tests::reply;
use crate::broker::waiter::Then;
use std::sync::Arc;

#[derive(Default)]
struct Heard(Arc<Mutex<Vec<Outcome>>>);

impl Heard {
    fn push(&self, outbox: &Outbox) {
        let heard = Arc::clone(&self.0);
        let then = Then::new(move |outcome| heard.lock().unwrap().push(outcome));
        outbox.push(reply(), Waiter::Then(then));
    }

    fn all(&self) -> Vec<Outcome> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[test]
fn what_follows_a_publication_is_called_once_whatever_becomes_of_it() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    let closed = [Err(PublishFault::Closed)];
    for _ in 0..4 {
        heard.push(&outbox);
    }
    let mut jobs = outbox.take(Lane::Main, 3).into_iter();
    assert_eq!(heard.all(), []);
    let written = Instant::now();
    outbox.taken(jobs.next().unwrap(), written);
    assert_eq!(heard.all(), [Ok(written)]);
    drop(jobs.next());
    assert_eq!(heard.all(), closed, "a publisher that died with it");
    outbox.close();
    assert_eq!(heard.all(), closed, "what waited");
    outbox.put_back(jobs.collect());
    assert_eq!(heard.all(), closed, "what was not taken");
    heard.push(&outbox);
    assert_eq!(heard.all(), closed, "what came too late");
}

#[test]
fn what_waits_for_a_queue_that_has_fallen_sick_leaves_the_main_lane() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    (0..3).for_each(|_| heard.push(&outbox));
    let other = Publication {
        routing_key: "healthy".into(),
        ..reply()
    };
    outbox.push(other, Waiter::Then(Then::new(|_| ())));
    let first = outbox.take(Lane::Main, 1).pop().unwrap();
    let (first, _) = outbox.not_taken(first, "full").unwrap();
    let main = outbox.take(Lane::Main, 9);
    let keys = main.iter().map(|job| job.publication.routing_key.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["healthy"]);
    outbox.put_back(vec![first]);
    let mut side = outbox.take(Lane::Side, 9);
    assert_eq!((side.len(), outbox.sick()), (3, 1));
    // A queue that is no more is not sick.
    outbox.unroutable(side.remove(0));
    assert_eq!(outbox.sick(), 0);
}

#[test]
fn each_destination_in_trouble_has_a_window_of_its_own_and_what_may_break_channels_another() {
    let outbox = Outbox::default();
    let to = |routing_key: &str| {
        let publication = Publication {
            routing_key: routing_key.into(),
            ..reply()
        };
        outbox.push(publication, Waiter::Then(Then::new(|_| ())));
        outbox.take(Lane::Main, 1).pop().unwrap()
    };
    let full = ["a", "b", "a"].map(to);
    let breaks = ["a", "b"].map(to);
    for job in full {
        let (job, _) = outbox.not_taken(job, "full").unwrap();
        outbox.put_back(vec![job]);
    }
    for job in breaks {
        assert!(!outbox.broke(job, "a frame too large"));
    }
    let take = |lane| {
        let window = outbox.take(lane, 9).into_iter();
        window
            .map(|job| job.publication.routing_key)
            .collect::<String>()
    };
    assert_eq!([Lane::Alone, Lane::Alone].map(take), ["b", "a"]);
    assert_eq!(take(Lane::Side), "aa");
    let late = Publication {
        routing_key: "a".into(),
        ..reply()
    };
    outbox.push(late, Waiter::Then(Then::new(|_| ())));
    assert_eq!([Lane::Side, Lane::Side].map(take), ["b", ""]);
    outbox.served(&(String::new(), "a".into()));
    assert_eq!((take(Lane::Side).as_str(), outbox.waiting()), ("a", 0));
}

#[test]
fn what_waited_when_the_connection_went_has_its_whole_budget_again() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    heard.push(&outbox);
    let job = outbox.take(Lane::Main, 1).pop().unwrap();
    let (job, _) = outbox.not_taken(job, "nacked").unwrap();
    let before = job.troubled.unwrap();
    // It is in its pause, and in no lane.
    outbox.forget_trouble();
    let (job, _) = outbox.not_taken(job, "nacked").unwrap();
    assert!(job.troubled.unwrap() > before);
}

#[test]
fn the_last_try_is_at_the_end_of_the_budget_and_not_after_it() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    heard.push(&outbox);
    let mut job = outbox.take(Lane::Main, 1).pop().unwrap();
    let left = Duration::from_millis(300);
    job.troubled = Instant::now().checked_sub(BUDGET.saturating_sub(left));
    let (mut job, pause) = outbox.not_taken(job, "full").unwrap();
    assert!(pause <= left, "{pause:?}");
    job.troubled = Instant::now().checked_sub(BUDGET);
    assert!(outbox.not_taken(job, "full").is_none());
    assert_eq!(heard.all().len(), 1);
}

#[test]
fn of_too_many_sick_queues_the_one_that_has_been_so_for_longest_is_forgotten() {
    let outbox = Outbox::default();
    let mut jobs = Vec::new();
    for number in 0..=MOST_SICK {
        let publication = Publication {
            routing_key: number.to_string(),
            ..reply()
        };
        outbox.push(publication, Waiter::Then(Then::new(|_| ())));
        let job = outbox.take(Lane::Main, 1).pop().unwrap();
        outbox.over(1);
        jobs.extend(outbox.not_taken(job, "full"));
    }
    assert_eq!(outbox.sick(), MOST_SICK);
    let lanes = outbox.lanes();
    let sick = |key: &str| lanes.sick.contains_key(&(String::new(), key.to_owned()));
    assert!(!sick("0") && sick("1") && sick(&MOST_SICK.to_string()));
}

#[test]
fn what_breaks_channels_alone_is_refused_and_what_follows_hears_it() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    heard.push(&outbox);
    for lane in [Lane::Main, Lane::Alone, Lane::Alone] {
        assert_eq!(heard.all(), []);
        let job = outbox.take(lane, 1).pop().unwrap();
        outbox.broke(job, "a frame too large");
    }
    let reason = "a frame too large".to_owned();
    assert_eq!(heard.all(), [Err(PublishFault::Refused { reason })]);
}

#[test]
fn a_panic_in_what_follows_stays_there() {
    let outbox = Outbox::default();
    let then = Then::new(|_| panic!("as a test would have it"));
    outbox.push(reply(), Waiter::Then(then));
    let job = outbox.take(Lane::Main, 1).pop().unwrap();
    outbox.taken(job, Instant::now());
}

#[tokio::test]
async fn windows_are_few_unless_they_are_small_and_the_end_of_one_is_heard_of() {
    let (outbox, heard) = (Outbox::default(), Heard::default());
    let push = |count| (0..count).for_each(|_| heard.push(&outbox));
    push(FEW - 1);
    for _ in 0..FEW - 1 {
        assert_eq!(outbox.take(Lane::Main, 1).len(), 1, "each of one message");
    }
    push(9);
    assert_eq!(outbox.take(Lane::Main, 5).len(), 5);
    assert_eq!(outbox.take(Lane::Main, 5).len(), 0, "enough is under way");

    // Whoever was told of an arrival has taken none.
    outbox.arrival(Lane::Main).await;
    outbox.over(5);
    outbox.arrival(Lane::Main).await;
    assert_eq!(outbox.take(Lane::Main, 5).len(), 4);

    for _ in 0..FEW - 2 {
        outbox.over(1);
    }
    push(20 * FEW);
    for _ in 0..2 {
        assert_eq!(outbox.take(Lane::Main, FEW).len(), FEW, "there are no more");
    }
    assert_eq!(outbox.take(Lane::Main, FEW).len(), 0, "there are four");
}
