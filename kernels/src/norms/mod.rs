//! f32 normalizations over the last axis of dense tensors.
//!
//! Sums run over 16 fixed lanes (lane `i % 16`) that a fixed tree adds at the end, so every instruction set and number
//! of threads gives the same bits.
//!
//! - `f32_softmax`: `y = exp(x - max) / sum(exp(x - max))`.
//! - `f32_layer_norm`: `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`; `bias` may be absent.
//! - `f32_rms_norm`: `y = x / sqrt(mean(x^2) + epsilon) * scale`.
//!
//! `scale` and `bias` are `[D]`, where `D` is the last extent of `x`. `y` may be `x`.

mod layer_norm;
mod rows;
mod softmax;

use crate::abi::Kernel;
use crate::isa::Isa;
use crate::vector::{Vector, for_isa};

/// The kernels of this module for `isa`.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    for_isa!(isa, V => const { &kernels_of::<V>() })
}

const fn kernels_of<V: Vector>() -> [Kernel; 3] {
    [
        Kernel {
            name: "f32_softmax",
            layout: 0,
            revision: 1,
            operands: &["x", "y"],
            attrs: &[],
            scratch: |_, _, _| 0,
            run: softmax::softmax::<V>,
        },
        Kernel {
            name: "f32_layer_norm",
            layout: 0,
            revision: 1,
            operands: &["x", "scale", "bias", "y"],
            attrs: &["epsilon"],
            scratch: |_, _, _| 0,
            run: layer_norm::layer_norm::<V>,
        },
        Kernel {
            name: "f32_rms_norm",
            layout: 0,
            revision: 1,
            operands: &["x", "scale", "y"],
            attrs: &["epsilon"],
            scratch: |_, _, _| 0,
            run: layer_norm::rms_norm::<V>,
        },
    ]
}
