//! Initialization, the device, contexts, names of results.

use crate::api::{Handle, INVALID_DEVICE, INVALID_VALUE, RESULTS, SUCCESS, Status, put};
use crate::driver::{check, initialize, with};
use std::ffi::{c_char, c_int, c_uint};

/// Bytes of memory that the device claims to have.
pub(crate) const TOTAL_BYTES: usize = 64 << 30;
/// The only context; contexts are not told apart.
const CONTEXT: usize = 1;

/// Attributes (`CUdevice_attribute`) that are not 0.
const ATTRIBUTES: &[(u32, c_int)] = &[
    (1, 1024),       // most threads of a block
    (2, 1024),       // along x
    (3, 1024),       // along y
    (4, 64),         // along z
    (5, c_int::MAX), // most blocks along x
    (6, 65_535),     // along y
    (7, 65_535),     // along z
    (8, 49_152),     // shared memory of a block
    (10, 32),        // threads of a warp
    (12, 65_536),    // registers of a block
    (13, 1_830_000), // clock in kHz
    (16, 132),       // multiprocessors
    (38, 50 << 20),  // bytes of L2
    (39, 2048),      // threads of a multiprocessor
    (41, 1),         // one address space
    (75, 9),         // compute capability
    (76, 0),
    (81, 233_472), // shared memory of a multiprocessor
    (82, 65_536),  // registers of a multiprocessor
    (97, 232_448), // shared memory of a block that asks for more
];

fn is_device(device: c_int) -> Result<(), Status> {
    if device == 0 { Ok(()) } else { Err(INVALID_DEVICE) }
}

fn context() -> Handle {
    std::ptr::without_provenance_mut(CONTEXT)
}

api! {
    /// Makes the driver ready.
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return INVALID_VALUE;
        }
        initialize();
        SUCCESS
    }

    /// The newest version of CUDA that the driver knows: 12.8.
    fn cuDriverGetVersion(version: *mut c_int) {
        put(version, 12_080)
    }

    /// The number of devices: 1.
    fn cuDeviceGetCount(count: *mut c_int) {
        with(|_| check(put(count, 1)))
    }

    /// The device of a number.
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int) {
        with(|_| is_device(ordinal).and_then(|()| check(put(device, 0))))
    }

    /// The device's name.
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) {
        with(|_| {
            is_device(device)?;
            let text = b"Emulated H100\0";
            let room = usize::try_from(length).unwrap_or(0);
            if name.is_null() || room < text.len() {
                return Err(INVALID_VALUE);
            }
            // SAFETY: the caller vouches for `length` bytes, of which the text needs fewer.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
            Ok(())
        })
    }

    /// An attribute of the device.
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) {
        with(|_| {
            is_device(device)?;
            let known = ATTRIBUTES.iter().find(|(number, _)| *number == attribute);
            check(put(value, known.map_or(0, |&(_, value)| value)))
        })
    }

    /// Bytes of device memory.
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        with(|_| is_device(device).and_then(|()| check(put(bytes, TOTAL_BYTES))))
    }

    /// A name for the device in 16 bytes.
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) {
        with(|_| is_device(device).and_then(|()| check(put(uuid, *b"emulated device!"))))
    }

    /// The device's context.
    fn cuDevicePrimaryCtxRetain(to: *mut Handle, device: c_int) {
        with(|_| is_device(device).and_then(|()| check(put(to, context()))))
    }

    /// Gives the context back.
    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        with(|_| is_device(device))
    }

    /// Makes a context the thread's.
    fn cuCtxSetCurrent(_context: Handle) {
        with(|_| Ok(()))
    }

    /// The thread's context.
    fn cuCtxGetCurrent(to: *mut Handle) {
        with(|_| check(put(to, context())))
    }

    /// The device of the thread's context.
    fn cuCtxGetDevice(device: *mut c_int) {
        with(|_| check(put(device, 0)))
    }

    /// Waits for all work, of which there is none.
    fn cuCtxSynchronize() {
        with(|_| Ok(()))
    }

    /// The name of a result.
    fn cuGetErrorName(status: Status, to: *mut *const c_char) {
        describe(status, to, |(_, name, _)| name)
    }

    /// What a result means.
    fn cuGetErrorString(status: Status, to: *mut *const c_char) {
        describe(status, to, |(_, _, text)| text)
    }

    /// Bytes of device memory that are free, and all.
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        with(|driver| {
            let used = usize::try_from(driver.memory.allocated()).unwrap_or(usize::MAX);
            check(put(free, TOTAL_BYTES.saturating_sub(used)))?;
            check(put(total, TOTAL_BYTES))
        })
    }
}

type Row = (Status, &'static str, &'static str);

fn describe(status: Status, to: *mut *const c_char, text: fn(&Row) -> &'static str) -> Status {
    match RESULTS.iter().find(|row| row.0 == status) {
        Some(row) => put(to, text(row).as_ptr().cast()),
        None => INVALID_VALUE,
    }
}
