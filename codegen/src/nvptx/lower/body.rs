//! Scalar expressions under construction.

use ic_ir::kernel::{Expr, ExprId, Index};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim, f32_to_bf16, f32_to_f16};

/// The expressions of a stage. The last one is the stage's result.
#[derive(Default)]
pub(super) struct Body {
    pub(super) exprs: Vec<Expr>,
}

impl Body {
    pub(super) fn push(&mut self, expr: Expr) -> ExprId {
        self.exprs.push(expr);
        self.exprs.len() as ExprId - 1
    }

    /// `op(args)`.
    pub(super) fn apply(&mut self, op: ScalarOp, args: &[ExprId]) -> ExprId {
        self.push(Expr::Apply(op, args.to_vec()))
    }

    /// The expression, of type `from`, as `to`.
    pub(super) fn cast(&mut self, value: ExprId, from: DType, to: DType) -> ExprId {
        if from == to { value } else { self.push(Expr::Cast(to, value)) }
    }

    /// A float of a type.
    pub(super) fn float(&mut self, dtype: DType, value: f64) -> ExprId {
        let bits = match dtype {
            DType::F64 => u128::from(value.to_bits()),
            DType::F16 => f32_to_f16(value as f32).into(),
            DType::BF16 => f32_to_bf16(value as f32).into(),
            _ => (value as f32).to_bits().into(),
        };
        self.push(Expr::Const(dtype, bits))
    }

    /// An integer of a type.
    pub(super) fn int(&mut self, dtype: DType, value: i64) -> ExprId {
        let width = dtype.size().unwrap_or(8) * 8;
        let bits = value as u64 & (u64::MAX >> (64 - width.min(64)));
        self.push(Expr::Const(dtype, bits.into()))
    }

    /// An extent as a float of a type.
    pub(super) fn extent(&mut self, dtype: DType, extent: &Dim) -> ExprId {
        match extent.as_const() {
            Some(value) => self.float(dtype, value as f64),
            None => {
                let value = self.push(Expr::Index(Index::constant(extent.clone())));
                self.cast(value, DType::I64, dtype)
            }
        }
    }
}
