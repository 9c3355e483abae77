//! What waits for what: a row that is read before it was copied shows as another batch's.

use crate::{
    floats, launch_all,
    onnx::{FLOAT, Graph, N},
    row, session,
};
use inferq::tensor::Row;

/// A row takes long to copy, and next to nothing to run.
const WIDE: usize = 1 << 21;
const ROWS: usize = 16;
const BATCHES: usize = 8;

/// The greatest, and the least, of each row.
fn extremes() -> Graph {
    let axes = [("axes", crate::onnx::Attr::Ints(&[1]))];
    Graph::new()
        .input("x", FLOAT, &[N, WIDE as i64])
        .output("most", FLOAT, &[N, 1])
        .output("least", FLOAT, &[N, 1])
        .node_attrs(("", "ReduceMax"), &["x"], "most", &axes)
        .node_attrs(("", "ReduceMin"), &["x"], "least", &axes)
}

/// Each row has one value, which no other row of any batch has.
fn pattern(batch: usize, row: usize) -> f32 {
    (batch * ROWS + row + 1) as f32
}

/// Rows that did not come back as what went there.
fn strangers() -> usize {
    let mut session = session(&extremes(), ROWS);
    assert!(session.depth() > 1);
    let one = |batch, number| row(&vec![pattern(batch, number); WIDE]);
    let batch = |batch| {
        (0..ROWS)
            .map(|number| one(batch, number))
            .collect::<Vec<Row>>()
    };
    let batches: Vec<_> = (0..BATCHES).map(batch).collect();
    let landed = launch_all(&mut session, &batches);
    assert_eq!(landed.len(), BATCHES);
    let wrong = |(batch, outputs): (usize, &inferq::tensor::Outputs)| {
        let own = |(number, (most, least)): (usize, (&f32, &f32))| {
            let expected = pattern(batch, number).to_bits();
            [most, least]
                .into_iter()
                .all(|value| value.to_bits() == expected)
        };
        let rows = floats(outputs, 0)
            .iter()
            .zip(floats(outputs, 1))
            .enumerate();
        rows.filter(|row| !own(*row)).count()
    };
    landed.iter().enumerate().map(wrong).sum()
}

#[test]
#[ignore = "needs a GPU"]
fn every_row_of_batches_that_overlap_is_its_own_and_a_missing_wait_shows() {
    assert_eq!(strangers(), 0);
    #[cfg(feature = "failpoints")]
    {
        for wait in inferq::predict::Wait::ALL {
            inferq::predict::plant(Some(wait));
            let strangers = strangers();
            inferq::predict::plant(None);
            println!("without {wait:?}: {strangers} of {} rows", ROWS * BATCHES);
            assert!(strangers > 0, "{wait:?}");
        }
        assert_eq!(strangers(), 0);
    }
}
