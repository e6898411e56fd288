//! `f32_conv_transpose_nhwc`: one convolution of stride 1 for each phase of the output grid.
//!
//! Output `o` meets tap `t` of input `i` where `o + pad = i * stride + t * dilation`; so the outputs of one phase,
//! `(o + pad) % stride`, meet the same taps, and neighbours among them read neighbouring inputs.

use super::groups::run_groups;
use super::rows::{PixelRows, Taps};
use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::{call_back, own_scratch};
use crate::gemm::{Contraction, Following, Panels, Tiles, scratch_bytes};
use crate::pack::{ConvTransposeShape, PANEL, conv_transpose_weights_len, matmul_b_len, phase_taps};
use std::ops::Range;

/// The outputs of one phase of an axis.
struct Phase {
    /// First output.
    first: usize,
    /// Number of outputs, `stride` apart.
    count: usize,
    taps: Taps,
}

fn phase(attrs: &Attrs, axis: usize, outputs: usize, phase: usize) -> Phase {
    let (stride, dilation) = (attrs.stride[axis], attrs.dilation[axis]);
    let first = (phase as isize - attrs.pad[axis]).rem_euclid(stride as isize);
    let count = outputs.saturating_sub(first as usize).div_ceil(stride);
    let mut taps = phase_taps(attrs.kernel[axis], stride, dilation, phase);
    let input = |tap: usize| (first + attrs.pad[axis] - (tap * dilation) as isize) / stride as isize;
    let n_taps = taps.clone().count();
    let (from, next) = (taps.next().map(input), taps.next().map(input));
    let from = from.unwrap_or(0);
    let taps = Taps { count: n_taps, first: from, step: next.map_or(0, |next| next - from), stride: 1 };
    Phase { first: first as usize, count, taps }
}

/// Elements of the zeros that stand for pixels outside.
fn zeros_len(x: &Image, attrs: &Attrs) -> usize {
    (x.channels / attrs.groups).next_multiple_of(PANEL)
}

/// Bytes of scratch: zeros, and the contraction's for a phase with all taps.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let (Ok(x), Ok(attrs)) = (Image::of(&operands[0]), Attrs::of(attrs)) else { return 0 };
    zeros_len(&x, &attrs) * 4 + scratch_bytes(attrs.taps(), 0, threads)
}

/// `f32_conv_transpose_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv_transpose<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let (attrs, (x, w, y)) = (Attrs::of(call.attrs)?, operands(call)?);
    check(&x, &y, attrs.groups)?;
    let zeros = own_scratch(call).cast::<f32>();
    // SAFETY: the scratch has room for the zeros.
    unsafe { zeros.write_bytes(0, zeros_len(&x, &attrs)) };
    // Rows of a phase are not neighbours in the result: generated code runs when all phases are done.
    let phase_call = Call { callback: None, ..*call };
    let (inputs, outputs) = (x.channels / attrs.groups, y.channels / attrs.groups);
    let Attrs { kernel, stride, dilation, groups, .. } = attrs;
    let shape = ConvTransposeShape { inputs: x.channels, outputs, kernel, stride, dilation, groups };
    let group_len = conv_transpose_weights_len(shape) / groups;
    let mut matrix = 0;
    for [h, w_phase] in shape.phases() {
        let phases = [phase(&attrs, 0, y.extent[0], h), phase(&attrs, 1, y.extent[1], w_phase)];
        let taps = phases.each_ref().map(|phase| phase.taps);
        let segments = taps[0].count * taps[1].count;
        let pixels = Image {
            extent: [phases[0].count, phases[1].count],
            stride: [0, 1].map(|axis| y.stride[axis] * stride[axis] as isize),
            ..y
        };
        let y_offset = phases[0].first as isize * y.stride[0] + phases[1].first as isize * y.stride[1];
        let group = |group: usize| Contraction {
            call: &phase_call,
            rows: PixelRows {
                x: Image { data: x.data.wrapping_add(group * inputs), ..x },
                taps,
                zeros,
                y: pixels,
                y_offset,
            },
            n_rows: pixels.pixels(),
            first_row: 0,
            segments,
            segment_len: inputs,
            b: Panels::packed(w.data.cast::<f32>().wrapping_add(group * group_len + matrix), segments * inputs),
            columns: group * outputs..(group + 1) * outputs,
            width: outputs,
            y: y.data,
            scratch: zeros.wrapping_add(zeros_len(&x, &attrs)).cast(),
            copy_len: 0,
            widened_bytes: 0,
            following: Following::Unknown,
        };
        if pixels.pixels() * outputs > 0 {
            // SAFETY: the caller vouches for the operands.
            unsafe { run_groups::<V, _>(&phase_call, groups, group) };
        }
        matrix += matmul_b_len(segments * inputs, outputs);
    }
    if call.callback.is_some() && y.channels > 0 {
        let shared = SharedCall(call);
        // SAFETY: the result is finished; threads have disjoint rows.
        let body = |rows: Range<usize>, thread: usize| unsafe { shared.call_back(rows, y.channels, thread) };
        call.pool.run(y.pixels(), &body);
    }
    Ok(())
}

/// A call that threads share.
struct SharedCall<'a>(&'a Call<'a>);

// SAFETY: threads write disjoint rows of the result and their own scratch.
unsafe impl Sync for SharedCall<'_> {}

impl SharedCall<'_> {
    unsafe fn call_back(&self, rows: Range<usize>, columns: usize, thread: usize) {
        // SAFETY: as the caller's.
        unsafe { call_back(self.0, rows, 0..columns, thread) };
    }
}
