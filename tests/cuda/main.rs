//! Sessions and batchers on an NVIDIA GPU: `make test-cuda`, by hand, on a machine that has one.
//!
//! Needs the CUDA build of ONNX Runtime in `ORT_DYLIB_PATH`, CUDA 13 and cuDNN 9 in `LD_LIBRARY_PATH`. Models are made on
//! the spot; there is no broker and no network.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    unreachable_pub,
    reason = "a test may stop where it stands"
)]

#[path = "../it/onnx.rs"]
mod onnx;

mod batching;
mod sessions;
mod streams;

use std::collections::VecDeque;

use inferq::{
    fault::Fault,
    predict::{DeviceId, Library, Session, SessionSpec},
    tensor::{Outputs, Row, Values},
};
use onnx::Graph;

const GPU: DeviceId = DeviceId::Cuda(0);

fn library() -> Library {
    Library::open(None).expect("ORT_DYLIB_PATH names the CUDA build of ONNX Runtime")
}

fn spec(graph: &Graph, folder: &std::path::Path, max_size: usize) -> SessionSpec {
    SessionSpec {
        model: graph.write(folder),
        threads: 1,
        max_size,
        run_memory: None,
        longest: None,
        device: GPU,
        outputs: Vec::new(),
    }
}

fn session_on(device: DeviceId, graph: &Graph, max_size: usize) -> Session {
    let folder = tempfile::tempdir().unwrap();
    let spec = SessionSpec {
        device,
        ..spec(graph, folder.path(), max_size)
    };
    Session::open(&library(), &spec).unwrap()
}

fn session(graph: &Graph, max_size: usize) -> Session {
    session_on(GPU, graph, max_size)
}

fn row<T: bytemuck::NoUninit>(elements: &[T]) -> Row {
    Row {
        bytes: bytemuck::cast_slice(elements).to_vec(),
        strings: Vec::new(),
        length: 0,
    }
}

fn steps(values: &[f32]) -> Row {
    Row {
        length: values.len(),
        ..row(values)
    }
}

fn run(session: &mut Session, rows: &[Row]) -> Result<Outputs, Fault> {
    session.run(&rows.iter().collect::<Vec<_>>())
}

fn floats(outputs: &Outputs, number: usize) -> &[f32] {
    let Values::Float(values) = &outputs.outputs[number].values else {
        panic!("expected floats")
    };
    values
}

/// Launches all batches, as many at a time as may be under way.
fn launch_all(session: &mut Session, batches: &[Vec<Row>]) -> Vec<Outputs> {
    let (mut aloft, mut landed) = (VecDeque::new(), Vec::new());
    for batch in batches {
        if aloft.len() == session.depth() {
            let flight: inferq::predict::Flight = aloft.pop_front().unwrap();
            landed.push(flight.land().unwrap());
        }
        let rows: Vec<&Row> = batch.iter().collect();
        aloft.push_back(session.launch(&rows).unwrap());
    }
    landed.extend(aloft.into_iter().map(|flight| flight.land().unwrap()));
    landed
}
