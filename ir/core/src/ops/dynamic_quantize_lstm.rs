//! `dynamic_quantize_lstm`: `lstm` whose contractions are of 8-bit integers. `DynamicQuantizeLSTM` of com.microsoft.

use super::recurrent::{Direction, Factors, Recurrent, RnnActivation};
use crate::eval::{ints, reals};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// Weights are 8-bit integers, `w` `[directions, input, 4 * hidden]` and `r` `[directions, hidden, 4 * hidden]`. Each
    /// has scales and zero points, `[directions]` or `[directions, 4 * hidden]`. All inputs together, and at each step the
    /// states of a direction whose sequences go on, are quantized to u8 by their own range, which includes 0, as by ONNX
    /// `DynamicQuantizeLinear`. Attributes, other operands and results are those of `lstm`.
    DynamicQuantizeLstm {
        /// Width of the states.
        hidden_size: usize,
        /// In which order sequences are walked.
        direction: Direction = Direction::Forward,
        /// Three activations for each direction.
        activations: Vec<RnnActivation>,
        /// First parameter of each activation; defaults where the list ends.
        alpha: Vec<F32> = Vec::new(),
        /// Second parameter of each activation; defaults where the list ends.
        beta: Vec<F32> = Vec::new(),
        /// Bound of the arguments of activations.
        clip: Option<F32> = None,
        /// Whether the forget gate is one minus the input gate.
        input_forget: bool = false,
        /// Whether the batch comes before the time.
        layout: usize = 0
    }
}

impl DynamicQuantizeLstm {
    fn recurrent(&self) -> Recurrent<'_> {
        Recurrent {
            n_gates: 4,
            n_activations: 3,
            hidden_size: self.hidden_size,
            direction: self.direction,
            activations: &self.activations,
            alpha: &self.alpha,
            beta: &self.beta,
            clip: self.clip,
            layout: self.layout,
            factors: Factors::Quantized,
        }
    }
}

/// Operands that `lstm` has too; scale and zero point of `w` and of `r` follow.
const FLOAT_OPERANDS: usize = 8;

impl OpDef for DynamicQuantizeLstm {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("x"),
        OperandSpec::required("w"),
        OperandSpec::required("r"),
        OperandSpec::optional("b"),
        OperandSpec::optional("sequence_lens"),
        OperandSpec::optional("initial_h"),
        OperandSpec::optional("initial_c"),
        OperandSpec::optional("p"),
        OperandSpec::required("w_scale"),
        OperandSpec::optional("w_zero_point"),
        OperandSpec::required("r_scale"),
        OperandSpec::optional("r_zero_point"),
    ];

    fn n_results(&self) -> usize {
        3
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        ensure!(x.ty(0)?.dtype == DType::F32, "`x` must be f32, found {}", x.ty(0)?);
        let mut swapped = Vec::new();
        for i in [1, 2] {
            let ty = x.ty(i)?;
            ensure!(matches!(ty.dtype, DType::U8 | DType::I8), "weights must be u8 or i8, found {ty}");
            ensure!(ty.rank() == 3, "weights must have rank 3, found {ty}");
            let shape: Vec<Dim> = [0, 2, 1].map(|axis: usize| ty.shape[axis].clone()).into();
            swapped.push(Type::from(TensorType::new(DType::F32, shape)));
            let scale = x.ty(parameters(i))?;
            let per_column = [ty.shape[0].clone(), ty.shape[2].clone()];
            for (at, dtype) in [(parameters(i), DType::F32), (parameters(i) + 1, ty.dtype)] {
                let expected = TensorType::new(dtype, per_column[..scale.rank().clamp(1, 2)].to_vec());
                super::check_operand(x, at, "scale or zero point", &expected)?;
            }
        }
        let mut float = x.clone();
        float.types.truncate(FLOAT_OPERANDS);
        (float.types[1], float.types[2]) = (Some(&swapped[0]), Some(&swapped[1]));
        let types = self.recurrent().infer(&float, 2)?;
        let width = super::spatial::dim(3) * super::spatial::dim(self.hidden_size);
        let peepholes = TensorType::new(DType::F32, vec![x.ty(1)?.shape[0].clone(), width]);
        super::check_operand(x, 7, "p", &peepholes)?;
        *x.constraints.borrow_mut() = float.constraints.into_inner();
        Ok(types)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let dequantized = |i: usize| dequantized(x.get(i)?, x.get(parameters(i))?, x.opt(parameters(i) + 1));
        let weights = [dequantized(1)?, dequantized(2)?];
        let mut operands: Vec<Option<&Tensor>> = (0..FLOAT_OPERANDS).map(|i| x.opt(i)).collect();
        (operands[1], operands[2]) = (Some(&weights[0]), Some(&weights[1]));
        super::lstm::run(&self.recurrent(), self.input_forget, &Tensors { operands, ..*x })
    }
}

/// Where the scale of the weights `i` is; the zero point follows.
fn parameters(i: usize) -> usize {
    FLOAT_OPERANDS + 2 * (i - 1)
}

/// Weights as floats, with rows and columns exchanged.
fn dequantized(weights: &Tensor, scale: &Tensor, zero_point: Option<&Tensor>) -> Result<Tensor, OpError> {
    let &[directions, k, n] = weights.shape() else { return Err(OpError::new("weights must have rank 3")) };
    let (values, scales) = (ints(weights)?, reals(scale)?);
    let zeros = zero_point.map(ints).transpose()?.unwrap_or(vec![0; scales.len()]);
    let per_direction = if scale.rank() == 2 { n } else { 1 };
    let fits = scales.len() == directions * per_direction && zeros.len() == scales.len();
    ensure!(fits, "expected {directions} by {per_direction} scales and zero points");
    let mut elements = Vec::with_capacity(values.len());
    for (d, column) in (0..directions).flat_map(|d| (0..n).map(move |column| (d, column))) {
        let of = d * per_direction + column % per_direction;
        elements
            .extend((0..k).map(|row| ((values[(d * k + row) * n + column] - zeros[of]) as f64 * scales[of]) as f32));
    }
    Ok(Tensor::from_elements(vec![directions, n, k], elements))
}
