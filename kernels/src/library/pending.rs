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





    /// ONNX `NonZero`. `y` has room for [rank, elements of x]; it is written densely as [rank, count].
    NON_ZERO = "non_zero" ["x"] -> ["y", "count"] {}, pending;
    /// ONNX `NonMaxSuppression`. The three limits may be absent. `y` has room for [most, 3]; `count` rows are written.
    NON_MAX_SUPPRESSION = "non_max_suppression"
        ["boxes", "scores", "max_output_boxes_per_class", "iou_threshold", "score_threshold"] -> ["y", "count"]
        {"center_point_box"}, pending;
    /// ONNX `Compress` along `axis`, or of the flattened input if `flatten`. `y` has room for all; it is written densely
    /// with the extent `count` on the axis.
    COMPRESS = "compress" ["x", "condition"] -> ["y", "count"] {"flatten", "axis"}, pending;
    /// ONNX `Unique` of the flattened input, or of slices along `axis` unless `flatten`. `y`, `indices` and `counts` have
    /// room for all and are written densely with the extent `count`.
    UNIQUE = "unique" ["x"] -> ["y", "indices", "inverse_indices", "counts", "count"] {"flatten", "axis", "sorted"}, pending;

    /// ONNX `Det` of f32 or f64 matrices `x[.., n, n]`.
    DET = "det" ["x"] -> ["y"] {}, pending;
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
