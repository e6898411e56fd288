//! `mma`: products of warps, by the fragment tables of section 9.7.14.5.
//!
//! The tables of all types are one: a register holds `e` neighbouring elements of K, four lanes hold a group of `4 e`
//! steps, registers go by rows first and then by groups. Products are exact and sums are rounded once, to nearest even;
//! the ISA leaves order and rounding of partial sums open.

use super::block::Block;
use crate::fault::Trap;
use crate::float::{Format, Rounding};
use crate::instruction::{Factor, Mma};
use crate::types::{Ty, mask};
use crate::warp::Lanes;

const ROWS: usize = 16;
const COLUMNS: usize = 8;

impl Factor {
    fn bits(self) -> u32 {
        match self {
            Factor::Float(format) => format.register_bits(),
            Factor::Int8 { .. } => 8,
        }
    }

    /// The value of an element; integers are exact in f64.
    fn decode(self, bits: u64) -> f64 {
        match self {
            Factor::Float(format) => format.decode(bits),
            Factor::Int8 { signed: true } => f64::from(bits as u8 as i8),
            Factor::Int8 { signed: false } => f64::from(bits as u8),
        }
    }
}

/// Element `k` of row (or column) `i` in fragments with `by_rows` registers per group of K.
fn element(factor: Factor, registers: &[Lanes], by_rows: usize, i: usize, k: usize) -> f64 {
    let bits = factor.bits();
    let e = 32 / bits as usize;
    let group = 4 * e;
    let lane = i % 8 * 4 + k % group / e;
    let register = i / 8 + by_rows * (k / group);
    factor.decode(registers[register][lane] >> (k % e * bits as usize) & mask(bits))
}

impl Block<'_> {
    pub(super) fn mma(&mut self, warp: usize, mma: &Mma) -> Result<(), Trap> {
        let fetch = |list: &[crate::instruction::Operand]| {
            list.iter().map(|&operand| self.fetch(warp, operand, u32::MAX)).collect::<Result<Vec<_>, _>>()
        };
        let (a, b, c) = (fetch(&mma.a)?, fetch(&mma.b)?, fetch(&mma.c)?);
        let mut results = vec![[0u64; 32]; mma.d.len()];
        let right: Vec<f64> = (0..COLUMNS)
            .flat_map(|n| (0..mma.k).map(move |k| (n, k)))
            .map(|(n, k)| element(mma.b_ty, &b, 1, n, k))
            .collect();
        for m in 0..ROWS {
            let left: Vec<f64> = (0..mma.k).map(|k| element(mma.a_ty, &a, 2, m, k)).collect();
            for n in 0..COLUMNS {
                let sum: f64 = left.iter().zip(&right[n * mma.k..]).map(|(x, y)| x * y).sum();
                accumulate(mma, &c, &mut results, (m, n), sum);
            }
        }
        for (&reg, values) in mma.d.iter().zip(&results) {
            self.set(warp, reg, u32::MAX, values);
        }
        self.counts.tensor_flops += 2 * (ROWS * COLUMNS * mma.k) as u64;
        Ok(())
    }
}

/// Adds the sum of products to an accumulator: of 32 bits a register has one, of f16 two neighbours of a row.
fn accumulate(mma: &Mma, c: &[Lanes], results: &mut [Lanes], (m, n): (usize, usize), sum: f64) {
    let lane = m % 8 * 4 + n / 2;
    if mma.accumulator == Ty::F(Format::F16) {
        let shift = n % 2 * 16;
        let old = Format::F16.decode(c[m / 8][lane] >> shift & 0xffff);
        results[m / 8][lane] |= Format::F16.encode(old + sum, Rounding::Nearest, false) << shift;
        return;
    }
    let register = m / 8 * 2 + n % 2;
    let old = c[register][lane];
    results[register][lane] = match mma.accumulator {
        Ty::S(_) => {
            let total = i64::from(old as i32) + sum as i64;
            let total = if mma.clamps { total.clamp(i32::MIN.into(), i32::MAX.into()) } else { total };
            total as u32 as u64
        }
        _ => Format::F32.encode(Format::F32.decode(old) + sum, Rounding::Nearest, false),
    };
}
