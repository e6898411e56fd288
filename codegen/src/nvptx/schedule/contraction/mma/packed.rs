//! Right operands of 4- and 8-bit integers: stored as fragments want them, widened to 16 bits between shared memory and
//! tensor cores.
//!
//! Shared memory has 16 bytes for a lane beside those of the next, so that no bank is hit twice. Two integers `u >= 0` of
//! a word are masked out at a time:
//!
//! - For f16 they are the bits of a subnormal number, `u / 2^24`, and one `fma` makes `(u - zero) * scale` of both. Scales
//!   are stored `2^24` times as large, those of each column over a power of 2 that keeps them in range, and `2^24 / 16` is
//!   right for 4 bits that were not shifted to the lowest.
//! - For bf16, whose subnormals are too small, they are put below the leading bit of 128; one `fma` takes off
//!   `128 + zero`, and another multiplies where there are scales of groups.
//!
//! Either is the product of integer and scale rounded once to 16 bits, where the scale has 16 bits. What is left, a power
//! of 2 or the scale of a column, is f32 and multiplies the sums.

mod copies;
mod scales;

use super::{CHUNK_BYTES, Tile, WarpPlace};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, MmaKind, Operand, Reg, Space, Ty};
use crate::shared::weights::WidenedShape;
use copies::Copies;
use scales::{Scale, Scales, factors, pair};

/// Whether fragments of a type can be made of the integers.
pub(super) fn takes(shape: &WidenedShape, kind: MmaKind) -> bool {
    let fits = match kind {
        MmaKind::F16 => true,
        MmaKind::Bf16 => shape.bits == 4,
        MmaKind::Tf32 => false,
    };
    // A group is whole stages, or a stage whole groups.
    fits && shape.group.is_none_or(|group| group.is_power_of_two() && group as i64 >= kind.depth())
}

/// Twice 128, 1, -136 and -0 in bf16.
const LEADING: i64 = pair(0x4300);
const ONE: i64 = pair(0x3f80);
const LESS: i64 = pair(0xc308);
const MINUS_ZERO: i64 = pair(0x8000);

/// The operand of a block, and what of it a warp reads.
pub(super) struct Packed<'a> {
    shape: &'a WidenedShape,
    kind: MmaKind,
    /// Steps of K of a stage.
    depth: i64,
    copies: Copies<'a>,
    /// Where the lane reads in the first stage.
    at: Reg,
    /// For each 32 columns, the words of each step; those of the second are kept while the next stage is read.
    words: Vec<[Vec<Reg>; 2]>,
    kept: Vec<Vec<Reg>>,
    /// By 8 columns; one for all without groups.
    scale: Vec<Scale>,
    scales: Option<Scales>,
    /// Where the factors of the lane's columns are.
    factors: Reg,
}

