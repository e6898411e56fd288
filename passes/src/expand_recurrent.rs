//! `expand_recurrent`: recurrent layers over sequences of a known length as products and scalar functions, for targets that
//! have no kernel for them.
//!
//! The inputs of all times are one product for each direction; the steps follow one another. What no other direction or
//! time needs is dropped later. Layers over sequences of other lengths stay as they are.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Concat, Direction, Expand, Matmul, Op, Reshape, RnnActivation, Slice, Transpose};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, F32, Graph, GraphError, Node, ValueId};
use ic_types::{DType, Dim};
use std::sync::Arc;

/// The most steps that are worth the nodes.
const MOST_STEPS: i64 = 64;

/// See the file's header.
///
/// # Errors
/// If a node of the expansion does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn expand_recurrent(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match cell_of(&node.op).filter(|_| !options.native_compounds) {
            Some(cell) if steps_of(&rebuild, node, &cell).is_some() => expand(&mut rebuild, node, &cell)?,
            _ => {
                let regions = map_regions(node, |region| expand_recurrent(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// What the three layers have in common.
struct Cell<'a> {
    kind: Kind,
    hidden: usize,
    direction: Direction,
    activations: &'a [RnnActivation],
    alpha: &'a [F32],
    beta: &'a [F32],
    clip: Option<F32>,
    layout: usize,
}

/// What a step computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lstm { input_forget: bool },
    Gru { linear_before_reset: bool },
    Rnn,
}

impl Kind {
    fn n_gates(self) -> usize {
        match self {
            Kind::Lstm { .. } => 4,
            Kind::Gru { .. } => 3,
            Kind::Rnn => 1,
        }
    }

    fn n_activations(self) -> usize {
        match self {
            Kind::Lstm { .. } => 3,
            Kind::Gru { .. } => 2,
            Kind::Rnn => 1,
        }
    }

    fn n_states(self) -> usize {
        if matches!(self, Kind::Lstm { .. }) { 2 } else { 1 }
    }
}

fn cell_of(op: &Op) -> Option<Cell<'_>> {
    macro_rules! cell {
        ($op:expr, $kind:expr) => {
            Cell {
                kind: $kind,
                hidden: $op.hidden_size,
                direction: $op.direction,
                activations: &$op.activations,
                alpha: &$op.alpha,
                beta: &$op.beta,
                clip: $op.clip,
                layout: $op.layout,
            }
        };
    }
    match op {
        Op::Lstm(op) => Some(cell!(op, Kind::Lstm { input_forget: op.input_forget })),
        Op::Gru(op) => Some(cell!(op, Kind::Gru { linear_before_reset: op.linear_before_reset })),
        Op::Rnn(op) => Some(cell!(op, Kind::Rnn)),
        _ => None,
    }
}

/// The length of the sequences, if it is known and the same for all of them, and few.
fn steps_of(rebuild: &Rebuild, node: &Node, cell: &Cell) -> Option<i64> {
    let operands = rebuild.operands(node);
    let x = operands.first().copied().flatten()?;
    let has_lengths = operands.get(4).is_some_and(Option::is_some);
    let time = rebuild.new.tensor_ty(x).shape[cell.layout].as_const()?;
    (!has_lengths && (1..=MOST_STEPS).contains(&time) && cell.hidden > 0).then_some(time)
}

/// The nodes of one expansion.
struct Expansion<'r, 'g, 'c> {
    rebuild: &'r mut Rebuild<'g>,
    location: Arc<str>,
    cell: &'c Cell<'c>,
    dtype: DType,
    batch: Dim,
}

/// Parameters of one direction.
struct Parameters {
    /// The direction's number.
    number: usize,
    /// `x · W` with biases at all times, `[time, batch, gates]`.
    inputs: ValueId,
    /// `[hidden, gates]`.
    r: ValueId,
    /// What is added to `h · R`, `[gates]`, where it does not go with the inputs.
    bias: Option<ValueId>,
    /// `[1, 3 hidden]`.
    peepholes: Option<ValueId>,
}

