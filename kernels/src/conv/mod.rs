//! f32 convolutions, channels last.
//!
//! Operands `x[N, H, W, C]`, `w` and `y[N, OH, OW, Cout]`; a one-dimensional convolution has `H = kernel_h = 1`.
//! Padding after the end of an axis is what `y`'s extents imply. Each result is one sequential chain of fused
//! multiply-adds over (kernel row, kernel column, channel), starting from 0, followed by the epilogue.
//!
//! - `f32_conv_nhwc`, layout 1: weights from [`pack_conv_weights`](crate::pack::pack_conv_weights); the shape of `w`
//!   is `[Cout, C / groups, KH, KW]`.
//! - `f32_depthwise_conv_nhwc`, layout 1: one filter for each channel (`groups = C = Cout`); weights from
//!   [`pack_depthwise_weights`](crate::pack::pack_depthwise_weights); the shape of `w` is `[C, 1, KH, KW]`.
//! - `f32_conv_transpose_nhwc`, layout 1: weights from
//!   [`pack_conv_transpose_weights`](crate::pack::pack_conv_transpose_weights); the shape of `w` is
//!   `[C, Cout / groups, KH, KW]`.
//!
//! `x` and `y` take any strides but that of their last axis, which is 1: a slice of the channels of a larger tensor is
//! an operand. The epilogue's tensors are laid out as `y` is: the same strides from their own start.

mod depthwise;
mod implicit_gemm;
mod rows;
mod shape;
mod transpose;

pub(crate) use rows::{PixelRows, Taps};
pub(crate) use shape::{ATTRS, Attrs, Image, check};

use crate::abi::Kernel;
use crate::gemm::Tiles;
use crate::isa::Isa;
use crate::vector::for_isa;

/// The kernels of this module for `isa`.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    for_isa!(isa, V => const { &kernels_of::<V>() })
}

const fn kernels_of<V: Tiles>() -> [Kernel; 3] {
    [
        Kernel {
            name: "f32_conv_nhwc",
            layout: 1,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: implicit_gemm::scratch::<V>,
            run: implicit_gemm::conv::<V>,
        },
        Kernel {
            name: "f32_depthwise_conv_nhwc",
            layout: 1,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: depthwise::scratch,
            run: depthwise::depthwise::<V>,
        },
        Kernel {
            name: "f32_conv_transpose_nhwc",
            layout: 1,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: transpose::scratch::<V>,
            run: transpose::conv_transpose::<V>,
        },
    ]
}
