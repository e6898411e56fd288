//! f32 matrix products.
//!
//! Each result is one sequential chain of fused multiply-adds over K in order, starting from 0, followed by the
//! epilogue. So every instruction set, blocking and number of threads gives the same bits. A matrix unit that the call allows
//! ([`Call::pieces`](crate::abi::Call::pieces)) sums products of many rows from pieces instead.
//!
//! - `f32_matmul_packed`, layout 1: `y[.., N] = a[.., K] x b[K, N]`, where `b` was packed by
//!   [`pack_matmul_b`](crate::pack::pack_matmul_b) and its operand's shape is `[K, N]`. `a` and `y` have the same
//!   leading axes.
//! - `f32_matmul_packed`, layout 2: the same with a `b` of f16 or bf16 in that packing. Its elements are widened as
//!   panels are read; all arithmetic is in f32.
//! - `f32_matmul_packed`, layout 3: the same with a `b` of 8-bit or 4-bit integers with scales, packed by
//!   [`pack_scaled`](crate::pack::pack_scaled); `group` elements of a column share a scale. Its operand's shape is
//!   `[K, N]`, or `[ceil(K / 2), N]` for 4 bits. Few rows of `a` read the integers as they are.
//! - `f32_gated_matmul`, layouts 1, 2 and 3, which are those of `f32_matmul_packed`: `y[.., F] = strip(g) * u`, where
//!   `a[.., K] x b[K, 2 F] + bias[2 F]` has 16 columns of `g`, 16 of `u`, and so on. F is a multiple of 16; `bias` may be
//!   absent; the strip is sigmoid, silu, gelu, gelu_tanh or relu; `y` is dense. It takes no epilogue.
//! - `f32_matmul`, layout 0: `y[.., M, N] = a[.., M, K] x b[.., K, N]`. The leading axes of `a` and `b` are those of
//!   `y`, right-aligned, or have extent 1, or are missing.
//!
//! `a` and a `b` that is not packed take any strides (a transposed operand is a view). `y` takes any strides but that
//! of its last axis, which is 1. The epilogue's tensors are laid out as `y` is: the same strides from their own start.

mod blocking;
mod contraction;
mod gated;
mod matmul;
mod microkernel;
mod pack_b;
mod panels;
#[cfg(target_arch = "x86_64")]
mod pieces;
mod scaled;
mod tiles;
mod widen;

pub(crate) use blocking::{Division, SERIAL, part};
pub(crate) use contraction::{Contraction, Following, Rows, scratch_bytes, widened_bytes};
pub(crate) use matmul::{Axis, MAX_AXES, batch_axes, chunk, contiguous, copy_len, k_axis, row_axes, stride};
pub(crate) use microkernel::{Ahead, MAX_ROWS, Start, TileArgs};
pub(crate) use pack_b::{Matrix, pack_panels};
pub(crate) use panels::Panels;
pub(crate) use tiles::Tiles;

use crate::abi::Kernel;
use crate::isa::Isa;
use crate::vector::for_isa;

/// The kernels of this module for `isa`.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    for_isa!(isa, V => const { &kernels_of::<V>() })
}

const fn kernels_of<V: Tiles>() -> [Kernel; 7] {
    [
        Kernel {
            name: "f32_matmul",
            layout: 0,
            revision: 1,
            operands: &["a", "b", "y"],
            attrs: &[],
            scratch: matmul::scratch::<V>,
            run: matmul::matmul::<V>,
        },
        packed::<V>(1, &[]),
        packed::<V>(2, &[]),
        packed::<V>(3, &["group"]),
        gated::<V>(1, &["strip"]),
        gated::<V>(2, &["strip"]),
        gated::<V>(3, &["strip", "group"]),
    ]
}

const fn packed<V: Tiles>(layout: u32, attrs: &'static [&'static str]) -> Kernel {
    Kernel {
        name: "f32_matmul_packed",
        layout,
        revision: 1,
        operands: &["a", "b", "y"],
        attrs,
        scratch: matmul::packed_scratch::<V>,
        run: matmul::matmul_packed::<V>,
    }
}

const fn gated<V: Tiles>(layout: u32, attrs: &'static [&'static str]) -> Kernel {
    Kernel {
        name: "f32_gated_matmul",
        layout,
        revision: 1,
        operands: &["a", "b", "bias", "y"],
        attrs,
        scratch: gated::scratch::<V>,
        run: gated::gated_matmul::<V>,
    }
}
