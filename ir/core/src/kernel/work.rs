//! How many arithmetic operations a kernel does: what its time is held against.

use super::dtype::op_result;
use super::stage::{Anchor, Expr, Kernel, Operand, Stage};
use crate::ops::Op;
use ic_types::Dim;

/// Arithmetic of a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// Operations: two for a multiply-add, one for each scalar function of each element.
    pub operations: Dim,
    /// Whether most of them are products of 8-bit integers.
    pub is_integer: bool,
}

/// The arithmetic of a kernel: of a contraction or a recurrent layer, its multiply-adds, counted as if padding were data and
/// no position masked; of other ops nothing, as they move data; of other stages, the functions of their expressions.
pub fn work(kernel: &Kernel) -> Work {
    let mut found = Work { operations: Dim::constant(0), is_integer: false };
    for stage in &kernel.stages {
        if let Anchor::Op { op, operands, .. } = &stage.anchor {
            let products = multiply_adds(kernel, stage, op, operands).unwrap_or(Dim::constant(0));
            found.operations = found.operations + products * Dim::constant(2);
            found.is_integer |=
                matches!(op, Op::IntegerMatmul(_) | Op::IntegerConvolution(_) | Op::DynamicQuantizeLstm(_));
        }
        let functions = stage.body.iter().filter(|expr| matches!(expr, Expr::Apply(..))).count();
        let axes = kernel.outer.iter().chain(&stage.inner);
        let points: Dim = axes.map(|axis| axis.extent.clone()).product();
        found.operations = found.operations + points * Dim::constant(functions as i64);
    }
    found
}

/// Multiply-adds of an op; `None` of one that has none, or of operands that it does not take.
fn multiply_adds(kernel: &Kernel, stage: &Stage, op: &Op, operands: &[Option<Operand>]) -> Option<Dim> {
    let shape = |index: usize| operands.get(index)?.as_ref().map(|operand| operand.shape.as_slice());
    let size = |shape: &[Dim]| shape.iter().cloned().product::<Dim>();
    let result = || op_result(kernel, stage).map(|ty| size(&ty.shape));
    // Elements of all axes but the last.
    let rows = |shape: &[Dim]| shape.split_last().map(|(_, rows)| size(rows));
    Some(match op {
        Op::Matmul(_) | Op::IntegerMatmul(_) | Op::ExpertMatmul(_) => result()? * shape(0)?.last()?.clone(),
        Op::GatedMatmul(_) => rows(shape(0)?)? * size(shape(1)?),
        // Scores, and sums of values: q [.., L, D], k [.., S, D], v [.., S, E].
        Op::Attention(_) => {
            let (q, [.., keys, _], [.., values]) = (shape(0)?, shape(1)?, shape(2)?) else { return None };
            rows(q)? * keys.clone() * (q.last()?.clone() + values.clone())
        }
        Op::Convolution(_) | Op::IntegerConvolution(_) => result()? * size(shape(1)?.get(1..)?),
        Op::ConvTranspose(_) => size(shape(0)?) * size(shape(1)?.get(1..)?),
        Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_) | Op::DynamicQuantizeLstm(_) => {
            rows(shape(0)?)? * (size(shape(1)?) + size(shape(2)?))
        }
        // x [T, C, K], w_in [E, K, F], w_out [E, F, N].
        Op::Experts(_) => rows(shape(0)?)? * (size(shape(3)?.get(1..)?) + size(shape(4)?.get(1..)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Axis, Param};
    use crate::ops::Matmul;
    use ic_types::DType;

    #[test]
    fn products_and_functions_of_each_element_count() {
        let n = Dim::symbol("N");
        let dims = |list: [&Dim; 2]| list.map(Dim::clone).to_vec();
        let [four, eight] = [4, 8].map(Dim::constant);
        let shapes = [dims([&n, &eight]), dims([&eight, &four])];
        let view = |param: u32| {
            let (shape, one) = (shapes[param as usize].clone(), Dim::constant(1));
            let strides = vec![shape[1].clone(), one];
            Some(Operand { param, shape, strides, offset: Dim::constant(0) })
        };
        let op = Anchor::Op { op: Matmul {}.into(), operands: vec![view(0), view(1)], results: vec![None] };
        let relu = Expr::Apply(crate::ScalarOp::Relu, vec![0]);
        let kernel = Kernel {
            params: shapes.iter().map(|s| Param { dtype: DType::F32, shape: s.clone(), is_output: false }).collect(),
            outer: dims([&n, &four]).into_iter().map(|extent| Axis { extent }).collect(),
            stages: vec![
                Stage { inner: vec![], anchor: op, body: vec![], stores: vec![] },
                Stage { inner: vec![], anchor: Anchor::Pointwise, body: vec![Expr::Stage(0), relu], stores: vec![] },
            ],
        };
        let found = work(&kernel);
        assert_eq!(found.operations, n * Dim::constant(4 * 8 * 2 + 4));
        assert!(!found.is_integer);
    }
}
