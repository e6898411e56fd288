//! The CUDA driver API over the PTX emulator: a `libcuda.so` for machines without a GPU.
//!
//! A process that loads it by path before its first call of the driver runs on it, as its SONAME is `libcuda.so`. There is
//! one device, of compute capability 9.0. Streams run in order and at once; capture records what it is given. A fault of
//! a kernel is written to standard error, with line and instruction, and fails the call and all later ones, as on a
//! device.
//!
//! Unsafe code is allowed here: the interface is C's. Callers vouch for their pointers as the driver API asks them to;
//! everything else, device memory above all, is checked.
#![expect(unsafe_code, reason = "the driver's interface is C's")]

#[macro_use]
pub mod api;
pub mod device;
pub mod driver;
pub mod graph;
pub mod launch;
pub mod memory;
pub mod stream;
