//! Element types of scalar expressions.

use super::stage::{Anchor, Expr, Kernel, Stage};
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
        Anchor::Op { op, operands, .. } => op_dtype(kernel, op, operands),
        Anchor::Pointwise | Anchor::Reduce(_) => expr_dtypes(kernel, stage).last().copied().unwrap_or(DType::F32),
    }
}

/// The element type of an op's first result, by inference on the operands' types.
fn op_dtype(kernel: &Kernel, op: &crate::Op, operands: &[Option<super::Operand>]) -> DType {
    let types: Vec<Option<crate::Type>> = operands
        .iter()
        .map(|x| {
            let x = x.as_ref()?;
            let dtype = kernel.params[x.param as usize].dtype;
            Some(crate::TensorType::new(dtype, x.shape.clone()).into())
        })
        .collect();
    let operands = crate::Operands {
        types: types.iter().map(Option::as_ref).collect(),
        contents: vec![None; types.len()],
        regions: &[],
        constraints: Default::default(),
    };
    let result = op.infer(&operands).ok().and_then(|types| types.first()?.as_tensor().map(|ty| ty.dtype));
    result.unwrap_or(DType::F32)
}
