//! `f32_rnn`.

use super::activation::Activation;
use super::args::{Args, kernels};
use super::lstm::{add, clip};
use super::recurrent::{self, Cell, Layer, Row};
use crate::abi::KernelError;

kernels! {
    /// ONNX `RNN`, conventions of `f32_lstm`; activation f.
    F32_RNN = "f32_rnn" ["x", "w", "r", "b", "sequence_lens", "initial_h"] -> ["y", "y_h"]
        {"direction", "layout", "clip", "activations[]"}, rnn,
        scratch = |operands, attrs, threads| recurrent::float_scratch(operands, attrs, threads, 1);
}

struct Rnn {
    activations: [Activation; 2],
    clip: f32,
}

fn rnn(args: &mut Args) -> Result<(), KernelError> {
    let layer = Layer::new(args, 1)?;
    let e = layer.extents;
    let initial = Layer::optional(args, 5, e.directions * e.batch * e.hidden)?;
    let bias = Layer::optional(args, 3, e.directions * 2 * e.hidden)?;
    let forward = Activation::new(args.list(3), 0)?;
    let backward = if e.directions == 2 { Activation::new(args.list(3), 1)? } else { forward };
    let cell = Rnn { activations: [forward, backward], clip: args.attr_f32(2)? };
    let bias = |direction: usize, _: usize, unit: usize| {
        let at = direction * 2 * e.hidden + unit;
        bias.map_or(0.0, |bias| bias[at] + bias[at + e.hidden])
    };
    layer.run(args, &cell, bias, [initial, None], false)
}

impl Cell for Rnn {
    fn finish(&self, row: &mut Row) {
        add(row.sums, row.projected);
        clip(row.sums, self.clip);
        row.hidden.copy_from_slice(row.sums);
        self.activations[row.direction].apply(row.table, row.hidden);
    }
}
