//! How much memory a run may take.
//!
//! ONNX Runtime bounds its arenas, not a run: an arena is shared, so that the run that asks last would fail and not
//! the one that takes too much. Sessions with a limit therefore allocate through an allocator of ours. It counts what
//! the run's own thread holds, and refuses what is beyond as the system's allocator would: with `std::bad_alloc`,
//! which fails the run and leaves the session as it was. Weights are not part of a run, nor is what does not come from
//! the session's allocator: texts, and the vectors of some kernels.

use std::{
    alloc::{Layout, alloc, dealloc},
    cell::Cell,
    ffi::{CStr, c_void},
    ptr::null_mut,
    sync::Arc,
};

use ort::{
    AsPointer,
    environment::Environment,
    sys::{
        ORT_API_VERSION, OrtAllocator, OrtAllocatorType, OrtMemType, OrtMemoryInfo, OrtStatusPtr,
    },
};

/// What ONNX Runtime's kernels expect of an address; also the room for a block's size, in front of it.
const ALIGNMENT: usize = 64;
/// So far kernels for 8-bit integers may read past the end of a block on ARM64 (`MLAS_SYMM_QGEMM_BUF_OVERRUN` is 30).
const OVERRUN: usize = 32;

thread_local! {
    static RUN: Account = const {
        Account { limit: Cell::new(usize::MAX), held: Cell::new(0), refused: Cell::new(false) }
    };
}

/// What the run of this thread has taken.
struct Account {
    limit: Cell<usize>,
    held: Cell<usize>,
    refused: Cell<bool>,
}

/// Holds the runs of this thread to a limit until it is dropped.
pub(super) struct Limited(usize);

impl Limited {
    /// At most `bytes` from now on.
    pub(super) fn to(bytes: usize) -> Limited {
        RUN.with(|run| {
            run.limit.set(bytes);
            run.held.set(0);
            run.refused.set(false);
        });
        Limited(bytes)
    }

    /// The limit, if more was asked for.
    pub(super) fn exceeded(&self) -> Option<usize> {
        RUN.with(|run| run.refused.get().then_some(self.0))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        RUN.with(|run| run.limit.set(usize::MAX));
    }
}

/// libstdc++'s own way to throw `std::bad_alloc`.
type Refuse = unsafe extern "C-unwind" fn() -> !;

/// ONNX Runtime's table of an allocator's functions, and what they need.
#[repr(C)]
struct Counting {
    table: OrtAllocator,
    memory: *mut OrtMemoryInfo,
    refuse: Refuse,
}

/// Registers the allocator for sessions that ask for the environment's. `library` is ONNX Runtime, loaded.
///
/// # Errors
/// Why runs cannot be held to a limit with this library.
#[expect(
    unsafe_code,
    reason = "ONNX Runtime takes an allocator as a table of C functions"
)]
pub(super) fn register(
    library: &libloading::Library,
    environment: &Environment,
) -> Result<(), Arc<str>> {
    // SAFETY: the symbol has this type wherever it is; libstdc++ is never unloaded.
    let refuse = unsafe { library.get::<Refuse>(b"_ZSt17__throw_bad_allocv") };
    let refuse = *refuse.map_err(|_| "it is not linked with libstdc++")?;
    let (api, mut memory) = (ort::api(), null_mut());
    // SAFETY: `memory` takes the result.
    check(unsafe {
        (api.CreateCpuMemoryInfo)(
            OrtAllocatorType::OrtDeviceAllocator,
            OrtMemType::OrtMemTypeDefault,
            &raw mut memory,
        )
    })?;
    // SAFETY: only sets every function to none.
    let mut table = unsafe { OrtAllocator::default() };
    table.version = ORT_API_VERSION;
    // SAFETY: the same function but for its ABI's name: what it throws unwinds into C++, which called it.
    table.Alloc = Some(unsafe {
        std::mem::transmute::<
            unsafe extern "C-unwind" fn(*mut OrtAllocator, usize) -> *mut c_void,
            unsafe extern "system" fn(*mut OrtAllocator, usize) -> *mut c_void,
        >(allocate)
    });
    table.Reserve = Some(reserve);
    table.Free = Some(free);
    table.Info = Some(info);
    // Never freed: sessions use it to the end of the process.
    let counting = Box::leak(Box::new(Counting {
        table,
        memory,
        refuse,
    }));
    // SAFETY: both live as long as the process; ONNX Runtime locks its own list.
    check(unsafe { (api.RegisterAllocator)(environment.ptr().cast_mut(), &raw mut counting.table) })
}

#[expect(unsafe_code, reason = "a status is ONNX Runtime's to free")]
fn check(status: OrtStatusPtr) -> Result<(), Arc<str>> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not null, whose message is text until it is released, once, here.
    unsafe {
        let message = CStr::from_ptr((ort::api().GetErrorMessage)(status.0));
        let message = Arc::from(message.to_string_lossy());
        (ort::api().ReleaseStatus)(status.0);
        Err(message)
    }
}

#[expect(unsafe_code, reason = "called by ONNX Runtime, with our own table")]
unsafe extern "C-unwind" fn allocate(this: *mut OrtAllocator, size: usize) -> *mut c_void {
    let fits = RUN.with(|run| {
        let held = run.held.get().saturating_add(size);
        let fits = held <= run.limit.get();
        if fits {
            run.held.set(held);
        } else {
            run.refused.set(true);
        }
        fits
    });
    let block = if fits { take(size) } else { null_mut() };
    if block.is_null() && size > 0 {
        // SAFETY: `this` is the first field of a `Counting`. Nothing here is to be dropped.
        unsafe { ((*this.cast::<Counting>()).refuse)() }
    }
    block
}

/// For weights and the like, which outlive runs.
#[expect(unsafe_code, reason = "called by ONNX Runtime")]
unsafe extern "system" fn reserve(_: *const OrtAllocator, size: usize) -> *mut c_void {
    take(size)
}

#[expect(unsafe_code, reason = "called by ONNX Runtime, with a block of ours")]
unsafe extern "system" fn free(_: *mut OrtAllocator, block: *mut c_void) {
    if block.is_null() {
        return;
    }
    // SAFETY: `take` gave it, with its size in front.
    unsafe {
        let whole = block.cast::<u8>().sub(ALIGNMENT);
        let size = whole.cast::<usize>().read_unaligned();
        RUN.with(|run| run.held.set(run.held.get().saturating_sub(size)));
        dealloc(
            whole,
            Layout::from_size_align_unchecked(ALIGNMENT + size + OVERRUN, ALIGNMENT),
        );
    }
}

#[expect(unsafe_code, reason = "called by ONNX Runtime, with our own table")]
unsafe extern "system" fn info(this: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: `this` is the first field of a `Counting`.
    unsafe { (*this.cast::<Counting>()).memory }
}

/// A block with its size in front; null where there is none, and for no bytes.
#[expect(unsafe_code, reason = "blocks are ONNX Runtime's until it frees them")]
fn take(size: usize) -> *mut c_void {
    let whole = size.checked_add(ALIGNMENT + OVERRUN).filter(|_| size > 0);
    let layout = whole.and_then(|whole| Layout::from_size_align(whole, ALIGNMENT).ok());
    let Some(layout) = layout else {
        return null_mut();
    };
    // SAFETY: the layout is not empty; the size fits in front, aligned.
    unsafe {
        let whole = alloc(layout);
        if whole.is_null() {
            return null_mut();
        }
        whole.cast::<usize>().write_unaligned(size);
        whole.add(ALIGNMENT).cast()
    }
}
