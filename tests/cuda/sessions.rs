//! Sessions on tiny models.

use half::f16;
use inferq::{
    predict::{DeviceId, Session, SessionSpec, SessionThread, device_memory},
    tensor::{Row, Values},
};

use crate::{
    GPU, floats, library,
    onnx::{self, FLOAT, FLOAT16, INT8, N},
    row, run, session, session_on, spec, steps,
};

#[test]
#[ignore = "needs a GPU"]
fn rows_of_any_batch_size_come_back_in_order() {
    let mut session = session(&onnx::linear(), 8);
    assert_eq!(session.depth(), 2);
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
#[ignore = "needs a GPU"]
fn a_fixed_batch_axis_is_padded_and_a_scalar_runs_alone() {
    for (dims, n) in [(&[4, 2][..], 7), (&[1, 2], 3)] {
        let mut session = session(&onnx::identity(FLOAT, dims), 16);
        let rows: Vec<_> = (0..n).map(|i| row(&[i as f32, 0.5])).collect();
        let outputs = run(&mut session, &rows).unwrap();
        let expected: Vec<_> = (0..n).flat_map(|i| [i as f32, 0.5]).collect();
        assert_eq!(floats(&outputs, 0), expected);
    }
    let mut session = session(&onnx::identity(FLOAT, &[]), 4);
    let rows = [1.0_f32, 2.0, 3.0].map(|x| row(&[x]));
    assert_eq!(
        floats(&run(&mut session, &rows).unwrap(), 0),
        [1.0, 2.0, 3.0]
    );
}

#[test]
#[ignore = "needs a GPU"]
fn inputs_and_outputs_of_16_bit_floats_and_8_bit_integers_go_as_they_are() {
    let mut half = session(&onnx::identity(FLOAT16, &[N, 2]), 4);
    let rows = [[1.5, -2.0], [0.25, 65_504.0]].map(|x| row(&x.map(f16::from_f32)));
    let outputs = run(&mut half, &rows).unwrap();
    assert_eq!(floats(&outputs, 0), [1.5, -2.0, 0.25, 65_504.0]);
    let mut bytes = session(&onnx::identity(INT8, &[N, 2]), 4);
    let rows = [[-128_i8, 127], [0, -1]].map(|x| row(&x));
    let outputs = run(&mut bytes, &rows).unwrap();
    assert_eq!(
        outputs.outputs[0].values,
        Values::Int(vec![-128, 127, 0, -1])
    );
}

#[test]
#[ignore = "needs a GPU"]
fn a_model_with_texts_runs_from_the_host() {
    let mut session = session(&onnx::casts(), 4);
    assert_eq!(session.depth(), 1);
    let outputs = run(&mut session, &[row(&[1.0_f32, 0.0]), row(&[2.0_f32, 5.0])]).unwrap();
    let values = |name: &str| {
        let output = outputs.outputs.iter().find(|output| output.name == name);
        output.unwrap().values.clone()
    };
    assert_eq!(values("half"), Values::Float(vec![1.0, 0.0, 2.0, 5.0]));
    assert_eq!(values("double"), Values::Double(vec![1.0, 0.0, 2.0, 5.0]));
    assert_eq!(values("int"), Values::Int(vec![1, 0, 2, 5]));
    assert_eq!(values("bool"), Values::Float(vec![1.0, 0.0, 1.0, 1.0]));
    assert!(matches!(values("text"), Values::Text(texts) if texts.len() == 4));
}

#[test]
#[ignore = "needs a GPU"]
fn outputs_whose_shape_depends_on_data_come_by_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let graph = onnx::identity(FLOAT, &[N, onnx::STEPS]);
    let spec = SessionSpec {
        longest: Some(200),
        ..spec(&graph, folder.path(), 4)
    };
    let mut session = Session::open(&library(), &spec).unwrap();
    assert_eq!(session.depth(), 1);
    for steps_of in [[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]] {
        let outputs = run(&mut session, &[steps(&steps_of), steps(&steps_of)]).unwrap();
        assert_eq!(floats(&outputs, 0), [steps_of, steps_of].concat());
    }
}

