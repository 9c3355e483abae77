//! ONNX Runtime's binding of inputs and outputs to memory of ours, by its C functions: ort's own `bind_input` never
//! returns for a tensor on the session's device.

#![expect(
    unsafe_code,
    reason = "ONNX Runtime's C functions take and give bare pointers"
)]

use std::{
    ffi::{CStr, CString, c_int, c_void},
    ptr::null_mut,
};

use ort::{
    AsPointer, ErrorCode,
    session::{HasSelectedOutputs, RunOptions, Session},
    sys::{
        ONNXTensorElementDataType, OrtAllocatorType, OrtIoBinding, OrtMemType, OrtMemoryInfo,
        OrtSession, OrtStatusPtr, OrtValue,
    },
};

use super::internal;
use crate::fault::Fault;

/// Why a call failed: ONNX Runtime's own words, which may quote what a request had.
pub(super) struct Failed(pub(super) ErrorCode, pub(super) String);

impl From<Failed> for Fault {
    fn from(Failed(code, text): Failed) -> Fault {
        internal(format!("ONNX Runtime: {code:?}: {text}"))
    }
}

pub(super) fn check(status: OrtStatusPtr) -> Result<(), Failed> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null, whose message is text until it is released, once, here.
    unsafe {
        let text = CStr::from_ptr((ort::api().GetErrorMessage)(status.0));
        let text = text.to_string_lossy().into_owned();
        let code = (ort::api().GetErrorCode)(status.0).into();
        (ort::api().ReleaseStatus)(status.0);
        Err(Failed(code, text))
    }
}

/// ONNX Runtime's word for a GPU's memory.
pub(super) struct MemoryInfo(*mut OrtMemoryInfo);

// SAFETY: nothing changes it between its making and its end.
unsafe impl Send for MemoryInfo {}
// SAFETY: as above.
unsafe impl Sync for MemoryInfo {}

impl MemoryInfo {
    pub(super) fn of_gpu(ordinal: usize) -> Result<MemoryInfo, Fault> {
        let mut info = null_mut();
        let number = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
        // SAFETY: the name is a constant text; `info` takes the result.
        check(unsafe {
            (ort::api().CreateMemoryInfo)(
                c"Cuda".as_ptr(),
                OrtAllocatorType::OrtDeviceAllocator,
                number,
                OrtMemType::OrtMemTypeDefault,
                &raw mut info,
            )
        })?;
        Ok(MemoryInfo(info))
    }
}

impl Drop for MemoryInfo {
    fn drop(&mut self) {
        // SAFETY: it was made above, and is released once.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0) }
    }
}

/// What of an input or output never changes.
pub(super) struct Name {
    pub(super) name: CString,
    pub(super) element: ONNXTensorElementDataType,
}

/// Memory and what is in it.
#[derive(Clone, Copy)]
pub(super) struct Tensor<'a> {
    pub(super) start: *mut c_void,
    pub(super) len: usize,
    pub(super) dims: &'a [i64],
}

/// A session's inputs and outputs, bound to memory. Not to outlive the session, which [`Binding::new`] is given.
pub(super) struct Binding {
    session: *mut OrtSession,
    binding: *mut OrtIoBinding,
}

impl Binding {
    pub(super) fn new(session: &Session) -> Result<Binding, Fault> {
        let session = session.ptr().cast_mut();
        let mut binding = null_mut();
        // SAFETY: the session is open; `binding` takes the result.
        check(unsafe { (ort::api().CreateIoBinding)(session, &raw mut binding) })?;
        Ok(Binding { session, binding })
    }

    pub(super) fn input(
        &mut self,
        name: &Name,
        memory: &MemoryInfo,
        tensor: Tensor<'_>,
    ) -> Result<(), Failed> {
        let value = Value::new(name, memory, tensor)?;
        // SAFETY: both are open; the binding keeps a reference of its own to the value.
        check(unsafe { (ort::api().BindInput)(self.binding, name.name.as_ptr(), value.0) })
    }

    pub(super) fn output(
        &mut self,
        name: &Name,
        memory: &MemoryInfo,
        tensor: Tensor<'_>,
    ) -> Result<(), Failed> {
        let value = Value::new(name, memory, tensor)?;
        // SAFETY: as above.
        check(unsafe { (ort::api().BindOutput)(self.binding, name.name.as_ptr(), value.0) })
    }

    /// Enqueues a run on what is bound; the memory must be there until the stream has come past it.
    pub(super) fn run(&mut self, options: &RunOptions<HasSelectedOutputs>) -> Result<(), Failed> {
        // SAFETY: the session outlives this (see `Session`'s fields), and only its own thread comes here; what is bound
        // is memory of a slot, which is held until its work is over.
        check(unsafe { (ort::api().RunWithBinding)(self.session, options.ptr(), self.binding) })
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: it was made above, and is released once.
        unsafe { (ort::api().ReleaseIoBinding)(self.binding) }
    }
}

/// A tensor over memory that is not ONNX Runtime's.
struct Value(*mut OrtValue);

impl Value {
    fn new(name: &Name, memory: &MemoryInfo, tensor: Tensor<'_>) -> Result<Value, Failed> {
        let mut value = null_mut();
        // SAFETY: `start` is on that device, with `len` bytes from there on; ONNX Runtime checks them against `dims`.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0,
                tensor.start,
                tensor.len,
                tensor.dims.as_ptr(),
                tensor.dims.len(),
                name.element,
                &raw mut value,
            )
        })?;
        Ok(Value(value))
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: it was made above, and is released once.
        unsafe { (ort::api().ReleaseValue)(self.0) }
    }
}
