//! Sessions on tiny models.

mod sequences;

use std::sync::{Arc, Mutex};

use half::f16;

use super::{
    DeviceId, Session, SessionSpec, SessionThread, inspect,
    onnx::{self, BFLOAT16, FLOAT, FLOAT16, Graph, INT8, INT64, N, STRING},
    testing::{floats, library, row, run, session, session_thread},
};
use crate::{
    fault::FaultKind,
    tensor::{BatchAxis, Dtype, Row, Values},
};

fn fault_of<T>(result: Result<T, crate::fault::Fault>) -> String {
    let fault = result.err().expect("a fault");
    assert_eq!(fault.kind, FaultKind::Model);
    fault.detail
}

#[test]
fn a_signature_tells_names_types_shapes_and_the_batch_axis() {
    let folder = tempfile::tempdir().unwrap();
    let signature = inspect(&library(), &onnx::linear().write(folder.path())).unwrap();
    let (x, y) = (&signature.inputs[0], &signature.outputs[0]);
    assert_eq!((x.name.as_str(), x.dtype), ("x", Dtype::Float32));
    assert_eq!(
        (&x.row_shape[..], x.batch),
        (&[Some(3)][..], BatchAxis::Dynamic)
    );
    assert_eq!((y.name.as_str(), &y.row_shape[..]), ("y", &[Some(1)][..]));

    let fixed = onnx::identity(INT64, &[4, 2]).write(folder.path());
    let signature = inspect(&library(), &fixed).unwrap();
    assert_eq!(signature.inputs[0].batch, BatchAxis::Fixed(4));
    let scalar = onnx::identity(FLOAT, &[]).write(folder.path());
    let signature = inspect(&library(), &scalar).unwrap();
    assert_eq!(signature.inputs[0].batch, BatchAxis::Absent);
}

#[test]
fn rows_of_any_batch_size_come_back_in_order() {
    let mut session = session(&onnx::linear(), 8, &[]).unwrap();
    for n in [1_u8, 8, 3, 5] {
        let rows: Vec<_> = (0..n).map(|i| row(&[f32::from(i), 0.0, 1.0])).collect();
        let outputs = run(&mut session, &rows).unwrap();
        let expected: Vec<_> = (0..n).map(|i| f32::from(i) + 3.5).collect();
        assert_eq!(outputs.rows, rows.len());
        assert_eq!(outputs.outputs[0].row_shape, [1]);
        assert_eq!(floats(&outputs, 0), expected);
    }
}

#[test]
fn a_fixed_batch_axis_is_padded_and_the_padding_cut_off() {
    let mut session = session(&onnx::identity(FLOAT, &[4, 2]), 16, &[]).unwrap();
    for n in [1_u8, 4, 6, 16] {
        let rows: Vec<_> = (0..n).map(|i| row(&[f32::from(i), 0.5])).collect();
        let outputs = run(&mut session, &rows).unwrap();
        let expected: Vec<_> = (0..n).flat_map(|i| [f32::from(i), 0.5]).collect();
        assert_eq!(floats(&outputs, 0), expected);
    }
}

#[test]
fn a_model_of_scalars_runs_once_a_row() {
    let mut session = session(&onnx::identity(FLOAT, &[]), 4, &[]).unwrap();
    let rows = [row(&[1.5_f32]), row(&[2.5_f32]), row(&[f32::NAN])];
    let outputs = run(&mut session, &rows).unwrap();
    assert_eq!(floats(&outputs, 0)[..2], [1.5, 2.5]);
    assert!(floats(&outputs, 0)[2].is_nan());
    assert!(outputs.outputs[0].row_shape.is_empty());
}

#[test]
fn two_inputs_and_two_outputs_are_kept_apart() {
    let graph = Graph::new()
        .input("a", FLOAT, &[N, 1])
        .input("b", INT64, &[N, 2])
        .output("b2", INT64, &[N, 2])
        .output("a2", FLOAT, &[N, 1])
        .node("Identity", &["a"], &["a2"])
        .node("Identity", &["b"], &["b2"]);
    let mut session = session(&graph, 4, &[]).unwrap();
    let layout = session.signature().layout(None).unwrap();
    let mut rows = vec![layout.row(0), layout.row(0)];
    for (i, row) in (1_i16..).zip(&mut rows) {
        let [a, b] = layout.slots() else { panic!() };
        row.bytes[a.offset..a.offset + a.len()].copy_from_slice(bytemuck::bytes_of(&f32::from(i)));
        row.bytes[b.offset..b.offset + b.len()]
            .copy_from_slice(bytemuck::bytes_of(&[i64::from(i), -i64::from(i)]));
    }
    let outputs = run(&mut session, &rows).unwrap();
    assert_eq!(outputs.outputs[0].values, Values::Int(vec![1, -1, 2, -2]));
    assert_eq!(floats(&outputs, 1), [1.0, 2.0]);
}

