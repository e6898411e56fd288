//! Products of warpgroups, decoded: shapes, sources, and matrices in shared memory by their descriptors.
//!
//! Section 9.7.15: a warpgroup is four warps, of which each has 16 of the 64 rows of A and of the result. Elements of
//! factors have two bytes here, so a step of K is 16 of them.

use crate::float::Format;
use crate::instruction::{Guard, Operand, Reg};

/// Steps of K of an instruction.
pub(crate) const K: usize = 16;
/// Rows of a warp.
pub(crate) const ROWS: usize = 16;

/// Where A comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Four registers of two halves each.
    Registers(Vec<Operand>),
    /// A descriptor, and whether rows of memory are along M.
    Memory(Operand, bool),
}

/// `wgmma.mma_async` of `m64nNk16` with f32 accumulators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WarpgroupMma {
    pub(crate) n: usize,
    pub(crate) format: Format,
    pub(crate) d: Vec<Reg>,
    pub(crate) a: Left,
    /// B's descriptor, and whether rows of memory are along N.
    pub(crate) b: (Operand, bool),
    /// Whether the old accumulators are added.
    pub(crate) accumulates: Guard,
    /// The product of the signs of A and B.
    pub(crate) is_negated: bool,
}

/// A matrix in shared memory (section 9.7.15.5.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
    /// Bytes of a row of the swizzled pattern; 16 without one.
    row: u64,
}

impl Descriptor {
    /// What the bits say.
    ///
    /// # Errors
    /// If they ask for what is not supported: a base offset other than 0.
    pub(crate) fn new(bits: u64) -> Result<Descriptor, String> {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        if bits >> 49 & 7 != 0 {
            return Err("a descriptor with a base offset".into());
        }
        let row = match bits >> 62 {
            0 => 16,
            1 => 128,
            2 => 64,
            _ => 32,
        };
        Ok(Descriptor { start: field(0), leading: field(16), stride: field(32), row })
    }

    /// The address of element `k` of row (or column) `i`, where neighbours in memory are along K.
    pub(crate) fn along_k(&self, i: usize, k: usize) -> u64 {
        let (i, k) = (i as u64, k as u64);
        let of_row = i % 8 * self.row + i / 8 * self.stride;
        let of_k = if self.row == 16 { k / 8 * self.leading + k % 8 * 2 } else { k * 2 };
        self.swizzled(self.start + of_row + of_k)
    }

    /// The address of element `k` of row (or column) `i`, where neighbours in memory are along M or N.
    pub(crate) fn across_k(&self, i: usize, k: usize) -> u64 {
        let (i, k) = (i as u64, k as u64);
        let per_row = self.row / 2;
        let (between_rows, between_steps) =
            if self.row == 16 { (self.stride, self.leading) } else { (self.leading, self.stride) };
        let at = i % per_row * 2 + i / per_row * between_rows + k % 8 * self.row + k / 8 * between_steps;
        self.swizzled(self.start + at)
    }

    /// Chunks of 16 bytes change places within rows of the pattern, which repeats after 8 rows of 128 bytes at most.
    fn swizzled(&self, address: u64) -> u64 {
        let mask = self.row / 16 - 1;
        address ^ ((address >> 7 & mask) << 4)
    }
}
