//! Sessions on tiny models, for tests of this module and of those above it.

use bytemuck::NoUninit;

use super::{DeviceId, Library, Session, SessionSpec, SessionThread, onnx::Graph};
use crate::{
    fault::Fault,
    tensor::{Outputs, Row, Values},
};

pub(crate) fn library() -> Library {
    Library::open(None).expect("tests find ONNX Runtime as `make setup` leaves it")
}

pub(crate) fn session(graph: &Graph, max_size: usize, outputs: &[&str]) -> Result<Session, Fault> {
    let folder = tempfile::tempdir().expect("a folder for the model");
    Session::open(&library(), &spec(graph, folder.path(), max_size, outputs))
}

pub(crate) fn session_thread(graph: &Graph, max_size: usize) -> SessionThread {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let spec = spec(graph, folder.path(), max_size, &[]);
    SessionThread::spawn(&library(), "test", spec).expect("the model opens")
}

fn spec(graph: &Graph, folder: &std::path::Path, max_size: usize, outputs: &[&str]) -> SessionSpec {
    SessionSpec {
        model: graph.write(folder),
        threads: 1,
        max_size,
        run_memory: None,
        longest: None,
        device: DeviceId::Cpu,
        outputs: outputs.iter().map(ToString::to_string).collect(),
    }
}

/// Of which a run may take so many bytes.
pub(crate) fn of_memory(graph: &Graph, max_size: usize, bytes: usize) -> SessionThread {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let spec = SessionSpec {
        run_memory: Some(bytes),
        ..spec(graph, folder.path(), max_size, &[])
    };
    SessionThread::spawn(&library(), "test", spec).expect("the model opens")
}

/// Of a model whose inputs are sequences of 200 steps at most.
pub(crate) fn of_sequences(graph: &Graph, max_size: usize) -> SessionThread {
    let folder = tempfile::tempdir().expect("a folder for the model");
    let spec = SessionSpec {
        longest: Some(200),
        ..spec(graph, folder.path(), max_size, &[])
    };
    SessionThread::spawn(&library(), "test", spec).expect("the model opens")
}

/// One row whose steps have these values.
pub(crate) fn steps(values: &[f32]) -> Row {
    Row {
        length: values.len(),
        ..row(values)
    }
}

pub(crate) fn row<T: NoUninit>(elements: &[T]) -> Row {
    Row {
        bytes: bytemuck::cast_slice(elements).to_vec(),
        strings: Vec::new(),
        length: 0,
    }
}

pub(crate) fn run(session: &mut Session, rows: &[Row]) -> Result<Outputs, Fault> {
    session.run(&rows.iter().collect::<Vec<_>>())
}

pub(crate) fn floats(outputs: &Outputs, index: usize) -> &[f32] {
    let Values::Float(values) = &outputs.outputs[index].values else {
        panic!("expected floats")
    };
    values
}
