//! Convolutions written plainly: the oracle of the tests.

use super::epilogue_oracle as epilogue;
use crate::abi::{Call, KernelError, Operand};
use crate::pack::{ConvTransposeShape, PANEL, conv_transpose_weights_len, matmul_b_len};

/// Attributes as numbers: pairs are (height, width).
struct Attrs {
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [i64; 2],
    dilation: [usize; 2],
    groups: usize,
}

fn attrs(call: &Call) -> Attrs {
    let at = |i: usize| call.attrs[i] as usize;
    Attrs {
        kernel: [at(0), at(1)],
        stride: [at(2), at(3)],
        pad: [call.attrs[4], call.attrs[5]],
        dilation: [at(6), at(7)],
        groups: at(8),
    }
}

/// `x[n, h, w, c]`, or 0 outside.
unsafe fn at(x: &Operand, n: usize, [h, w]: [i64; 2], c: usize) -> f32 {
    if h < 0 || w < 0 || h >= x.shape[1] || w >= x.shape[2] {
        return 0.0;
    }
    let offset = n as i64 * x.strides[0] + h * x.strides[1] + w * x.strides[2] + c as i64;
    // SAFETY: the caller's index is in bounds.
    unsafe { *x.data.cast::<f32>().offset(offset as isize) }
}

unsafe fn for_each_output(call: &Call, mut value: impl FnMut(usize, [usize; 2], usize) -> f32) {
    let y = &call.operands[2];
    let [n, h, w, c] = [0, 1, 2, 3].map(|i| y.shape[i] as usize);
    for flat in 0..n * h * w * c {
        let (i, oh, ow, channel) = (flat / c / w / h, flat / c / w % h, flat / c % w, flat % c);
        let index = [i, oh, ow, channel];
        let offset = index.iter().zip(y.strides).map(|(&i, &stride)| i as isize * stride as isize).sum::<isize>();
        let sum = value(i, [oh, ow], channel);
        // SAFETY: the index is in bounds.
        unsafe { *y.data.cast::<f32>().offset(offset) = epilogue::eval(call.epilogue, sum, channel, offset as usize) };
    }
    // SAFETY: the caller vouches for the callback.
    unsafe { epilogue::finish(call, n * h * w, c) };
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn conv(call: &Call) -> Result<(), KernelError> {
    let [x, w, y] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let Attrs { kernel, stride, pad, dilation, groups } = attrs(call);
    let (inputs, outputs) = (x.shape[3] as usize / groups, y.shape[3] as usize / groups);
    let k = kernel[0] * kernel[1] * inputs;
    let value = |n: usize, out: [usize; 2], channel: usize| {
        let (group, column) = (channel / outputs, channel % outputs);
        let panel = group * matmul_b_len(k, outputs) + column / PANEL * k * PANEL + column % PANEL;
        (0..k).fold(0.0f32, |sum, i| {
            let (tap, c) = (i / inputs, i % inputs);
            let tap = [tap / kernel[1], tap % kernel[1]];
            let from = [0, 1].map(|d| (out[d] * stride[d] + tap[d] * dilation[d]) as i64 - pad[d]);
            // SAFETY: `at` checks the pixel; the packed weights have `k` rows.
            unsafe { at(x, n, from, group * inputs + c).mul_add(*w.data.cast::<f32>().add(panel + i * PANEL), sum) }
        })
    };
    // SAFETY: the caller's operands are consistent.
    unsafe { for_each_output(call, value) };
    Ok(())
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn depthwise(call: &Call) -> Result<(), KernelError> {
    let [x, w, _] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let Attrs { kernel, stride, pad, dilation, .. } = attrs(call);
    let row = (x.shape[3] as usize).next_multiple_of(PANEL);
    let value = |n: usize, out: [usize; 2], channel: usize| {
        (0..kernel[0] * kernel[1]).fold(0.0f32, |sum, tap| {
            let taps = [tap / kernel[1], tap % kernel[1]];
            let from = [0, 1].map(|d| (out[d] * stride[d] + taps[d] * dilation[d]) as i64 - pad[d]);
            // SAFETY: `at` checks the pixel; the packed weights have a row for each tap.
            unsafe { at(x, n, from, channel).mul_add(*w.data.cast::<f32>().add(tap * row + channel), sum) }
        })
    };
    // SAFETY: the caller's operands are consistent.
    unsafe { for_each_output(call, value) };
    Ok(())
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn conv_transpose(call: &Call) -> Result<(), KernelError> {
    let [x, w, y] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let Attrs { kernel, stride, pad, dilation, groups } = attrs(call);
    let outputs = y.shape[3] as usize / groups;
    let shape = ConvTransposeShape { inputs: x.shape[3] as usize, outputs, kernel, stride, dilation, groups };
    let (inputs, group_len) = (shape.group_inputs(), conv_transpose_weights_len(shape) / groups);
    let value = |n: usize, out: [usize; 2], channel: usize| {
        let (group, column) = (channel / outputs, channel % outputs);
        let shifted = [0, 1].map(|d| out[d] as i64 + pad[d]);
        let phase = [0, 1].map(|d| shifted[d] as usize % stride[d]);
        let before = shape.phases().take_while(|&p| p != phase);
        let start = before.map(|p| matmul_b_len(shape.taps(p).len() * inputs, outputs)).sum::<usize>();
        let taps = shape.taps(phase);
        let panel = group * group_len + start + column / PANEL * taps.len() * inputs * PANEL + column % PANEL;
        let mut sum = 0.0f32;
        for (t, tap) in taps.into_iter().enumerate() {
            let from = [0, 1].map(|d| (shifted[d] - (tap[d] * dilation[d]) as i64).div_euclid(stride[d] as i64));
            for c in 0..inputs {
                let weight = panel + (t * inputs + c) * PANEL;
                // SAFETY: `at` checks the pixel; the packed weights have a row for each tap and channel.
                sum = unsafe { at(x, n, from, group * inputs + c).mul_add(*w.data.cast::<f32>().add(weight), sum) };
            }
        }
        sum
    };
    // SAFETY: the caller's operands are consistent.
    unsafe { for_each_output(call, value) };
    Ok(())
}
