//! Rows whose sequences differ in length.

use crate::{
    predict::{
        Session,
        onnx::{self, Attr, FLOAT, Graph, N, STEPS},
        testing::{floats, of_sequences, run, steps},
    },
    tensor::Row,
};

#[test]
fn rows_of_different_lengths_run_in_parts_and_come_back_in_order() {
    let thread = of_sequences(&onnx::greatest(), 8);
    thread.call(in_parts).unwrap();
}

fn in_parts(session: &mut Session) {
    let rows: Vec<Row> = [150, 2, 200, 3, 2, 160]
        .iter()
        .zip(1_u8..)
        .map(|(length, number)| steps(&vec![-f32::from(number); *length]))
        .collect();
    let outputs = run(session, &rows).unwrap();
    // In parts of 3, 2 and 1; those behind whose steps there is padding have its zeros.
    assert_eq!(floats(&outputs, 0), [0.0, 0.0, -3.0, -4.0, 0.0, -6.0]);
    let (real, padded) = (outputs.steps.real, outputs.steps.padded);
    assert_eq!((real, padded), (517, 3 * 3 + 2 * 160 + 200));
    let together: Vec<_> = rows.iter().collect();
    let outputs = session.run_together(&together).unwrap();
    assert_eq!(floats(&outputs, 0), [0.0, 0.0, -3.0, 0.0, 0.0, 0.0]);
    assert_eq!(outputs.steps.padded, 6 * 200);
}

#[test]
fn sequences_lie_side_by_side_behind_what_has_one_length() {
    let greatest = |graph: Graph, of: &'static str, y: &'static str| {
        let axes = &[("axes", Attr::Ints(&[1]))];
        graph.node_attrs(("", "ReduceMax"), &[of], y, axes)
    };
    let graph = Graph::new()
        .input("a", FLOAT, &[N, STEPS])
        .input("one", FLOAT, &[N, 1])
        .input("b", FLOAT, &[N, STEPS, 2])
        .output("of_a", FLOAT, &[N, 1])
        .output("same", FLOAT, &[N, 1])
        .output("of_b", FLOAT, &[N, 1, 2])
        .node("Identity", &["one"], &["same"]);
    let graph = greatest(greatest(graph, "a", "of_a"), "b", "of_b");
    let thread = of_sequences(&graph, 4);
    let told = thread.call(|session| {
        let layout = session.signature().layout(Some(200)).unwrap();
        let row = |length: u8| {
            let mut row = layout.row(length.into());
            for (slot, scale) in layout.slots().iter().zip([1.0, 100.0, 10.0]) {
                let cells = row.bytes.get_mut(slot.bytes(length.into())).unwrap();
                for (cell, n) in cells.chunks_exact_mut(4).zip(1_u8..) {
                    cell.copy_from_slice(&(f32::from(n) * scale).to_ne_bytes());
                }
            }
            row
        };
        let rows = [row(3), row(1), row(2)];
        let half = layout.shortened(&rows[0], 1);
        assert_eq!(half.bytes, rows[1].bytes);
        let together: Vec<_> = rows.iter().collect();
        [
            session.run(&together).unwrap(),
            session.run_together(&together).unwrap(),
        ]
    });
    for outputs in told.unwrap() {
        assert_eq!(floats(&outputs, 0), [3.0, 1.0, 2.0]);
        assert_eq!(floats(&outputs, 1), [100.0; 3]);
        assert_eq!(floats(&outputs, 2), [50.0, 60.0, 10.0, 20.0, 30.0, 40.0]);
    }
}

#[test]
fn a_model_of_two_rows_a_run_is_not_parted_by_length() {
    let graph = Graph::new()
        .input("x", FLOAT, &[2, STEPS])
        .output("y", FLOAT, &[2, 1])
        .node_attrs(
            ("", "ReduceMax"),
            &["x"],
            "y",
            &[("axes", Attr::Ints(&[1]))],
        );
    let thread = of_sequences(&graph, 4);
    let outputs = thread.call(|session| {
        let rows = [100, 1, 3].map(|length| steps(&vec![2.0; length]));
        run(session, &rows).unwrap()
    });
    let outputs = outputs.unwrap();
    assert_eq!(floats(&outputs, 0), [2.0; 3]);
    assert_eq!(outputs.steps.padded, 2 * 100 + 2 * 3);
}
