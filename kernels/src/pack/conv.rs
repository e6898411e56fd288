//! Packed convolution weights.
//!
//! - `f32_conv_nhwc`: for each group, layout 1 of the matrix `[KH * KW * C / groups, Cout / groups]`.
//! - `f32_depthwise_conv_nhwc`: `[KH * KW][C rounded up to 16]`.
//! - `f32_conv_transpose_nhwc`: for each group and phase (see [`phase_taps`]), layout 1 of the matrix
//!   `[taps of the phase * C / groups, Cout / groups]`.

use super::{PANEL, matmul_b_len};

/// Extents of convolution weights, `[outputs, inputs, kernel_h, kernel_w]` in ONNX's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvWeightShape {
    /// Output channels, all groups together.
    pub outputs: usize,
    /// Input channels of one group.
    pub inputs: usize,
    /// Rows of the filter.
    pub kernel_h: usize,
    /// Columns of the filter.
    pub kernel_w: usize,
    /// Groups; divides `outputs`.
    pub groups: usize,
}

impl ConvWeightShape {
    /// Elements of one filter: `inputs * kernel_h * kernel_w`.
    pub fn filter_len(&self) -> usize {
        self.inputs * self.kernel_h * self.kernel_w
    }

    /// Output channels of one group.
    pub fn group_outputs(&self) -> usize {
        self.outputs / self.groups.max(1)
    }
}

/// Number of f32 elements of packed weights of `f32_conv_nhwc`.
pub fn conv_weights_len(shape: ConvWeightShape) -> usize {
    shape.groups * matmul_b_len(shape.filter_len(), shape.group_outputs())
}

/// Packs weights for `f32_conv_nhwc` into `dst`, of [`conv_weights_len`] elements. `filter(o, buffer)` writes the
/// filter of output channel `o`, `[inputs, kernel_h, kernel_w]`; it is called once for each in order.
pub fn pack_conv_weights(shape: ConvWeightShape, mut filter: impl FnMut(usize, &mut [f32]), dst: &mut [f32]) {
    let (k, n, taps) = (shape.filter_len(), shape.group_outputs(), shape.kernel_h * shape.kernel_w);
    let mut buffer = vec![0.0; k];
    dst.fill(0.0);
    for group in 0..shape.groups {
        let matrix = &mut dst[group * matmul_b_len(k, n)..][..matmul_b_len(k, n)];
        for column in 0..n {
            filter(group * n + column, &mut buffer);
            let panel = &mut matrix[column / PANEL * k * PANEL..][..k * PANEL];
            for (i, &value) in buffer.iter().enumerate() {
                let (channel, tap) = (i / taps, i % taps);
                panel[(tap * shape.inputs + channel) * PANEL + column % PANEL] = value;
            }
        }
    }
}

/// Number of f32 elements of packed weights of `f32_depthwise_conv_nhwc`.
pub fn depthwise_weights_len(channels: usize, kernel_h: usize, kernel_w: usize) -> usize {
    kernel_h * kernel_w * channels.next_multiple_of(PANEL)
}

/// Packs weights for `f32_depthwise_conv_nhwc` into `dst`, of [`depthwise_weights_len`] elements. `filter(c, buffer)`
/// writes the filter of channel `c`, `[kernel_h, kernel_w]`; it is called once for each in order.
pub fn pack_depthwise_weights(
    channels: usize,
    kernel_h: usize,
    kernel_w: usize,
    mut filter: impl FnMut(usize, &mut [f32]),
    dst: &mut [f32],
) {
    let mut buffer = vec![0.0; kernel_h * kernel_w];
    let row = channels.next_multiple_of(PANEL);
    dst.fill(0.0);
    for channel in 0..channels {
        filter(channel, &mut buffer);
        for (tap, &value) in buffer.iter().enumerate() {
            dst[tap * row + channel] = value;
        }
    }
}

/// Extents of transposed-convolution weights, `[inputs, outputs / groups, kernel_h, kernel_w]` in ONNX's order, with
/// the attributes that decide which taps meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvTransposeShape {
    /// Input channels, all groups together.
    pub inputs: usize,
    /// Output channels of one group.
    pub outputs: usize,
    /// Filter rows and columns.
    pub kernel: [usize; 2],
    /// Output pixels between neighbours of the input.
    pub stride: [usize; 2],
    /// Output pixels between taps of the filter.
    pub dilation: [usize; 2],
    /// Groups; divides `inputs`.
    pub groups: usize,
}

/// Taps of a filter axis that reach output pixels of `phase`: those pixels `o` with `(o + pad) % stride == phase`.
pub(crate) fn phase_taps(
    kernel: usize,
    stride: usize,
    dilation: usize,
    phase: usize,
) -> impl Iterator<Item = usize> + Clone {
    (0..kernel).filter(move |tap| tap * dilation % stride == phase)
}

impl ConvTransposeShape {
    /// The taps `(kh, kw)` of phase `(h, w)`, in the order of the packed rows.
    pub(crate) fn taps(&self, phase: [usize; 2]) -> Vec<[usize; 2]> {
        let axis = |i: usize| phase_taps(self.kernel[i], self.stride[i], self.dilation[i], phase[i]);
        axis(0).flat_map(|kh| axis(1).map(move |kw| [kh, kw])).collect()
    }

    /// The phases in packed order.
    pub(crate) fn phases(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let [h, w] = self.stride;
        (0..h).flat_map(move |i| (0..w).map(move |j| [i, j]))
    }

    /// Input channels of one group.
    pub(crate) fn group_inputs(&self) -> usize {
        self.inputs / self.groups.max(1)
    }
}

/// Number of f32 elements of packed weights of `f32_conv_transpose_nhwc`.
pub fn conv_transpose_weights_len(shape: ConvTransposeShape) -> usize {
    let k = |phase| shape.taps(phase).len() * shape.group_inputs();
    shape.groups * shape.phases().map(|phase| matmul_b_len(k(phase), shape.outputs)).sum::<usize>()
}

/// Packs weights for `f32_conv_transpose_nhwc` into `dst`, of [`conv_transpose_weights_len`] elements.
/// `filter(c, buffer)` writes the filters of input channel `c`, `[outputs, kernel_h, kernel_w]`; it is called once for
/// each in order.
pub fn pack_conv_transpose_weights(
    shape: ConvTransposeShape,
    mut filter: impl FnMut(usize, &mut [f32]),
    dst: &mut [f32],
) {
    let (inputs, [kernel_h, kernel_w]) = (shape.group_inputs(), shape.kernel);
    let mut buffer = vec![0.0; shape.outputs * kernel_h * kernel_w];
    dst.fill(0.0);
    let group_len = conv_transpose_weights_len(shape) / shape.groups.max(1);
    for channel in 0..shape.inputs {
        filter(channel, &mut buffer);
        let (group, row) = (channel / inputs, channel % inputs);
        let mut matrix = group * group_len;
        for phase in shape.phases() {
            let taps = shape.taps(phase);
            let k = taps.len() * inputs;
            for (tap, [kh, kw]) in taps.into_iter().enumerate() {
                for output in 0..shape.outputs {
                    let at = (output / PANEL * k + tap * inputs + row) * PANEL + output % PANEL;
                    dst[matrix + at] = buffer[(output * kernel_h + kh) * kernel_w + kw];
                }
            }
            matrix += matmul_b_len(k, shape.outputs);
        }
    }
}
