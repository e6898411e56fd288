//! The `ic` that is installed.

use crate::Error;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that an `ic` must have.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What there is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// An `ic` of this version.
    Found(PathBuf),
    /// None, and why.
    Missing(String),
}

/// The `ic` that the variable `IC` names, or the first one in `PATH`.
///
/// # Errors
/// If `IC` names something that is not an `ic` of this version.
pub(crate) fn find() -> Result<Installed, Error> {
    println!("cargo::rerun-if-env-changed=IC");
    if let Some(path) = env::var_os("IC").map(PathBuf::from) {
        let problem = match version(&path) {
            Ok(found) if found == VERSION => return Ok(Installed::Found(path)),
            Ok(found) => format!("IC names {}, which is ic {found}", path.display()),
            Err(problem) => format!("IC names {}: {problem}", path.display()),
        };
        return Err(Error::NoCompiler { problem });
    }
    Ok(in_folders(&env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>()))
}

/// The first `ic` in one of `folders`.
fn in_folders(folders: &[PathBuf]) -> Installed {
    let name = format!("ic{}", env::consts::EXE_SUFFIX);
    match folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file()) {
        None => Installed::Missing("no `ic` is installed".into()),
        Some(path) => match version(&path) {
            Ok(found) if found == VERSION => Installed::Found(path),
            Ok(found) => Installed::Missing(format!("{} is ic {found}", path.display())),
            Err(problem) => Installed::Missing(format!("{}: {problem}", path.display())),
        },
    }
}

/// The version that the program says it has.
fn version(path: &Path) -> Result<String, String> {
    let output = Command::new(path).arg("--version").output().map_err(|e| format!("cannot run it: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().strip_prefix("ic ").filter(|_| output.status.success());
    version.map(String::from).ok_or_else(|| "it does not say `ic` and a version".into())
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "a test fails where it stands")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with a program `ic` that prints `text`.
    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ic");
        std::fs::write(&program, format!("#!/bin/sh\necho '{text}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn the_version_must_be_the_same() {
        let (empty, same) = (tempfile::tempdir().unwrap(), folder(&format!("ic {VERSION}")));
        let (older, other) = (folder("ic 0.0.1"), folder("an interactive calculator"));
        let path = |folder: &tempfile::TempDir| folder.path().to_path_buf();
        assert_eq!(in_folders(&[path(&empty), path(&same)]), Installed::Found(path(&same).join("ic")));
        let missing = |folders: &[PathBuf]| match in_folders(folders) {
            Installed::Missing(problem) => problem,
            Installed::Found(path) => panic!("found {}", path.display()),
        };
        assert!(missing(&[path(&empty)]).contains("no `ic`"));
        assert!(missing(&[path(&older), path(&same)]).ends_with("is ic 0.0.1"));
        assert!(missing(&[path(&other)]).ends_with("does not say `ic` and a version"));
    }
}
