//! The ONNX ops: a table of which function imports which op.
//!
//! A new op is a file with its rows in `OPS`, and a line in `files!`.
//!
//! An op's function looks at the opset version of its node where versions differ.

mod activation;
mod attention;
mod cast;
mod constant;
mod control;
mod conv;
mod conv_transpose;
mod cumulative;
mod deform_conv;
mod dropout;
mod einsum;
mod fourier;
mod gather;
mod grid;
mod labels;
mod loop_region;
mod loops;
mod matmul;
mod matrix;
mod norm;
mod pointwise;
mod pool;
mod quantize;
mod quantize_contrib;
mod recurrent;
mod reduce;
mod reduce_in_run;
mod resize;
mod rotary;
mod scan_batched;
mod scatter;
mod select;
pub(crate) mod sequence;
mod sequence_model;
mod shape;
mod slice;
mod slice_in_run;
mod sliding;
mod softmax;
mod space;
mod tree_layout;
mod tree_walk;
mod window;

use super::context::Context;
use super::error::Result;
use super::node::NodeView;
use ic_ir::ScalarOp;
use ic_ir::ValueId;
use ic_ir::ops::{ArgFn, CumulativeFn, PoolFn, ReduceFn};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What most op files use.
mod prelude {
    pub(super) use super::{Results, int_list};
    pub(super) use crate::import::onnx::context::Context;
    pub(super) use crate::import::onnx::error::{Result, invalid, unsupported};
    pub(super) use crate::import::onnx::node::NodeView;
    pub(super) use crate::import::onnx::tensor::dtype;
    pub(super) use ic_ir::{Graph, Literal, ScalarOp, ValueId};
    pub(super) use ic_types::{DType, Dim, Tensor};
}

/// The results of a node, in the order of its outputs; trailing ones that the model does not use may be missing.
type Results = Result<Vec<ValueId>>;

/// Imports a node of one op.
pub(crate) type Handler = fn(&mut Context, &NodeView) -> Results;

const MICROSOFT: &str = "com.microsoft";
const TRAINING: &str = "ai.onnx.preview.training";

/// Domain, op, importer.
type Row = (&'static str, &'static str, Handler);

macro_rules! files {
    ($($file:ident;)*) => {
        $(mod $file;)*

        /// The rows of the files that list their ops themselves.
        const FILES: &[&[Row]] = &[$($file::OPS),*];
    };
}

files! {
    contrib_attention;
    embed_layer_norm;
    features;
    flex_attention;
    fused;
    gradient;
    group_query_attention;
    image;
    label_encoder;
    linear_attention;
    linear_models;
    loss;
    matmul_nbits;
    optimizer;
    random;
    scaler;
    support_vectors;
    text;
    trees;
}

