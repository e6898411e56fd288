//! Memory of a GPU, and memory of the host that it reads and writes at full speed.

use super::device::Device;
use crate::Error;
use cudarc::driver::result;
use cudarc::driver::sys;
use std::sync::Arc;

/// Memory of a GPU. Its contents are arbitrary at first.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    device: Arc<Device>,
    address: u64,
    bytes: usize,
}

impl DeviceMemory {
    /// Allocates `bytes` bytes, at a multiple of 256.
    ///
    /// # Errors
    /// If the GPU has not as many. The thread must have entered it.
    pub(super) fn new(device: &Arc<Device>, bytes: usize, what: &str) -> Result<DeviceMemory, Error> {
        // SAFETY: nothing reads the memory before it is written but kernels, to which any bits are numbers.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(device.no_memory(what, bytes))?;
        Ok(DeviceMemory { device: device.clone(), address, bytes })
    }

    /// The first byte's address.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Copies bytes from the host to `at`, and waits.
    ///
    /// # Panics
    /// If they do not fit there.
    pub(super) fn write(&self, at: usize, contents: &[u8]) -> Result<(), Error> {
        assert!(at + contents.len() <= self.bytes, "a copy beyond the end of device memory");
        if contents.is_empty() {
            return Ok(());
        }
        // SAFETY: the bytes fit, and the call has read them when it returns.
        let copied = unsafe { result::memcpy_htod_sync(self.address + at as u64, contents) };
        copied.map_err(self.device.failed("copying to it failed"))?;
        self.wait()
    }

    /// Copies the first bytes to the host, and waits.
    ///
    /// # Panics
    /// If there are not as many.
    pub(super) fn read(&self, to: &mut [u8]) -> Result<(), Error> {
        assert!(to.len() <= self.bytes, "a copy from beyond the end of device memory");
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: the bytes are there.
        let copied = unsafe { result::memcpy_dtoh_sync(to, self.address) };
        copied.map_err(self.device.failed("copying from it failed"))
    }

    /// Sets all bytes to zero, and waits.
    pub(super) fn clear(&self) -> Result<(), Error> {
        // SAFETY: the memory has so many bytes.
        let set = unsafe { result::memset_d8_sync(self.address, 0, self.bytes) };
        set.map_err(self.device.failed("its memory cannot be set"))?;
        self.wait()
    }

    /// Memory with the same contents.
    pub(super) fn duplicate(&self, what: &str) -> Result<DeviceMemory, Error> {
        self.device.enter()?;
        let copy = DeviceMemory::new(&self.device, self.bytes, what)?;
        if self.bytes == 0 {
            return Ok(copy);
        }
        // SAFETY: both have so many bytes.
        let copied = unsafe { result::memcpy_dtod_sync(copy.address, self.address, self.bytes) };
        copied.map_err(self.device.failed("a state cannot be copied"))?;
        self.wait()?;
        Ok(copy)
    }

    /// Waits until what calls without a stream have begun is done: streams do not wait for it.
    fn wait(&self) -> Result<(), Error> {
        result::ctx::synchronize().map_err(self.device.failed("copying failed"))
    }

    /// Makes the GPU the calling thread's.
    pub(super) fn enter(&self) -> Result<(), Error> {
        self.device.enter()
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated once, and nothing that runs uses it. Nothing can be done about an error.
            let _ = unsafe { result::memory_free(self.address) };
        }
    }
}

/// Memory of the host that a GPU reaches, for transfers.
#[derive(Debug)]
pub(super) struct PinnedMemory {
    device: Arc<Device>,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is this value's own.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    /// Allocates `bytes` bytes, at least one.
    ///
    /// # Errors
    /// If the system has not as many to pin. The thread must have entered the GPU.
    pub(super) fn new(device: &Arc<Device>, bytes: usize) -> Result<PinnedMemory, Error> {
        let mut start = std::ptr::null_mut();
        // SAFETY: writes an address.
        let status = unsafe { sys::cuMemAllocHost_v2(&mut start, bytes.max(1)) };
        status.result().map_err(|_| Error::memory("pinned memory for transfers", bytes))?;
        // SAFETY: the memory was just allocated; from here on its bytes have values.
        unsafe { start.cast::<u8>().write_bytes(0, bytes) };
        Ok(PinnedMemory { device: device.clone(), start: start.cast(), bytes })
    }

    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: allocated with this length, set to zero, and shared with no transfer that is under way.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// The bytes, for writing.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated once, and no transfer uses it. Nothing can be done about an error.
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}
