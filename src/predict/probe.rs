//! What a shared library says of itself, before ort sees it: ort never gives the version away, and
//! panics, for the rest of the process, on a library that lacks the interface.

use std::{ffi::CStr, path::Path};

use super::LibraryFault;

/// Opens the library and asks for its version; refuses what ort could not use.
#[expect(
    unsafe_code,
    reason = "the version stands behind two C functions of a library loaded at run time"
)]
pub(super) fn probe(path: &Path) -> Result<(libloading::Library, String), LibraryFault> {
    let not_onnx_runtime = || LibraryFault::NotOnnxRuntime { path: path.into() };

    // SAFETY: loading runs the library's initialisers; the operator named it, or it lies where
    // ONNX Runtime does, and ort is about to load it just so.
    let library = unsafe { libloading::Library::new(path) };
    let library = library.map_err(|fault| LibraryFault::NotLoadable {
        path: path.into(),
        reason: fault.to_string(),
    })?;
    // SAFETY: the one symbol that every ONNX Runtime exports, with the type its C header gives it.
    let base = unsafe {
        library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")
    };
    let base = base.map_err(|_| not_onnx_runtime())?;
    // SAFETY: takes nothing; gives a pointer to a constant of the library, or null.
    let base = unsafe { base().as_ref() }.ok_or_else(not_onnx_runtime)?;
    // SAFETY: gives a constant NUL-terminated string, or null.
    let version = unsafe { (base.GetVersionString)() };
    if version.is_null() {
        return Err(not_onnx_runtime());
    }
    // SAFETY: not null, NUL-terminated, and alive as long as `library` is.
    let version = unsafe { CStr::from_ptr(version) }
        .to_string_lossy()
        .into_owned();

    let mut numbers = version.split('.').map(str::parse::<u32>);
    let new_enough = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (1, ort::MINOR_VERSION),
        _ => false,
    };
    // SAFETY: takes a number; an interface that the library lacks is a null pointer.
    if !new_enough || unsafe { (base.GetApi)(ort::sys::ORT_API_VERSION) }.is_null() {
        return Err(LibraryFault::WrongVersion {
            path: path.into(),
            found: version,
        });
    }
    Ok((library, version))
}
