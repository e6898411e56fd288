//! `gated_matmul`: two products of one operand, of which a function of the first multiplies the second: a gated linear
//! unit (Shazeer, 2020, section 2). Models spell it with two `MatMul`, an activation and `Mul`.

use super::expert_matmul::multiply;
use crate::eval::{checked_len, from_reals, reals};
use crate::scalar::{Scalar, ScalarOp};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// The function of a gate.
    GateFn {
        /// `1 / (1 + e^-x)`.
        Sigmoid = "sigmoid",
        /// `x * sigmoid(x)`.
        Silu = "silu",
        /// `x * (1 + erf(x / √2)) / 2`.
        Gelu = "gelu",
        /// The approximation of `gelu` by `tanh`.
        GeluTanh = "gelu_tanh",
        /// `max(x, 0)`.
        Relu = "relu",
    }
}

impl GateFn {
    /// The scalar function.
    pub fn function(self) -> ScalarOp {
        match self {
            GateFn::Sigmoid => ScalarOp::Sigmoid,
            GateFn::Silu => ScalarOp::Silu,
            GateFn::Gelu => ScalarOp::Gelu,
            GateFn::GeluTanh => ScalarOp::GeluTanh,
            GateFn::Relu => ScalarOp::Relu,
        }
    }

    /// The function of a gate that is `function`.
    pub fn of(function: ScalarOp) -> Option<GateFn> {
        use GateFn::{Gelu, GeluTanh, Relu, Sigmoid, Silu};
        [Sigmoid, Silu, Gelu, GeluTanh, Relu].into_iter().find(|gate| gate.function() == function)
    }
}

/// Columns of gates, then of what they scale, and so on.
pub const GATE_RUN: usize = 16;

crate::attrs! {
    /// `y = f(g) * u` for `p = x · w + bias`, where `g` is columns `0..16`, `32..48` … of `p` and `u` the others.
    ///
    /// `x [batch…, K]`, `w [K, 2 F]`, `bias [2 F]`, result `[batch…, F]`. F is a multiple of 16.
    GatedMatmul {
        /// `f`.
        function: GateFn
    }
}

impl OpDef for GatedMatmul {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("w"), OperandSpec::optional("bias")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (rows, w) = (x.ty(0)?, x.ty(1)?);
        super::check_float(rows, "x")?;
        let ([.., width], [k, columns]) = (rows.shape.as_slice(), w.shape.as_slice()) else {
            return Err(OpError(format!("`x` must have an axis and `w` two, found {rows} and {w}")));
        };
        x.equal(width, k, "contracted extents")?;
        let run = Dim::constant(2 * GATE_RUN as i64);
        let pairs =
            columns.exact_div(&run).ok_or_else(|| OpError(format!("{columns} columns are no pairs of runs")))?;
        if let Some(bias) = x.opt(2) {
            ensure!(bias.dtype == rows.dtype && bias.rank() == 1, "`bias` must be a vector of {}", rows.dtype);
            x.equal(&bias.shape[0], columns, "columns and biases")?;
        }
        ensure!(w.dtype == rows.dtype, "operands must have one type, found {} and {}", rows.dtype, w.dtype);
        let mut shape = rows.shape.clone();
        *shape.last_mut().ok_or_else(|| OpError::new("`x` must have an axis"))? =
            pairs * Dim::constant(GATE_RUN as i64);
        Ok(vec![TensorType::new(rows.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (rows, w) = (x.get(0)?, x.get(1)?);
        let (&[.., k], &[w_k, columns]) = (rows.shape(), w.shape()) else {
            return Err(OpError::new("`x` must have an axis and `w` two"));
        };
        ensure!(k == w_k && columns.is_multiple_of(2 * GATE_RUN), "`x` and `w` must fit together");
        let mut shape = rows.shape().to_vec();
        shape.pop();
        let n_rows = checked_len(&shape)?;
        shape.push(columns / 2);
        let (values, matrix) = (reals(rows)?, reals(w)?);
        let bias = x.opt(2).map(reals).transpose()?.unwrap_or_else(|| vec![0.0; columns]);
        ensure!(bias.len() == columns, "`bias` must have an element for each column");
        let mut result = Vec::with_capacity(checked_len(&shape)?);
        for row in 0..n_rows {
            let mut product = vec![0.0; columns];
            multiply(&values[row * k..][..k], &matrix, &mut product);
            product.iter_mut().zip(&bias).for_each(|(sum, bias)| *sum += bias);
            for pair in product.chunks(2 * GATE_RUN) {
                let (gates, scaled) = pair.split_at(GATE_RUN);
                for (&gate, scaled) in gates.iter().zip(scaled) {
                    match self.function.function().eval(&[Scalar::F64(gate)])? {
                        Scalar::F64(gate) => result.push(gate * scaled),
                        other => return Err(OpError(format!("a gate gave {other:?}"))),
                    }
                }
            }
        }
        Ok(vec![from_reals(rows.dtype(), shape, result)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_multiply_what_is_a_run_after_them() {
        let x = Tensor::from_elements(vec![2, 1], vec![1f32, -1.0]);
        let w = Tensor::from_elements(vec![1, 32], (0..32).map(|i| i as f32).collect());
        let bias = Tensor::from_elements(vec![32], vec![1f32; 32]);
        let x = Tensors { operands: vec![Some(&x), Some(&w), Some(&bias)], regions: &[], symbols: &|_| None };
        let y = GatedMatmul { function: GateFn::Relu }.eval(&x).unwrap().remove(0);
        let found = y.elements::<f32>().unwrap();
        assert_eq!(found[..3], [1.0 * 17.0, 2.0 * 18.0, 3.0 * 19.0]);
        assert_eq!((found[16], found[17]), (1.0 * -15.0, 0.0));
    }
}