impl<'a> Packed<'a> {
    /// The part of a warp, of the columns from `first` on of a buffer at `base`.
    pub(super) fn new(
        e: &mut Emitter,
        shape: &'a WidenedShape,
        kind: MmaKind,
        tile: &Tile,
        (base, first): (Reg, Operand),
        warp: &WarpPlace,
        (thread, lane): (Reg, Reg),
        shared: u32,
    ) -> Packed<'a> {
        let (start, depth) = (e.b.shared_address(shared), tile.depth(kind));
        let copies = Copies::new(e, shape, tile, depth, base, first, (thread, start));
        let of_split = e.b.mul(warp.split, Operand::Int(tile.columns));
        let of_warp = e.b.add(of_split, warp.column);
        let of_warp = e.b.mul(of_warp, Operand::Int(shape.lane_chunks()));
        let of_lane = e.b.add(of_warp, lane.into());
        let at = e.b.fma(Ty::S32, of_lane, CHUNK_BYTES, start);
        let column = e.b.add(first, warp.column);
        let column = e.b.binary(Binary::Min, Ty::S32, column, shape.columns() as i64 - tile.warp_columns);
        let mut words = || (0..2 * shape.lane_chunks()).map(|_| e.b.reg(Class::B32)).collect::<Vec<_>>();
        let blocks = tile.warp_columns / 32;
        let (words, kept) = ((0..blocks).map(|_| [words(), words()]).collect(), (0..blocks).map(|_| words()).collect());
        let factors = factors(e, shape, base, column, lane);
        let n_scales = if shape.group.is_some() { tile.warp_columns / 8 } else { 1 };
        let scale: Vec<Scale> = (0..n_scales).map(|_| Scale::new(e)).collect();
        if shape.group.is_none() {
            scale[0].set_unit(e, shape);
        }
        let split = warp.split;
        let scales = shape.group.map(|group| Scales::new(e, shape, group, (tile, kind), base, (split, column), lane));
        Packed { shape, kind, depth, copies, at, words, kept, scale, scales, factors }
    }

    /// Copies what begins at `k` into the stage at `stage`, zeros beyond K.
    pub(super) fn copy(&self, e: &mut Emitter, k: Operand, stage: Reg) {
        self.copies.copy(e, k, stage);
    }

    /// Reads the words of both steps of the stage at `stage` with its first step, and keeps the second's for
    /// [`fragment`](Self::fragment) when the stage is at its second.
    pub(super) fn load(&self, e: &mut Emitter, step: usize, stage: Reg) {
        if step == 1 {
            for (words, kept) in self.words.iter().zip(&self.kept) {
                words[1].iter().zip(kept).for_each(|(&word, &kept)| e.b.assign(Ty::B32, kept, word));
            }
            return;
        }
        let at = e.b.binary(Binary::Add, Ty::S32, self.at, stage);
        for (i, words) in self.words.iter().enumerate() {
            let all: Vec<Reg> = words.concat();
            for (chunk, four) in all.chunks(4).enumerate() {
                let offset = ((i * all.len() / 4 + chunk) * 32) as i64 * CHUNK_BYTES;
                e.b.load(Space::Shared, Ty::B32, four, at, offset as i32, None);
            }
        }
    }

    /// Prepares for the stage that begins `depth` before `next`: takes the scales of its group.
    pub(super) fn begin(&self, e: &mut Emitter, next: Reg) {
        if let Some(scales) = &self.scales {
            scales.take(e, self.shape, (self.kind, self.depth), &self.scale, next);
        }
    }

    /// Operand B of 16 columns at a step: steps of K in halves, then the next 8 columns.
    pub(super) fn fragment(&self, e: &mut Emitter, step: usize, group: usize) -> [Reg; 4] {
        let words = if step == 0 { &self.words[group / 2][0] } else { &self.kept[group / 2] };
        std::array::from_fn(|register| {
            let scale = &self.scale[if self.scales.is_some() { 2 * group + register / 2 } else { 0 }];
            match (self.kind, self.shape.bits) {
                (MmaKind::F16, 4) => {
                    let word = shifted(e, words[group % 2], register as i64 / 2 * 8);
                    let (mask, by) = if register % 2 == 0 { (0xf, scale.low) } else { (0xf0, scale.high) };
                    let integers = e.b.binary(Binary::And, Ty::B32, word, pair(mask));
                    e.b.fma(Ty::F16x2, integers, by, scale.offset)
                }
                (MmaKind::F16, _) => {
                    let word = shifted(e, words[group % 2 * 2 + register / 2], register as i64 % 2 * 8);
                    let integers = e.b.binary(Binary::And, Ty::B32, word, pair(0xff));
                    e.b.fma(Ty::F16x2, integers, scale.low, scale.offset)
                }
                _ => self.brain_floats(e, words[group % 2], register, scale),
            }
        })
    }

    /// Register `register` of a fragment of bf16 from 4 bits.
    fn brain_floats(&self, e: &mut Emitter, word: Reg, register: usize, scale: &Scale) -> Reg {
        let word = shifted(e, word, register as i64 * 4);
        let integers = e.b.binary(Binary::And, Ty::B32, word, pair(0xf));
        let above = e.b.binary(Binary::Or, Ty::B32, integers, LEADING);
        let (one, less) = (e.b.mov(Ty::B32, ONE), e.b.mov(Ty::B32, LESS));
        let integers = e.b.fma(Ty::Bf16x2, above, one, less);
        if self.scales.is_none() {
            return integers;
        }
        let zero = e.b.mov(Ty::B32, MINUS_ZERO);
        e.b.fma(Ty::Bf16x2, integers, scale.low, zero)
    }

    /// Multiplies sums by the factors of their columns.
    pub(super) fn scale(&self, e: &mut Emitter, accumulators: &[[Reg; 4]]) {
        let across = self.words.len() * 4;
        let factors: Vec<Reg> = (0..across * 2).map(|_| e.b.reg(Class::F32)).collect();
        for (i, four) in factors.chunks(4).enumerate() {
            e.b.load(Space::Global, Ty::F32, four, self.factors, i as i32 * 16, None);
        }
        for (i, sums) in accumulators.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let scaled = e.b.binary(Binary::Mul, Ty::F32, sum, factors[i % across * 2 + j % 2]);
                e.b.assign(Ty::F32, sum, scaled);
            }
        }
    }
}

/// A word shifted down.
fn shifted(e: &mut Emitter, word: Reg, bits: i64) -> Reg {
    if bits == 0 { word } else { e.b.binary(Binary::Shr, Ty::U32, word, bits) }
}
