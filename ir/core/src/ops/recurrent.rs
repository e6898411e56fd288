//! What `lstm`, `gru` and `rnn` share: operand shapes, directions, sequence lengths, activations.

use crate::eval::{checked_len, from_reals, indices, reals};
use crate::{F32, OpError, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::word_attr! {
    /// In which order a recurrent op walks the sequence.
    Direction {
        /// From the first element to the last.
        Forward = "forward",
        /// From the last element to the first.
        Reverse = "reverse",
        /// Both, with parameters of their own; results are stacked.
        Bidirectional = "bidirectional",
    }
}

crate::word_attr! {
    /// An activation function of a recurrent op.
    RnnActivation {
        /// `max(x, 0)`.
        Relu = "relu",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// `1 / (1 + e^-x)`.
        Sigmoid = "sigmoid",
        /// `alpha * x + beta`; 1 and 0 unless given.
        Affine = "affine",
        /// `x` if positive, else `alpha * x`; 0.01 unless given.
        LeakyRelu = "leaky_relu",
        /// `x` if above `alpha`, else 0; 1 unless given.
        ThresholdedRelu = "thresholded_relu",
        /// `alpha * tanh(beta * x)`; 1 and 1 unless given.
        ScaledTanh = "scaled_tanh",
        /// `min(max(alpha * x + beta, 0), 1)`; 0.2 and 0.5 unless given.
        HardSigmoid = "hard_sigmoid",
        /// `x` if positive, else `alpha * (e^x - 1)`; 1 unless given.
        Elu = "elu",
        /// `x / (1 + |x|)`.
        Softsign = "softsign",
        /// `log(1 + e^x)`.
        Softplus = "softplus",
    }
}

impl RnnActivation {
    /// `alpha` and `beta` where the model gives none.
    pub fn defaults(self) -> (f32, f32) {
        match self {
            RnnActivation::LeakyRelu => (0.01, 0.0),
            RnnActivation::ScaledTanh => (1.0, 1.0),
            RnnActivation::HardSigmoid => (0.2, 0.5),
            _ => (1.0, 0.0),
        }
    }

    fn apply(self, alpha: f64, beta: f64, x: f64) -> f64 {
        match self {
            RnnActivation::Relu => x.max(0.0),
            RnnActivation::Tanh => libm::tanh(x),
            RnnActivation::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
            RnnActivation::Affine => alpha * x + beta,
            RnnActivation::LeakyRelu => x.max(0.0) + alpha * x.min(0.0),
            RnnActivation::ThresholdedRelu => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            RnnActivation::ScaledTanh => alpha * libm::tanh(beta * x),
            RnnActivation::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
            RnnActivation::Elu => {
                if x > 0.0 {
                    x
                } else {
                    alpha * libm::expm1(x)
                }
            }
            RnnActivation::Softsign => x / (1.0 + libm::fabs(x)),
            RnnActivation::Softplus => x.max(0.0) + libm::log1p(libm::exp(-libm::fabs(x))),
        }
    }
}

/// The attributes that all recurrent ops have, and the number of gates.
pub(super) struct Recurrent<'a> {
    pub(super) n_gates: usize,
    /// Activations that each direction needs.
    pub(super) n_activations: usize,
    pub(super) hidden_size: usize,
    pub(super) direction: Direction,
    pub(super) activations: &'a [RnnActivation],
    pub(super) alpha: &'a [F32],
    pub(super) beta: &'a [F32],
    pub(super) clip: Option<F32>,
    pub(super) layout: usize,
    /// How inputs and states are read by contractions.
    pub(super) factors: Factors,
}

/// What contractions read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Factors {
    /// The values themselves.
    Exact,
    /// Their nearest multiples of a step, as by ONNX `DynamicQuantizeLinear` to u8: of all inputs together, and at each
    /// step of the states of a direction whose sequences go on.
    Quantized,
}

/// Parameters of one direction, and the input at one time.
pub(super) struct Step<'a> {
    recurrent: &'a Recurrent<'a>,
    direction: usize,
    w: &'a [f64],
    r: &'a [f64],
    bias: &'a [f64],
    /// Peephole weights; empty if there are none.
    pub(super) peepholes: &'a [f64],
    x: &'a [f64],
    /// The first state, as contractions read it.
    pub(super) state: &'a [f64],
}