#[test]
fn texts_go_in_and_come_out() {
    let mut session = session(&onnx::identity(STRING, &[N, 1]), 4, &[]).unwrap();
    let text = |s: &str| Row {
        bytes: Vec::new(),
        strings: vec![s.to_owned()],
        length: 0,
    };
    let outputs = run(&mut session, &[text("größe"), text("")]).unwrap();
    let expected = ["größe", ""].map(str::to_owned).to_vec();
    assert_eq!(outputs.outputs[0].values, Values::Text(expected));
    assert!(fault_of(run(&mut session, &[text("a\0b")])).contains("NUL"));
}

#[test]
fn outputs_of_every_type_are_widened() {
    let mut session = session(&onnx::casts(), 4, &[]).unwrap();
    let outputs = run(&mut session, &[row(&[0.0_f32, 2.5]), row(&[1.0_f32, -7.0])]).unwrap();
    let values: Vec<_> = outputs.outputs.into_iter().map(|o| o.values).collect();
    assert_eq!(values[0], Values::Float(vec![0.0, 2.5, 1.0, -7.0]));
    assert_eq!(values[1], Values::Double(vec![0.0, 2.5, 1.0, -7.0]));
    assert_eq!(values[2], Values::Int(vec![0, 2, 1, -7]));
    assert_eq!(values[3], Values::Float(vec![0.0, 1.0, 1.0, 1.0]));
    assert!(matches!(&values[4], Values::Text(t) if t[1] == "2.5"));
}

#[test]
fn only_the_outputs_asked_for_are_fetched_in_the_order_asked() {
    let mut session = session(&onnx::casts(), 4, &["int", "double"]).unwrap();
    let outputs = run(&mut session, &[row(&[1.0_f32, 2.0])]).unwrap();
    let names: Vec<_> = outputs.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["int", "double"]);
    let text = fault_of(super::testing::session(&onnx::casts(), 4, &["doubel"]));
    assert!(text.contains("no output `doubel`"), "{text}");
    assert!(text.contains("`double`"), "{text}");
}

#[test]
fn a_wrong_row_count_is_a_model_fault() {
    let mut session = session(&onnx::twice_the_rows(), 4, &[]).unwrap();
    let text = fault_of(run(&mut session, &[row(&[1.0_f32, 2.0])]));
    assert!(
        text.contains("`y` has a row count of 2 for a batch of 1"),
        "{text}"
    );
}

#[test]
fn not_a_number_passes_for_the_decision_to_judge() {
    let mut session = session(&onnx::logarithm(), 4, &[]).unwrap();
    let outputs = run(&mut session, &[row(&[1.0_f32]), row(&[-1.0_f32])]).unwrap();
    assert!(floats(&outputs, 0)[0].abs() < f32::EPSILON);
    assert!(floats(&outputs, 0)[1].is_nan());
}

#[test]
fn a_failed_run_names_the_node_and_never_the_value_and_the_session_lives_on() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    let text = tracing::subscriber::with_default(subscriber, || {
        let mut session = session(&onnx::lookup(), 4, &[]).unwrap();
        let text = fault_of(run(&mut session, &[row(&[1_i64]), row(&[778_899_i64])]));
        let outputs = run(&mut session, &[row(&[2_i64])]).unwrap();
        assert_eq!(floats(&outputs, 0), [30.0]);
        text
    });
    assert!(text.contains("Gather"), "{text}");
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(
        !text.contains("778899") && !log.contains("778899"),
        "{text} {log}"
    );
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn types_that_no_package_can_use_are_explained() {
    let text = fault_of(session(&onnx::zipmap(), 4, &[]));
    assert!(
        text.contains("`output_probability` is a sequence: each a map"),
        "{text}"
    );
    assert!(text.contains("options={\"zipmap\": False}"), "{text}");
    let text = fault_of(session(&onnx::identity(BFLOAT16, &[N, 2]), 4, &[]));
    assert!(text.contains("input `x` is a tensor of bf16"), "{text}");
    let text = fault_of(session(&onnx::identity(FLOAT, &[N, N]), 4, &[]));
    assert!(text.contains("input `x` leaves an axis"), "{text}");
}

#[test]
fn a_half_precision_output_keeps_its_value() {
    let mut session = session(&onnx::casts(), 1, &["half"]).unwrap();
    let outputs = run(&mut session, &[row(&[0.1_f32, 65_504.0])]).unwrap();
    assert_eq!(floats(&outputs, 0), [f16::from_f32(0.1).to_f32(), 65_504.0]);
}

#[test]
fn narrow_inputs_are_taken_as_they_are() {
    let mut half = session(&onnx::identity(FLOAT16, &[N, 2]), 2, &[]).unwrap();
    let rows = [[1.5, -2.0], [0.25, 65_504.0]].map(|x| row(&x.map(f16::from_f32)));
    let outputs = run(&mut half, &rows).unwrap();
    assert_eq!(floats(&outputs, 0), [1.5, -2.0, 0.25, 65_504.0]);
    let mut bytes = session(&onnx::identity(INT8, &[N, 2]), 2, &[]).unwrap();
    let rows = [[-128_i8, 127], [0, -1]].map(|x| row(&x));
    let outputs = run(&mut bytes, &rows).unwrap();
    let expected = Values::Int(vec![-128, 127, 0, -1]);
    assert_eq!(outputs.outputs[0].values, expected);
}

