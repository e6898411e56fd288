//! Loads the driver over the PTX emulator, by path and for good.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Names the library.
const VARIABLE: &str = "IC_EMULATED_CUDA";
/// The library, beside the program or in a folder beside it.
const NAME: &str = "libcuda.so";

/// Loads the library.
///
/// # Errors
/// If there is none, or it cannot be loaded.
pub(super) fn load() -> Result<(), String> {
    let path = find()?;
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path of the emulator has a zero byte")?;
    // SAFETY: the user names the library or has put it beside the program; its initialization does nothing.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !library.is_null() {
        return Ok(());
    }
    // SAFETY: asks why the call before has failed.
    let reason = unsafe { libc::dlerror() };
    if reason.is_null() {
        return Err(format!("the emulator {} cannot be loaded", path.display()));
    }
    // SAFETY: a text that ends with a zero, valid until this thread's next call of these functions.
    let reason = unsafe { CStr::from_ptr(reason) };
    Err(format!("the emulator cannot be loaded: {}", reason.to_string_lossy()))
}

/// Where the library is.
fn find() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        // A bare file name would be searched for among the system's libraries.
        return std::path::absolute(&path).map_err(|e| format!("{}: {e}", path.display()));
    }
    let program = std::env::current_exe().map_err(|e| format!("the program's folder is not known: {e}"))?;
    let folder = program.parent().unwrap_or(&program);
    let places = [folder.join(NAME), folder.join("deps").join(NAME)];
    let found = places.iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        let places = places.map(|path| path.display().to_string()).join(" and ");
        format!("there is no emulator: neither in {VARIABLE} nor at {places}")
    })
}
