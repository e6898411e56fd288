//! A temporary file of constants that the compiler makes: they are read back one at a time, as the model's are.

use ic_ir::{Literal, LiteralData, Source};
use ic_types::Tensor;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file that is being filled. It has no name, and goes with the last literal in it.
#[derive(Debug)]
pub(super) struct Spill {
    file: Arc<SpillFile>,
    len: u64,
}

#[derive(Debug)]
struct SpillFile(File);

impl Source for SpillFile {
    fn path(&self) -> &Path {
        Path::new("quantized weights")
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        self.0.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }
}

impl Spill {
    /// An empty one.
    ///
    /// # Errors
    /// If no temporary file can be made.
    pub(super) fn new() -> io::Result<Spill> {
        Ok(Spill { file: Arc::new(SpillFile(tempfile::tempfile()?)), len: 0 })
    }

    /// Writes a tensor of numbers.
    ///
    /// # Errors
    /// If there is no room.
    pub(super) fn literal(&mut self, tensor: &Tensor) -> io::Result<Literal> {
        let bytes = tensor.data().to_le_bytes();
        (&self.file.0).write_all(&bytes)?;
        let offset = self.len;
        self.len += bytes.len() as u64;
        let data = LiteralData::File { source: self.file.clone(), offset };
        Ok(Literal { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::Data;

    #[test]
    fn what_is_spilled_is_read_back() {
        let mut spill = Spill::new().unwrap();
        let integers = Tensor::new(vec![3], Data::I4(vec![-8, 0, 7]));
        let scales = Tensor::from_elements(vec![2], vec![0.5f32, -2.0]);
        let literals = [&integers, &scales].map(|tensor| spill.literal(tensor).unwrap());
        assert_eq!(literals.map(|literal| literal.tensor().unwrap()), [integers, scales]);
    }
}
