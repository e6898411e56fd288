//! Scores to weights, tile by tile: each is `exp(score - greatest so far)`, and what was summed before is scaled whenever
//! a greater one comes. Of the 16 rows of a warp's product a thread has parts of two, four threads a row.

use super::{Block, Flash};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, MmaKind, Operand, Reg, Ty, Unary};
use std::f32::consts::LOG2_E;

/// What a thread has of the scores of 16 rows.
pub(super) struct Softmax<'a> {
    flash: &'a Flash,
    /// What scores are multiplied by before they are powers of 2; none if that is done before they are masked, as hidden
    /// ones may be too large for it.
    factor: Option<f32>,
    /// Scores of a tile, then their weights: of each 8 keys two of the first row, then two of the row 8 further.
    pub(super) scores: Vec<Reg>,
    /// The greatest score so far.
    greatest: [Reg; 2],
    /// The thread's share of the sum of weights.
    total: [Reg; 2],
    /// The thread's first row and its first column of a tile.
    row: Operand,
    column: Reg,
    /// Keys of a tile, and how many all rows of the block see; none if all tiles are full and seen.
    keys: i64,
    n_seen: Option<Operand>,
}

impl<'a> Softmax<'a> {
    /// For the 16 rows from `row` on.
    pub(super) fn new(e: &mut Emitter, block: &Block<'a>, row: Operand) -> Softmax<'a> {
        let flash = block.flash;
        let lane = block.lane(e);
        let of_row = e.b.binary(Binary::And, Ty::B32, lane, 3);
        let column = e.b.binary(Binary::Shl, Ty::B32, of_row, 1);
        let in_group = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
        let row = e.b.add(row, in_group.into());
        let is_full = flash.product.k.as_const().is_some_and(|n| n % block.keys == 0);
        let n_seen = (!is_full || flash.causal.is_some()).then(|| n_seen(e, block));
        let scores = (0..block.keys / 2).map(|_| e.b.reg(Class::F32)).collect();
        let is_scaled = flash.mask.is_some() || flash.softcap != 0.0;
        let factor = (!is_scaled).then_some(flash.scale * LOG2_E);
        let greatest = [(); 2].map(|()| e.b.mov(Ty::F32, f32::NEG_INFINITY));
        let total = [(); 2].map(|()| e.b.mov(Ty::F32, 0.0f32));
        Softmax { flash, factor, scores, greatest, total, row, column, keys: block.keys, n_seen }
    }

    /// Weights of the first tile.
    pub(super) fn begin(&self, e: &mut Emitter, block: &Block, first: Reg) {
        self.mask(e, block, first);
        for half in 0..2 {
            let scores = of_row(&self.scores, half);
            let greatest = greatest(e, &scores);
            e.b.assign(Ty::F32, self.greatest[half], greatest);
            let reference = self.reference(e, greatest);
            let total = self.weigh(e, &scores, reference);
            e.b.assign(Ty::F32, self.total[half], total);
        }
    }

    /// Weights of the tile whose first key is `first`; what sums before are to be scaled by.
    pub(super) fn go_on(&self, e: &mut Emitter, block: &Block, first: Reg) -> [Reg; 2] {
        self.mask(e, block, first);
        [0, 1].map(|half| {
            let scores = of_row(&self.scores, half);
            let of_tile = greatest(e, &scores);
            let greatest = e.b.binary(Binary::Max, Ty::F32, self.greatest[half], of_tile);
            let reference = self.reference(e, greatest);
            let change = e.b.binary(Binary::Sub, Ty::F32, self.greatest[half], reference);
            let change = self.factor.map_or(change, |factor| e.b.binary(Binary::Mul, Ty::F32, change, factor));
            let scale = e.b.unary(Unary::Exp2, Ty::F32, change);
            e.b.assign(Ty::F32, self.greatest[half], greatest);
            let total = self.weigh(e, &scores, reference);
            e.b.push(Instruction::Fma {
                ty: Ty::F32,
                dst: self.total[half],
                a: self.total[half].into(),
                b: scale.into(),
                c: total.into(),
            });
            scale
        })
    }

    /// Divides sums by the totals. A row that sees no key is NaN, or 0.
    pub(super) fn finish(&self, e: &mut Emitter, sums: &[Reg]) {
        let n_keys = e.dim(&self.flash.product.k);
        let n_keys = e.b.in_register(Ty::B32, n_keys);
        let may_be_nan = self.flash.mask.is_some() && !self.flash.nan_is_zero;
        let scales = self.total.map(|total| {
            let total = across(e, Binary::Add, total);
            let scale = e.b.binary(Binary::Div, Ty::F32, 1.0f32, total);
            let has_value = match may_be_nan {
                true => e.b.compare(Compare::Gt, Ty::S32, n_keys, 0),
                false => e.b.compare(Compare::Gt, Ty::F32, total, 0.0f32),
            };
            e.b.select(Ty::F32, has_value, scale, 0.0f32)
        });
        scale_rows(e, sums, scales);
    }

    /// Writes weights as fragments of operand A: of each 16 keys, two of each row and 8 further, then those of the next 8.
    pub(super) fn pack(&self, e: &mut Emitter, weights: &[Reg]) {
        let ty = if self.flash.kind() == MmaKind::F16 { Ty::F16 } else { Ty::Bf16 };
        for (pair, &dst) in self.scores.as_chunks::<2>().0.iter().zip(weights) {
            e.b.push(Instruction::Round { ty, dst, parts: *pair });
        }
    }

    /// What is subtracted from scores: the greatest, but a number where there is none.
    fn reference(&self, e: &mut Emitter, greatest: Reg) -> Reg {
        if !self.flash.may_see_none() {
            return greatest;
        }
        let is_none = e.b.compare(Compare::Eq, Ty::F32, greatest, f32::NEG_INFINITY);
        e.b.select(Ty::F32, is_none, 0.0f32, greatest)
    }

    /// Replaces scores by weights in place; their sum.
    fn weigh(&self, e: &mut Emitter, scores: &[Reg], reference: Reg) -> Reg {
        let scaled = self.factor.map(|factor| (factor, e.b.binary(Binary::Mul, Ty::F32, reference, -factor)));
        let mut sums: [Option<Reg>; 4] = [None; 4];
        for (i, &score) in scores.iter().enumerate() {
            let power = match scaled {
                Some((factor, less)) => e.b.fma(Ty::F32, score, factor, less),
                None => e.b.binary(Binary::Sub, Ty::F32, score, reference),
            };
            e.b.push(Instruction::Unary { op: Unary::Exp2, ty: Ty::F32, dst: score, a: power.into() });
            let sum = &mut sums[i % 4];
            *sum = Some(match *sum {
                Some(sum) => e.b.binary(Binary::Add, Ty::F32, sum, score),
                None => score,
            });
        }
        let [a, b, c, d] = sums.map(|sum| sum.unwrap_or(scores[0]));
        let (low, high) = (e.b.binary(Binary::Add, Ty::F32, a, b), e.b.binary(Binary::Add, Ty::F32, c, d));
        e.b.binary(Binary::Add, Ty::F32, low, high)
    }

    /// Limits scores, applies the mask of data, and makes scores of keys that a row does not see -∞.
    fn mask(&self, e: &mut Emitter, block: &Block, first: Reg) {
        if self.flash.softcap != 0.0 {
            self.scores.iter().for_each(|&score| self.limit(e, score));
        }
        if let Some(mask) = &self.flash.mask {
            let scale = if self.flash.softcap == 0.0 { self.flash.scale * LOG2_E } else { 1.0 };
            mask.apply(e, block, scale, (self.row, first, self.column), [0, 1].map(|half| of_row(&self.scores, half)));
        }
        self.hide(e, first);
    }

    /// `score = cap · tanh(score · scale / cap)`, as a power of 2.
    fn limit(&self, e: &mut Emitter, score: Reg) {
        let cap = self.flash.softcap * LOG2_E;
        let twice = e.b.binary(Binary::Mul, Ty::F32, score, 2.0 * LOG2_E * self.flash.scale / self.flash.softcap);
        let power = e.b.unary(Unary::Exp2, Ty::F32, twice);
        let above = e.b.binary(Binary::Add, Ty::F32, power, 1.0f32);
        let part = e.b.binary(Binary::DivFull, Ty::F32, -2.0 * cap, above);
        e.b.push(Instruction::Binary { op: Binary::Add, ty: Ty::F32, dst: score, a: part.into(), b: cap.into() });
    }

    /// Makes scores of keys that a row does not see -∞, where the tile at `first` has any.
    fn hide(&self, e: &mut Emitter, first: Reg) {
        let Some(n_seen) = self.n_seen else { return };
        let done = e.b.label();
        let end = e.b.binary(Binary::Add, Ty::S32, first, self.keys);
        let is_seen = e.b.compare(Compare::Le, Ty::S32, end, n_seen);
        e.b.push(Instruction::Branch { to: done, guard: Some((is_seen, true)) });
        let n_keys = e.dim(&self.flash.product.k);
        let before = e.b.binary(Binary::Add, Ty::S32, first, self.column);
        for half in 0..2 {
            let mut seen = n_keys;
            if let Some(offset) = &self.flash.causal {
                let offset = e.dim(offset);
                let last = e.b.add(self.row, offset);
                let last = e.b.add(last, Operand::Int(half * 8 + 1));
                let last = e.b.in_register(Ty::B32, last);
                seen = e.b.binary(Binary::Min, Ty::S32, last, n_keys).into();
            }
            let left = e.b.binary(Binary::Sub, Ty::S32, seen, before);
            for (i, &score) in of_row(&self.scores, half as usize).iter().enumerate() {
                let p = e.b.compare(Compare::Gt, Ty::S32, left, (i / 2 * 8 + i % 2) as i64);
                let (yes, no) = (score.into(), f32::NEG_INFINITY.into());
                e.b.push(Instruction::SelP { ty: Ty::F32, dst: score, yes, no, p });
            }
        }
        e.b.place(done);
    }
}

/// How many keys all rows of a block see: those that its first sees.
fn n_seen(e: &mut Emitter, block: &Block) -> Operand {
    let n_keys = e.dim(&block.flash.product.k);
    let Some(offset) = &block.flash.causal else { return n_keys };
    let offset = e.dim(offset);
    let last = e.b.add(block.place.row, offset);
    let last = e.b.add(last, Operand::Int(1));
    let last = e.b.in_register(Ty::B32, last);
    e.b.binary(Binary::Min, Ty::S32, last, n_keys).into()
}

/// The accumulators of one of the two rows: two columns of each 8.
fn of_row(accumulators: &[Reg], half: usize) -> Vec<Reg> {
    accumulators.as_chunks::<4>().0.iter().flat_map(|block| [block[half * 2], block[half * 2 + 1]]).collect()
}

/// The greatest of a row's scores.
fn greatest(e: &mut Emitter, scores: &[Reg]) -> Reg {
    let mut list = scores.to_vec();
    while list.len() > 1 {
        list = list.chunks(2).map(|pair| e.b.binary(Binary::Max, Ty::F32, pair[0], pair[1])).collect();
    }
    across(e, Binary::Max, list[0])
}

/// Combines what the four threads of a row have.
fn across(e: &mut Emitter, op: Binary, value: Reg) -> Reg {
    [1, 2].into_iter().fold(value, |value, mask| {
        let other = e.b.reg(Class::F32);
        e.b.push(Instruction::Shuffle { dst: other, src: value, mask });
        e.b.binary(op, Ty::F32, value, other)
    })
}

/// Scales the sums of both rows.
pub(super) fn scale_rows(e: &mut Emitter, sums: &[Reg], scales: [Reg; 2]) {
    for (half, scale) in scales.into_iter().enumerate() {
        for sum in of_row(sums, half) {
            e.b.push(Instruction::Binary { op: Binary::Mul, ty: Ty::F32, dst: sum, a: sum.into(), b: scale.into() });
        }
    }
}
