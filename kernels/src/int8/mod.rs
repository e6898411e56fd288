//! Contractions of 8-bit integers with exact 32-bit sums.
//!
//! Either factor is u8 or i8, with a zero point of its own type: one for the left factor, one or one for each column for
//! the right; an absent one is 0. Inside, the left factor is unsigned and the right one signed: other bytes are offset by
//! 128, and their zero points with them. A bias of i32 is added to each column's sums, which wrap at 32 bits.
//!
//! The result is i32 with an empty epilogue, f32, or 8-bit with an epilogue that ends in
//! [`Quantize`](crate::abi::EpilogueOp::Quantize); otherwise operands, strides and epilogues are those of the f32 kernels.
//!
//! - `int8_matmul_packed`, layout 1: `b` from [`pack_int8_matmul`](crate::pack::pack_int8_matmul); its operand has the
//!   shape `[K, N]` and the type that `b` had.
//! - `int8_matmul`, layout 0: `b` of any strides is packed at run time.
//! - `int8_conv_nhwc`, layout 1: `w` from [`pack_int8_conv`](crate::pack::pack_int8_conv). Outside of the image is the zero
//!   point.
//! - `int8_depthwise_conv_nhwc`, layout 1: `w` from [`pack_int8_depthwise`](crate::pack::pack_int8_depthwise).

#[cfg(target_arch = "x86_64")]
mod amx;
mod contraction;
mod conv;
mod depthwise;
mod finish;
mod image;
mod matmul;
mod microkernel;
mod pack_b;
mod requantize;
mod tiles;
mod zero_points;

pub(crate) use contraction::{Contraction, scratch_bytes};
pub(crate) use finish::Stored;
pub(crate) use tiles::IntTiles;
pub(crate) use zero_points::{Corrections, bytes_of, zero_at};

use crate::abi::Kernel;
use crate::conv::ATTRS;
use crate::isa::Isa;
use crate::vector::dots;

/// The kernels of this module for `isa`, with the fastest instructions of this machine.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    dots!(isa, D => const { &kernels_of::<D>() })
}

/// The kernels with one way to multiply bytes.
pub(crate) const fn kernels_of<D: IntTiles>() -> [Kernel; 4] {
    [
        Kernel {
            name: "int8_matmul",
            layout: 0,
            revision: 2,
            operands: &["a", "b", "a_zero_point", "b_zero_point", "bias", "y"],
            attrs: &[],
            scratch: matmul::scratch::<D>,
            run: matmul::matmul::<D>,
        },
        Kernel {
            name: "int8_matmul_packed",
            layout: 1,
            revision: 2,
            operands: &["a", "b", "a_zero_point", "b_zero_point", "bias", "y"],
            attrs: &[],
            scratch: matmul::packed_scratch::<D>,
            run: matmul::matmul_packed::<D>,
        },
        Kernel {
            name: "int8_conv_nhwc",
            layout: 1,
            revision: 2,
            operands: &["x", "w", "x_zero_point", "w_zero_point", "bias", "y"],
            attrs: ATTRS,
            scratch: conv::scratch::<D>,
            run: conv::conv::<D>,
        },
        Kernel {
            name: "int8_depthwise_conv_nhwc",
            layout: 1,
            revision: 3,
            operands: &["x", "w", "x_zero_point", "w_zero_point", "bias", "y"],
            attrs: ATTRS,
            scratch: depthwise::scratch,
            run: depthwise::depthwise::<D>,
        },
    ]
}
