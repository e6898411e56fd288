//! `experts`: the experts that a router chose for each token, weighed: what a mixture-of-experts layer computes after its
//! routing. Models spell it with gathers of weights, and `MatMul` (Shazeer et al., 2017, equation 1).

use super::expert_matmul::multiply;
use crate::eval::{checked_len, from_reals, indices, reals, wrap_index};
use crate::scalar::{Scalar, ScalarOp};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::Tensor;

crate::word_attr! {
    /// The function between the two products of an expert.
    ExpertActivation {
        /// `max(x, 0)`.
        Relu = "relu",
        /// `x * sigmoid(x)`.
        Silu = "silu",
        /// `x * (1 + erf(x / √2)) / 2`.
        Gelu = "gelu",
        /// The approximation of `gelu` by `tanh`.
        GeluTanh = "gelu_tanh",
    }
}

impl ExpertActivation {
    /// The scalar function.
    pub fn function(self) -> ScalarOp {
        match self {
            ExpertActivation::Relu => ScalarOp::Relu,
            ExpertActivation::Silu => ScalarOp::Silu,
            ExpertActivation::Gelu => ScalarOp::Gelu,
            ExpertActivation::GeluTanh => ScalarOp::GeluTanh,
        }
    }

    /// The activation that is `function`.
    pub fn of(function: ScalarOp) -> Option<ExpertActivation> {
        use ExpertActivation::{Gelu, GeluTanh, Relu, Silu};
        [Relu, Silu, Gelu, GeluTanh].into_iter().find(|activation| activation.function() == function)
    }
}

crate::attrs! {
    /// `y[t] = Σ_c weight[t, c] · (h · w_out[e])` with `e = index[t, c]`, `h = f(x[t, c] · w_in[e])`.
    ///
    /// `x [T, C, K]`, `index [T, C]` of integers in `-E..E`, `weight [T, C]`, `w_in [E, K, F]`, `w_out [E, F, N]`, result
    /// `[T, N]`. If `gated`, `w_in` is `[E, K, 2 F]`, and `h = f(a) · b` of the two halves `a`, `b` of the product.
    Experts {
        /// `f`.
        activation: ExpertActivation,
        /// Whether half of the first product multiplies the other.
        gated: bool = false
    }
}

impl OpDef for Experts {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("x"),
        OperandSpec::required("index"),
        OperandSpec::required("weight"),
        OperandSpec::required("w_in"),
        OperandSpec::required("w_out"),
    ];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (tokens, index, weight, w_in, w_out) = (x.ty(0)?, x.ty(1)?, x.ty(2)?, x.ty(3)?, x.ty(4)?);
        super::check_float(tokens, "x")?;
        super::check_indices(index)?;
        for ty in [weight, w_in, w_out] {
            ensure!(ty.dtype == tokens.dtype, "operands must have one type, found {} and {}", tokens.dtype, ty.dtype);
        }
        let ([t, c, k], [e, in_k, wide], [out_e, f, n]) =
            (tokens.shape.as_slice(), w_in.shape.as_slice(), w_out.shape.as_slice())
        else {
            return Err(OpError(format!(
                "`x`, `w_in` and `w_out` must have rank 3, found {tokens}, {w_in} and {w_out}"
            )));
        };
        x.equal(k, in_k, "widths of tokens and experts")?;
        x.equal(e, out_e, "numbers of experts")?;
        let inner = if self.gated { f.clone() * 2.into() } else { f.clone() };
        x.equal(wide, &inner, "inner widths of experts")?;
        for (name, ty) in [("index", index), ("weight", weight)] {
            let [tokens, choices] = ty.shape.as_slice() else {
                return Err(OpError(format!("`{name}` must have rank 2, found {ty}")));
            };
            x.equal(t, tokens, "numbers of tokens")?;
            x.equal(c, choices, "numbers of choices")?;
        }
        Ok(vec![TensorType::new(tokens.dtype, vec![t.clone(), n.clone()]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (tokens, index, weight, w_in, w_out) = (x.get(0)?, x.get(1)?, x.get(2)?, x.get(3)?, x.get(4)?);
        let (&[t, c, k], &[e, in_k, wide], &[out_e, f, n]) = (tokens.shape(), w_in.shape(), w_out.shape()) else {
            return Err(OpError::new("`x`, `w_in` and `w_out` must have rank 3"));
        };
        let fits = k == in_k && e == out_e && wide == if self.gated { 2 * f } else { f };
        ensure!(fits && index.shape() == [t, c] && weight.shape() == [t, c], "tokens and experts must fit together");
        let (token_values, choices, weights) = (reals(tokens)?, indices(index)?, reals(weight)?);
        let (first, second) = (reals(w_in)?, reals(w_out)?);
        let mut result = vec![0.0; checked_len(&[t, n])?];
        let mut inner = vec![0.0; wide];
        for (choice, token) in token_values.chunks(k.max(1)).enumerate().take(t * c) {
            let expert = wrap_index(choices[choice], e)?;
            inner.fill(0.0);
            multiply(token, &first[expert * k * wide..][..k * wide], &mut inner);
            let hidden = self.activated(&inner, f)?;
            let mut y = vec![0.0; n];
            multiply(&hidden, &second[expert * f * n..][..f * n], &mut y);
            let sums = &mut result[choice / c * n..][..n];
            sums.iter_mut().zip(&y).for_each(|(sum, y)| *sum += weights[choice] * y);
        }
        Ok(vec![from_reals(tokens.dtype(), vec![t, n], result)?])
    }
}

impl Experts {
    /// What the second product takes of the first, `f` numbers.
    fn activated(&self, inner: &[f64], f: usize) -> Result<Vec<f64>, OpError> {
        let activate = |i: usize| match self.activation.function().eval(&[Scalar::F64(inner[i])])? {
            Scalar::F64(value) => Ok(if self.gated { value * inner[f + i] } else { value }),
            other => Err(OpError(format!("an activation gave {other:?}"))),
        };
        (0..f).map(activate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_weighed() {
        let tokens = Tensor::from_elements(vec![1, 2, 1], vec![1f32, 2.0]);
        let index = Tensor::from_elements(vec![1, 2], vec![1i64, 0]);
        let weight = Tensor::from_elements(vec![1, 2], vec![0.5f32, 10.0]);
        let w_in = Tensor::from_elements(vec![2, 1, 2], vec![3f32, 1.0, -1.0, 7.0]);
        let w_out = Tensor::from_elements(vec![2, 1, 1], vec![2f32, 5.0]);
        let operands = [&tokens, &index, &weight, &w_in, &w_out].map(Some).to_vec();
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        let op = Experts { activation: ExpertActivation::Relu, gated: true };
        // Expert 1 gives relu(-1) * 7 * 5 = 0, expert 0 gives relu(6) * 2 * 2 = 24.
        assert_eq!(op.eval(&x).unwrap().remove(0).elements::<f32>().unwrap(), [240.0]);
    }
}
