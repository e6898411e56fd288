//! `rnn`: the simple recurrent layer. ONNX `RNN`, opset 22.

use super::recurrent::{Direction, Factors, Recurrent, RnnActivation};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `h' = f(x · W + h · R + b)`. `x` is `[time, batch, input]` in layout 0, `[batch, time, input]` in layout 1.
    Rnn {
        /// Width of the state.
        hidden_size: usize,
        /// In which order sequences are walked.
        direction: Direction = Direction::Forward,
        /// One activation for each direction.
        activations: Vec<RnnActivation>,
        /// First parameter of each activation; defaults where the list ends.
        alpha: Vec<F32> = Vec::new(),
        /// Second parameter of each activation; defaults where the list ends.
        beta: Vec<F32> = Vec::new(),
        /// Bound of the arguments of activations.
        clip: Option<F32> = None,
        /// Whether the batch comes before the time.
        layout: usize = 0
    }
}

/// Operands of `rnn` and `gru`.
pub(super) const OPERANDS: &[OperandSpec] = &[
    OperandSpec::required("x"),
    OperandSpec::required("w"),
    OperandSpec::required("r"),
    OperandSpec::optional("b"),
    OperandSpec::optional("sequence_lens"),
    OperandSpec::optional("initial_h"),
];

impl Rnn {
    fn recurrent(&self) -> Recurrent<'_> {
        Recurrent {
            n_gates: 1,
            n_activations: 1,
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

impl OpDef for Rnn {
    const OPERANDS: &'static [OperandSpec] = OPERANDS;

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        self.recurrent().infer(x, 1)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        self.recurrent().run(x, 1, |step, states| {
            let h = states[0].clone();
            for (unit, state) in states[0].iter_mut().enumerate() {
                *state = step.activate(0, step.input(0, unit) + step.hidden(0, unit, &h));
            }
        })
    }
}
