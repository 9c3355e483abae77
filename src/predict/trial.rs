//! Whether a device can be had: a tiny model runs there.

use std::io::Write;

use super::{Library, SessionSpec, SessionThread};
use crate::{
    fault::Fault,
    message::rejection::Stage,
    tensor::{Row, Values},
};

/// `y = x · [1 2 3]ᵀ` over `x[n, 3]`, as ONNX writes it.
const MODEL: &[u8] = b"\
\x08\x08B\x04\x0a\x00\x10\x11:b\x0a\x14\x0a\x01x\x0a\x01w\x12\x01y\x1a\x01y\x22\x06MatMul\
\x12\x05trial*\x17\x08\x03\x08\x01\x10\x01B\x01wJ\x0c\x00\x00\x80?\x00\x00\x00@\x00\x00@@Z\
\x14\x0a\x01x\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x03b\x14\x0a\
\x01y\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x01";

/// Opens a session on the library's (first) device, and runs a row there. What is missing shows here; a driver that is
/// broken may end the process.
///
/// # Errors
/// What was found, and how to mend it.
pub fn try_device(library: &Library) -> Result<(), Fault> {
    let device = library.devices().first();
    let mut file = tempfile::NamedTempFile::new().map_err(|fault| internal(&fault))?;
    file.write_all(MODEL).map_err(|fault| internal(&fault))?;
    let spec = SessionSpec {
        model: file.path().to_owned(),
        threads: 1,
        max_size: 1,
        run_memory: None,
        longest: None,
        device,
        outputs: Vec::new(),
    };
    let session = SessionThread::spawn(library, "trial", spec)?;
    let numbers: [f32; 3] = [4.0, 5.0, 6.0];
    let row = Row {
        bytes: bytemuck::cast_slice(&numbers).to_vec(),
        strings: Vec::new(),
        length: 0,
    };
    let outputs = session.call(move |session| session.run(&[&row]))??;
    match outputs.outputs.first().map(|output| &output.values) {
        Some(Values::Float(values)) if *values == [32.0] => Ok(()),
        found => Err(internal(&format!(
            "{device} is there, and computes 4 + 2 x 5 + 3 x 6 as {found:?}; look at the driver's log (dmesg), or set runtime.device = \"cpu\""
        ))),
    }
}

fn internal(detail: &impl ToString) -> Fault {
    Fault::internal(Stage::Predict, detail.to_string())
}
