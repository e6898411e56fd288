//! NVIDIA GPUs through the CUDA driver's interface: memory, modules, launches, replay.
//!
//! A [`Gpu`] is a model's code and weights on a device, which all sessions share. A [`Run`] is what one run at a time has
//! to itself: a stream, one allocation per segment for inputs, outputs and the arena, pinned memory for transfers, and the
//! launches of shapes seen before as graphs. What is bound for a shape is the same as on the CPU, in `bind`. States live in
//! the GPU's memory. Conditions, counters and extents that kernels compute are read by the host, which goes on from there.
//!
//! cudarc looks for the driver once per process and panics if there is none; [`driver`] probes before its first call.

mod device;
mod driver;
#[cfg(target_os = "linux")]
mod emulator;
#[cfg(not(target_os = "linux"))]
#[path = "cuda/no_emulator.rs"]
mod emulator;
mod gpu;
mod memory;
mod replay;
mod run;
mod states;
mod steps;
mod stream;

pub(crate) use device::{Device, rank};
pub(crate) use gpu::{Function, Gpu};
pub(crate) use run::{Run, read_value, run};
pub(crate) use states::StateMemory;
