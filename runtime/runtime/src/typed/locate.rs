//! Finds a file that belongs to the running program.

use crate::Error;
use std::path::{Path, PathBuf};

/// Folders of a Cargo profile in which programs lie one level deeper: tests and examples.
const INNER: &[&str] = &["deps", "examples"];

/// The file called `name` in the folder of the running program; for a test or an example that Cargo has built, in the
/// folder of the profile too. Where there is none, that in `built`, so that a program which is run where it was built
/// finds it whatever Cargo's folders are.
///
/// # Errors
/// If there is none.
pub(super) fn beside_program(name: &str, built: Option<&str>) -> Result<PathBuf, Error> {
    let failed = |path: String, source| Error::Open { path, source };
    let program = std::env::current_exe().map_err(|source| failed(name.into(), source))?;
    let folder = program.parent().unwrap_or(&program);
    let beside = folder.join(name);
    let is_inner = folder.file_name().is_some_and(|inner| INNER.iter().any(|known| inner == *known));
    let outer = folder.parent().filter(|_| is_inner).map(|outer| outer.join(name));
    let built = built.map(|folder| Path::new(folder).join(name));
    let found = [Some(beside.clone()), outer, built].into_iter().flatten().find(|path| path.is_file());
    found.ok_or_else(|| failed(beside.display().to_string(), std::io::ErrorKind::NotFound.into()))
}
