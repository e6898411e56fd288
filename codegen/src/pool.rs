//! The weight section under construction: one pool of blocks for all entries and classes of targets, in which equal
//! blocks are stored once.

use std::collections::HashMap;
use std::io::{self, Write};

/// Alignment of blocks in their section.
const ALIGNMENT: u64 = 64;

/// Something that can be written any number of times, with the same bytes each time.
pub trait Block {
    /// Number of bytes.
    fn bytes(&self) -> u64;

    /// Writes the bytes.
    ///
    /// # Errors
    /// If they cannot be read any more, or `out` cannot be written.
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Writes blocks to the weight section.
pub struct WeightPool<'a> {
    out: &'a mut dyn Write,
    position: u64,
    /// Offset of each block by its length and hash.
    offsets: HashMap<(u64, blake3::Hash), u64>,
}

impl<'a> WeightPool<'a> {
    /// An empty pool; `out` is at the start of the section.
    pub fn new(out: &'a mut dyn Write) -> WeightPool<'a> {
        WeightPool { out, position: 0, offsets: HashMap::new() }
    }

    /// The offset of the block in the section. It is written unless an equal one is there.
    ///
    /// # Errors
    /// As for [`Block::write`].
    pub fn add(&mut self, block: &dyn Block) -> io::Result<u64> {
        let mut hasher = blake3::Hasher::new();
        block.write(&mut hasher)?;
        let key = (block.bytes(), hasher.finalize());
        if let Some(&offset) = self.offsets.get(&key) {
            return Ok(offset);
        }
        let offset = self.position.next_multiple_of(ALIGNMENT);
        self.out.write_all(&vec![0; (offset - self.position) as usize])?;
        block.write(self.out)?;
        self.position = offset + block.bytes();
        self.offsets.insert(key, offset);
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(&'static [u8]);

    impl Block for Bytes {
        fn bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            out.write_all(self.0)
        }
    }

    #[test]
    fn equal_blocks_are_stored_once() {
        let mut out = Vec::new();
        let mut pool = WeightPool::new(&mut out);
        let offsets: Vec<u64> =
            [b"abc", b"abd", b"abc"].into_iter().map(|bytes| pool.add(&Bytes(bytes)).unwrap()).collect();
        assert_eq!(offsets, [0, 64, 0]);
        assert_eq!(out.len(), 67);
    }
}
