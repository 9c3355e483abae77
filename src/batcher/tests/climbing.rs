//! A best b that was wrong, and runs that are stopped for the rows they have.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::batcher::{
    climb::Climb,
    curve::ladder,
    pull::{Leaving, Next},
    serve::{Broken, settle},
};
use crate::predict::{Session, testing::of_memory};

/// One row of the model that turns as often as the row of a batch that asks for most: any batch takes as long.
fn labour(turns: i64) -> Row {
    let mut bytes = 1.0_f32.to_ne_bytes().to_vec();
    bytes.extend(turns.to_ne_bytes());
    let (strings, length) = (Vec::new(), 0);
    Row {
        bytes,
        strings,
        length,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_backlog_batches_grow_a_step_at_a_time_to_the_size_that_is_best() {
    let (tell, told) = mpsc::channel();
    let most = CONFIG.max_size;
    let climb = Climb::new(&ladder(most, None), 1, None).refreshed(LIMIT, false);
    let batcher = Batcher::start(
        "test",
        CONFIG,
        Sizing::new(climb, move |refreshed| tell.send(refreshed).unwrap()),
        LIMIT,
        vec![(a_device(), vec![session_thread(&onnx::labour(), most)])],
        |_| {},
    );
    assert_eq!(batcher.max_size(), 1);
    let start = Instant::now();
    // Until the last step was judged as well.
    let mut after = 0;
    while after < 4 {
        let backlog = (0..700).map(|_| labour(50)).collect();
        batcher.submit(backlog, 0, soon(), None).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(60), "{batcher:?}");
        after += usize::from(batcher.max_size() == most);
    }
    batcher.close().await;
    let told: Vec<Refreshed> = told.try_iter().collect();
    let (last, changes) = told.split_last().unwrap();
    let steps = changes
        .windows(2)
        .all(|pair| pair[0].best == pair[1].before);
    assert!(steps && changes[0].before == 1, "{changes:?}");
    assert!(
        changes
            .iter()
            .all(|change| !change.closing && change.best <= 4 * change.before)
    );
    assert!(last.closing && last.before == last.best, "{last:?}");
    assert!(last.best >= most / 2, "{last:?}");
}

/// Rows of batches that leave one after the other while many wait, of one row or of two where that is tried; each is
/// told to have taken a minute.
fn leaving(member: Member) -> Vec<usize> {
    let climb = Climb::new(&[1, 2], 1, None).refreshed(10 * MINUTE, false);
    let sizing = Sizing::new(climb, |_| {});
    let shared = Shared::new(CONFIG, sizing, [(member, 1)], Box::new(|_| {}));
    let (now, count) = (Instant::now(), 200);
    let rows = (0..count).map(|_| row(&[1.0])).collect();
    let (request, _answered) = Request::new(rows, now, now + 1_000 * MINUTE);
    shared.push(&request, count, 0, None).unwrap();
    let leaves = || match shared.next_batch(&shared.lanes[0], &AtomicBool::new(false)) {
        Next::Run(Leaving { batch, .. }) => {
            let (rows, steps) = (batch.len(), Steps::default());
            let run = MINUTE;
            shared.ran(BatchObservation { rows, run, steps }, true);
            rows
        }
        Next::Called | Next::End => panic!("rows wait"),
    };
    std::iter::repeat_with(leaves).take(120).collect()
}

#[test]
fn a_larger_size_is_not_tried_while_others_want_the_device() {
    let device = Device::new(2);
    let (one, other) = (Share::default(), device.join(Share::default()));
    assert!(leaving(device.join(one)).contains(&2), "alone");
    let turn = other.turn(Duration::ZERO, Instant::now());
    assert_eq!(leaving(device.join(one)), [1; 120]);
    drop(turn);
}

const MINUTE: Duration = Duration::from_secs(60);

/// There is a minute for it, and no run takes longer than it does.
const AT_ONCE: (Duration, Duration) = (MINUTE, Duration::ZERO);

/// Rows of a full batch after these rows have run, where runs of more than `most` are stopped, and those with a
/// negative row, at a limit of so long; each takes until `over`.
fn after(
    values: &[f32],
    most: usize,
    limit: Duration,
    (patience, over): (Duration, Duration),
) -> usize {
    let shared = Shared::new(CONFIG, <_>::default(), [(a_device(), 1)], Box::new(|_| {}));
    run_all(&shared, values, (patience, over), |rows| {
        stopped_beyond(most, limit, rows)
    });
    shared.max_size()
}

/// Stopped, where there are more rows or a negative one.
fn stopped_beyond(most: usize, limit: Duration, rows: &[&Row]) -> Result<(), Broken> {
    if rows.len() <= most && rows.iter().copied().map(value).all(|value| value >= 0.0) {
        return Ok(());
    }
    let fault = Fault::model(Stage::Predict, "stopped");
    Err(Broken {
        fault,
        stopped: Some(limit),
    })
}

fn value(row: &Row) -> f32 {
    bytemuck::pod_read_unaligned(&row.bytes)
}

fn run_all(
    shared: &Shared,
    values: &[f32],
    (patience, over): (Duration, Duration),
    fits: impl Fn(&[&Row]) -> Result<(), Broken>,
) {
    let rows = values.iter().map(|value| row(&[*value])).collect();
    let now = Instant::now();
    let (request, _answered) = Request::new(rows, now, now + patience);
    let mut run = |rows: &[&Row]| {
        while now.elapsed() < over {
            std::hint::spin_loop();
        }
        fits(rows)?;
        Ok(Outputs {
            rows: rows.len(),
            outputs: Vec::new(),
            steps: Steps::default(),
        })
    };
    settle(shared, now, request.tickets().collect(), None, &mut run);
}

#[test]
fn where_a_run_is_stopped_for_the_rows_it_has_batches_have_fewer_from_then_on() {
    let ordinary = [1.0; 16];
    let after = |values: &[f32], most| after(values, most, Duration::ZERO, AT_ONCE);
    assert_eq!(after(&ordinary, 16), 16);
    assert_eq!(after(&ordinary, 15), 8);
    assert_eq!(after(&ordinary, 4), 4);
    assert_eq!(
        after(&ordinary[..12], 11),
        8,
        "and so does one that was not full"
    );
    // One row that takes as long alone is not how long others take.
    let mut endless = ordinary;
    endless[5] = -1.0;
    assert_eq!(after(&endless, 16), 16);
}

#[test]
fn where_rows_are_late_once_their_run_is_stopped_it_is_taken_to_be_for_their_number() {
    const MS: Duration = Duration::from_millis(1);
    assert_eq!(after(&[1.0; 16], 15, MINUTE, (20 * MS, 21 * MS)), 8);
}

#[test]
fn where_the_parts_of_a_stopped_run_take_hardly_any_time_it_was_not_for_their_number() {
    assert_eq!(after(&[1.0; 16], 15, MINUTE, AT_ONCE), 16);
}

/// Each row's output takes 4 bytes of a run's 40.
#[test]
fn where_a_run_is_short_of_memory_for_the_rows_it_has_batches_have_fewer_from_then_on() {
    let session = of_memory(&onnx::identity(FLOAT, &[N, 1]), 16, 40);
    let shared = Shared::new(CONFIG, <_>::default(), [(a_device(), 1)], Box::new(|_| {}));
    let (tell, ran) = mpsc::channel();
    run_all(&shared, &[1.0; 16], AT_ONCE, |rows| {
        tell.send(rows.len()).unwrap();
        let values: Vec<f32> = rows.iter().copied().map(value).collect();
        let run = move |session: &mut Session| {
            let rows: Vec<Row> = values.iter().map(|value| row(&[*value])).collect();
            session.run(&rows.iter().collect::<Vec<_>>()).map(|_| ())
        };
        Ok(session.call(run)??)
    });
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [16, 8, 8]);
    assert_eq!(shared.max_size(), 8);
}