/// The rows of the other files.
const TABLE: &[Row] = &[
    ("", "Abs", |cx, n| pointwise::unary(cx, n, ScalarOp::Abs)),
    ("", "Acos", |cx, n| pointwise::unary(cx, n, ScalarOp::Acos)),
    ("", "Acosh", |cx, n| pointwise::unary(cx, n, ScalarOp::Acosh)),
    ("", "Add", |cx, n| pointwise::binary(cx, n, ScalarOp::Add)),
    ("", "AffineGrid", grid::affine_grid),
    ("", "And", |cx, n| pointwise::binary(cx, n, ScalarOp::And)),
    ("", "ArgMax", |cx, n| reduce::arg(cx, n, ArgFn::Argmax)),
    ("", "ArgMin", |cx, n| reduce::arg(cx, n, ArgFn::Argmin)),
    ("", "Asin", |cx, n| pointwise::unary(cx, n, ScalarOp::Asin)),
    ("", "Asinh", |cx, n| pointwise::unary(cx, n, ScalarOp::Asinh)),
    ("", "Atan", |cx, n| pointwise::unary(cx, n, ScalarOp::Atan)),
    ("", "Atanh", |cx, n| pointwise::unary(cx, n, ScalarOp::Atanh)),
    ("", "Attention", attention::attention),
    ("", "AveragePool", |cx, n| pool::pool(cx, n, PoolFn::Average)),
    ("", "BatchNormalization", norm::batch),
    ("", "BitCast", cast::bit_cast),
    ("", "BitShift", pointwise::bit_shift),
    ("", "BitwiseAnd", |cx, n| pointwise::binary(cx, n, ScalarOp::BitAnd)),
    ("", "BitwiseNot", |cx, n| pointwise::unary(cx, n, ScalarOp::BitNot)),
    ("", "BitwiseOr", |cx, n| pointwise::binary(cx, n, ScalarOp::BitOr)),
    ("", "BitwiseXor", |cx, n| pointwise::binary(cx, n, ScalarOp::BitXor)),
    ("", "BlackmanWindow", |cx, n| window::cosine_sum(cx, n, window::BLACKMAN)),
    ("", "Cast", cast::cast),
    ("", "CastLike", cast::cast_like),
    ("", "CausalConvWithState", sequence_model::causal_conv_with_state),
    ("", "Ceil", |cx, n| pointwise::unary(cx, n, ScalarOp::Ceil)),
    ("", "Celu", activation::celu),
    ("", "CenterCropPad", slice::center_crop_pad),
    ("", "Clip", activation::clip),
    ("", "Col2Im", grid::col2im),
    ("", "Compress", select::compress),
    ("", "Concat", slice::concat),
    ("", "ConcatFromSequence", sequence::concat),
    ("", "Constant", constant::constant),
    ("", "ConstantOfShape", constant::constant_of_shape),
    ("", "Conv", conv::conv),
    ("", "ConvInteger", quantize::conv_integer),
    ("", "ConvTranspose", conv_transpose::conv_transpose),
    ("", "Cos", |cx, n| pointwise::unary(cx, n, ScalarOp::Cos)),
    ("", "Cosh", |cx, n| pointwise::unary(cx, n, ScalarOp::Cosh)),
    ("", "CumProd", |cx, n| cumulative::cumulative(cx, n, CumulativeFn::Prod)),
    ("", "CumSum", |cx, n| cumulative::cumulative(cx, n, CumulativeFn::Sum)),
    ("", "DFT", fourier::dft),
    ("", "DepthToSpace", space::depth_to_space),
    ("", "DeformConv", deform_conv::deform_conv),
    ("", "DequantizeLinear", quantize::dequantize_linear),
    ("", "Det", matrix::det),
    ("", "Div", |cx, n| pointwise::binary(cx, n, ScalarOp::Div)),
    ("", "Dropout", dropout::dropout),
    ("", "DynamicQuantizeLinear", quantize::dynamic_quantize_linear),
    ("", "Einsum", einsum::einsum),
    ("", "Elu", activation::elu),
    ("", "Equal", |cx, n| pointwise::binary(cx, n, ScalarOp::Eq)),
    ("", "Erf", |cx, n| pointwise::unary(cx, n, ScalarOp::Erf)),
    ("", "Exp", |cx, n| pointwise::unary(cx, n, ScalarOp::Exp)),
    ("", "Expand", shape::expand),
    ("", "EyeLike", constant::eye_like),
    ("", "Flatten", shape::flatten),
    ("", "Floor", |cx, n| pointwise::unary(cx, n, ScalarOp::Floor)),
    ("", "GRU", recurrent::gru),
    ("", "Gather", gather::gather),
    ("", "GatherElements", scatter::gather_elements),
    ("", "GatherND", scatter::gather_nd),
    ("", "Gelu", activation::gelu),
    ("", "Gemm", matmul::gemm),
    ("", "GlobalAveragePool", |cx, n| pool::global(cx, n, ReduceFn::Mean)),
    ("", "GlobalLpPool", pool::global_lp),
    ("", "GlobalMaxPool", |cx, n| pool::global(cx, n, ReduceFn::Max)),
    ("", "Greater", |cx, n| pointwise::binary(cx, n, ScalarOp::Gt)),
    ("", "GreaterOrEqual", |cx, n| pointwise::binary(cx, n, ScalarOp::Ge)),
    ("", "GridSample", grid::grid_sample),
    ("", "GroupNormalization", norm::group),
    ("", "HammingWindow", |cx, n| window::cosine_sum(cx, n, window::HAMMING)),
    ("", "HannWindow", |cx, n| window::cosine_sum(cx, n, window::HANN)),
    ("", "HardSigmoid", activation::hard_sigmoid),
    ("", "HardSwish", |cx, n| pointwise::unary(cx, n, ScalarOp::HardSwish)),
    ("", "Hardmax", reduce::hardmax),
    ("", "Identity", shape::identity),
    ("", "If", control::branch),
    ("", "InstanceNormalization", norm::instance),
    ("", "IsInf", pointwise::is_inf),
    ("", "IsNaN", |cx, n| pointwise::unary(cx, n, ScalarOp::IsNan)),
    ("", "LRN", norm::lrn),
    ("", "LSTM", recurrent::lstm),
    ("", "LayerNormalization", norm::layer),
    ("", "LeakyRelu", activation::leaky_relu),
    ("", "Less", |cx, n| pointwise::binary(cx, n, ScalarOp::Lt)),
    ("", "LessOrEqual", |cx, n| pointwise::binary(cx, n, ScalarOp::Le)),
    ("", "Log", |cx, n| pointwise::unary(cx, n, ScalarOp::Log)),
    ("", "LogSoftmax", softmax::log_softmax),
    ("", "Loop", loops::iteration),
    ("", "LpNormalization", norm::lp),
    ("", "LpPool", |cx, n| pool::pool(cx, n, PoolFn::Lp)),
    ("", "MatMul", matmul::matmul),
    ("", "MatMulInteger", quantize::matmul_integer),
    ("", "Max", |cx, n| pointwise::fold(cx, n, ScalarOp::Max)),
    ("", "MaxPool", |cx, n| pool::pool(cx, n, PoolFn::Max)),
    ("", "MaxUnpool", grid::max_unpool),
    ("", "Mean", pointwise::mean),
    ("", "MeanVarianceNormalization", norm::mean_variance),
    ("", "MelWeightMatrix", window::mel_weight_matrix),
    ("", "Min", |cx, n| pointwise::fold(cx, n, ScalarOp::Min)),
    ("", "Mish", activation::mish),
    ("", "Mod", pointwise::modulo),
    ("", "Mul", |cx, n| pointwise::binary(cx, n, ScalarOp::Mul)),
    ("", "Neg", |cx, n| pointwise::unary(cx, n, ScalarOp::Neg)),
    ("", "NonMaxSuppression", select::non_max_suppression),
    ("", "NonZero", select::non_zero),
    ("", "Not", |cx, n| pointwise::unary(cx, n, ScalarOp::Not)),
    ("", "OneHot", gather::one_hot),
    ("", "Optional", sequence::optional),
    ("", "OptionalGetElement", sequence::get_element),
    ("", "OptionalHasElement", sequence::has_element),
    ("", "Or", |cx, n| pointwise::binary(cx, n, ScalarOp::Or)),
    ("", "PRelu", activation::prelu),
    ("", "Pad", slice::pad),
    ("", "Pow", pointwise::pow),
    ("", "QLinearConv", quantize::qlinear_conv),
    ("", "QLinearMatMul", quantize::qlinear_matmul),
    ("", "QuantizeLinear", quantize::quantize_linear),
    ("", "RMSNormalization", norm::rms),
    ("", "RNN", recurrent::rnn),
    ("", "Range", constant::range),
    ("", "Reciprocal", |cx, n| pointwise::unary(cx, n, ScalarOp::Reciprocal)),
    ("", "ReduceL1", reduce::l1),
    ("", "ReduceL2", reduce::l2),
    ("", "ReduceLogSum", reduce::log_sum),
    ("", "ReduceLogSumExp", reduce::log_sum_exp),
    ("", "ReduceMax", |cx, n| reduce::reduce(cx, n, ReduceFn::Max)),
    ("", "ReduceMean", |cx, n| reduce::reduce(cx, n, ReduceFn::Mean)),
    ("", "ReduceMin", |cx, n| reduce::reduce(cx, n, ReduceFn::Min)),
    ("", "ReduceProd", |cx, n| reduce::reduce(cx, n, ReduceFn::Prod)),
    ("", "ReduceSum", |cx, n| reduce::reduce(cx, n, ReduceFn::Sum)),
    ("", "ReduceSumSquare", reduce::sum_square),
    ("", "Relu", |cx, n| pointwise::unary(cx, n, ScalarOp::Relu)),
    ("", "Reshape", shape::reshape),
    ("", "Resize", resize::resize),
    ("", "ReverseSequence", matrix::reverse_sequence),
    ("", "RoiAlign", grid::roi_align),
    ("", "RotaryEmbedding", rotary::rotary_embedding),
    ("", "Round", |cx, n| pointwise::unary(cx, n, ScalarOp::Round)),
    ("", "STFT", fourier::stft),
    ("", "Scan", loops::scan),
    ("", "Scatter", scatter::scatter_elements),
    ("", "ScatterElements", scatter::scatter_elements),
    ("", "ScatterND", scatter::scatter_nd),
    ("", "Selu", activation::selu),
    ("", "SequenceAt", sequence::at),
    ("", "SequenceConstruct", sequence::construct),
    ("", "SequenceEmpty", sequence::empty),
    ("", "SequenceErase", sequence::erase),
    ("", "SequenceInsert", sequence::insert),
    ("", "SequenceLength", sequence::length),
    ("", "SequenceMap", sequence::map),
    ("", "Shape", shape::shape),
    ("", "Shrink", activation::shrink),
    ("", "Sigmoid", |cx, n| pointwise::unary(cx, n, ScalarOp::Sigmoid)),
    ("", "Sign", |cx, n| pointwise::unary(cx, n, ScalarOp::Sign)),
    ("", "SimplifiedLayerNormalization", norm::rms),
    ("", "Sin", |cx, n| pointwise::unary(cx, n, ScalarOp::Sin)),
    ("", "Sinh", |cx, n| pointwise::unary(cx, n, ScalarOp::Sinh)),
    ("", "Size", shape::size),
    ("", "Slice", slice::slice),
    ("", "Softmax", softmax::softmax),
    ("", "Softplus", |cx, n| pointwise::unary(cx, n, ScalarOp::Softplus)),
    ("", "Softsign", activation::softsign),
    ("", "SpaceToDepth", space::space_to_depth),
    ("", "Split", slice::split),
    ("", "SplitToSequence", sequence::split),
    ("", "Sqrt", |cx, n| pointwise::unary(cx, n, ScalarOp::Sqrt)),
    ("", "Squeeze", shape::squeeze),
    ("", "Sub", |cx, n| pointwise::binary(cx, n, ScalarOp::Sub)),
    ("", "Sum", |cx, n| pointwise::fold(cx, n, ScalarOp::Add)),
    ("", "SwiGLU", sequence_model::swiglu),
    ("", "Swish", activation::swish),
    ("", "Tan", |cx, n| pointwise::unary(cx, n, ScalarOp::Tan)),
    ("", "Tanh", |cx, n| pointwise::unary(cx, n, ScalarOp::Tanh)),
    ("", "TensorScatter", scatter::tensor_scatter),
    ("", "ThresholdedRelu", activation::thresholded_relu),
    ("", "Tile", slice::tile),
    ("", "TopK", reduce::top_k),
    ("", "Transpose", shape::transpose),
    ("", "Trilu", matrix::trilu),
    ("", "Unique", select::unique),
    ("", "Unsqueeze", shape::unsqueeze),
    ("", "Upsample", resize::upsample),
    ("", "Where", pointwise::select),
    ("", "Xor", |cx, n| pointwise::binary(cx, n, ScalarOp::Xor)),
    ("ai.onnx.ml", "ArrayFeatureExtractor", gather::array_feature_extractor),
    ("ai.onnx.ml", "Binarizer", pointwise::binarizer),
    (MICROSOFT, "BiasGelu", activation::bias_gelu),
    (MICROSOFT, "DynamicQuantizeLSTM", recurrent::dynamic_quantize_lstm),
    (MICROSOFT, "DequantizeLinear", quantize::dequantize_linear),
    (MICROSOFT, "DynamicQuantizeMatMul", quantize_contrib::dynamic_quantize_matmul),
    (MICROSOFT, "FastGelu", activation::fast_gelu),
    (MICROSOFT, "FusedMatMul", matmul::fused_matmul),
    (MICROSOFT, "Gelu", |cx, n| pointwise::unary(cx, n, ScalarOp::Gelu)),
    (MICROSOFT, "MatMulIntegerToFloat", quantize_contrib::matmul_integer_to_float),
    (MICROSOFT, "QGemm", quantize_contrib::qgemm),
    (MICROSOFT, "QLinearAdd", |cx, n| quantize_contrib::qlinear_binary(cx, n, ScalarOp::Add)),
    (MICROSOFT, "QLinearAveragePool", quantize_contrib::qlinear_average_pool),
    (MICROSOFT, "QLinearConcat", quantize_contrib::qlinear_concat),
    (MICROSOFT, "QLinearConv", quantize::qlinear_conv_of_layout),
    (MICROSOFT, "QLinearGlobalAveragePool", quantize_contrib::qlinear_global_average_pool),
    (MICROSOFT, "QLinearLeakyRelu", quantize_contrib::qlinear_leaky_relu),
    (MICROSOFT, "QLinearMul", |cx, n| quantize_contrib::qlinear_binary(cx, n, ScalarOp::Mul)),
    (MICROSOFT, "QLinearSigmoid", |cx, n| quantize_contrib::qlinear_unary(cx, n, ScalarOp::Sigmoid)),
    (MICROSOFT, "QLinearSoftmax", quantize_contrib::qlinear_softmax),
    (MICROSOFT, "QuantizeLinear", quantize::quantize_linear),
    (MICROSOFT, "QuickGelu", activation::quick_gelu),
    (MICROSOFT, "RotaryEmbedding", rotary::rotary_embedding_by_positions),
    (MICROSOFT, "SimplifiedLayerNormalization", norm::rms),
    (MICROSOFT, "SkipLayerNormalization", norm::skip_layer),
    (MICROSOFT, "SkipSimplifiedLayerNormalization", norm::skip_rms),
];

