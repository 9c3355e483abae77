//! Memory that the driver gave: pinned on the host, and on the device.

#![expect(unsafe_code, reason = "the driver gives memory as bare pointers")]

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

/// Where parts of an area begin: what kernels and copies are fast at.
pub(super) const ALIGNMENT: usize = 256;

/// How the host uses pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinning {
    /// Written once, front to back, and never read: past the caches.
    Written,
    /// Read.
    Read,
}

/// Host memory that copies run from and to beside everything else.
pub(super) struct Pinned {
    context: Arc<CudaContext>,
    start: *mut u8,
    len: usize,
}

/// Memory of a device.
pub(super) struct OnDevice {
    context: Arc<CudaContext>,
    start: sys::CUdeviceptr,
    len: usize,
}

// SAFETY: it owns its memory alone; the driver's functions may be called from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// At least one byte, all of them zero.
    pub(super) fn allocate(
        context: &Arc<CudaContext>,
        len: usize,
        how: Pinning,
    ) -> Result<Pinned, DriverError> {
        context.bind_to_thread()?;
        let flags = match how {
            Pinning::Written => sys::CU_MEMHOSTALLOC_WRITECOMBINED,
            Pinning::Read => 0,
        };
        let len = len.max(1);
        // SAFETY: only allocates; the context is bound.
        let start = unsafe { result::malloc_host(len, flags) }?.cast::<u8>();
        // SAFETY: so many bytes begin there, and nobody else knows of them.
        unsafe { start.write_bytes(0, len) };
        Ok(Pinned {
            context: Arc::clone(context),
            start,
            len,
        })
    }

    /// To write or read while no copy of it is under way.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes that were zeroed begin at `start`, which live as long as `self`; a copy is only enqueued
        // by `copy_up` and `copy_down`, whose callers wait for its end before they come here again.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let freed = self.context.bind_to_thread();
        // SAFETY: it was allocated here, and is freed once; the driver waits for copies that are under way.
        let freed = freed.and_then(|()| unsafe { result::free_host(self.start.cast()) });
        freed.unwrap_or_else(|fault| tracing::error!("pinned memory: {}", super::told(fault)));
    }
}

impl OnDevice {
    /// At least one byte.
    pub(super) fn allocate(
        context: &Arc<CudaContext>,
        len: usize,
    ) -> Result<OnDevice, DriverError> {
        context.bind_to_thread()?;
        let len = len.max(1);
        Ok(OnDevice {
            context: Arc::clone(context),
            // SAFETY: only allocates; the context is bound.
            start: unsafe { result::malloc_sync(len) }?,
            len,
        })
    }

    /// The address of byte `offset`; `None` where not all of `len` bytes from there are within.
    pub(super) fn address(&self, offset: usize, len: usize) -> Option<*mut c_void> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let address = usize::try_from(self.start).ok()? + offset;
        end.map(|_| std::ptr::without_provenance_mut(address))
    }

    /// Enqueues a copy of the first `len` bytes of `from`, as far as both have so many.
    ///
    /// Until the stream has come past it, nobody may write `from`.
    pub(super) fn copy_up(
        &mut self,
        from: &mut Pinned,
        len: usize,
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        let len = len.min(self.len);
        let from = from.bytes();
        let from = from.get(..len).unwrap_or(from);
        // SAFETY: `from` is pinned and no longer than this; a slot is neither written nor freed before it has waited
        // for all that was enqueued of it.
        unsafe { result::memcpy_htod_async(self.start, from, stream.cu_stream()) }
    }

    /// Enqueues a copy of the first `len` bytes into `to`, as far as both have so many.
    ///
    /// Until the stream has come past it, nobody may read `to`.
    pub(super) fn copy_down(
        &self,
        to: &mut Pinned,
        len: usize,
        stream: &CudaStream,
    ) -> Result<(), DriverError> {
        let len = len.min(self.len).min(to.len);
        let to = to.bytes().get_mut(..len).unwrap_or_default();
        // SAFETY: as above, the other way.
        unsafe { result::memcpy_dtoh_async(to, self.start, stream.cu_stream()) }
    }
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        let freed = self.context.bind_to_thread();
        // SAFETY: it was allocated here, and is freed once; the driver waits for what is under way.
        let freed = freed.and_then(|()| unsafe { result::free_sync(self.start) });
        freed.unwrap_or_else(|fault| tracing::error!("device memory: {}", super::told(fault)));
    }
}

/// Gives the host's memory that is free back to the system. glibc keeps what a session took while it was opened, and
/// finds little of it fit for the next.
#[cfg(target_env = "gnu")]
pub(super) fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: glibc's own function; it locks what it looks at.
    unsafe { malloc_trim(0) };
}

/// Elsewhere the system's allocator sees to it.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim() {}
