//! `f32_gru`.

use super::activation::Activation;
use super::args::{Args, kernels};
use super::lstm::{add, clip, multiply};
use super::recurrent::{self, Cell, Layer, Row};
use crate::abi::KernelError;

kernels! {
    /// ONNX `GRU`, conventions of `f32_lstm`; activations f, g.
    F32_GRU = "f32_gru" ["x", "w", "r", "b", "sequence_lens", "initial_h"] -> ["y", "y_h"]
        {"direction", "layout", "linear_before_reset", "clip", "activations[]"}, gru,
        scratch = |operands, attrs, threads| recurrent::float_scratch(operands, attrs, threads, GATES);
}

/// Update and reset gate, and the candidate for the state.
const GATES: usize = 3;

struct Gru<'a> {
    /// f and g of each direction.
    activations: [[Activation; 2]; 2],
    bias: Option<&'a [f32]>,
    hidden: usize,
    linear_before_reset: bool,
    clip: f32,
}

fn gru(args: &mut Args) -> Result<(), KernelError> {
    let layer = Layer::new(args, GATES)?;
    let e = layer.extents;
    let initial = Layer::optional(args, 5, e.directions * e.batch * e.hidden)?;
    let activation = |index: usize| Activation::new(args.list(4), index);
    let forward = [activation(0)?, activation(1)?];
    let backward = if e.directions == 2 { [activation(2)?, activation(3)?] } else { forward };
    let bias = Layer::optional(args, 3, e.directions * 2 * GATES * e.hidden)?;
    let linear_before_reset = args.flag(2)?;
    let cell =
        Gru { activations: [forward, backward], bias, hidden: e.hidden, linear_before_reset, clip: args.attr_f32(3)? };
    let bias = |direction: usize, gate: usize, unit: usize| {
        let at = (direction * 2 * GATES + gate) * e.hidden + unit;
        let Some(bias) = bias else { return 0.0 };
        // A linear reset applies to the candidate's second bias as well, so that one is added later.
        if gate == 2 && linear_before_reset { bias[at] } else { bias[at] + bias[at + GATES * e.hidden] }
    };
    layer.run(args, &cell, bias, [initial, None], false)
}

impl Gru<'_> {
    /// Activates the gates z and r.
    fn gates(&self, row: &mut Row) {
        let two = 2 * row.hidden.len();
        add(&mut row.sums[..two], &row.projected[..two]);
        clip(&mut row.sums[..two], self.clip);
        self.activations[row.direction][0].apply(row.table, &mut row.sums[..two]);
    }
}

impl Cell for Gru<'_> {
    fn has_second_product(&self) -> bool {
        !self.linear_before_reset
    }

    fn begin(&self, row: &mut Row) {
        self.gates(row);
        let padded = row.hidden.len();
        row.cell.copy_from_slice(row.hidden);
        multiply(row.cell, &row.sums[padded..2 * padded]);
    }

    fn finish(&self, row: &mut Row) {
        let padded = row.hidden.len();
        if self.linear_before_reset {
            self.gates(row);
        }
        let (gates, candidate) = row.sums.split_at_mut(2 * padded);
        let (update, reset) = gates.split_at(padded);
        if self.linear_before_reset {
            if let Some(bias) = self.bias {
                let at = (row.direction * 2 * GATES + GATES + 2) * self.hidden;
                add(&mut candidate[..self.hidden], &bias[at..at + self.hidden]);
            }
            multiply(candidate, reset);
        }
        add(candidate, &row.projected[2 * padded..]);
        clip(candidate, self.clip);
        self.activations[row.direction][1].apply(row.table, candidate);
        for ((hidden, &z), &candidate) in row.hidden.iter_mut().zip(update).zip(&*candidate) {
            *hidden = (1.0 - z) * candidate + z * *hidden;
        }
    }
}
