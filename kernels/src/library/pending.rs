//! Signatures of kernels whose implementation is on its way.

use super::args::{Args, error, kernels};
use crate::abi::KernelError;

fn pending(_: &mut Args) -> Result<(), KernelError> {
    Err(error("this kernel is not implemented"))
}

kernels! {


    /// ONNX `RoiAlign`. `mode` is a `RoiMode`, `half_pixel` 0 for `output_half_pixel`, `spatial_scale` f32 bits.
    F32_ROI_ALIGN = "f32_roi_align" ["x", "rois", "batch_indices"] -> ["y"] {
        "mode", "half_pixel", "sampling_ratio", "spatial_scale"
    }, pending;
    /// ONNX `GridSample` of f32 or f64 with 2 or 3 spatial axes; `mode` is a `GridMode`, `padding` a `GridPadding`.
    GRID_SAMPLE = "grid_sample" ["x", "grid"] -> ["y"] {"mode", "padding", "align_corners"}, pending;
    /// ONNX `AffineGrid` of f32 or f64; the size is implied by `y`'s shape.
    AFFINE_GRID = "affine_grid" ["theta"] -> ["y"] {"align_corners"}, pending;
    /// ONNX `Col2Im`; `window` is image shape, block shape, dilations, pad begins, pad ends, strides.
    COL2IM = "col2im" ["x"] -> ["y"] {"window[]"}, pending;






    /// ONNX `DFT` of f32 or f64 `x[.., 1 or 2]`; the length of the transform is `length`.
    DFT = "dft" ["x"] -> ["y"] {"axis", "inverse", "onesided", "length"}, pending;
    /// ONNX `STFT` of f32 or f64 `signal[B, n, 1 or 2]`; `window` may be absent.
    STFT = "stft" ["signal", "window"] -> ["y"] {"frame_step", "frame_length", "onesided"}, pending;
    /// ONNX `MelWeightMatrix`.
    MEL_WEIGHT_MATRIX = "mel_weight_matrix"
        ["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"] -> ["y"] {}, pending;
    /// ONNX `DeformConv` of f32, two spatial axes; `b` and `mask` may be absent. `window` is kernel, strides, dilations, pad
    /// begins and pad ends.
    F32_DEFORM_CONV = "f32_deform_conv" ["x", "w", "offset", "b", "mask"] -> ["y"] {"group", "offset_group", "window[]"}, pending;
}
