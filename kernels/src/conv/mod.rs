//! f32 convolutions.
//!
//! Channels last: operands `x[N, H, W, C]`, `w` and `y[N, OH, OW, Cout]`; a one-dimensional convolution has `H = kernel_h = 1`.
//! Padding after the end of an axis is what `y`'s extents imply. Each result is one sequential chain of fused
//! multiply-adds over (kernel row, kernel column, channel), starting from 0, followed by the epilogue.
//!
//! - `f32_conv_nhwc`, layout 1: weights from [`pack_conv_weights`](crate::pack::pack_conv_weights); the shape of `w`
//!   is `[Cout, C / groups, KH, KW]`.
//! - `f32_conv_nhwc`, layout 2: the same with weights of f16 or bf16 in that packing, which are widened as they are
//!   read.
//! - `f32_depthwise_conv_nhwc`, layout 1: one filter for each channel (`groups = C = Cout`); weights from
//!   [`pack_depthwise_weights`](crate::pack::pack_depthwise_weights); the shape of `w` is `[C, 1, KH, KW]`.
//! - `f32_conv_transpose_nhwc`, layout 1: weights from
//!   [`pack_conv_transpose_weights`](crate::pack::pack_conv_transpose_weights); the shape of `w` is
//!   `[C, Cout / groups, KH, KW]`.
//!
//! - `f32_winograd_conv_nhwc`, layout 1: filters of 3 by 3, stride and dilation 1, one group; weights from
//!   [`pack_winograd_weights`](crate::pack::pack_winograd_weights); the shape of `w` is `[Cout, C, 3, 3]`. Its results
//!   are sums of transformed products, which round differently, by the same operations on every instruction set.
//!
//! - layout 0 of `f32_conv_nhwc` and `f32_conv_transpose_nhwc`: the same with dense weights as ONNX has them.
//!
//! `x` and `y` take any strides but that of their last axis, which is 1: a slice of the channels of a larger tensor is
//! an operand. The epilogue's tensors are laid out as `y` is: the same strides from their own start.
//!
//! Channels first, layout 0, 1 to 3 spatial axes, everything dense, the bias may be absent: `f32_conv` of `x[N, C, …]`,
//! `w[Cout, C / groups, …]`, `bias[Cout]` and `y[N, Cout, …]`, and `f32_conv_transpose` with `w[C, Cout / groups, …]`.
//! `window` is strides, dilations and pads before. The chain runs over (channel, tap); the bias is added last. Groups of one
//! channel are sums along lines (`planes`), others products of matrices.

mod channels_first;
mod depthwise;
mod gather;
mod geometry;
mod groups;
mod implicit_gemm;
mod planes;
mod rows;
mod shape;
mod transpose;
mod unpacked;
mod winograd;

pub(crate) use geometry::Geometry;
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

const fn kernels_of<V: Tiles>() -> [Kernel; 9] {
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
            name: "f32_conv_nhwc",
            layout: 2,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: implicit_gemm::scratch::<V>,
            run: implicit_gemm::conv::<V>,
        },
        Kernel {
            name: "f32_winograd_conv_nhwc",
            layout: 1,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: winograd::scratch::<V>,
            run: winograd::conv::<V>,
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
        Kernel {
            name: "f32_conv_nhwc",
            layout: 0,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: unpacked::conv_scratch::<V>,
            run: unpacked::conv::<V>,
        },
        Kernel {
            name: "f32_conv_transpose_nhwc",
            layout: 0,
            revision: 1,
            operands: &["x", "w", "y"],
            attrs: ATTRS,
            scratch: unpacked::conv_transpose_scratch::<V>,
            run: unpacked::conv_transpose::<V>,
        },
        Kernel {
            name: "f32_conv",
            layout: 0,
            revision: 1,
            operands: &["x", "w", "bias", "y"],
            attrs: channels_first::ATTRS,
            scratch: channels_first::conv_scratch,
            run: channels_first::conv::<V>,
        },
        Kernel {
            name: "f32_conv_transpose",
            layout: 0,
            revision: 1,
            operands: &["x", "w", "bias", "y"],
            attrs: channels_first::ATTRS,
            scratch: channels_first::conv_transpose_scratch,
            run: channels_first::conv_transpose::<V>,
        },
    ]
}