#[test]
fn where_a_row_alone_is_short_of_memory_that_says_nothing_of_others() {
    let ran = |values: &[f32], most| {
        let shared = Shared::new(CONFIG, <_>::default(), [(a_device(), 1)], Box::new(|_| {}));
        run_all(&shared, values, AT_ONCE, |rows| {
            let fits =
                rows.len() <= most && rows.iter().copied().map(value).all(|value| value > 0.0);
            fits.then_some(())
                .ok_or_else(|| Fault::memory("none left").into())
        });
        shared.max_size()
    };
    let mut one_is_large = [1.0; 16];
    assert_eq!((ran(&one_is_large, 16), ran(&one_is_large, 3)), (16, 2));
    one_is_large[5] = -1.0;
    assert_eq!((ran(&one_is_large, 16), ran(&one_is_large, 3)), (16, 16));
}

/// What is said where a batch of 16 rows is stopped, and `best` is the best b.
fn said_at(best: usize) -> String {
    let sizing = Sizing::new(Climb::new(&ladder(16, None), best, None), |_| {});
    let shared = Shared::new(CONFIG, sizing, [(a_device(), 1)], Box::new(|_| {}));
    let (write, said) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Said(write.clone()))
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        run_all(&shared, &[1.0; 16], AT_ONCE, |rows| {
            stopped_beyond(15, Duration::ZERO, rows)
        });
    });
    said.try_iter().collect()
}

struct Said(mpsc::Sender<String>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(text).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn that_batches_have_fewer_rows_is_said_only_where_they_do() {
    for (best, fewer) in [(16, true), (8, false)] {
        let said = said_at(best);
        assert!(said.contains("its halves run again"), "{said}");
        assert_eq!(said.contains("fewer from now on"), fewer, "{best}: {said}");
    }
}
