//! The CUDA driver's library: found and made ready once per process, before cudarc's first call of it.
//!
//! A process has one: the system's or the emulator. cudarc opens `libcuda.so` by name; the emulator has that SONAME, so
//! once it is loaded by path, cudarc's search ends at it.

use crate::Error;
use crate::device::Engine;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult};
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

/// Version 11.4, the first that has every function that this runtime calls.
const OLDEST_DRIVER: i32 = 11_040;

/// What this process has loaded.
static LOADED: Mutex<Option<Engine>> = Mutex::new(None);

/// Loads the driver and makes it ready. The version of CUDA that it knows: 1000 × major + 10 × minor.
///
/// # Errors
/// If there is no driver, it is too old, it finds no device, or the process already uses another.
pub(super) fn load(device: &str, engine: Engine) -> Result<i32, Error> {
    let refuse = |problem: String| Error::Device { device: device.into(), problem };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match (*loaded, engine) {
        (Some(known), _) if known == engine => {}
        (Some(_), _) => {
            return Err(refuse("this process already uses the other CUDA driver, and a process has one".into()));
        }
        (None, Engine::EmulatedCuda) => super::emulator::load().map_err(refuse)?,
        (None, _) => {
            // SAFETY: opens and closes the library that cudarc would open; its initialization is the driver's.
            if !unsafe { sys::is_culib_present() } {
                return Err(refuse("there is no CUDA driver: libcuda.so cannot be loaded".into()));
            }
        }
    }
    let mut version = 0;
    // SAFETY: may be called before initialization; writes an int.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    if status != CUresult::CUDA_SUCCESS || version < OLDEST_DRIVER {
        let (found, oldest) = (version_text(version), version_text(OLDEST_DRIVER));
        return Err(refuse(format!("the driver knows CUDA {found}, at least {oldest} is needed")));
    }
    result::init().map_err(|e| {
        refuse(match e.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => "the driver finds no NVIDIA GPU".into(),
            _ => format!("the driver cannot be initialized: {}", describe(e)),
        })
    })?;
    *loaded = Some(engine);
    Ok(version)
}

/// As CUDA writes its versions.
pub(super) fn version_text(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// The name and the meaning of the driver's result.
pub(super) fn describe(error: DriverError) -> String {
    let text = |found: Result<&CStr, DriverError>| found.map(|t| t.to_string_lossy().into_owned()).ok();
    match (text(error.error_name()), text(error.error_string())) {
        (Some(name), Some(meaning)) => format!("{meaning} ({name})"),
        _ => format!("{:?}", error.0),
    }
}
