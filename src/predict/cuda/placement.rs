//! Which nodes of a model ONNX Runtime left on the processor, by what it notes down as it places them.

#![expect(
    unsafe_code,
    reason = "ONNX Runtime's C functions take and give bare pointers"
)]

use std::{
    ffi::{CStr, c_char},
    ptr::null,
    slice,
};

use ort::{
    AsPointer,
    session::{Session, builder::SessionBuilder},
};

use super::binding::{Failed, check};
use crate::fault::Fault;

/// Whose nodes run on the processor.
const PROCESSOR: &CStr = c"CPUExecutionProvider";

/// Has it note down where the nodes of a session go.
pub(in crate::predict) fn noted(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_config_entry("session.record_ep_graph_assignment_info", "1")?)
}

/// The nodes that run on the processor, of a session whose placement was [`noted`]: their operators and names.
///
/// # Errors
/// It was not, or ONNX Runtime does not tell.
pub(in crate::predict) fn on_processor(session: &Session) -> Result<Vec<(String, String)>, Fault> {
    let mut nodes = Vec::new();
    // SAFETY: the session lives on behind this borrow, and what it tells, names included, lives as long as it does. Each
    // array has as many elements as is told beside it.
    unsafe {
        for graph in array(|of, count| {
            (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), of, count)
        })? {
            let provider = text(|to| (ort::api().EpAssignedSubgraph_GetEpName)(*graph, to))?;
            if provider != PROCESSOR {
                continue;
            }
            for node in
                array(|of, count| (ort::api().EpAssignedSubgraph_GetNodes)(*graph, of, count))?
            {
                let name = text(|to| (ort::api().EpAssignedNode_GetName)(*node, to))?;
                let operator = text(|to| (ort::api().EpAssignedNode_GetOperatorType)(*node, to))?;
                let [operator, name] = [operator, name].map(|text| text.to_string_lossy().into());
                nodes.push((operator, name));
            }
        }
    }
    Ok(nodes)
}

/// What `ask` gives, where it gives an array.
///
/// # Safety
/// It gives one that lives as long as `'a`, and its length; or a status.
unsafe fn array<'a, T>(
    ask: impl FnOnce(*mut *const *const T, *mut usize) -> ort::sys::OrtStatusPtr,
) -> Result<&'a [*const T], Failed> {
    let (mut first, mut count) = (null(), 0);
    check(ask(&raw mut first, &raw mut count))?;
    if first.is_null() {
        return Ok(&[]);
    }
    // SAFETY: by this function's own contract.
    Ok(unsafe { slice::from_raw_parts(first, count) })
}

/// What `ask` gives, where it gives text.
///
/// # Safety
/// It gives text that lives as long as `'a` and ends with a zero, or nothing, or a status.
unsafe fn text<'a>(
    ask: impl FnOnce(*mut *const c_char) -> ort::sys::OrtStatusPtr,
) -> Result<&'a CStr, Failed> {
    let mut text: *const c_char = null();
    check(ask(&raw mut text))?;
    if text.is_null() {
        return Ok(c"");
    }
    // SAFETY: by this function's own contract.
    Ok(unsafe { CStr::from_ptr(text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{
        onnx::{FLOAT, N, identity},
        open::open,
        testing::library,
    };

    #[test]
    fn what_runs_on_the_processor_is_told_by_name_where_it_was_noted_down() {
        let folder = tempfile::tempdir().unwrap();
        let model = identity(FLOAT, &[N, 2]).write(folder.path());
        let placed = open(&library(), &model, None, noted).unwrap();
        let nodes = on_processor(&placed).unwrap();
        assert!(
            nodes.iter().any(|(operator, _)| operator == "Identity"),
            "{nodes:?}"
        );
        let unknown = open(&library(), &model, None, Ok).unwrap();
        assert!(on_processor(&unknown).is_err());
    }
}
