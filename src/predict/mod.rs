//! Batch → outputs. The only module that knows ONNX Runtime.