/// The importer of an op, if there is one.
pub(crate) fn handler(domain: &str, op: &str) -> Option<Handler> {
    static MAP: LazyLock<HashMap<(&str, &str), Handler>> = LazyLock::new(|| {
        let rows = TABLE.iter().chain(FILES.iter().copied().flatten());
        rows.map(|&(domain, op, handler)| ((domain, op), handler)).collect()
    });
    MAP.get(&(domain, op)).copied()
}

/// Domain and name of every op in the table, sorted.
pub(crate) fn names() -> Vec<(&'static str, &'static str)> {
    let rows = TABLE.iter().chain(FILES.iter().copied().flatten());
    let mut names: Vec<_> = rows.map(|&(domain, op, _)| (domain, op)).collect();
    names.sort_unstable();
    names
}

/// The result of `along` for the axis of `x` that `axis` is in a run, out of its results for all axes.
fn by_axis(
    cx: &mut Context,
    x: ValueId,
    axis: ValueId,
    along: impl Fn(&mut Context, usize) -> Result<ValueId>,
) -> Result<ValueId> {
    let rank = cx.rank(x)?;
    let axis = cx.cast(axis, ic_types::DType::I64)?;
    let axis = cx.reshape(axis, vec![])?;
    let n = cx.scalar(ic_types::DType::I64, rank as f64)?;
    let axis = cx.counted_from_front(axis, n)?;
    let mut result = along(cx, 0)?;
    for other in 1..rank {
        let is_it = cx.with_scalar(ScalarOp::Eq, axis, other as f64)?;
        let value = along(cx, other)?;
        result = cx.select(is_it, value, result)?;
    }
    Ok(result)
}

/// The operand `axes`, where only a run knows it.
fn runtime_axes(cx: &mut Context, node: &NodeView, index: usize) -> Option<ValueId> {
    let axes = node.opt(index).filter(|_| node.ints("axes").is_none())?;
    let is_known = cx.try_ints(axes).is_some_and(|axes| axes.iter().all(|axis| axis.as_const().is_some()));
    (!is_known).then_some(axes)
}

/// A list of integers that is an attribute in some versions and an input in others.
///
/// # Errors
/// If the input is not constant.
fn int_list(cx: &mut Context, node: &NodeView, name: &str, index: usize) -> Result<Option<Vec<i64>>> {
    match (node.ints(name), node.opt(index)) {
        (Some(ints), _) => Ok(Some(ints.to_vec())),
        (None, Some(value)) => cx.constant_ints(value, name).map(Some),
        (None, None) => Ok(None),
    }
}
