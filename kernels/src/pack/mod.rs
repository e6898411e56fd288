//! Layouts of packed weights, and the functions that write them.
//!
//! One packing serves every instruction set. Layout 1 of a matrix `[K, N]` is `[ceil(N / 16)][K][16]`: panels of 16
//! columns, padded with zeros. Sources are read one row or filter at a time, so that weights can be streamed from a
//! mapped file.

mod conv;
mod int8;
mod matrix;
mod recurrent;
mod scaled;
mod winograd;

pub(crate) use conv::phase_taps;
pub use conv::{
    ConvTransposeShape, ConvWeightShape, conv_transpose_weights_len, conv_weights_len, depthwise_weights_len,
    pack_conv_transpose_weights, pack_conv_weights, pack_depthwise_weights,
};
pub use int8::{
    Bytes, Int8ConvShape, Segments, int8_depthwise_segments, int8_recurrent_bytes, pack_int8_conv, pack_int8_depthwise,
    pack_int8_matmul, pack_int8_recurrent,
};
pub use matrix::{matmul_b_len, pack_matmul_b, pack_matmul_b_transposed};
pub use recurrent::{pack_recurrent_weights, recurrent_weights_len, recurrent_weights_shape};
pub use scaled::{Scaled, Width, pack_scaled};
pub(crate) use winograd::{WINOGRAD_POINTS, WINOGRAD_TILE};
pub use winograd::{pack_winograd_weights, winograd_weights_len};

/// Columns in one panel.
pub const PANEL: usize = 16;
