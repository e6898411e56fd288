//! Devices, and how long counts would take on one: a roofline.

use crate::counts::{Class, Counts};

/// A device's peaks, from its data sheet.
#[derive(Clone, PartialEq, Debug)]
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// Number of multiprocessors.
    pub multiprocessors: u32,
    /// Clock, in GHz.
    pub clock_ghz: f64,
    /// Bandwidth of device memory, in GB/s.
    pub memory_gbs: f64,
    /// Dense products of f16 with f32 sums, in TFLOP/s.
    pub tensor_tflops: f64,
    /// Fused multiply-adds of f32, in TFLOP/s.
    pub f32_tflops: f64,
    /// What a launch costs in any case, in microseconds.
    pub launch_us: f64,
}

impl Device {
    /// The devices that are known.
    pub const ALL: &[Device] = &[
        Device {
            name: "A100",
            multiprocessors: 108,
            clock_ghz: 1.41,
            memory_gbs: 1555.0,
            tensor_tflops: 312.0,
            f32_tflops: 19.5,
            launch_us: 3.0,
        },
        Device {
            name: "H100",
            multiprocessors: 132,
            clock_ghz: 1.83,
            memory_gbs: 3350.0,
            tensor_tflops: 989.0,
            f32_tflops: 67.0,
            launch_us: 3.0,
        },
        Device {
            name: "H20",
            multiprocessors: 78,
            clock_ghz: 1.83,
            memory_gbs: 4000.0,
            tensor_tflops: 148.0,
            f32_tflops: 44.0,
            launch_us: 3.0,
        },
        Device {
            name: "L4",
            multiprocessors: 58,
            clock_ghz: 2.04,
            memory_gbs: 300.0,
            tensor_tflops: 121.0,
            f32_tflops: 30.3,
            launch_us: 3.0,
        },
        Device {
            name: "RTX 4090",
            multiprocessors: 128,
            clock_ghz: 2.52,
            memory_gbs: 1008.0,
            tensor_tflops: 165.2,
            f32_tflops: 82.6,
            launch_us: 3.0,
        },
    ];

    /// The device of this name.
    pub fn named(name: &str) -> Option<&'static Device> {
        Device::ALL.iter().find(|device| device.name == name)
    }
}

/// What limits a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Bandwidth of device memory.
    Memory,
    /// Tensor cores.
    TensorCores,
    /// Scalar float units.
    Floats,
    /// Issue slots of the schedulers.
    Issue,
    /// Bandwidth of shared memory.
    SharedMemory,
    /// The cost of a launch.
    Launch,
}

/// A predicted time and what it comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// Microseconds.
    pub microseconds: f64,
    /// What takes longest.
    pub bound: Bound,
}

/// The time that counts of one launch take on a device at best: the largest of what each resource needs, every block on
/// a multiprocessor of its own while there are any.
pub fn estimate(counts: &Counts, device: &Device) -> Estimate {
    // Blocks that leave multiprocessors idle use that much less of the machine.
    let busy = (counts.blocks.max(1) as f64 / f64::from(device.multiprocessors)).min(1.0);
    let cycles = |n: f64| n / (f64::from(device.multiprocessors) * busy * device.clock_ghz * 1e3);
    let bytes = (counts.sectors_read + counts.sectors_written) as f64 * 32.0;
    let issued = (counts.instructions() - counts.of(Class::Parameter)) as f64;
    let times = [
        (Bound::Memory, bytes / (device.memory_gbs * 1e3)),
        (Bound::TensorCores, counts.tensor_flops as f64 / (device.tensor_tflops * busy * 1e6)),
        (Bound::Floats, counts.flops as f64 / (device.f32_tflops * busy * 1e6)),
        // Four schedulers issue one instruction each per cycle.
        (Bound::Issue, cycles(issued / 4.0)),
        (Bound::SharedMemory, cycles(counts.shared_passes as f64)),
    ];
    let (bound, time) = times.into_iter().fold((Bound::Launch, 0.0), |best, x| if x.1 > best.1 { x } else { best });
    let bound = if time > device.launch_us { bound } else { Bound::Launch };
    Estimate { microseconds: time + device.launch_us, bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_resource_bounds() {
        let device = Device::named("A100").unwrap();
        let copy = Counts { blocks: 1000, sectors_read: 1 << 24, sectors_written: 1 << 24, ..Counts::default() };
        let found = estimate(&copy, device);
        assert_eq!(found.bound, Bound::Memory);
        assert!((found.microseconds - (2f64.powi(30) / 1555e3 + 3.0)).abs() < 1e-6);
        let product = Counts { blocks: 1000, tensor_flops: 312_000_000_000, ..Counts::default() };
        assert_eq!(estimate(&product, device), Estimate { microseconds: 1003.0, bound: Bound::TensorCores });
        assert_eq!(estimate(&Counts::default(), device).bound, Bound::Launch);
    }
}
