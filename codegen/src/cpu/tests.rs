//! Generated code against a slow interpreter of Kernel IR.

mod dtypes;
mod interpret;
mod native;
mod pointwise;
mod quantize;
mod reduce;
mod space;

use ic_ir::kernel::{Anchor, Axis, Expr, ExprId, Index, Kernel, Load, Param, Stage, Store};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Data, Dim, Tensor};

/// Extents around the widths of vectors and unrolled loops.
const EXTENTS: &[i64] = &[0, 1, 3, 4, 5, 15, 16, 17, 63, 64, 65];

/// The constant `value`.
fn c(value: i64) -> Dim {
    Dim::constant(value)
}

/// The index of an axis.
fn ax(axis: usize) -> Index {
    Index::axis(axis)
}

fn axes(extents: &[Dim]) -> Vec<Axis> {
    extents.iter().map(|extent| Axis { extent: extent.clone() }).collect()
}

fn param(dtype: DType, shape: &[Dim], is_output: bool) -> Param {
    Param { dtype, shape: shape.to_vec(), is_output }
}

fn load(param: u32, indices: &[Index]) -> Expr {
    Expr::Load(Load { param, indices: indices.to_vec(), gathered: vec![], bounds: vec![], otherwise: None })
}

fn apply(op: ScalarOp, args: &[ExprId]) -> Expr {
    Expr::Apply(op, args.to_vec())
}

fn f32_const(value: f32) -> Expr {
    Expr::Const(DType::F32, value.to_bits().into())
}

/// A store of the last expression.
fn store(body: &[Expr], param: u32, indices: &[Index]) -> Store {
    Store { value: body.len() as ExprId - 1, param, indices: indices.to_vec(), bounds: vec![] }
}

fn pointwise(inner: &[Dim], body: Vec<Expr>, stores: Vec<Store>) -> Stage {
    Stage { inner: axes(inner), anchor: Anchor::Pointwise, body, stores }
}

fn reduce(function: ReduceFn, inner: &[Dim], body: Vec<Expr>, stores: Vec<Store>) -> Stage {
    Stage { inner: axes(inner), anchor: Anchor::Reduce(function), body, stores }
}

/// A kernel of one pointwise stage, whose params all have the shape of the outer space; the last is the result.
fn elementwise(extents: &[Dim], dtypes: &[DType], body: Vec<Expr>) -> Kernel {
    let indices: Vec<Index> = (0..extents.len()).map(ax).collect();
    let last = dtypes.len() - 1;
    Kernel {
        params: dtypes.iter().enumerate().map(|(i, &dtype)| param(dtype, extents, i == last)).collect(),
        outer: axes(extents),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, last as u32, &indices)])],
    }
}

/// Pseudo-random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A float, at times a special one.
    fn float(&mut self) -> f64 {
        const SPECIAL: &[f64] =
            &[0.0, -0.0, 1.0, -1.0, 0.5, 2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3.0e4, -7.25, 1e-40, 6e-8];
        if self.below(6) == 0 {
            return SPECIAL[self.below(SPECIAL.len() as u64) as usize];
        }
        (self.below(1 << 24) as f64 / (1 << 23) as f64 - 1.0) * 8.0
    }

    /// A finite float of moderate size.
    fn moderate(&mut self) -> f32 {
        (self.below(1 << 24) as f64 / (1 << 23) as f64 - 1.0) as f32 * 4.0
    }

    fn int(&mut self) -> i64 {
        const SPECIAL: &[i64] = &[0, 1, -1, 2, 3, 7, i64::MAX, i64::MIN, 127, -128, 255, 32767, i32::MIN as i64];
        match self.below(3) {
            0 => SPECIAL[self.below(SPECIAL.len() as u64) as usize],
            1 => self.below(40) as i64 - 20,
            _ => (self.next() << 33 | self.next()) as i64,
        }
    }

    /// Elements of any type that generated code computes on.
    fn data(&mut self, dtype: DType, len: usize) -> Data {
        let floats = |r: &mut Random| -> Vec<f32> { (0..len).map(|_| r.float() as f32).collect() };
        match dtype {
            DType::F32 => Data::F32(floats(self)),
            DType::F64 => Data::F64((0..len).map(|_| self.float()).collect()),
            DType::F16 => Data::F16(floats(self).into_iter().map(ic_types::f32_to_f16).collect()),
            DType::BF16 => Data::BF16(floats(self).into_iter().map(ic_types::f32_to_bf16).collect()),
            DType::Bool => Data::Bool((0..len).map(|_| self.below(2) == 1).collect()),
            DType::I64 => Data::I64((0..len).map(|_| self.int()).collect()),
            DType::I32 => Data::I32((0..len).map(|_| self.int() as i32).collect()),
            DType::I16 => Data::I16((0..len).map(|_| self.int() as i16).collect()),
            DType::I8 => Data::I8((0..len).map(|_| self.int() as i8).collect()),
            DType::U64 => Data::U64((0..len).map(|_| self.int() as u64).collect()),
            DType::U32 => Data::U32((0..len).map(|_| self.int() as u32).collect()),
            DType::U16 => Data::U16((0..len).map(|_| self.int() as u16).collect()),
            DType::U8 => Data::U8((0..len).map(|_| self.int() as u8).collect()),
            dtype => panic!("no random {dtype}"),
        }
    }

    /// Finite f32 elements of moderate size.
    fn floats(&mut self, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        Tensor::from_elements(shape.to_vec(), (0..len).map(|_| self.moderate()).collect::<Vec<f32>>())
    }
}
