//! Devices: what `--device` names, and which targets of an artifact run there.

use crate::Error;
use ic_artifact::Target;

/// A kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    /// As [`LoadOptions::device`](crate::LoadOptions::device) takes it.
    pub(crate) name: &'static str,
    /// How names of its targets begin, up to `:`; `None` for CPUs, whose names have no `:`.
    prefix: Option<&'static str>,
    /// What runs its code.
    pub(crate) engine: Engine,
}

/// What runs the code of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    /// This process.
    Cpu,
    /// The CUDA driver of the system.
    Cuda,
    /// The CUDA driver over an emulator.
    EmulatedCuda,
    /// Nothing in this runtime.
    Absent,
}

/// The machine's CPU.
pub(crate) const CPU: Device = Device { name: "cpu", prefix: None, engine: Engine::Cpu };

/// Every device. Of those that run the same targets, the real one comes first.
const DEVICES: &[Device] = &[
    CPU,
    Device { name: "cuda", prefix: Some("nvptx"), engine: Engine::Cuda },
    Device { name: "emulated-cuda", prefix: Some("nvptx"), engine: Engine::EmulatedCuda },
    Device { name: "ascend", prefix: Some("ascend"), engine: Engine::Absent },
];

impl Device {
    /// The device `name` and its number, as in `cuda:1`; the first without one.
    ///
    /// # Errors
    /// If there is none of that name; lists what there is.
    pub(crate) fn from_name(name: &str) -> Result<(Device, u32), Error> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        let known = || DEVICES.iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
        let found = DEVICES.iter().copied().find(|device| device.name == kind).zip(number.parse().ok());
        let found = found.filter(|(device, _)| *device != CPU || name == CPU.name);
        found.ok_or_else(|| Error::Option(format!("no device `{name}`; there are: {}", known())))
    }

    /// The device that runs `target`, if any does.
    pub(crate) fn of_target(target: &Target) -> Option<Device> {
        DEVICES.iter().copied().find(|device| device.runs(target))
    }

    /// Whether code for `target` is for devices of this kind.
    pub(crate) fn runs(self, target: &Target) -> bool {
        self.prefix == target.name.split_once(':').map(|(prefix, _)| prefix)
    }

    /// Whether this runtime has been built with it.
    pub(crate) fn is_built_in(self) -> bool {
        match self.engine {
            Engine::Cpu => true,
            Engine::Cuda | Engine::EmulatedCuda => cfg!(feature = "cuda"),
            Engine::Absent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        let number = |name| Device::from_name(name).ok().map(|(device, number)| (device.name, number));
        assert_eq!(number("cuda"), Some(("cuda", 0)));
        assert_eq!(number("cuda:2"), Some(("cuda", 2)));
        assert_eq!(number("cpu"), Some(("cpu", 0)));
        for wrong in ["cuda:", "cuda:x", "cpu:1", "gpu", ""] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }
}
