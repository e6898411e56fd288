//! Channels-last convolutions whose weights are known only when they run: packed into scratch memory first.
//!
//! `f32_conv_nhwc` and `f32_conv_transpose_nhwc`, layout 0. The scratch memory of the packed form comes first.

use super::shape::Attrs;
use super::{implicit_gemm, transpose};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::own_scratch;
use crate::gemm::Tiles;
use crate::pack::{
    ConvTransposeShape, ConvWeightShape, conv_transpose_weights_len, conv_weights_len, pack_conv_transpose_weights,
    pack_conv_weights,
};

/// The extents of `w`, which fit `x` and `y`: outputs and inputs, of one group where the layout has it so.
fn extents(operands: &[Operand], groups: usize, transposed: bool) -> Result<[usize; 4], KernelError> {
    let ([x, w, y], groups) = (operands, groups as i64) else {
        return Err(KernelError(format!("convolution: expected 3 operands, found {}", operands.len())));
    };
    let (&[first, second, h, width], &[.., c], &[.., m]) = (w.shape, x.shape, y.shape) else {
        return Err(KernelError(format!("convolution: expected weights of 4 axes, found {:?}", w.shape)));
    };
    let fits = if transposed {
        first == c && second.checked_mul(groups) == Some(m) && first % groups == 0
    } else {
        first == m && second.checked_mul(groups) == Some(c) && first % groups == 0
    };
    if !fits || w.shape.iter().any(|&extent| extent < 0) {
        return Err(KernelError(format!("convolution: weights {:?} do not fit {c} to {m} channels", w.shape)));
    }
    Ok([first, second, h, width].map(|extent| extent as usize))
}

fn conv_shape(operands: &[Operand], attrs: &[i64]) -> Result<ConvWeightShape, KernelError> {
    let groups = Attrs::of(attrs)?.groups;
    let [outputs, inputs, kernel_h, kernel_w] = extents(operands, groups, false)?;
    Ok(ConvWeightShape { outputs, inputs, kernel_h, kernel_w, groups })
}

fn conv_transpose_shape(operands: &[Operand], attrs: &[i64]) -> Result<ConvTransposeShape, KernelError> {
    let Attrs { stride, dilation, groups, .. } = Attrs::of(attrs)?;
    let [inputs, outputs, h, w] = extents(operands, groups, true)?;
    Ok(ConvTransposeShape { inputs, outputs, kernel: [h, w], stride, dilation, groups })
}

/// Bytes of scratch of layout 0 of `f32_conv_nhwc`.
pub(crate) fn conv_scratch<V: Tiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let own = implicit_gemm::scratch::<V>(operands, attrs, threads).next_multiple_of(64);
    own + conv_shape(operands, attrs).map_or(0, conv_weights_len) * 4
}

/// Bytes of scratch of layout 0 of `f32_conv_transpose_nhwc`.
pub(crate) fn conv_transpose_scratch<V: Tiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let own = transpose::scratch::<V>(operands, attrs, threads).next_multiple_of(64);
    own + conv_transpose_shape(operands, attrs).map_or(0, conv_transpose_weights_len) * 4
}

/// Packs the weights of `call`, of `len` elements when packed, after its first `own` bytes of scratch, and runs `run`.
unsafe fn packed(
    call: &Call,
    own: usize,
    len: usize,
    pack: impl FnOnce(&[f32], &mut [f32]),
    run: unsafe fn(&Call) -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let [x, w, y] = call.operands else { return Err(KernelError("convolution: expected 3 operands".into())) };
    let data = own_scratch(call).wrapping_add(own.next_multiple_of(64)).cast::<f32>();
    if !w.is_empty() {
        // SAFETY: `w` is dense; the scratch has room for the packed weights, and nothing else uses it.
        unsafe {
            let weights = std::slice::from_raw_parts(w.data.cast::<f32>(), w.len());
            pack(weights, std::slice::from_raw_parts_mut(data, len));
        }
    }
    let operands = [*x, Operand { data: data.cast(), ..*w }, *y];
    // SAFETY: the caller vouches for the operands; the weights are packed.
    unsafe { run(&Call { operands: &operands, ..*call }) }
}

/// Layout 0 of `f32_conv_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let shape = conv_shape(call.operands, call.attrs)?;
    let own = implicit_gemm::scratch::<V>(call.operands, call.attrs, call.pool.threads());
    let k = shape.filter_len();
    let pack = |w: &[f32], dst: &mut [f32]| {
        pack_conv_weights(shape, |o, filter| filter.copy_from_slice(&w[o * k..][..k]), dst);
    };
    // SAFETY: the caller vouches for the call.
    unsafe { packed(call, own, conv_weights_len(shape), pack, implicit_gemm::conv::<V>) }
}

/// Layout 0 of `f32_conv_transpose_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv_transpose<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let shape = conv_transpose_shape(call.operands, call.attrs)?;
    let own = transpose::scratch::<V>(call.operands, call.attrs, call.pool.threads());
    let len = shape.outputs * shape.kernel[0] * shape.kernel[1];
    let pack = |w: &[f32], dst: &mut [f32]| {
        pack_conv_transpose_weights(shape, |c, filter| filter.copy_from_slice(&w[c * len..][..len]), dst);
    };
    // SAFETY: the caller vouches for the call.
    unsafe { packed(call, own, conv_transpose_weights_len(shape), pack, transpose::conv_transpose::<V>) }
}
