//! Integers of 4 or 8 bits in the order in which the lanes of a warp hold operand B of `mma.m16n8k16` (PTX ISA, section
//! 9.7.14.5.8), with what floats are made of them with.
//!
//! - Blocks of 32 steps of K by 32 columns, those of equal steps together. Lane `4 g + t` has column `g` of each 8 and
//!   steps `2 t`, `2 t + 1` and 8 further of each 16, as 16 bytes for 32 steps (4 bits) or for each 16 steps (8 bits). The
//!   two steps of a pair are in the halves of a word, at the same bits. Integers have their zero, 8 or 128, added.
//! - Scales of groups of K, 16-bit floats: for each group and 64 columns, lane `4 g + t` reads those of column `g` of
//!   each 8.
//! - A factor of f32 for each column: for 64 columns, lane `4 g + t` reads those of columns `2 t` and `2 t + 1` of each 8.
//!
//! Columns are whole 64s, steps of K whole 32s; what is added is 0.

use ic_types::{DType, f32_to_bf16, f32_to_f16};

/// Steps of K, and columns, of a block.
const BLOCK: usize = 32;
/// Columns are a multiple of this.
const COLUMNS: usize = 64;
/// Lanes of a warp.
const LANES: usize = 32;

/// A matrix `[K, N]` of integers with scales that kernels widen to 16-bit floats.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct WidenedShape {
    /// Rows.
    pub(crate) k: usize,
    /// Columns.
    pub(crate) n: usize,
    /// Rows that share a scale; `None` if all of a column do.
    pub(crate) group: Option<usize>,
    /// Bits of an integer, 4 or 8.
    pub(crate) bits: u32,
    /// f16 or bf16.
    pub(crate) half: DType,
}

impl WidenedShape {
    /// Columns with those that are added.
    pub(crate) fn columns(&self) -> usize {
        self.n.next_multiple_of(COLUMNS)
    }

    /// Bytes of the integers of 32 steps of K.
    pub(crate) fn row_bytes(&self) -> usize {
        self.columns() * BLOCK * self.bits as usize / 8
    }

    /// Chunks of 16 bytes that a lane has of a block.
    pub(crate) fn lane_chunks(&self) -> i64 {
        i64::from(self.bits / 4)
    }

    /// Groups of K.
    fn groups(&self) -> usize {
        self.group.map_or(0, |group| self.k.div_ceil(group))
    }

    /// Where the scales of groups begin.
    pub(crate) fn scales_at(&self) -> usize {
        self.k.div_ceil(BLOCK) * self.row_bytes()
    }

    /// Where the factors of columns begin.
    pub(crate) fn factors_at(&self) -> usize {
        self.scales_at() + self.groups() * self.columns() * 2
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.factors_at() + self.columns() * 4
    }

    /// Packs `[K, N]` integers with their scales, `[groups, N]` or `[N]`.
    pub(super) fn packed(&self, integers: &[i8], scales: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes()];
        let zero = 1i32 << (self.bits - 1);
        for k in 0..self.k.next_multiple_of(BLOCK) {
            for n in 0..self.columns() {
                let is_inside = k < self.k && n < self.n;
                let integer = if is_inside { i32::from(integers[k * self.n + n]) } else { 0 };
                let (at, shift) = self.place(k, n);
                bytes[at] |= ((integer + zero) << shift) as u8;
            }
        }
        for n in 0..self.n {
            let of_column: Vec<f32> = scales.iter().skip(n).step_by(self.n).copied().collect();
            let (of_groups, factor) = self.scales(&of_column);
            for (group, scale) in of_groups.into_iter().enumerate() {
                let at = self.scales_at() + (group * self.columns() + scale_index(n)) * 2;
                bytes[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
            let at = self.factors_at() + factor_index(n) * 4;
            bytes[at..at + 4].copy_from_slice(&factor.to_le_bytes());
        }
        bytes
    }

    /// The byte that has an integer, and how far it is shifted there.
    fn place(&self, k: usize, n: usize) -> (usize, usize) {
        let (step, pair, odd) = (k % BLOCK / 16, k % 8 / 2, k % 2);
        let lane = n % 8 * 4 + pair;
        let half = n % BLOCK / 16;
        // Of 16 columns by 16 steps, which register of a fragment has it.
        let register = n % 16 / 8 * 2 + k % 16 / 8;
        let (chunk, word, bit) = match self.bits {
            4 => (0, step * 2 + half, 4 * register),
            _ => (step, half * 2 + register / 2, 8 * (register % 2)),
        };
        let bit = bit + 16 * odd;
        let block = n / BLOCK * self.lane_chunks() as usize + chunk;
        (k / BLOCK * self.row_bytes() + (block * LANES + lane) * 16 + word * 4 + bit / 8, bit % 8)
    }

    /// The scales of a column's groups as they are stored, and its factor.
    fn scales(&self, scales: &[f32]) -> (Vec<u16>, f32) {
        let first = scales.first().copied().unwrap_or(0.0);
        match (self.half, self.group) {
            (DType::F16, Some(_)) => {
                let exponent = exponent(scales.iter().fold(0.0, |most: f32, scale| most.max(scale.abs())));
                // The greatest of them is from 2^14 on, and so below the greatest f16 when it is rounded.
                let unit = f64::from(14 - exponent).exp2();
                let stored = scales.iter().map(|&scale| f32_to_f16((f64::from(scale) * unit) as f32));
                (stored.collect(), f64::from(24 - 14 + exponent).exp2() as f32)
            }
            (DType::F16, None) => (Vec::new(), first * 1024.0),
            (_, Some(_)) => (scales.iter().map(|&scale| f32_to_bf16(scale)).collect(), 1.0),
            (_, None) => (Vec::new(), first),
        }
    }
}

/// Where the scale of column `n` is among those of a group.
fn scale_index(n: usize) -> usize {
    n / COLUMNS * COLUMNS + n % 8 * 8 + n % COLUMNS / 8
}

/// Where the factor of column `n` is.
fn factor_index(n: usize) -> usize {
    n / COLUMNS * COLUMNS + n % 8 / 2 * 16 + n % COLUMNS / 8 * 2 + n % 2
}

/// The power of 2 that a number begins with; 0 for those that are none, or 0.
fn exponent(x: f32) -> i32 {
    if x.is_normal() { (x.to_bits() >> 23) as i32 - 127 } else { 0 }
}
