//! Packed weights of `f32_lstm`, `f32_gru` and `f32_rnn`: `[directions][gates * ceil(H / 16)][K][16]`.
//!
//! Each gate is padded to whole panels, so that gates begin at multiples of 16 in a row of sums. The padding is zero.

use super::{PANEL, matmul_b_len, pack_matmul_b_transposed};

/// Number of f32 elements of packed recurrent weights for `directions` matrices `[gates * hidden, k]`.
pub fn recurrent_weights_len(directions: usize, gates: usize, hidden: usize, k: usize) -> usize {
    directions * gates * matmul_b_len(k, hidden)
}

/// The shape of packed recurrent weights as an operand.
pub fn recurrent_weights_shape(directions: usize, gates: usize, hidden: usize, k: usize) -> [usize; 4] {
    [directions, gates * hidden.div_ceil(PANEL), k, PANEL]
}

/// Packs `W` or `R` of an ONNX recurrent layer, `[directions, gates * hidden, k]`, into `dst`, of
/// [`recurrent_weights_len`] elements. `row(i, buffer)` writes row `i` of `directions * gates * hidden`, of `k` elements,
/// to `buffer`; it is called once for each row in order.
pub fn pack_recurrent_weights(
    directions: usize,
    gates: usize,
    hidden: usize,
    k: usize,
    mut row: impl FnMut(usize, &mut [f32]),
    dst: &mut [f32],
) {
    let len = matmul_b_len(k, hidden);
    if len == 0 {
        return;
    }
    for (gate, dst) in dst.chunks_exact_mut(len).take(directions * gates).enumerate() {
        pack_matmul_b_transposed(k, hidden, |j, column| row(gate * hidden + j, column), dst);
    }
}
