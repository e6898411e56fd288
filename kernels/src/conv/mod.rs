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

mod reference;

use crate::abi::Kernel;
use crate::isa::Isa;

const ATTRS: &[&str] =
    &["kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "dilation_h", "dilation_w", "groups"];

/// The kernels of this module for `isa`.
pub(crate) fn kernels(_isa: Isa) -> &'static [Kernel] {
    const {
        &[
            Kernel {
                name: "f32_conv_nhwc",
                layout: 1,
                revision: 1,
                operands: &["x", "w", "y"],
                attrs: ATTRS,
                scratch: |_, _, _| 0,
                run: reference::conv,
            },
            Kernel {
                name: "f32_depthwise_conv_nhwc",
                layout: 1,
                revision: 1,
                operands: &["x", "w", "y"],
                attrs: ATTRS,
                scratch: |_, _, _| 0,
                run: reference::depthwise,
            },
            Kernel {
                name: "f32_conv_transpose_nhwc",
                layout: 1,
                revision: 1,
                operands: &["x", "w", "y"],
                attrs: ATTRS,
                scratch: |_, _, _| 0,
                run: reference::conv_transpose,
            },
        ]
    }
}