#[test]
fn inputs_that_disagree_on_the_batch_are_refused() {
    let graph = Graph::new()
        .input("a", FLOAT, &[2, 1])
        .input("b", FLOAT, &[3, 1])
        .output("y", FLOAT, &[2, 1])
        .node("Identity", &["a"], &["y"]);
    let text = fault_of(session(&graph, 4, &[]));
    assert!(text.contains("disagree"), "{text}");
}

#[test]
fn more_rows_than_agreed_or_rows_of_another_layout_are_our_fault() {
    let mut session = session(&onnx::linear(), 2, &[]).unwrap();
    let good = row(&[1.0_f32, 2.0, 3.0]);
    for rows in [vec![], vec![good.clone(); 3], vec![good, row(&[1.0_f32])]] {
        let fault = run(&mut session, &rows).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Internal);
    }
}

#[test]
fn a_broken_or_missing_model_is_a_fault_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let missing = fault_of(inspect(&library(), &path));
    std::fs::write(&path, "not a model").unwrap();
    let broken = fault_of(inspect(&library(), &path));
    for text in [missing, broken] {
        assert!(
            text.starts_with("model.onnx cannot be opened by ONNX Runtime 1."),
            "{text}"
        );
    }
}

#[test]
fn a_run_beyond_its_memory_fails_alone_and_the_session_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let open = |run_memory| {
        let spec = SessionSpec {
            model: onnx::product().write(folder.path()),
            threads: 1,
            max_size: 1,
            run_memory,
            longest: None,
            device: DeviceId::Cpu,
            outputs: Vec::new(),
        };
        Session::open(&library(), &spec).unwrap()
    };
    // Two matrices of this width, of 4 bytes an element.
    let width = |width: i64| Row {
        bytes: [bytemuck::bytes_of(&7.0_f32), bytemuck::bytes_of(&width)].concat(),
        strings: Vec::new(),
        length: 0,
    };
    let mut limited = open(Some(4 << 20));
    for _ in 0..3 {
        // What the first run needed is not held beside what the next one does.
        for fits in [500, 700] {
            let outputs = run(&mut limited, &[width(fits)]).unwrap();
            assert_eq!(floats(&outputs, 0), [7.0]);
        }
        let fault = run(&mut limited, &[width(1_000)]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Memory);
        assert_eq!(
            fault.detail,
            "the run needs more than 4194304 bytes of memory (limits.run_memory_bytes)"
        );
    }
    let outputs = run(&mut open(None), &[width(1_000)]).unwrap();
    assert_eq!(floats(&outputs, 0), [7.0]);
}

#[test]
fn a_panic_on_a_sessions_thread_is_a_fault_and_the_session_stays_usable() {
    let thread = session_thread(&onnx::linear(), 2);
    let fault = thread.call(|_| panic!("on purpose")).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Internal);
    let outputs = thread
        .call(|session| run(session, &[row(&[1.0_f32, 1.0, 1.0])]))
        .unwrap()
        .unwrap();
    assert_eq!(floats(&outputs, 0), [6.5]);
}

#[test]
fn a_session_that_cannot_open_is_reported_by_spawn() {
    let spec = SessionSpec {
        model: "no-such-model.onnx".into(),
        threads: 1,
        max_size: 1,
        run_memory: None,
        longest: None,
        device: DeviceId::Cpu,
        outputs: Vec::new(),
    };
    assert!(
        fault_of(SessionThread::spawn(&library(), "test", spec)).contains("no-such-model.onnx")
    );
}

#[test]
fn a_detached_thread_carries_its_name_and_ends_with_its_work() {
    let (said, heard) = std::sync::mpsc::channel();
    let thread = session_thread(&onnx::linear(), 2);
    let guard = thread.detach(move |session| {
        let name = std::thread::current().name().map(str::to_owned);
        said.send((name, session.signature().inputs.len())).unwrap();
    });
    drop(guard);
    assert_eq!(heard.recv(), Ok((Some("predict-test".to_owned()), 1)));
}

#[test]
fn a_run_that_finds_no_memory_is_told_apart_by_what_is_said_where_there_is_none() {
    let told = |message| super::session::run_fault(ort::ErrorCode::RuntimeException, message);
    for said in [
        "Non-zero status code returned while running Conv node. Name:'c' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal() Failed to allocate memory for requested buffer of size 1073741824",
        "Non-zero status code returned while running MatMul node. Name:'m' Status Message: CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDA failure 2: out of memory ; GPU=0",
        "std::bad_alloc",
    ] {
        let fault = told(said);
        assert_eq!(fault.kind, FaultKind::Memory, "{fault}");
        assert!(!fault.detail.contains("1073741824"), "{fault}");
    }
    assert_eq!(
        told("CUDA failure 700: illegal memory access").kind,
        FaultKind::Model
    );
}
