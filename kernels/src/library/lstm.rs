//! `f32_lstm` and `int8_lstm`.

use super::activation::Activation;
use super::args::{Args, kernels};
use super::recurrent::{self, Cell, Floats, Layer, Quantized, Row, Weights};
use super::split::vectorized;
use crate::abi::KernelError;
use crate::isa::Isa;
use crate::vector::{dots, for_isa};

kernels! {
    /// ONNX `LSTM`. `w` and `r` as ONNX has them, or packed by
    /// [`pack_recurrent_weights`](crate::pack::pack_recurrent_weights), which their 4 axes tell. `direction` is a
    /// `Direction`; `clip` f32 bits, infinity for none; `activations` is (`Activation`, alpha bits, beta bits) for f, g, h
    /// of each direction. `layout` 0: x[T, B, I], y[T, D, B, H], states [D, B, H]. 1: x[B, T, I], y[B, T, D, H], states
    /// [B, D, H]. `sequence_lens` is i32. Everything after `r`, and any output, may be absent.
    F32_LSTM = "f32_lstm"
        ["x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "p"] -> ["y", "y_h", "y_c"]
        {"direction", "layout", "input_forget", "clip", "activations[]"}, lstm,
        scratch = |operands, attrs, threads| recurrent::float_scratch(operands, attrs, threads, GATES);
    /// The same with weights of bytes: `w[D, I, 4 * H]` and `r[D, H, 4 * H]`, or packed by
    /// [`pack_int8_recurrent`](crate::pack::pack_int8_recurrent) with the shape that packed weights of f32 have. Scales and
    /// zero points are `[D]` or `[D, 4 * H]`; inputs and states are quantized by their range.
    INT8_LSTM = "int8_lstm"
        ["x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "p", "w_scale", "w_zero_point", "r_scale",
            "r_zero_point"] -> ["y", "y_h", "y_c"]
        {"direction", "layout", "input_forget", "clip", "activations[]"}, int8_lstm,
        scratch = |operands, attrs, threads| {
            dots!(Isa::detect(), D => recurrent::scratch::<Quantized<D>>(operands, attrs, threads, GATES))
        };
}

/// Input, output and forget gate, and the candidate for the cell.
const GATES: usize = 4;

struct Lstm<'a> {
    /// f, g and h of each direction.
    activations: [[Activation; 3]; 2],
    /// Weights of the cell in the gates i, o, f: `[directions, 3 * hidden]`.
    peepholes: Option<&'a [f32]>,
    hidden: usize,
    input_forget: bool,
    clip: f32,
}

fn lstm(args: &mut Args) -> Result<(), KernelError> {
    for_isa!(Isa::detect(), V => lstm_with::<Floats<V>>(args))
}

fn int8_lstm(args: &mut Args) -> Result<(), KernelError> {
    dots!(Isa::detect(), D => lstm_with::<Quantized<D>>(args))
}

fn lstm_with<'a, W: Weights<'a>>(args: &mut Args<'a>) -> Result<(), KernelError> {
    let layer = Layer::new(args, GATES)?;
    let e = layer.extents;
    let bias = Layer::optional(args, 3, e.directions * 2 * GATES * e.hidden)?;
    let state_len = e.directions * e.batch * e.hidden;
    let initial = [Layer::optional(args, 5, state_len)?, Layer::optional(args, 6, state_len)?];
    let activation = |index: usize| Activation::new(args.list(4), index);
    let forward = [activation(0)?, activation(1)?, activation(2)?];
    let backward = if e.directions == 2 { [activation(3)?, activation(4)?, activation(5)?] } else { forward };
    let cell = Lstm {
        activations: [forward, backward],
        peepholes: Layer::optional(args, 7, e.directions * 3 * e.hidden)?,
        hidden: e.hidden,
        input_forget: args.flag(2)?,
        clip: args.attr_f32(3)?,
    };
    let bias = |direction: usize, gate: usize, unit: usize| {
        let at = (direction * 2 * GATES + gate) * e.hidden + unit;
        bias.map_or(0.0, |bias| bias[at] + bias[at + GATES * e.hidden])
    };
    layer.run_with::<_, W>(args, &cell, bias, initial, true)
}

impl Lstm<'_> {
    /// Adds the cell's part to a gate: 0 input, 1 output, 2 forget.
    fn peep(&self, direction: usize, gate: usize, cell: &[f32], sums: &mut [f32]) {
        let Some(peepholes) = self.peepholes else { return };
        let weights = &peepholes[(direction * 3 + gate) * self.hidden..][..self.hidden];
        for ((sum, &weight), &cell) in sums.iter_mut().zip(weights).zip(cell) {
            *sum += weight * cell;
        }
    }
}

impl Cell for Lstm<'_> {
    fn finish(&self, row: &mut Row) {
        let padded = row.hidden.len();
        let [f, g, h] = self.activations[row.direction];
        add(row.sums, row.projected);
        let (gates, candidate) = row.sums.split_at_mut(3 * padded);
        let (input, rest) = gates.split_at_mut(padded);
        let (output, forget) = rest.split_at_mut(padded);
        self.peep(row.direction, 0, row.cell, input);
        self.peep(row.direction, 2, row.cell, forget);
        for gate in [&mut *input, &mut *forget, &mut *candidate] {
            clip(gate, self.clip);
        }
        f.apply(row.table, input);
        match self.input_forget {
            true => forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input),
            false => f.apply(row.table, forget),
        }
        g.apply(row.table, candidate);
        next_cell(row.cell, input, forget, candidate);
        self.peep(row.direction, 1, row.cell, output);
        clip(output, self.clip);
        f.apply(row.table, output);
        row.hidden.copy_from_slice(row.cell);
        h.apply(row.table, row.hidden);
        multiply(row.hidden, output);
    }
}

/// Limits each element to `-limit..=limit`.
pub(crate) fn clip(x: &mut [f32], limit: f32) {
    if limit < f32::INFINITY {
        x.iter_mut().for_each(|x| *x = x.max(-limit).min(limit));
    }
}

vectorized! {
    /// `to += x`.
    pub(crate) fn add(to: &mut [f32], x: &[f32]) {
        to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
    }
}

vectorized! {
    /// `to *= x`.
    pub(crate) fn multiply(to: &mut [f32], x: &[f32]) {
        to.iter_mut().zip(x).for_each(|(to, x)| *to *= x);
    }
}

vectorized! {
    /// `cell = forget * cell + input * candidate`.
    fn next_cell(cell: &mut [f32], input: &[f32], forget: &[f32], candidate: &[f32]) {
        for (((cell, input), forget), candidate) in cell.iter_mut().zip(input).zip(forget).zip(candidate) {
            *cell = forget * *cell + input * candidate;
        }
    }
}
