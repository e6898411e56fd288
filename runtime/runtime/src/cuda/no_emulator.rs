//! Where there is no emulated device: the SONAME by which it is found is a thing of Linux.

pub(super) fn load() -> Result<(), String> {
    Err("the emulated device is for Linux".into())
}
