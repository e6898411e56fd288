//! A GPU and its primary context, which all models on it share.

use super::driver::{describe, load, version_text};
use crate::Error;
use crate::device::Engine;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use ic_artifact::Target;
use std::sync::Arc;

/// A GPU.
pub(crate) struct Device {
    /// As the user named it.
    label: String,
    /// As the driver names it.
    name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Major and minor compute capability.
    capability: (i32, i32),
    /// The version of CUDA that the driver knows.
    version: i32,
}

// SAFETY: the driver's interface may be called from any thread; a context is made a thread's own before it is used.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// The GPU `number` of a driver.
    ///
    /// # Errors
    /// If there is no driver or no such GPU.
    pub(crate) fn open(label: &str, engine: Engine, number: u32) -> Result<Arc<Device>, Error> {
        let version = load(label, engine)?;
        let refuse = |problem: String| Error::Device { device: label.into(), problem };
        let failed = |e: DriverError| refuse(describe(e));
        let count = result::device::get_count().map_err(failed)?;
        let number = i32::try_from(number).ok().filter(|number| *number < count);
        let number = number.ok_or_else(|| refuse(format!("the driver has {count} GPUs, counted from 0")))?;
        let device = result::device::get(number).map_err(failed)?;
        let name = result::device::get_name(device).map_err(failed)?;
        let attribute = |attribute| {
            // SAFETY: the device comes from the driver.
            unsafe { result::device::get_attribute(device, attribute) }.map_err(failed)
        };
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        // SAFETY: the device comes from the driver; the context is released when this is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        let label = label.into();
        Ok(Arc::new(Device { label, name, device, context, capability: (major, minor), version }))
    }

    /// Makes the GPU the calling thread's.
    pub(super) fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context is retained.
        unsafe { result::ctx::set_current(self.context) }.map_err(self.failed("its context cannot be used"))
    }

    /// As the driver names it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An error of this device.
    pub(super) fn refuse(&self, problem: String) -> Error {
        Error::Device { device: self.label.clone(), problem }
    }

    /// The error that a call of the driver's was.
    pub(super) fn failed(&self, what: &str) -> impl Fn(DriverError) -> Error {
        move |error| self.refuse(format!("{what}: {}", describe(error)))
    }

    /// The error that an allocation of `bytes` bytes was.
    pub(super) fn no_memory(&self, what: &str, bytes: usize) -> impl Fn(DriverError) -> Error {
        move |error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::memory(&format!("{what} on {}", self.name), bytes),
            _ => self.failed(what)(error),
        }
    }

    /// What the driver knows, for messages.
    pub(super) fn cuda_version(&self) -> String {
        version_text(self.version)
    }

    /// Why this GPU cannot run `target`, if it cannot: PTX of an architecture runs on later ones too, unless its name
    /// ends in `a`.
    pub(crate) fn obstacle(&self, target: &Target) -> Option<String> {
        let (major, minor) = self.capability;
        let is_own = |architecture: u32| architecture as i32 == major * 10 + minor;
        let runs = match architecture(target) {
            Some((architecture, true)) => is_own(architecture),
            Some((architecture, false)) => architecture as i32 <= major * 10 + minor,
            None => false,
        };
        (!runs).then(|| format!("{} has compute capability {major}.{minor}", self.name))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once, when this was made. Nothing can be done about an error.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("label", &self.label).field("name", &self.name).finish()
    }
}

/// The architecture of a target such as `nvptx:sm_90a`, and whether no other runs it.
fn architecture(target: &Target) -> Option<(u32, bool)> {
    let digits = target.name.strip_prefix("nvptx:sm_")?;
    let number = digits.strip_suffix('a').unwrap_or(digits);
    Some((number.parse().ok()?, number.len() < digits.len()))
}

/// How new the architecture of `target` is.
pub(crate) fn rank(target: &Target) -> u32 {
    architecture(target).map_or(0, |(number, is_only)| 2 * number + u32::from(is_only))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target { name: name.into(), code_section: 0, plan_section: 0, cpu_features: vec![] }
    }

    #[test]
    fn architectures_are_read() {
        assert_eq!(architecture(&target("nvptx:sm_80")), Some((80, false)));
        assert_eq!(architecture(&target("nvptx:sm_90a")), Some((90, true)));
        assert_eq!(architecture(&target("nvptx:warp")), None);
        assert!(rank(&target("nvptx:sm_90a")) > rank(&target("nvptx:sm_89")));
    }
}
