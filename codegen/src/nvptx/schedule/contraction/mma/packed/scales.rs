//! What integers are multiplied with: scales of groups in registers, factors of columns.

use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, MmaKind, Operand, Reg, Space, Ty};
use crate::nvptx::schedule::contraction::mma::Tile;
use crate::shared::weights::WidenedShape;

/// The bits of f16, twice.
pub(super) const fn pair(half: u16) -> i64 {
    (half as i64) << 16 | half as i64
}

/// 1 over 16, -0, -8 / 2^24 and -128 / 2^24.
const F16_SIXTEENTH: i64 = pair(0x2c00);
const MINUS_ZERO: i64 = pair(0x8000);
const F16_MINUS_8: i64 = pair(0x8008);
const F16_MINUS_128: i64 = pair(0x8080);
/// 2^14: columns have factors where groups have no scales.
const F16_UNIT: i64 = pair(0x7400);

/// What multiplies integers and what is added, in both halves of words.
pub(super) struct Scale {
    /// For bits that are lowest.
    pub(super) low: Reg,
    /// For 4 bits that are 4 above the lowest.
    pub(super) high: Reg,
    /// What is added.
    pub(super) offset: Reg,
}

/// The scales of a warp's columns, of which a lane has one of each 8.
pub(super) struct Scales {
    /// Steps of K of a group.
    group: i64,
    /// Steps of K after which the warp reads others.
    advance: i64,
    /// The warp's first step of K in a stage.
    first: Operand,
    /// What has been read of the group after the present one, and where the next is.
    read: Vec<Reg>,
    address: Reg,
    row_bytes: i64,
}

/// Where the factors of a lane's columns are, of a warp's from `column` on.
pub(super) fn factors(e: &mut Emitter, shape: &WidenedShape, base: Reg, column: Reg, lane: Reg) -> Reg {
    let (columns, rest) = e.b.div_rem(column.into(), Operand::Int(64));
    let columns = e.b.mul(columns, Operand::Int(64));
    let of_rest = e.b.binary(Binary::Shr, Ty::U32, rest, 2);
    let pair = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let of_lane = e.b.fma(Ty::S32, pair, 16, of_rest);
    let index = e.b.add(columns, of_lane.into());
    let start = e.b.address(base, Operand::Int(shape.factors_at() as i64), 1);
    e.b.address(start, index, 4)
}

impl Scale {
    pub(super) fn new(e: &mut Emitter) -> Scale {
        let mut reg = || e.b.reg(Class::B32);
        Scale { low: reg(), high: reg(), offset: reg() }
    }

    /// That of integers whose columns have factors alone.
    pub(super) fn set_unit(&self, e: &mut Emitter, shape: &WidenedShape) {
        e.b.assign(Ty::B32, self.low, F16_UNIT);
        self.derive(e, shape);
    }

    /// For f16, the others from that of the lowest bits.
    fn derive(&self, e: &mut Emitter, shape: &WidenedShape) {
        let less = if shape.bits == 4 { F16_MINUS_8 } else { F16_MINUS_128 };
        for (dst, by) in [(self.high, F16_SIXTEENTH), (self.offset, less)] {
            let (by, zero) = (e.b.mov(Ty::B32, by), e.b.mov(Ty::B32, MINUS_ZERO));
            let (a, b, c) = (self.low.into(), by.into(), zero.into());
            e.b.push(Instruction::Fma { ty: Ty::F16x2, dst, a, b, c });
        }
    }
}

impl Scales {
    /// Reads the scales of the first group.
    pub(super) fn new(
        e: &mut Emitter,
        shape: &WidenedShape,
        group: usize,
        (tile, kind): (&Tile, MmaKind),
        base: Reg,
        (split, column): (Operand, Reg),
        lane: Reg,
    ) -> Scales {
        let group = group as i64;
        let first = e.b.mul(split, Operand::Int(kind.depth()));
        let (of_group, _) = e.b.div_rem(first, Operand::Int(group));
        let of_group = e.b.mul(of_group, Operand::Int(shape.columns() as i64));
        let (columns, rest) = e.b.div_rem(column.into(), Operand::Int(64));
        let columns = e.b.mul(columns, Operand::Int(64));
        let of_rest = e.b.binary(Binary::Shr, Ty::U32, rest, 3);
        let in_eight = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
        let of_lane = e.b.fma(Ty::S32, in_eight, 8, of_rest);
        let index = e.b.add(columns, of_lane.into());
        let index = e.b.add(of_group, index);
        let start = e.b.address(base, Operand::Int(shape.scales_at() as i64), 1);
        let address = e.b.reg(Class::B64);
        let at = e.b.address(start, index, 2);
        e.b.assign(Ty::B64, address, at);
        let read = (0..tile.warp_columns / 16).map(|_| e.b.mov(Ty::B32, 0)).collect();
        let advance = group.max(tile.depth(kind));
        let row_bytes = shape.columns() as i64 * 2 * (advance / group);
        let scales = Scales { group, advance, first, read, address, row_bytes };
        scales.read_next(e, shape, Operand::Int(0));
        scales
    }

    /// Takes the scales of the group in which the stage lies that begins `depth` before `next`, and reads those of the next.
    pub(super) fn take(
        &self,
        e: &mut Emitter,
        shape: &WidenedShape,
        (kind, depth): (MmaKind, i64),
        to: &[Scale],
        next: Reg,
    ) {
        let same = e.b.label();
        if self.group > depth {
            let k = e.b.binary(Binary::Sub, Ty::S32, next, depth);
            let in_group = e.b.binary(Binary::And, Ty::B32, k, self.group - 1);
            let is_same = e.b.compare(Compare::Ne, Ty::S32, in_group, 0);
            e.b.push(Instruction::Branch { to: same, guard: Some((is_same, true)) });
        }
        for (&src, scales) in self.read.iter().zip(to.as_chunks::<2>().0) {
            let parts = [(); 2].map(|()| e.b.reg(Class::B16));
            e.b.push(Instruction::Unpack { parts, src });
            for (scale, part) in scales.iter().zip(parts) {
                e.b.push(Instruction::Pack { dst: scale.low, parts: [part; 2] });
                if kind == MmaKind::F16 {
                    scale.derive(e, shape);
                }
            }
        }
        let further = e.b.add(next.into(), Operand::Int(self.advance - depth));
        self.read_next(e, shape, further);
        e.b.place(same);
    }

    /// Reads those of the group at the warp's first step of the stage at `k`, if there is one.
    fn read_next(&self, e: &mut Emitter, shape: &WidenedShape, k: Operand) {
        let k = e.b.add(k, self.first);
        let k = e.b.in_register(Ty::B32, k);
        let inside = e.b.compare(Compare::Lt, Ty::S32, k, shape.k as i64);
        e.b.load(Space::Global, Ty::B32, &self.read, self.address, 0, Some(inside));
        let further = e.b.binary(Binary::Add, Ty::S64, self.address, self.row_bytes);
        e.b.assign(Ty::B64, self.address, further);
    }
}
