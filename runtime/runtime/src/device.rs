//! Devices: what `--device` names, and which targets of an artifact run there.

use crate::Error;
use ic_artifact::Target;

/// Where a model runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    /// As [`LoadOptions::device`](crate::LoadOptions::device) takes it.
    pub(crate) name: &'static str,
    /// How names of its targets begin, up to `:`; `None` for CPUs, whose names have no `:`.
    pub(crate) prefix: Option<&'static str>,
    /// Whether this runtime has been built with it.
    pub(crate) is_built_in: bool,
}

/// The machine's CPU.
pub(crate) const CPU: Device = Device { name: "cpu", prefix: None, is_built_in: true };

/// Every device.
const DEVICES: &[Device] = &[
    CPU,
    Device { name: "cuda", prefix: Some("nvptx"), is_built_in: false },
    Device { name: "ascend", prefix: Some("ascend"), is_built_in: false },
];

impl Device {
    /// The device `name`.
    ///
    /// # Errors
    /// If there is none of that name; lists what there is.
    pub(crate) fn from_name(name: &str) -> Result<Device, Error> {
        let known = || DEVICES.iter().map(|device| device.name).collect::<Vec<_>>().join(", ");
        let found = DEVICES.iter().copied().find(|device| device.name == name);
        found.ok_or_else(|| Error::Option(format!("no device `{name}`; there are: {}", known())))
    }

    /// The device that runs `target`, if any does.
    pub(crate) fn of_target(target: &Target) -> Option<Device> {
        let prefix = target.name.split_once(':').map(|(prefix, _)| prefix);
        DEVICES.iter().copied().find(|device| device.prefix == prefix)
    }
}
