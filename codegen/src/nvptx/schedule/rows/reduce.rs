//! Reductions of a row: by each thread, then by shuffles in the warp, then through shared memory.

use super::Rows;
use crate::nvptx::emit::{Point, Value, arithmetic, class_of};
use crate::nvptx::ptx::{Binary, Class, Instruction, Operand, Reg, Rounding, Space, Ty};
use ic_ir::scalar::ReduceFn;
use ic_types::DType;

/// The element that changes nothing.
fn neutral(function: ReduceFn, dtype: DType) -> Result<Operand, String> {
    let class = class_of(dtype);
    let float = |x: f64| if class == Class::F64 { Operand::F64(x.to_bits()) } else { (x as f32).into() };
    let is_float = matches!(class, Class::F32 | Class::F64);
    let bits = dtype.bits() as u32;
    Ok(match function {
        ReduceFn::Sum | ReduceFn::Mean if is_float => float(0.0),
        ReduceFn::Prod if is_float => float(1.0),
        ReduceFn::Max if is_float => float(f64::NEG_INFINITY),
        ReduceFn::Min if is_float => float(f64::INFINITY),
        ReduceFn::Sum | ReduceFn::Any => Operand::Int(0),
        ReduceFn::Prod | ReduceFn::All => Operand::Int(1),
        ReduceFn::Max if dtype.is_unsigned_int() => Operand::Int(0),
        ReduceFn::Max => Operand::Int(-1 << (bits - 1)),
        ReduceFn::Min if dtype.is_unsigned_int() && bits < 64 => Operand::Int((1 << bits) - 1),
        ReduceFn::Min if dtype.is_signed_int() => Operand::Int(i64::MAX >> (64 - bits)),
        ReduceFn::Min | ReduceFn::Mean => {
            return Err(format!("`{}` of {dtype} has no code for nvptx", function.name()));
        }
    })
}

/// The type of a reduction's registers: bools are 0 or 1.
fn register_ty(dtype: DType) -> Ty {
    if dtype == DType::Bool { Ty::U32 } else { arithmetic(dtype) }
}

impl Rows<'_, '_> {
    /// One accumulator per lane.
    pub(super) fn start(&mut self, function: ReduceFn, dtype: DType) -> Result<Vec<Reg>, String> {
        let start = neutral(function, dtype)?;
        Ok((0..self.layout.lanes).map(|_| self.e.b.mov(register_ty(dtype), start)).collect())
    }

    /// Takes the lanes of a point in.
    pub(super) fn accumulate(
        &mut self,
        function: ReduceFn,
        value: &Value,
        point: &Point,
        accumulators: &[Reg],
    ) -> Result<(), String> {
        let ty = register_ty(value.dtype);
        let start = neutral(function, value.dtype)?;
        for (lane, &accumulator) in accumulators.iter().enumerate() {
            let mut x = match (value.dtype, value.lane(lane)) {
                (DType::Bool, x) => self.e.truth(x).into(),
                (_, x) => x,
            };
            if let Some(&guard) = point.guards.first() {
                let bits = if ty.class() == Class::B32 { Ty::B32 } else { ty };
                x = self.e.b.select(bits, guard, x, start).into();
            }
            let sum = self.combine(function, ty, accumulator.into(), x);
            self.e.b.assign(ty, accumulator, sum);
        }
        Ok(())
    }

    fn combine(&mut self, function: ReduceFn, ty: Ty, a: Operand, b: Operand) -> Reg {
        match function {
            ReduceFn::Sum | ReduceFn::Mean => self.e.sum(ty, a, b),
            ReduceFn::Prod => self.e.b.binary(Binary::Mul, ty, a, b),
            ReduceFn::Max => self.e.extreme(Binary::Max, ty, a, b),
            ReduceFn::Min => self.e.extreme(Binary::Min, ty, a, b),
            ReduceFn::Any => self.e.b.binary(Binary::Or, Ty::B32, a, b),
            ReduceFn::All => self.e.b.binary(Binary::And, Ty::B32, a, b),
        }
    }

