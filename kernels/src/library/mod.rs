//! Library kernels: what neither generated code nor a contraction does, one family a file.
//!
//! Inputs are dense and row-major unless a kernel says that it takes strides. Whatever depends on data is checked: an
//! index out of range is a [`KernelError`](crate::abi::KernelError), and nothing outside of an operand is touched.

mod activation;
mod arg_reduce;
mod args;
mod cast;
pub mod codes;
mod col2im;
mod concat;
mod cumulative;
mod deform_conv;
mod det;
mod element;
mod find;
mod fourier;
mod gather;
mod grid_sample;
mod gru;
#[cfg(feature = "images")]
mod image;
mod indices;
mod integer_conv;
mod lstm;
mod matmul;
mod minifloat;
mod movement;
mod non_max_suppression;
mod pad;
mod pool;
mod pool_nhwc;
mod quantize;
#[cfg(feature = "random")]
mod random;
mod recurrent;
mod reduce;
mod resize;
mod resize_axis;
mod resize_nhwc;
mod reverse_sequence;
mod rnn;
mod roi_align;
mod scatter;
mod select;
mod sequence;
mod split;
mod strided;
#[cfg(test)]
mod testing;
#[cfg(feature = "text")]
mod text;
mod tf_idf;
mod top_k;
mod tree_ensemble;

use crate::abi::Kernel;

/// The library kernels that this build has: all, or none without the feature `library`.
pub(crate) const KERNELS: &[Kernel] = if cfg!(feature = "library") { ALL } else { &[] };

/// The kernels behind features of their own, each with the feature's name.
pub(crate) const FEATURES: &[(&str, &[Kernel])] = &[
    #[cfg(feature = "text")]
    (
        "text",
        &[
            text::INTERN,
            text::STRING_CONCAT,
            text::STRING_CASE,
            text::STRING_PIECES,
            text::STRING_SPLIT,
            text::REGEX_MATCH,
        ],
    ),
    #[cfg(feature = "images")]
    ("images", &[image::IMAGE_DECODE]),
    #[cfg(feature = "random")]
    ("random", &[random::RANDOM]),
];

/// Every other library kernel.
const ALL: &[Kernel] = &[
    gather::GATHER,
    gather::GATHER_ELEMENTS,
    gather::GATHER_ND,
    scatter::SCATTER_ELEMENTS,
    scatter::SCATTER_ND,
    scatter::TENSOR_SCATTER,
    movement::COPY,
    movement::BIT_CAST,
    movement::COPY_STRIDED,
    movement::TRANSPOSE,
    movement::EXPAND,
    movement::TILE,
    movement::SLICE,
    movement::SLICE_DYNAMIC,
    concat::CONCAT,
    concat::SPLIT,
    pad::PAD,
    pad::PAD_DYNAMIC,
    reverse_sequence::REVERSE_SEQUENCE,
    pool_nhwc::F32_MAX_POOL_NHWC,
    pool_nhwc::INT8_MAX_POOL_NHWC,
    pool_nhwc::F32_AVERAGE_POOL_NHWC,
    pool::MAX_POOL,
    pool::AVERAGE_POOL,
    pool::LP_POOL,
    pool::MAX_UNPOOL,
    roi_align::F32_ROI_ALIGN,
    grid_sample::GRID_SAMPLE,
    grid_sample::AFFINE_GRID,
    col2im::COL2IM,
    resize::RESIZE,
    resize_nhwc::F32_RESIZE_NHWC,
    lstm::F32_LSTM,
    lstm::INT8_LSTM,
    gru::F32_GRU,
    rnn::F32_RNN,
    top_k::TOP_K,
    arg_reduce::ARG_REDUCE,
    cumulative::CUMULATIVE,
    reduce::REDUCE,
    matmul::MATMUL,
    cast::CAST,
    quantize::QUANTIZE_LINEAR,
    quantize::DEQUANTIZE_LINEAR,
    quantize::DYNAMIC_QUANTIZE_LINEAR,
    select::NON_ZERO,
    non_max_suppression::NON_MAX_SUPPRESSION,
    select::COMPRESS,
    select::UNIQUE,
    det::DET,
    fourier::DFT,
    deform_conv::F32_DEFORM_CONV,
    integer_conv::INTEGER_CONV,
    find::FIND,
    tf_idf::TF_IDF,
    tree_ensemble::TREE_ENSEMBLE,
    sequence::SEQUENCE_OF,
    sequence::SEQUENCE_INSERT,
    sequence::SEQUENCE_ERASE,
    sequence::SEQUENCE_LENGTH,
    sequence::SEQUENCE_SHAPE,
    sequence::SEQUENCE_AT,
    sequence::SEQUENCE_SPLIT,
    sequence::SEQUENCE_CONCAT,
];