fn expand(rebuild: &mut Rebuild, node: &Node, cell: &Cell) -> Result<(), GraphError> {
    let operands = rebuild.operands(node);
    let operand = |i: usize| operands.get(i).copied().flatten();
    let (Some(x), Some(steps)) = (operand(0), steps_of(rebuild, node, cell)) else { return Ok(()) };
    let ty = rebuild.new.tensor_ty(x).clone();
    let (dtype, batch) = (ty.dtype, ty.shape[1 - cell.layout].clone());
    let mut at = Expansion { rebuild, location: node.location.clone(), cell, dtype, batch };
    let x = if cell.layout == 0 { x } else { at.push(Transpose { perm: vec![1, 0, 2] }, &[x])? };
    let n_directions = if cell.direction == Direction::Bidirectional { 2 } else { 1 };
    let (mut all, mut last) = (Vec::new(), vec![Vec::new(); cell.kind.n_states()]);
    for number in 0..n_directions {
        let parameters = at.parameters(number, x, [operand(1), operand(2), operand(3), operand(7)])?;
        let mut states = (0..cell.kind.n_states())
            .map(|i| at.initial(number, operand(5 + i)))
            .collect::<Result<Vec<ValueId>, _>>()?;
        let backwards = number == 1 || cell.direction == Direction::Reverse;
        let mut outputs = vec![states[0]; steps as usize];
        for step in 0..steps {
            let time = if backwards { steps - 1 - step } else { step };
            states = at.step(&parameters, time, &states)?;
            outputs[time as usize] = states[0];
        }
        all.push(at.stacked(&outputs)?);
        for (last, &state) in last.iter_mut().zip(&states) {
            last.push(at.state(state)?);
        }
    }
    let y = at.joined(&all, if cell.layout == 0 { 1 } else { 2 })?;
    at.rebuild.set(node.results[0], y);
    for (states, &result) in last.iter().zip(&node.results[1..]) {
        let state = at.joined(states, cell.layout)?;
        at.rebuild.set(result, state);
    }
    Ok(())
}