    /// The row's reduction, in every thread.
    pub(super) fn finish(&mut self, function: ReduceFn, dtype: DType, accumulators: &[Reg]) -> Result<Reg, String> {
        let ty = register_ty(dtype);
        let mut total = accumulators[0];
        for &other in &accumulators[1..] {
            total = self.combine(function, ty, total.into(), other.into());
        }
        let masks: &[u32] = if self.layout.threads == 1 { &[] } else { &[16, 8, 4, 2, 1] };
        for &mask in masks {
            let other = self.shuffled(ty, total, mask);
            total = self.combine(function, ty, total.into(), other.into());
        }
        if self.layout.rows == 1 {
            total = self.across_warps(function, ty, total);
        }
        if function == ReduceFn::Mean {
            total = self.mean(ty, total);
        }
        if dtype == DType::Bool {
            total = self.e.b.compare(crate::nvptx::ptx::Compare::Ne, Ty::S32, total, 0);
        }
        Ok(match dtype {
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => self.e.normalized(dtype, total),
            _ => total,
        })
    }

    /// The total by the number of elements.
    fn mean(&mut self, ty: Ty, total: Reg) -> Reg {
        let is_exact = |n: i64| n.unsigned_abs().is_power_of_two() && n < 1 << 24;
        if let (Some(n), Ty::F32) = (self.layout.length.as_const(), ty)
            && (is_exact(n) || self.e.is_rounded && n > 0)
        {
            return self.e.b.binary(Binary::Mul, ty, total, 1.0 / n as f32);
        }
        let n = self.e.dim(&self.layout.length);
        let n = self.e.b.in_register(Ty::S32, n);
        let n = self.e.b.cvt(Rounding::Rn, ty, Ty::S32, n);
        self.e.b.binary(Binary::Div, ty, total, n)
    }

    /// The value of lane `lane ^ mask`.
    fn shuffled(&mut self, ty: Ty, value: Reg, mask: u32) -> Reg {
        let shuffle = |rows: &mut Self, src: Reg| {
            let dst = rows.e.b.reg(Class::B32);
            rows.e.b.push(Instruction::Shuffle { dst, src, mask });
            dst
        };
        match ty.class() {
            Class::F32 => {
                let bits = self.e.as_bits(value);
                let bits = shuffle(self, bits);
                self.e.as_float(bits)
            }
            Class::B64 | Class::F64 => {
                let wide = self.e.b.mov_bits(Class::B64, Ty::B64, value);
                let low = self.e.b.cvt(Rounding::None, Ty::U32, Ty::U64, wide);
                let high = self.e.b.binary(Binary::Shr, Ty::U64, wide, 32);
                let high = self.e.b.cvt(Rounding::None, Ty::U32, Ty::U64, high);
                let (low, high) = (shuffle(self, low), shuffle(self, high));
                let low = self.e.b.cvt(Rounding::None, Ty::U64, Ty::U32, low);
                let high = self.e.b.cvt(Rounding::None, Ty::U64, Ty::U32, high);
                let high = self.e.b.binary(Binary::Shl, Ty::B64, high, 32);
                let wide = self.e.b.binary(Binary::Or, Ty::B64, low, high);
                self.e.b.mov_bits(ty.class(), Ty::B64, wide)
            }
            _ => shuffle(self, value),
        }
    }

    /// Combines the results of all warps of the block, in the same order in every thread.
    fn across_warps(&mut self, function: ReduceFn, ty: Ty, value: Reg) -> Reg {
        let n_warps = self.layout.threads / 32;
        let at = self.e.b.shared(n_warps * ty.bytes());
        let warp = self.e.b.binary(Binary::Shr, Ty::U32, self.thread, 5);
        let lane = self.e.b.binary(Binary::And, Ty::B32, self.thread, 31);
        let leads = self.e.b.compare(crate::nvptx::ptx::Compare::Eq, Ty::U32, lane, 0);
        let base = self.e.b.shared_address(at);
        let to = self.e.b.fma(Ty::S32, warp, i64::from(ty.bytes()), base);
        self.e.b.store(Space::Shared, ty, &[value], to, 0, Some(leads));
        self.e.b.push(Instruction::Barrier);
        let mut total = None;
        for warp in 0..n_warps {
            let part = self.e.b.reg(ty.class());
            self.e.b.load(Space::Shared, ty, &[part], base, (warp * ty.bytes()) as i32, None);
            total = Some(match total {
                None => part,
                Some(sum) => self.combine(function, ty, Operand::Reg(sum), part.into()),
            });
        }
        total.unwrap_or(value)
    }
}
