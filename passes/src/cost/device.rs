//! The device that the cost model assumes: written by `cargo xtask fit-cost passes/src/cost/device.rs`.

use super::Device;

/// One core of a CPU.
pub(super) const DEVICE: Device = Device { multiply_adds: 16, integer_multiply_adds: 64 };