#[test]
#[ignore = "needs a GPU"]
fn sequences_of_many_lengths_give_what_they_give_on_the_processor() {
    let open = |device| {
        let folder = tempfile::tempdir().unwrap();
        let spec = SessionSpec {
            longest: Some(200),
            device,
            ..spec(&onnx::greatest_of_negatives(), folder.path(), 96)
        };
        Session::open(&library(), &spec).unwrap()
    };
    let (mut cpu, mut gpu) = (open(DeviceId::Cpu), open(GPU));
    assert_eq!(gpu.depth(), 2);
    for round in 0..20_usize {
        let of = |n: usize| {
            let length = (n * 37 + round * 11) % 200 + 1;
            let value = |step| -1.0 - ((step * 31 + n * 7 + round) % 101) as f32;
            steps(&(0..length).map(value).collect::<Vec<f32>>())
        };
        let rows: Vec<Row> = (0..96 - round * 3).map(of).collect();
        let (a, b) = (run(&mut cpu, &rows).unwrap(), run(&mut gpu, &rows).unwrap());
        assert_eq!(floats(&a, 0), floats(&b, 0));
        assert_eq!(a.steps.real, b.steps.real);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_run_that_fails_says_so_and_the_next_goes_well() {
    let mut doubled = session(&onnx::twice_the_rows(), 4);
    for _ in 0..8 {
        assert!(run(&mut doubled, &[row(&[1.0_f32, 2.0])]).is_err());
    }
    let mut session = session(&onnx::linear(), 2);
    let stopper = session.stopper();
    let rows = [row(&[1.0_f32, 0.0, 0.0])];
    for _ in 0..5 {
        stopper.stop();
        assert!(run(&mut session, &rows).is_err());
        stopper.reset();
        assert_eq!(floats(&run(&mut session, &rows).unwrap(), 0), [1.5]);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_flight_that_nobody_lands_gives_its_slot_back() {
    let mut session = session(&onnx::linear(), 2);
    let rows = [row(&[1.0_f32, 0.0, 0.0])];
    for _ in 0..10 {
        drop(session.launch(&[&rows[0]]).unwrap());
    }
    let flights = [(); 3].map(|()| session.launch(&[&rows[0]]).unwrap());
    // After the session, on another thread.
    drop(session);
    let landed = std::thread::spawn(move || flights.map(|flight| flight.land().unwrap()));
    for outputs in landed.join().unwrap() {
        assert_eq!(floats(&outputs, 0), [1.5]);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn what_is_unloaded_is_given_back_and_so_is_what_fails_to_load() {
    let folder = tempfile::tempdir().unwrap();
    let good = spec(&onnx::linear(), folder.path(), 1 << 16);
    let broken = SessionSpec {
        model: folder.path().join("broken.onnx"),
        ..good.clone()
    };
    std::fs::write(&broken.model, b"no model").unwrap();
    let mut used = Vec::new();
    for _ in 0..20 {
        drop(SessionThread::spawn(&library(), "good", good.clone()).unwrap());
        SessionThread::spawn(&library(), "broken", broken.clone()).unwrap_err();
        let (free, all) = device_memory(GPU).unwrap().unwrap();
        used.push(all - free);
    }
    assert!(used[19] <= used[4] + (used[4] / 50), "{used:?}");
}

#[test]
#[ignore = "needs a GPU"]
fn more_than_there_is_and_a_gpu_that_is_not_there_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(&onnx::identity(FLOAT, &[N, 4]), folder.path(), 4);
    let other = SessionSpec {
        device: DeviceId::Cuda(99),
        ..spec
    };
    let fault = Session::open(&library(), &other).err().unwrap().detail;
    assert!(fault.starts_with("cuda:99 cannot be had: "), "{fault}");
    assert!(fault.contains("nvidia-smi"), "{fault}");
    // The same model on both devices of this machine.
    let rows = [row(&[1.0_f32, 2.0, 3.0, 4.0])];
    let graph = onnx::identity(FLOAT, &[N, 4]);
    for device in [DeviceId::Cpu, GPU] {
        let mut session = session_on(device, &graph, 4);
        assert_eq!(
            floats(&run(&mut session, &rows).unwrap(), 0),
            [1.0, 2.0, 3.0, 4.0]
        );
    }
}
