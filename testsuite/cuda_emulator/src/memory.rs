//! Device memory and copies.

use crate::api::{Handle, INVALID_VALUE, Status, memory_status, put};
use crate::device::TOTAL_BYTES;
use crate::driver::{Driver, check, with};
use crate::launch::Work;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

/// Sizes of memory that the host shares with the device.
static PINNED: Mutex<BTreeMap<usize, Layout>> = Mutex::new(BTreeMap::new());

/// The caller's bytes.
fn host<'a>(from: *const c_void, bytes: usize) -> Result<&'a [u8], Status> {
    match bytes {
        0 => Ok(&[]),
        _ if from.is_null() => Err(INVALID_VALUE),
        // SAFETY: the caller of a copy vouches for `bytes` bytes at the address.
        _ => Ok(unsafe { std::slice::from_raw_parts(from.cast(), bytes) }),
    }
}

fn host_mut<'a>(to: *mut c_void, bytes: usize) -> Result<&'a mut [u8], Status> {
    match bytes {
        0 => Ok(&mut []),
        _ if to.is_null() => Err(INVALID_VALUE),
        // SAFETY: the caller of a copy vouches for `bytes` bytes at the address, and that nobody else uses them.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(to.cast(), bytes) }),
    }
}

fn read(driver: &Driver, from: u64, to: &mut [u8]) -> Result<(), Status> {
    driver.memory.read(from, to).map_err(|e| memory_status(&e))
}

fn write(driver: &Driver, to: u64, from: &[u8]) -> Result<(), Status> {
    driver.memory.write(to, from).map_err(|e| memory_status(&e))
}

/// Copies bytes on the device.
pub(crate) fn copy(driver: &Driver, to: u64, from: u64, bytes: usize) -> Result<(), Status> {
    let mut contents = vec![0; bytes];
    read(driver, from, &mut contents)?;
    write(driver, to, &contents)
}

/// Sets bytes on the device.
pub(crate) fn fill(driver: &Driver, to: u64, value: u8, bytes: usize) -> Result<(), Status> {
    write(driver, to, &vec![value; bytes])
}

api! {
    /// Allocates device memory.
    fn cuMemAlloc_v2(to: *mut u64, bytes: usize) {
        with(|driver| {
            if bytes == 0 {
                return Err(INVALID_VALUE);
            }
            let free = (TOTAL_BYTES as u64).saturating_sub(driver.memory.allocated());
            if bytes as u64 > free {
                return Err(crate::api::OUT_OF_MEMORY);
            }
            let address = driver.memory.allocate(bytes as u64).map_err(|e| memory_status(&e))?;
            check(put(to, address))
        })
    }

    /// Frees device memory.
    fn cuMemFree_v2(address: u64) {
        with(|driver| driver.memory.free(address).map_err(|e| memory_status(&e)))
    }

    /// Allocates memory of the host for fast copies.
    fn cuMemAllocHost_v2(to: *mut *mut c_void, bytes: usize) {
        with(|_| {
            let layout = Layout::from_size_align(bytes.max(1), 4096).map_err(|_| INVALID_VALUE)?;
            // SAFETY: the layout is not empty.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() {
                return Err(crate::api::OUT_OF_MEMORY);
            }
            PINNED.lock().unwrap_or_else(PoisonError::into_inner).insert(memory.addr(), layout);
            check(put(to, memory.cast()))
        })
    }

    /// Frees it.
    fn cuMemFreeHost(memory: *mut c_void) {
        let layout = PINNED.lock().unwrap_or_else(PoisonError::into_inner).remove(&memory.addr());
        match layout {
            // SAFETY: the memory was allocated with this layout and has not been freed.
            Some(layout) => unsafe { dealloc(memory.cast(), layout) },
            None => return INVALID_VALUE,
        }
        crate::api::SUCCESS
    }

    /// Copies to the device.
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        with(|driver| write(driver, to, host(from, bytes)?))
    }

    /// Copies from the device.
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) {
        with(|driver| read(driver, from, host_mut(to, bytes)?))
    }

    /// Copies on the device.
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        with(|driver| copy(driver, to, from, bytes))
    }

    /// Copies to the device, in a stream.
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) {
        with(|driver| {
            let contents = host(from, bytes)?.to_vec();
            crate::stream::enqueue(driver, stream, Work::Write { to, contents })
        })
    }

    /// Copies from the device, in a stream.
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) {
        with(|driver| {
            let to = host_mut(to, bytes)?.as_mut_ptr().expose_provenance();
            crate::stream::enqueue(driver, stream, Work::Read { to, from, bytes })
        })
    }

    /// Copies on the device, in a stream.
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        with(|driver| crate::stream::enqueue(driver, stream, Work::Copy { to, from, bytes }))
    }

    /// Sets bytes on the device.
    fn cuMemsetD8_v2(to: u64, value: u8, bytes: usize) {
        with(|driver| fill(driver, to, value, bytes))
    }

    /// Sets bytes on the device, in a stream.
    fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: Handle) {
        with(|driver| crate::stream::enqueue(driver, stream, Work::Fill { to, value, bytes }))
    }
}
