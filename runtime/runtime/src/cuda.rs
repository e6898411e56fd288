//! NVIDIA GPUs through the CUDA driver's interface: memory, modules, launches, replay.
//!
//! A [`Gpu`] is a model's code and weights on a device, which all sessions share. A [`Run`] is what one run at a time has
//! to itself: a stream, one allocation for inputs, outputs and the arena, pinned memory for transfers, and the launches
//! of shapes seen before as graphs. What is bound for a shape is the same as on the CPU, in `bind`.
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
mod stream;

pub(crate) use device::{Device, rank};
pub(crate) use gpu::{Function, Gpu};
pub(crate) use run::{Run, run};
