//! `lstm`: long short-term memory. ONNX `LSTM`, opset 22.

use super::recurrent::{Direction, Factors, Recurrent, RnnActivation};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `x` is `[time, batch, input]` in layout 0, `[batch, time, input]` in layout 1. Gates are in the order input,
    /// output, forget, cell; activations are those of gates, cell and output, for each direction.
    Lstm {
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

impl Lstm {
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
            factors: Factors::Exact,
        }
    }
}

impl OpDef for Lstm {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("x"),
        OperandSpec::required("w"),
        OperandSpec::required("r"),
        OperandSpec::optional("b"),
        OperandSpec::optional("sequence_lens"),
        OperandSpec::optional("initial_h"),
        OperandSpec::optional("initial_c"),
        OperandSpec::optional("p"),
    ];

    fn n_results(&self) -> usize {
        3
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let types = self.recurrent().infer(x, 2)?;
        let directions = x.ty(1)?.shape[0].clone();
        let width = super::spatial::dim(3) * super::spatial::dim(self.hidden_size);
        super::check_operand(x, 7, "p", &TensorType::new(x.ty(0)?.dtype, vec![directions, width]))?;
        Ok(types)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        run(&self.recurrent(), self.input_forget, x)
    }
}

/// Walks over every sequence.
pub(super) fn run(recurrent: &Recurrent, input_forget: bool, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
    let hidden = recurrent.hidden_size;
    recurrent.run(x, 2, |step, states| {
        let c = states[1].clone();
        for unit in 0..hidden {
            let peephole = |i: usize| step.peepholes.get(i * hidden + unit).copied().unwrap_or(0.0);
            let gate = |gate: usize| step.input(gate, unit) + step.hidden(gate, unit, step.state);
            let input = step.activate(0, gate(0) + peephole(0) * c[unit]);
            let forget = match input_forget {
                true => 1.0 - input,
                false => step.activate(0, gate(2) + peephole(2) * c[unit]),
            };
            let cell = forget * c[unit] + input * step.activate(1, gate(3));
            let output = step.activate(0, gate(1) + peephole(1) * cell);
            states[0][unit] = output * step.activate(2, cell);
            states[1][unit] = cell;
        }
    })
}
