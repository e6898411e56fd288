//! Weights of `f32_winograd_conv_nhwc`: filters transformed to the points of F(4 x 4, 3 x 3),
//! `[ceil(Cout / 16)][point][C][16]`, padded with zeros.

use super::PANEL;

/// Results of a tile along each axis.
pub(crate) const WINOGRAD_TILE: usize = 4;

/// Points that a tile's window and a filter are transformed to.
pub(crate) const WINOGRAD_POINTS: usize = (WINOGRAD_TILE + 2) * (WINOGRAD_TILE + 2);

/// `G`: the transform of a filter's column, for the points 0, ±1, ±2 and infinity.
const G: [[f64; 3]; WINOGRAD_TILE + 2] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Number of f32 elements of packed weights.
pub fn winograd_weights_len(outputs: usize, inputs: usize) -> usize {
    outputs.div_ceil(PANEL) * WINOGRAD_POINTS * inputs * PANEL
}

/// Packs weights for `f32_winograd_conv_nhwc` into `dst`, of [`winograd_weights_len`] elements. `filter(o, buffer)`
/// writes the filter of output channel `o`, `[inputs, 3, 3]`; it is called once for each in order.
pub fn pack_winograd_weights(
    outputs: usize,
    inputs: usize,
    mut filter: impl FnMut(usize, &mut [f32]),
    dst: &mut [f32],
) {
    let mut buffer = vec![0.0; inputs * 9];
    dst.fill(0.0);
    for output in 0..outputs {
        filter(output, &mut buffer);
        let panel = &mut dst[output / PANEL * WINOGRAD_POINTS * inputs * PANEL..];
        for (channel, taps) in buffer.chunks_exact(9).enumerate() {
            for (point, value) in transformed(taps).into_iter().enumerate() {
                panel[(point * inputs + channel) * PANEL + output % PANEL] = value;
            }
        }
    }
}

/// `G g Gᵀ`, in f64, rounded once.
fn transformed(taps: &[f32]) -> [f32; WINOGRAD_POINTS] {
    let mut points = [0.0; WINOGRAD_POINTS];
    for (i, point) in points.iter_mut().enumerate() {
        let (rows, columns) = (G[i / G.len()], G[i % G.len()]);
        let mut sum = 0.0;
        for (tap, &value) in taps.iter().enumerate() {
            sum += rows[tap / 3] * columns[tap % 3] * f64::from(value);
        }
        *point = sum as f32;
    }
    points
}
