//! f32 scaled dot-product attention, whose scores never leave the cache.
//!
//! `f32_attention`, layout 0: `y[.., M, E] = softmax(mask(cap(q[.., M, D] x k[.., N, D]ᵀ * scale))) x v[.., N, E]`. The
//! leading axes of `q`, `k` and `v` are those of `y`, right-aligned, or have extent 1, or are missing. Trailing ones on
//! which neither `k` nor `v` has a stride count as rows: queries that share keys read them once. The mask, if present,
//! broadcasts to `[.., M, N]`: f32 is added to the scores, bool replaces them by `fill` where it is false. With `causal`,
//! row `i` of M sees the keys `0..=i + offset` alone, and `fill` replaces the other scores. A row whose scores are all -∞
//! is NaN, or 0 if `nan_is_zero`, which also makes other rows 0 whose softmax is NaN.
//!
//! All operands take any strides.
//!
//! Rows are cut into blocks and keys into runs of [`KEYS`], whatever the machine. Scores of a run are sequential
//! chains of fused multiply-adds over D; a row's greatest score, its sum of exponentials and its weighted sum of values
//! are carried from run to run and rescaled where the greatest score grows. So every instruction set and number of threads
//! gives the same bits. Runs that no row of a block may see are not read.

mod block;
mod scores;
mod shape;

use crate::abi::{Call, Kernel, KernelError, Parallel, Serial};
use crate::epilogue::own_scratch;
use crate::gemm::{SERIAL, Tiles};
use crate::isa::Isa;
use crate::vector::for_isa;
use block::{Block, Scratch};
use shape::Shape;
use std::ops::Range;

/// Keys whose scores are in cache at a time.
const KEYS: usize = 256;

/// The kernels of this module for `isa`.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    for_isa!(isa, V => const { &kernels_of::<V>() })
}

const fn kernels_of<V: Tiles>() -> [Kernel; 1] {
    [Kernel {
        name: "f32_attention",
        layout: 0,
        revision: 1,
        operands: &["q", "k", "v", "mask", "y"],
        attrs: &["scale", "softcap", "fill", "nan_is_zero", "causal", "offset"],
        scratch: |operands, _, threads| match Shape::of(operands) {
            Ok(shape) => Scratch::bytes(&shape) * threads,
            Err(_) => 0,
        },
        run: attention::<V>,
    }]
}

/// How scores come from products.
#[derive(Clone, Copy)]
struct Scoring {
    scale: f32,
    /// 0 where there is no limit.
    softcap: f32,
    fill: f32,
    nan_is_zero: bool,
    /// The last key that row 0 sees.
    causal: Option<i64>,
}

impl Scoring {
    fn of(attrs: &[i64]) -> Result<Scoring, KernelError> {
        let &[scale, softcap, fill, nan_is_zero, causal, offset] = attrs else {
            return Err(KernelError(format!("attention: expected 6 attributes, found {}", attrs.len())));
        };
        let [scale, softcap, fill] = [scale, softcap, fill].map(|bits| f32::from_bits(bits as u32));
        Ok(Scoring { scale, softcap, fill, nan_is_zero: nan_is_zero != 0, causal: (causal != 0).then_some(offset) })
    }
}

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
unsafe fn attention<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let (shape, scoring) = (Shape::of(call.operands)?, Scoring::of(call.attrs)?);
    if shape.batches * shape.rows * shape.e == 0 {
        return Ok(());
    }
    let (n_blocks, scratch) = (shape.blocks(), own_scratch(call));
    let memory = Memory { start: scratch, own: Scratch::bytes(&shape) };
    let body = |tasks: Range<usize>, thread: usize| {
        let own = memory.of(thread);
        for task in tasks {
            let block = Block::new(&shape, scoring, Scratch::new(&shape, own), task / n_blocks, task % n_blocks);
            // SAFETY: the caller vouches for the operands; blocks write disjoint rows, threads have scratch of their own.
            unsafe { block.run::<V>() };
        }
    };
    let work = shape.batches * shape.rows * shape.n * (shape.d + shape.e);
    let parallel: &dyn Parallel = if work < SERIAL { &Serial } else { call.pool };
    parallel.run(shape.batches * n_blocks, &body);
    Ok(())
}

/// The scratch of all threads.
#[derive(Clone, Copy)]
struct Memory {
    start: *mut u8,
    /// Bytes of each thread.
    own: usize,
}

// SAFETY: threads use disjoint parts.
unsafe impl Sync for Memory {}

impl Memory {
    fn of(&self, thread: usize) -> *mut u8 {
        self.start.wrapping_add(self.own * thread)
    }
}
