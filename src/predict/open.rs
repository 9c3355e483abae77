//! A model's file, opened by ONNX Runtime.

use std::path::Path;

use ort::{
    logging::LogLevel,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

use super::{Library, cuda::Gpu, signature};
use crate::{fault::Fault, message::rejection::Stage, tensor::Signature};

/// The inputs and outputs of the model at `path`, all of them.
///
/// # Errors
/// The file is not a model that ONNX Runtime can open, or an input or output has a type that no
/// package can use; says which and how to mend it.
pub fn inspect(library: &Library, path: &Path) -> Result<Signature, Fault> {
    let model = open(library, path, None, |builder| {
        Ok(builder
            .with_intra_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::Disable)?)
    })?;
    let signature = signature::read(&model, &[])?;
    signature::width(&signature.inputs)?;
    Ok(signature)
}

/// Opens a model, on the processor where there is no GPU.
pub(super) fn open(
    library: &Library,
    path: &Path,
    gpu: Option<&Gpu>,
    with: impl FnOnce(SessionBuilder) -> ort::Result<SessionBuilder>,
) -> Result<ort::session::Session, Fault> {
    let builder = || -> ort::Result<SessionBuilder> {
        let builder = SessionBuilder::new(library.environment())?;
        Ok(with(builder)?
            .with_log_level(LogLevel::Warning)?
            .with_inter_threads(1)?
            // Spinning threads cost other sessions, and the broker's, more than it gains here.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?)
    };
    let builder = builder();
    let builder = match (gpu, builder) {
        (Some(gpu), Ok(builder)) => Ok(gpu.register(builder, library.version())?),
        (_, builder) => builder,
    };
    let open = || builder?.commit_from_file(path);
    open().map_err(|fault| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        Fault::model(
            Stage::Predict,
            format!(
                "{file} cannot be opened by ONNX Runtime {}: {fault}; expected an ONNX model that it reads, its external data beside it; export it again, with an opset that this ONNX Runtime knows",
                library.version()
            ),
        )
    })
}
