//! Results of calls, handles, and how functions are declared.

use ic_ptx_emulator::{Fault, FaultKind, MemoryError};
use std::ffi::c_void;

/// `CUresult`.
pub type Status = u32;

/// A handle: the number of an object, from 1 on.
pub type Handle = *mut c_void;

pub(crate) const SUCCESS: Status = 0;
pub(crate) const INVALID_VALUE: Status = 1;
pub(crate) const OUT_OF_MEMORY: Status = 2;
pub(crate) const NOT_INITIALIZED: Status = 3;
pub(crate) const INVALID_DEVICE: Status = 101;
pub(crate) const INVALID_CONTEXT: Status = 201;
pub(crate) const INVALID_PTX: Status = 218;
pub(crate) const INVALID_HANDLE: Status = 400;
pub(crate) const NOT_FOUND: Status = 500;
pub(crate) const ILLEGAL_ADDRESS: Status = 700;
pub(crate) const LAUNCH_OUT_OF_RESOURCES: Status = 701;
pub(crate) const MISALIGNED_ADDRESS: Status = 716;
pub(crate) const LAUNCH_FAILED: Status = 719;

/// Names and descriptions of the results above.
pub(crate) const RESULTS: &[(Status, &str, &str)] = &[
    (SUCCESS, "CUDA_SUCCESS\0", "no error\0"),
    (INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE\0", "invalid argument\0"),
    (OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY\0", "out of memory\0"),
    (NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED\0", "initialization error\0"),
    (INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE\0", "invalid device ordinal\0"),
    (INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT\0", "invalid device context\0"),
    (INVALID_PTX, "CUDA_ERROR_INVALID_PTX\0", "the emulator does not take the PTX\0"),
    (INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE\0", "invalid resource handle\0"),
    (NOT_FOUND, "CUDA_ERROR_NOT_FOUND\0", "named symbol not found\0"),
    (ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS\0", "an illegal memory access was encountered\0"),
    (LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\0", "too many resources requested for launch\0"),
    (MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS\0", "misaligned address\0"),
    (LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED\0", "unspecified launch failure\0"),
];

/// The result that a fault has on a device.
pub(crate) fn status_of(fault: &Fault) -> Status {
    match fault.kind {
        FaultKind::OutOfBounds => ILLEGAL_ADDRESS,
        FaultKind::Misaligned => MISALIGNED_ADDRESS,
        FaultKind::Launch => LAUNCH_OUT_OF_RESOURCES,
        _ => LAUNCH_FAILED,
    }
}

pub(crate) fn memory_status(error: &MemoryError) -> Status {
    match error {
        MemoryError::OutOfMemory(_) => OUT_OF_MEMORY,
        MemoryError::OutOfBounds { .. } | MemoryError::NotAllocated(_) => INVALID_VALUE,
    }
}

/// Writes through a pointer of the caller's.
pub(crate) fn put<T>(to: *mut T, value: T) -> Status {
    if to.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the driver API makes the caller vouch for pointers to results that are not null.
    unsafe { to.write(value) };
    SUCCESS
}

/// Declares functions of the driver: `api! { fn cuInit(flags: u32) { … } }`. The body is the result.
macro_rules! api {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the driver API says: pointers are null or point to what the function reads and writes.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> $crate::api::Status $body
        )*
    };
}
