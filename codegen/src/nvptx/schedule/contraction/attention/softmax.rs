//! Scores to weights, tile by tile: each is `exp(score - greatest so far)`, and what was summed before is scaled whenever
//! a greater one comes. A thread has parts of two rows, four threads a row.

use super::{Block, KEYS};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, MmaKind, Operand, Reg, Ty, Unary};
use std::f32::consts::LOG2_E;

/// What a thread knows of its two rows.
pub(super) struct Softmax {
    /// What scores are multiplied by before they are powers of 2.
    factor: f32,
    /// The greatest score so far.
    greatest: [Reg; 2],
    /// The thread's share of the sum of weights.
    total: [Reg; 2],
    /// How many keys the row sees, less the thread's first column; none if all tiles are full and seen.
    seen: Option<[Reg; 2]>,
}

impl Softmax {
    pub(super) fn new(e: &mut Emitter, block: &Block) -> Softmax {
        let flash = block.flash;
        let is_full = flash.product.k.as_const().is_some_and(|n| n % KEYS == 0);
        let seen = (!is_full || flash.causal.is_some()).then(|| seen(e, block));
        let [greatest, total] = [(); 2].map(|()| [(); 2].map(|()| e.b.reg(Class::F32)));
        Softmax { factor: flash.scale * LOG2_E, greatest, total, seen }
    }

    /// Weights of the first tile.
    pub(super) fn begin(&mut self, e: &mut Emitter, block: &Block, first: Reg) {
        self.hide(e, block, first);
        for half in 0..2 {
            let scores = of_row(&block.scores, half);
            let greatest = greatest(e, &scores);
            e.b.assign(Ty::F32, self.greatest[half], greatest);
            let total = self.weigh(e, &scores, half);
            e.b.assign(Ty::F32, self.total[half], total);
        }
        pack(e, block);
    }

    /// Weights of the tile whose first key is `first`; waits for the sums before, and scales them.
    pub(super) fn go_on(&mut self, e: &mut Emitter, block: &Block, first: Reg) {
        self.hide(e, block, first);
        let scales = [0, 1].map(|half| {
            let scores = of_row(&block.scores, half);
            let of_tile = greatest(e, &scores);
            let greatest = e.b.binary(Binary::Max, Ty::F32, self.greatest[half], of_tile);
            let change = e.b.binary(Binary::Sub, Ty::F32, self.greatest[half], greatest);
            let change = e.b.binary(Binary::Mul, Ty::F32, change, self.factor);
            let scale = e.b.unary(Unary::Exp2, Ty::F32, change);
            e.b.assign(Ty::F32, self.greatest[half], greatest);
            let total = self.weigh(e, &scores, half);
            e.b.push(Instruction::Fma {
                ty: Ty::F32,
                dst: self.total[half],
                a: self.total[half].into(),
                b: scale.into(),
                c: total.into(),
            });
            scale
        });
        e.b.push(Instruction::WarpgroupWait(0));
        scale_rows(e, &block.sums, scales);
        pack(e, block);
    }

    /// Divides sums by the totals.
    pub(super) fn finish(&self, e: &mut Emitter, sums: &[Reg]) {
        let scales = self.total.map(|total| {
            let total = across(e, Binary::Add, total);
            e.b.binary(Binary::Div, Ty::F32, 1.0f32, total)
        });
        scale_rows(e, sums, scales);
    }

    /// Replaces scores by weights in place; their sum.
    fn weigh(&self, e: &mut Emitter, scores: &[Reg], half: usize) -> Reg {
        let less = e.b.binary(Binary::Mul, Ty::F32, self.greatest[half], -self.factor);
        let mut sums: [Option<Reg>; 4] = [None; 4];
        for (i, &score) in scores.iter().enumerate() {
            let power = e.b.fma(Ty::F32, score, self.factor, less);
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

    /// Makes scores of keys that a row does not see -∞, where the tile at `first` has any.
    fn hide(&self, e: &mut Emitter, block: &Block, first: Reg) {
        let Some(seen) = self.seen else { return };
        let done = e.b.label();
        // What all rows of the block see: those of its first.
        let mut bound = e.dim(&block.flash.product.k);
        if let Some(offset) = &block.flash.causal {
            let offset = e.dim(offset);
            let of_row = e.b.add(block.place.row, offset);
            let of_row = e.b.add(of_row, Operand::Int(1));
            let of_row = e.b.in_register(Ty::B32, of_row);
            bound = e.b.binary(Binary::Min, Ty::S32, of_row, bound).into();
        }
        let end = e.b.binary(Binary::Add, Ty::S32, first, KEYS);
        let is_seen = e.b.compare(Compare::Le, Ty::S32, end, bound);
        e.b.push(Instruction::Branch { to: done, guard: Some((is_seen, true)) });
        for (half, seen) in seen.into_iter().enumerate() {
            let left = e.b.binary(Binary::Sub, Ty::S32, seen, first);
            for (i, &score) in of_row(&block.scores, half).iter().enumerate() {
                let column = (i / 2 * 8 + i % 2) as i64;
                let p = e.b.compare(Compare::Gt, Ty::S32, left, column);
                let (yes, no) = (score.into(), f32::NEG_INFINITY.into());
                e.b.push(Instruction::SelP { ty: Ty::F32, dst: score, yes, no, p });
            }
        }
        e.b.place(done);
    }
}

/// How many keys the thread's rows see, less its first column.
fn seen(e: &mut Emitter, block: &Block) -> [Reg; 2] {
    let lane = e.b.binary(Binary::And, Ty::B32, block.thread, 31);
    let column = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let column = e.b.binary(Binary::Shl, Ty::B32, column, 1);
    let in_group = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
    let row = block.warp_row(e);
    let row = e.b.add(row, in_group.into());
    let all = e.dim(&block.flash.product.k);
    [0, 8].map(|further| {
        let seen = match &block.flash.causal {
            Some(offset) => {
                let offset = e.dim(offset);
                let last = e.b.add(row, offset);
                let seen = e.b.add(last, Operand::Int(further + 1));
                let seen = e.b.in_register(Ty::B32, seen);
                e.b.binary(Binary::Min, Ty::S32, seen, all)
            }
            None => e.b.in_register(Ty::B32, all),
        };
        e.b.binary(Binary::Sub, Ty::S32, seen, column)
    })
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

fn scale_rows(e: &mut Emitter, sums: &[Reg], scales: [Reg; 2]) {
    for (half, scale) in scales.into_iter().enumerate() {
        for sum in of_row(sums, half) {
            e.b.push(Instruction::Binary { op: Binary::Mul, ty: Ty::F32, dst: sum, a: sum.into(), b: scale.into() });
        }
    }
}

/// Weights as fragments of operand A: of each 16 keys, two of each row and 8 further, then those of the next 8 keys.
fn pack(e: &mut Emitter, block: &Block) {
    let ty = if block.kind == MmaKind::F16 { Ty::F16 } else { Ty::Bf16 };
    for (pair, &dst) in block.scores.as_chunks::<2>().0.iter().zip(&block.weights) {
        e.b.push(Instruction::Round { ty, dst, parts: *pair });
    }
}
