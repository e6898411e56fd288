//! Types of scalar expressions and of stages.

use super::stage::{Anchor, Expr, Kernel, Stage};
use crate::{Operands, TensorType, Type};
use ic_types::DType;

/// The element type of every expression of a stage's body.
///
/// Malformed applications count as f32; [`crate::ScalarOp::result_dtype`] reports them.
pub fn expr_dtypes(kernel: &Kernel, stage: &Stage) -> Vec<DType> {
    let mut types: Vec<DType> = Vec::with_capacity(stage.body.len());
    for expr in &stage.body {
        let ty = match expr {
            Expr::Const(dtype, _) | Expr::Cast(dtype, _) => *dtype,
            Expr::Index(_) => DType::I64,
            Expr::Load(load) => kernel.params[load.param as usize].dtype,
            Expr::Stage(i) => stage_dtype(kernel, *i as usize),
            Expr::Apply(function, args) => {
                let args: Vec<DType> = args.iter().map(|&i| types[i as usize]).collect();
                function.result_dtype(&args).unwrap_or(DType::F32)
            }
        };
        types.push(ty);
    }
    types
}

/// The element type of a stage's result; that of an op is its first result's.
pub fn stage_dtype(kernel: &Kernel, stage: usize) -> DType {
    let stage = &kernel.stages[stage];
    match &stage.anchor {
        Anchor::Op { .. } => op_result(kernel, stage).map_or(DType::F32, |ty| ty.dtype),
        Anchor::Pointwise | Anchor::Reduce(_) => expr_dtypes(kernel, stage).last().copied().unwrap_or(DType::F32),
    }
}

/// The type of the first result of the op that a stage runs, by inference on the operands' types; `None` for another
/// stage, and for operands that do not fit.
pub fn op_result(kernel: &Kernel, stage: &Stage) -> Option<TensorType> {
    let Anchor::Op { op, operands, .. } = &stage.anchor else { return None };
    let types: Vec<Option<Type>> = operands
        .iter()
        .map(|x| {
            let x = x.as_ref()?;
            let dtype = kernel.params[x.param as usize].dtype;
            Some(TensorType::new(dtype, x.shape.clone()).into())
        })
        .collect();
    let operands = Operands {
        types: types.iter().map(Option::as_ref).collect(),
        contents: vec![None; types.len()],
        regions: &[],
        constraints: Default::default(),
    };
    op.infer(&operands).ok()?.first()?.as_tensor().cloned()
}