impl Expansion<'_, '_, '_> {
    fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, GraphError> {
        self.rebuild.push_one(op, operands, &self.location)
    }

    fn number(&mut self, number: f32) -> Result<ValueId, GraphError> {
        let mut builder = Builder { graph: &mut self.rebuild.new, location: self.location.clone() };
        builder.scalar(self.dtype, number.into())
    }

    fn reshape(&mut self, x: ValueId, shape: &[Dim]) -> Result<ValueId, GraphError> {
        self.push(Reshape { shape: shape.to_vec() }, &[x])
    }

    /// `count` elements of an axis from `start` on.
    fn part(&mut self, x: ValueId, axis: usize, start: usize, count: usize) -> Result<ValueId, GraphError> {
        if self.rebuild.new.tensor_ty(x).shape[axis].is(count as i64) {
            return Ok(x);
        }
        let (starts, extents) = (vec![Dim::constant(start as i64)], vec![Dim::constant(count as i64)]);
        self.push(Slice { axes: vec![axis], starts, extents, steps: vec![1] }, &[x])
    }

    fn joined(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId, GraphError> {
        if let [only] = parts { Ok(*only) } else { self.push(Concat { axis }, parts) }
    }

    /// What of the operands `w, r, b, p` is direction `number`'s, and the inputs of all times by it.
    fn parameters(
        &mut self,
        number: usize,
        x: ValueId,
        [w, r, b, p]: [Option<ValueId>; 4],
    ) -> Result<Parameters, GraphError> {
        let (hidden, rows) = (self.cell.hidden, self.cell.hidden * self.cell.kind.n_gates());
        let width = self.rebuild.new.tensor_ty(x).shape[2].clone();
        let (n_rows, n_hidden) = (Dim::constant(rows as i64), Dim::constant(hidden as i64));
        let columns = |at: &mut Self, of: Option<ValueId>, k: &Dim| {
            let of = at.part(of.expect("the verifier has checked required operands"), 0, number, 1)?;
            let matrix = at.reshape(of, &[n_rows.clone(), k.clone()])?;
            at.push(Transpose { perm: vec![1, 0] }, &[matrix])
        };
        let (w, r) = (columns(self, w, &width)?, columns(self, r, &n_hidden)?);
        let mut inputs = self.push(Matmul {}, &[x, w])?;
        let mut bias = None;
        if let Some(b) = b {
            let of = self.part(b, 0, number, 1)?;
            let half = |at: &mut Self, first: usize| {
                let part = at.part(of, 1, first, rows)?;
                at.reshape(part, std::slice::from_ref(&n_rows))
            };
            let (input, hidden) = (half(self, 0)?, half(self, rows)?);
            inputs = self.push(ScalarOp::Add, &[inputs, input])?;
            match self.cell.kind {
                Kind::Gru { .. } => bias = Some(hidden),
                Kind::Lstm { .. } | Kind::Rnn => inputs = self.push(ScalarOp::Add, &[inputs, hidden])?,
            }
        }
        let peepholes = p.map(|p| self.part(p, 0, number, 1)).transpose()?;
        Ok(Parameters { number, inputs, r, bias, peepholes })
    }

    /// The state of a direction at first, `[batch, hidden]`.
    fn initial(&mut self, number: usize, given: Option<ValueId>) -> Result<ValueId, GraphError> {
        let shape = [self.batch.clone(), Dim::constant(self.cell.hidden as i64)];
        match given {
            Some(given) => {
                let part = self.part(given, self.cell.layout, number, 1)?;
                self.reshape(part, &shape)
            }
            None => {
                let zero = self.number(0.0)?;
                self.push(Expand { shape: shape.to_vec() }, &[zero])
            }
        }
    }

    /// The states after the step at `time`.
    fn step(&mut self, of: &Parameters, time: i64, states: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
        let rows = self.cell.hidden * self.cell.kind.n_gates();
        let input = self.part(of.inputs, 0, time as usize, 1)?;
        let input = self.reshape(input, &[self.batch.clone(), Dim::constant(rows as i64)])?;
        match self.cell.kind {
            Kind::Lstm { input_forget } => self.lstm(of, input, [states[0], states[1]], input_forget),
            Kind::Gru { linear_before_reset } => Ok(vec![self.gru(of, input, states[0], linear_before_reset)?]),
            Kind::Rnn => {
                let recurrent = self.push(Matmul {}, &[states[0], of.r])?;
                let sum = self.push(ScalarOp::Add, &[input, recurrent])?;
                Ok(vec![self.activate(of, 0, sum)?])
            }
        }
    }

    /// Gate `i` of `[batch, gates]`.
    fn gate(&mut self, gates: ValueId, i: usize) -> Result<ValueId, GraphError> {
        self.part(gates, 1, i * self.cell.hidden, self.cell.hidden)
    }

    fn lstm(
        &mut self,
        of: &Parameters,
        input: ValueId,
        [h, c]: [ValueId; 2],
        input_forget: bool,
    ) -> Result<Vec<ValueId>, GraphError> {
        let recurrent = self.push(Matmul {}, &[h, of.r])?;
        let gates = self.push(ScalarOp::Add, &[input, recurrent])?;
        let peeped = |at: &mut Self, i: usize, cell: ValueId| -> Result<ValueId, GraphError> {
            let gate = at.gate(gates, i)?;
            let Some(peepholes) = of.peepholes else { return Ok(gate) };
            let weight = at.gate(peepholes, i)?;
            let seen = at.push(ScalarOp::Mul, &[weight, cell])?;
            at.push(ScalarOp::Add, &[gate, seen])
        };
        let enters = peeped(self, 0, c)?;
        let enters = self.activate(of, 0, enters)?;
        let stays = if input_forget {
            let one = self.number(1.0)?;
            self.push(ScalarOp::Sub, &[one, enters])?
        } else {
            let gate = peeped(self, 2, c)?;
            self.activate(of, 0, gate)?
        };
        let candidate = self.gate(gates, 3)?;
        let candidate = self.activate(of, 1, candidate)?;
        let (kept, new) = (self.push(ScalarOp::Mul, &[stays, c])?, self.push(ScalarOp::Mul, &[enters, candidate])?);
        let cell = self.push(ScalarOp::Add, &[kept, new])?;
        let leaves = peeped(self, 1, cell)?;
        let leaves = self.activate(of, 0, leaves)?;
        let seen = self.activate(of, 2, cell)?;
        Ok(vec![self.push(ScalarOp::Mul, &[leaves, seen])?, cell])
    }

    fn gru(&mut self, of: &Parameters, input: ValueId, h: ValueId, linear: bool) -> Result<ValueId, GraphError> {
        let hidden = self.cell.hidden;
        let plus = |at: &mut Self, x: ValueId, bias: Option<ValueId>| match bias {
            Some(bias) => at.push(ScalarOp::Add, &[x, bias]),
            None => Ok(x),
        };
        let recurrent = self.push(Matmul {}, &[h, of.r])?;
        let recurrent = plus(self, recurrent, of.bias)?;
        let sum = |at: &mut Self, i: usize| {
            let (a, b) = (at.gate(input, i)?, at.gate(recurrent, i)?);
            let sum = at.push(ScalarOp::Add, &[a, b])?;
            at.activate(of, 0, sum)
        };
        let (update, reset) = (sum(self, 0)?, sum(self, 1)?);
        let term = if linear {
            let gate = self.gate(recurrent, 2)?;
            self.push(ScalarOp::Mul, &[reset, gate])?
        } else {
            let kept = self.push(ScalarOp::Mul, &[h, reset])?;
            let r = self.part(of.r, 1, 2 * hidden, hidden)?;
            let term = self.push(Matmul {}, &[kept, r])?;
            let bias = of.bias.map(|bias| self.part(bias, 0, 2 * hidden, hidden)).transpose()?;
            plus(self, term, bias)?
        };
        let candidate = self.gate(input, 2)?;
        let candidate = self.push(ScalarOp::Add, &[candidate, term])?;
        let candidate = self.activate(of, 1, candidate)?;
        // `(1 - update) * candidate + update * h`.
        let one = self.number(1.0)?;
        let rest = self.push(ScalarOp::Sub, &[one, update])?;
        let (new, old) = (self.push(ScalarOp::Mul, &[rest, candidate])?, self.push(ScalarOp::Mul, &[update, h])?);
        self.push(ScalarOp::Add, &[new, old])
    }

    /// Activation `i` of a direction, after clipping.
    fn activate(&mut self, of: &Parameters, i: usize, x: ValueId) -> Result<ValueId, GraphError> {
        let i = of.number * self.cell.kind.n_activations() + i;
        let activation = self.cell.activations[i];
        let (alpha, beta) = activation.defaults();
        let alpha = self.cell.alpha.get(i).map_or(alpha, |alpha| alpha.0);
        let beta = self.cell.beta.get(i).map_or(beta, |beta| beta.0);
        let mut x = x;
        if let Some(clip) = self.cell.clip {
            let (low, high) = (self.number(-clip.0)?, self.number(clip.0)?);
            x = self.push(ScalarOp::Max, &[x, low])?;
            x = self.push(ScalarOp::Min, &[x, high])?;
        }
        self.function(activation, (alpha, beta), x)
    }

    fn function(
        &mut self,
        activation: RnnActivation,
        (alpha, beta): (f32, f32),
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let scaled = |at: &mut Self, x: ValueId, factor: f32| {
            let factor = at.number(factor)?;
            at.push(ScalarOp::Mul, &[x, factor])
        };
        let (zero, one) = (self.number(0.0)?, self.number(1.0)?);
        match activation {
            RnnActivation::Relu => self.push(ScalarOp::Relu, &[x]),
            RnnActivation::Tanh => self.push(ScalarOp::Tanh, &[x]),
            RnnActivation::Sigmoid => self.push(ScalarOp::Sigmoid, &[x]),
            RnnActivation::Softplus => self.push(ScalarOp::Softplus, &[x]),
            RnnActivation::Affine | RnnActivation::HardSigmoid => {
                let (product, offset) = (scaled(self, x, alpha)?, self.number(beta)?);
                let sum = self.push(ScalarOp::Add, &[product, offset])?;
                if activation == RnnActivation::Affine {
                    return Ok(sum);
                }
                let above = self.push(ScalarOp::Max, &[sum, zero])?;
                self.push(ScalarOp::Min, &[above, one])
            }
            RnnActivation::LeakyRelu => {
                let (above, below) = (self.push(ScalarOp::Max, &[x, zero])?, self.push(ScalarOp::Min, &[x, zero])?);
                let below = scaled(self, below, alpha)?;
                self.push(ScalarOp::Add, &[above, below])
            }
            RnnActivation::ThresholdedRelu => {
                let threshold = self.number(alpha)?;
                let above = self.push(ScalarOp::Gt, &[x, threshold])?;
                self.push(ScalarOp::Select, &[above, x, zero])
            }
            RnnActivation::ScaledTanh => {
                let inner = scaled(self, x, beta)?;
                let tanh = self.push(ScalarOp::Tanh, &[inner])?;
                scaled(self, tanh, alpha)
            }
            RnnActivation::Elu => {
                let (above, exp) = (self.push(ScalarOp::Gt, &[x, zero])?, self.push(ScalarOp::Exp, &[x])?);
                let below = self.push(ScalarOp::Sub, &[exp, one])?;
                let below = scaled(self, below, alpha)?;
                self.push(ScalarOp::Select, &[above, x, below])
            }
            RnnActivation::Softsign => {
                let magnitude = self.push(ScalarOp::Abs, &[x])?;
                let divisor = self.push(ScalarOp::Add, &[magnitude, one])?;
                self.push(ScalarOp::Div, &[x, divisor])
            }
        }
    }

    /// The outputs of a direction at all times, as part of the first result.
    fn stacked(&mut self, outputs: &[ValueId]) -> Result<ValueId, GraphError> {
        let (one, hidden) = (Dim::constant(1), Dim::constant(self.cell.hidden as i64));
        let shape = match self.cell.layout {
            0 => [one.clone(), one, self.batch.clone(), hidden],
            _ => [self.batch.clone(), one.clone(), one, hidden],
        };
        let parts = outputs.iter().map(|&output| self.reshape(output, &shape)).collect::<Result<Vec<_>, _>>()?;
        self.joined(&parts, self.cell.layout)
    }

    /// The last state of a direction, as part of its result.
    fn state(&mut self, state: ValueId) -> Result<ValueId, GraphError> {
        let (one, hidden) = (Dim::constant(1), Dim::constant(self.cell.hidden as i64));
        let shape = match self.cell.layout {
            0 => [one, self.batch.clone(), hidden],
            _ => [self.batch.clone(), one, hidden],
        };
        self.reshape(state, &shape)
    }
}
