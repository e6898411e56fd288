//! `gru`: gated recurrent unit. ONNX `GRU`, opset 22.

use super::recurrent::{Direction, Factors, Recurrent, RnnActivation};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `x` is `[time, batch, input]` in layout 0, `[batch, time, input]` in layout 1. Gates are in the order update,
    /// reset, hidden; activations are those of gates and hidden, for each direction.
    Gru {
        /// Width of the state.
        hidden_size: usize,
        /// In which order sequences are walked.
        direction: Direction = Direction::Forward,
        /// Two activations for each direction.
        activations: Vec<RnnActivation>,
        /// First parameter of each activation; defaults where the list ends.
        alpha: Vec<F32> = Vec::new(),
        /// Second parameter of each activation; defaults where the list ends.
        beta: Vec<F32> = Vec::new(),
        /// Bound of the arguments of activations.
        clip: Option<F32> = None,
        /// Whether the reset gate multiplies the transformed state rather than the state.
        linear_before_reset: bool = false,
        /// Whether the batch comes before the time.
        layout: usize = 0
    }
}

impl Gru {
    fn recurrent(&self) -> Recurrent<'_> {
        Recurrent {
            n_gates: 3,
            n_activations: 2,
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

impl OpDef for Gru {
    const OPERANDS: &'static [OperandSpec] = super::rnn::OPERANDS;

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        self.recurrent().infer(x, 1)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        self.recurrent().run(x, 1, |step, states| {
            let h = states[0].clone();
            let gate = |i: usize, unit: usize| step.activate(0, step.input(i, unit) + step.hidden(i, unit, &h));
            let reset: Vec<f64> = (0..self.hidden_size).map(|unit| gate(1, unit)).collect();
            let reset_h: Vec<f64> = h.iter().zip(&reset).map(|(h, r)| h * r).collect();
            for unit in 0..self.hidden_size {
                let recurrent = match self.linear_before_reset {
                    true => reset[unit] * step.hidden(2, unit, &h),
                    false => step.hidden(2, unit, &reset_h),
                };
                let hidden = step.activate(1, step.input(2, unit) + recurrent);
                let update = gate(0, unit);
                states[0][unit] = (1.0 - update) * hidden + update * h[unit];
            }
        })
    }
}