impl Step<'_> {
    /// `x · W` of a unit of a gate, with the bias of `W`.
    pub(super) fn input(&self, gate: usize, unit: usize) -> f64 {
        let row = gate * self.recurrent.hidden_size + unit;
        dot(&self.w[row * self.x.len()..], self.x) + self.bias.get(row).unwrap_or(&0.0)
    }

    /// `h · R` of a unit of a gate, with the bias of `R`.
    pub(super) fn hidden(&self, gate: usize, unit: usize, h: &[f64]) -> f64 {
        let row = gate * self.recurrent.hidden_size + unit;
        let bias = self.bias.get(self.recurrent.n_gates * self.recurrent.hidden_size + row);
        dot(&self.r[row * h.len()..], h) + bias.unwrap_or(&0.0)
    }

    /// Activation `i` of this direction, after clipping.
    pub(super) fn activate(&self, i: usize, x: f64) -> f64 {
        let r = self.recurrent;
        let i = self.direction * r.n_activations + i;
        let activation = r.activations[i];
        let (alpha, beta) = activation.defaults();
        let parameter = |list: &[F32], default: f32| f64::from(list.get(i).map_or(default, |v| v.0));
        let x = r.clip.map_or(x, |clip| x.max(-f64::from(clip.0)).min(clip.0.into()));
        activation.apply(parameter(r.alpha, alpha), parameter(r.beta, beta), x)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

impl Recurrent<'_> {
    fn n_directions(&self) -> usize {
        if self.direction == Direction::Bidirectional { 2 } else { 1 }
    }

    /// Checks the operands `x, w, r, b?, sequence_lens?, initial states?…` and gives the types of `y`, then of each of
    /// `n_states` last states.
    ///
    /// # Errors
    /// If an operand or attribute does not fit.
    pub(super) fn infer(&self, x: &Operands, n_states: usize) -> Result<Vec<Type>, OpError> {
        let (input, w) = (x.ty(0)?, x.ty(1)?);
        super::check_float(input, "x")?;
        ensure!(input.rank() == 3, "`x` must have rank 3, found {input}");
        ensure!(w.rank() == 3, "`w` must have rank 3, found {w}");
        ensure!(self.layout <= 1, "`layout` must be 0 or 1, found {}", self.layout);
        ensure!(self.hidden_size <= 1 << 30, "`hidden_size` is too large");
        let n_needed = self.n_activations * self.n_directions();
        ensure!(self.activations.len() == n_needed, "needs {n_needed} activations, found {}", self.activations.len());
        let dim = super::spatial::dim;
        let (directions, hidden) = (dim(self.n_directions()), dim(self.hidden_size));
        let rows = hidden.clone() * dim(self.n_gates);
        let (time, batch) = (input.shape[self.layout].clone(), input.shape[1 - self.layout].clone());
        let ty = |shape: &[&Dim]| TensorType::new(input.dtype, shape.iter().map(|&d| d.clone()).collect());
        super::check_operand(x, 1, "w", &ty(&[&directions, &rows, &input.shape[2]]))?;
        super::check_operand(x, 2, "r", &ty(&[&directions, &rows, &hidden]))?;
        super::check_operand(x, 3, "b", &ty(&[&directions, &(rows.clone() * dim(2))]))?;
        if let Some(lens) = x.opt(4) {
            super::check_indices(lens)?;
            super::check_operand(x, 4, "sequence_lens", &TensorType::new(lens.dtype, vec![batch.clone()]))?;
        }
        let (y, state) = match self.layout {
            0 => (ty(&[&time, &directions, &batch, &hidden]), ty(&[&directions, &batch, &hidden])),
            _ => (ty(&[&batch, &time, &directions, &hidden]), ty(&[&batch, &directions, &hidden])),
        };
        for i in 0..n_states {
            super::check_operand(x, 5 + i, "initial state", &state)?;
        }
        let states = std::iter::repeat_n(Type::from(state), n_states);
        Ok(std::iter::once(y.into()).chain(states).collect())
    }

    /// Runs `step` over every sequence; it updates the states, the first of which is the output.
    ///
    /// # Errors
    /// If operands do not fit.
    pub(super) fn run(
        &self,
        x: &Tensors,
        n_states: usize,
        step: impl Fn(&Step, &mut [Vec<f64>]),
    ) -> Result<Vec<Tensor>, OpError> {
        let (input, dtype) = (x.get(0)?, x.get(0)?.dtype());
        ensure!(input.rank() == 3 && self.layout <= 1, "`x` must have rank 3");
        let (time, batch) = (input.shape()[self.layout], input.shape()[1 - self.layout]);
        let (width, hidden, directions) = (input.shape()[2], self.hidden_size, self.n_directions());
        let rows = self.n_gates * hidden;
        let optional = |i: usize| x.opt(i).map_or(Ok(Vec::new()), reals);
        let (values, w, r, b, p) = (reals(input)?, optional(1)?, optional(2)?, optional(3)?, optional(7)?);
        let fits = w.len() == directions * rows * width && r.len() == directions * rows * hidden;
        ensure!(fits, "`w` or `r` does not fit `x` and `hidden_size`");
        let lens = x.opt(4).map(indices).transpose()?;
        let (y_shape, state_shape) = match self.layout {
            0 => (vec![time, directions, batch, hidden], vec![directions, batch, hidden]),
            _ => (vec![batch, time, directions, hidden], vec![batch, directions, hidden]),
        };
        let n_state = checked_len(&state_shape)?;
        let mut y = vec![0.0; checked_len(&y_shape)?];
        let mut finals = (0..n_states).map(|i| optional(5 + i)).collect::<Result<Vec<_>, _>>()?;
        finals.iter_mut().for_each(|state| state.resize(n_state, 0.0));
        if batch == 0 || hidden == 0 {
            return self.results(dtype, (y_shape, y), (state_shape, finals));
        }
        let values = self.read(&[&values]).remove(0);
        let len = |n: usize| {
            let len = lens.as_ref().map_or(time as i64, |l| l.get(n).copied().unwrap_or(0));
            len.clamp(0, time as i64) as usize
        };
        for d in 0..directions {
            let [w, r, bias, peepholes] = [&w, &r, &b, &p].map(|list| part(list, d, directions));
            let backwards = d == 1 || self.direction == Direction::Reverse;
            let at = |n: usize| if self.layout == 0 { d * batch + n } else { n * directions + d } * hidden;
            for i in 0..time {
                let active: Vec<usize> = (0..batch).filter(|&n| i < len(n)).collect();
                let states: Vec<&[f64]> = active.iter().map(|&n| &finals[0][at(n)..at(n) + hidden]).collect();
                let read = self.read(&states);
                for (&n, state) in active.iter().zip(&read) {
                    let t = if backwards { len(n) - 1 - i } else { i };
                    let (row, out) = match self.layout {
                        0 => (t * batch + n, (t * directions + d) * batch + n),
                        _ => (n * time + t, (n * time + t) * directions + d),
                    };
                    let x = &values[row * width..][..width];
                    let context = Step { recurrent: self, direction: d, w, r, bias, peepholes, x, state };
                    let mut states: Vec<Vec<f64>> = finals.iter().map(|s| s[at(n)..at(n) + hidden].to_vec()).collect();
                    step(&context, &mut states);
                    y[out * hidden..][..hidden].copy_from_slice(&states[0]);
                    finals.iter_mut().zip(&states).for_each(|(all, s)| all[at(n)..at(n) + hidden].copy_from_slice(s));
                }
            }
        }
        self.results(dtype, (y_shape, y), (state_shape, finals))
    }

    /// The rows as contractions read them.
    fn read(&self, rows: &[&[f64]]) -> Vec<Vec<f64>> {
        if self.factors == Factors::Exact {
            return rows.iter().map(|row| row.to_vec()).collect();
        }
        let all = || rows.iter().flat_map(|row| row.iter()).map(|&x| x as f32);
        let (low, high) = (all().fold(0.0, f32::min), all().fold(0.0, f32::max));
        let step = if low == high { 1.0 } else { (high - low) / 255.0 };
        let zero = (-low / step).clamp(0.0, 255.0).round_ties_even();
        let nearest = |&x: &f64| {
            let byte = ((x as f32 / step).round_ties_even() + zero).clamp(0.0, 255.0);
            f64::from(byte - zero) * f64::from(step)
        };
        rows.iter().map(|row| row.iter().map(nearest).collect()).collect()
    }

    fn results(
        &self,
        dtype: DType,
        (y_shape, y): (Vec<usize>, Vec<f64>),
        (state_shape, states): (Vec<usize>, Vec<Vec<f64>>),
    ) -> Result<Vec<Tensor>, OpError> {
        let y = std::iter::once(from_reals(dtype, y_shape, y));
        y.chain(states.into_iter().map(|state| from_reals(dtype, state_shape.clone(), state))).collect()
    }
}

/// What belongs to direction `d` of parameters that are stacked by direction.
fn part(list: &[f64], d: usize, directions: usize) -> &[f64] {
    let len = list.len() / directions;
    &list[d * len..(d + 1) * len]
}
