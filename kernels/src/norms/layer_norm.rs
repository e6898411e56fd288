//! `f32_layer_norm` and `f32_rms_norm`: rows scaled to unit variance or unit mean square.

use super::rows::{Rows, for_each_vector, load, store, sum};
use crate::abi::{Call, KernelError, Operand};
use crate::vector::{Task, Vector};

/// Scale, bias and epsilon of a normalization.
#[derive(Clone, Copy)]
struct Affine {
    scale: *const f32,
    /// Null if absent.
    bias: *const f32,
    epsilon: f32,
}

// SAFETY: the vectors are only read.
unsafe impl Sync for Affine {}

impl Affine {
    fn of(call: &Call, len: usize, scale: &Operand, bias: Option<&Operand>) -> Result<Affine, KernelError> {
        let &[epsilon] = call.attrs else {
            return Err(KernelError(format!("normalization: expected 1 attribute, found {}", call.attrs.len())));
        };
        for vector in [Some(scale), bias].into_iter().flatten().filter(|vector| vector.is_present()) {
            if vector.len() != len {
                return Err(KernelError(format!("normalization: expected {len} factors, found {}", vector.len())));
            }
        }
        Ok(Affine {
            scale: scale.data.cast(),
            bias: bias.map_or(std::ptr::null(), |bias| bias.data.cast::<f32>()),
            epsilon: f32::from_bits(epsilon as u32),
        })
    }
}

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(super) unsafe fn layer_norm<V: Vector>(call: &Call) -> Result<(), KernelError> {
    let [x, scale, bias, y] = call.operands else {
        return Err(KernelError(format!("layer normalization: expected 4 operands, found {}", call.operands.len())));
    };
    let rows = Rows::of(x, y)?;
    let affine = &Affine::of(call, rows.len, scale, Some(bias))?;
    // SAFETY: the caller vouches for the operands.
    unsafe { rows.for_each::<V, _>(call, |x, y, n| LayerNorm { x, y, n, affine: *affine }) };
    Ok(())
}

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(super) unsafe fn rms_norm<V: Vector>(call: &Call) -> Result<(), KernelError> {
    let [x, scale, y] = call.operands else {
        return Err(KernelError(format!("RMS normalization: expected 3 operands, found {}", call.operands.len())));
    };
    let rows = Rows::of(x, y)?;
    let affine = &Affine::of(call, rows.len, scale, None)?;
    // SAFETY: the caller vouches for the operands.
    unsafe { rows.for_each::<V, _>(call, |x, y, n| RmsNorm { x, y, n, affine: *affine }) };
    Ok(())
}

struct LayerNorm {
    x: *const f32,
    y: *mut f32,
    n: usize,
    affine: Affine,
}

impl Task for LayerNorm {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let LayerNorm { x, y, n, affine } = self;
        // SAFETY: the caller vouches for the row.
        unsafe {
            let mean = V::splat(sum!(x, n, |e| e) / n as f32);
            let variance = sum!(x, n, |e| e.sub(mean).mul(e.sub(mean))) / n as f32;
            let factor = V::splat(1.0 / (variance + affine.epsilon).sqrt());
            for_each_vector!(x, n, |e, at, width| {
                let scaled = e.sub(mean).mul(factor);
                let scale = load::<V>(affine.scale.add(at), width);
                let result = if affine.bias.is_null() {
                    scaled.mul(scale)
                } else {
                    scaled.mul_add(scale, load(affine.bias.add(at), width))
                };
                store(result, y.add(at), width);
            });
        }
    }
}

struct RmsNorm {
    x: *const f32,
    y: *mut f32,
    n: usize,
    affine: Affine,
}

impl Task for RmsNorm {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let RmsNorm { x, y, n, affine } = self;
        // SAFETY: the caller vouches for the row.
        unsafe {
            let mean_square = sum!(x, n, |e| e.mul(e)) / n as f32;
            let factor = V::splat(1.0 / (mean_square + affine.epsilon).sqrt());
            for_each_vector!(x, n, |e, at, width| {
                let scale = load::<V>(affine.scale.add(at), width);
                store(e.mul(factor).mul(scale), y.add(at), width);
            });
        }
    }
}
