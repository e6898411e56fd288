//! Files that hold constants, read at positions.

use ic_ir::Source;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An open file.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// If there is no such file or it cannot be read.
    pub fn open(path: &Path) -> io::Result<FileSource> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(FileSource { path: path.to_path_buf(), file, len: metadata.len() })
    }

    /// Bytes in the file when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file was empty when it was opened.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// If the file has become shorter or cannot be read; the message names it.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|e| {
            let path = self.path.display();
            let end = offset.saturating_add(buffer.len() as u64);
            match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::new(e.kind(), format!("`{path}` ends before byte {end}: it has become shorter"))
                }
                kind => io::Error::new(kind, format!("cannot read `{path}`: {e}")),
            }
        })
    }
}

impl Source for FileSource {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.len) {
            let message = format!("`{}` has no {len} bytes at {offset}", self.path.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let mut buffer = vec![0; len];
        self.read_into(offset, &mut buffer)?;
        Ok(buffer)
    }
}
