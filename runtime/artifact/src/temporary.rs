//! A file that appears under its name only when it is complete.
//!
//! It is written next to its destination and renamed by [`TemporaryFile::persist`]; dropped before that, it is removed.

use crate::ArtifactError;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Files that have not been renamed yet.
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Distinguishes the files of one process.
static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// A file that is being written.
#[derive(Debug)]
pub struct TemporaryFile {
    file: BufWriter<File>,
    path: PathBuf,
    destination: PathBuf,
}

impl TemporaryFile {
    /// A new empty file beside `destination`.
    ///
    /// # Errors
    /// If it cannot be created, or `destination` is a directory.
    pub fn create(destination: &Path) -> Result<TemporaryFile, ArtifactError> {
        let failed = |source| ArtifactError::File { action: "write", path: destination.to_owned(), source };
        let Some(name) = destination.file_name().filter(|_| !destination.is_dir()) else {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        };
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{sequence}.tmp", std::process::id()));
        let path = destination.with_file_name(hidden);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        pending().push(path.clone());
        Ok(TemporaryFile { file: BufWriter::with_capacity(1 << 18, file), path, destination: destination.to_owned() })
    }

    /// Gives the file its name, replacing what was there.
    ///
    /// # Errors
    /// If the last bytes cannot be written or the file cannot be renamed; it is then removed.
    pub fn persist(mut self) -> Result<(), ArtifactError> {
        let renamed = self.file.flush().and_then(|()| std::fs::rename(&self.path, &self.destination));
        renamed.map_err(|source| ArtifactError::File { action: "write", path: self.destination.clone(), source })?;
        forget(&self.path);
        Ok(())
    }

    /// The name that it will have.
    pub fn destination(&self) -> &Path {
        &self.destination
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if forget(&self.path) {
            // There is nobody to tell if this fails, and nothing else to do.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for TemporaryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Removes every file that is still being written. For a process that is about to exit on an interrupt; writers that
/// go on after this fail at the end.
pub fn remove_temporaries() {
    for path in pending().drain(..) {
        drop(std::fs::remove_file(path));
    }
}

fn pending() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes `path` off the list; whether it was there.
fn forget(path: &Path) -> bool {
    let mut pending = pending();
    let position = pending.iter().position(|p| p == path);
    position.map(|at| pending.swap_remove(at)).is_some()
}
