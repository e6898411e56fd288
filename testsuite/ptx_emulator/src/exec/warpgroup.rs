//! `wgmma`: products of warpgroups that run while their warps go on.
//!
//! A warp's part is 16 rows of the result. Until its group has been waited for, its accumulators may be neither read nor
//! written, its other registers not written, and what it reads of shared memory not overwritten. Sums are as those of
//! `mma`: products are exact, and rounded once a step.

use super::block::Block;
use crate::fault::{FaultKind, Trap};
use crate::float::{Format, Rounding};
use crate::instruction::{Op, Operand, Reg};
use crate::shared::Who;
use crate::warp::{Lanes, Product};
use crate::warpgroup::{Descriptor, K, Left, ROWS, WarpgroupMma};

/// Threads of a warpgroup.
const THREADS: u32 = 128;

impl Block<'_> {
    pub(super) fn warpgroup(&mut self, warp: usize, op: &Op) -> Result<(), Trap> {
        match op {
            Op::WarpgroupFence => self.warps[warp].fence_registers(),
            Op::WarpgroupCommit => self.warps[warp].commit_products(),
            Op::WarpgroupWait(pending) => {
                for product in self.warps[warp].products_beyond(*pending) {
                    self.finish(warp, product)?;
                }
            }
            Op::WarpgroupMma(mma) => self.begin(warp, mma)?,
            _ => {}
        }
        Ok(())
    }

    /// Computes a product and takes its registers and memory until it is waited for.
    fn begin(&mut self, warp: usize, mma: &WarpgroupMma) -> Result<(), Trap> {
        let threads: u32 = self.launch.block.iter().product();
        if threads / THREADS * 4 <= warp as u32 {
            return Err(Trap::new(FaultKind::Divergence, 0, "the warp is not one of four of a warpgroup"));
        }
        let mut reads = Vec::new();
        let a = self.left(warp, &mma.a, mma.format, &mut reads)?;
        let b = self.matrix(warp, mma.b, 0..mma.n, &mut reads)?;
        let b: Vec<f64> = b.into_iter().map(|bits| mma.format.decode(bits.into())).collect();
        let accumulates = self.guard(warp, mma.accumulates, u32::MAX)?;
        if accumulates != 0 && accumulates != u32::MAX {
            return Err(Trap::new(FaultKind::Operand, 0, "lanes do not agree on whether to accumulate"));
        }
        let mut sums = Vec::with_capacity(mma.d.len());
        for &reg in &mma.d {
            sums.push(self.warps[warp].accumulator(self.function, reg, accumulates != 0)?);
        }
        for (register, sums) in sums.iter_mut().enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                // Two neighbours of a row, then those of the row 8 further.
                let (row, column) = (lane / 4 + register % 4 / 2 * 8, register / 4 * 8 + lane % 4 * 2 + register % 2);
                let (a, b) = (&a[row * K..][..K], &b[column * K..][..K]);
                let product: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                let product = if mma.is_negated { -product } else { product };
                let old = if accumulates != 0 { Format::F32.decode(*sum) } else { 0.0 };
                *sum = Format::F32.encode(old + product, Rounding::Nearest, false);
            }
        }
        let held = match &mma.a {
            Left::Memory(..) => Vec::new(),
            Left::Registers(words) => words.iter().filter_map(register).collect(),
        };
        self.warps[warp].begin_product(self.function, &mma.d, &sums, &held, reads);
        self.counts.tensor_flops += 2 * (ROWS * mma.n * K) as u64;
        Ok(())
    }

    /// The warp's 16 rows of A.
    fn left(&mut self, warp: usize, left: &Left, format: Format, reads: &mut Vec<usize>) -> Result<Vec<f64>, Trap> {
        let words = match *left {
            Left::Memory(descriptor, across) => {
                let first = warp % 4 * ROWS;
                let bits = self.matrix(warp, (descriptor, across), first..first + ROWS, reads)?;
                return Ok(bits.into_iter().map(|bits| format.decode(bits.into())).collect());
            }
            Left::Registers(ref words) => words,
        };
        words.iter().filter_map(register).try_for_each(|reg| self.warps[warp].need_fence(self.function, reg))?;
        let words = words.iter().map(|&word| self.fetch(warp, word, u32::MAX)).collect::<Result<Vec<Lanes>, _>>()?;
        let element = |row: usize, k: usize| {
            let word = words[row / 8 + k / 8 * 2][row % 8 * 4 + k % 8 / 2];
            format.decode(word >> (k % 2 * 16) & 0xffff)
        };
        Ok((0..ROWS).flat_map(|row| (0..K).map(move |k| (row, k))).map(|(row, k)| element(row, k)).collect())
    }

    /// Rows of a matrix in shared memory, a step of K each. The bytes are read from now until the product is waited for.
    fn matrix(
        &mut self,
        warp: usize,
        (descriptor, across): (Operand, bool),
        rows: std::ops::Range<usize>,
        reads: &mut Vec<usize>,
    ) -> Result<Vec<u16>, Trap> {
        let lanes = self.fetch(warp, descriptor, u32::MAX)?;
        if let Some(lane) = lanes.iter().position(|bits| *bits != lanes[0]) {
            return Err(Trap::new(FaultKind::Operand, lane as u32, "lanes do not agree on a descriptor"));
        }
        let descriptor = Descriptor::new(lanes[0]).map_err(|message| Trap::new(FaultKind::Operand, 0, message))?;
        let n = rows.len();
        let mut matrix = vec![0; n * K];
        let who = Who { warp, lane: 0 };
        // Eight neighbours are 16 bytes.
        let first = rows.start;
        let chunks: Vec<(usize, usize)> = if across {
            (0..n).step_by(8).flat_map(|i| (0..K).map(move |k| (i, k))).collect()
        } else {
            (0..n).flat_map(|i| [(i, 0), (i, 8)]).collect()
        };
        for (i, k) in chunks {
            let address = if across { descriptor.across_k(first + i, k) } else { descriptor.along_k(first + i, k) };
            let at = self.shared.place(who, address, 16)?;
            let mut bytes = [0; 16];
            self.shared.read_asynchronously(&self.clocks, who, at, &mut bytes)?;
            reads.push(at);
            for j in 0..8 {
                let half = u16::from_le_bytes([bytes[2 * j], bytes[2 * j + 1]]);
                let (i, k) = if across { (i + j, k) } else { (i, k + j) };
                matrix[i * K + k] = half;
            }
        }
        Ok(matrix)
    }

    fn finish(&mut self, warp: usize, product: Product) -> Result<(), Trap> {
        for &at in &product.reads {
            self.shared.has_read(&self.clocks, warp, at, 16);
        }
        self.warps[warp].finish_product(self.function, product)
    }
}

fn register(operand: &Operand) -> Option<Reg> {
    match operand {
        Operand::Reg(reg) => Some(*reg),
        _ => None,
    }
}
