//! The core op set: one file per op, one line per op here.
//!
//! The scalar functions of [`crate::scalar`] are ops too, under their own names: they are the variants of
//! [`Op::Pointwise`].

use crate::attr::{AttrError, AttrMap, Attrs};
use crate::op::{OpDef, OpError, OperandSpec, Operands, Tensors};
use crate::scalar::ScalarOp;
use crate::substitute::Replacement;
use crate::types::Type;
use ic_types::{Dim, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;

mod support;

mod arg_reduce;
mod attention;
mod bit_cast;
mod call;
mod cast;
mod col2im;
mod concat;
mod constant;
mod conv_transpose;
mod convolution;
mod cumulative;
mod dequantize;
mod det;
mod dft;
mod dims;
mod dynamic_quantize_lstm;
mod expand;
mod expert_matmul;
mod experts;
mod find;
mod gated_matmul;
mod gather;
mod gather_elements;
mod gather_nd;
mod grid_sample;
mod gru;
mod if_;
mod image_decode;
mod integer_convolution;
mod integer_matmul;
mod intern;
mod iota;
mod layer_normalization;
mod loop_;
mod lstm;
mod matmul;
mod max_pool_indices;
mod max_unpool;
mod non_max_suppression;
mod non_zero;
mod pad;
mod pointwise;
mod pool;
mod quantize;
mod random;
mod recurrent;
mod reduce;
mod regex_match;
mod reshape;
mod resize;
mod reverse_sequence;
mod rms_normalization;
mod rnn;
mod roi_align;
mod scatter_elements;
mod scatter_nd;
mod sequence_at;
mod sequence_concat;
mod sequence_erase;
mod sequence_insert;
mod sequence_length;
mod sequence_of;
mod sequence_shape;
mod sequence_split;
mod sequences;
mod slice;
mod softmax;
mod spatial;
mod string_case;
mod string_concat;
mod string_pieces;
mod string_split;
mod strings;
mod tf_idf;
mod top_k;
mod transpose;
mod tree_ensemble;
mod unique;
mod update;

pub use crate::scalar::ReduceFn;
pub use arg_reduce::{ArgFn, ArgReduce};
pub use attention::Attention;
pub use bit_cast::BitCast;
pub use call::Call;
pub use cast::Cast;
pub use col2im::Col2Im;
pub use concat::Concat;
pub use constant::Constant;
pub use conv_transpose::ConvTranspose;
pub use convolution::{ConvAlgorithm, Convolution};
pub use cumulative::{Cumulative, CumulativeFn};
pub use dequantize::Dequantize;
pub use det::Det;
pub use dft::Dft;
pub use dims::Dims;
pub use dynamic_quantize_lstm::DynamicQuantizeLstm;
pub use expand::Expand;
pub use expert_matmul::ExpertMatmul;
pub use experts::{ExpertActivation, Experts};
pub use find::Find;
pub use gated_matmul::{GATE_RUN, GateFn, GatedMatmul};
pub use gather::Gather;
pub use gather_elements::GatherElements;
pub use gather_nd::GatherNd;
pub use grid_sample::{GridPadding, GridSample};
pub use gru::Gru;
pub use if_::If;
pub use image_decode::{ImageDecode, PixelFormat};
pub use integer_convolution::IntegerConvolution;
pub use integer_matmul::IntegerMatmul;
pub use intern::Intern;
pub use iota::Iota;
pub use layer_normalization::LayerNormalization;
pub use loop_::Loop;
pub use lstm::Lstm;
pub use matmul::Matmul;
pub use max_pool_indices::MaxPoolIndices;
pub use max_unpool::MaxUnpool;
pub use non_max_suppression::NonMaxSuppression;
pub use non_zero::NonZero;
pub use pad::{Pad, PadMode};
pub use pointwise::Pointwise;
pub use pool::{Pool, PoolFn};
pub use quantize::Quantize;
pub use random::Random;
pub use recurrent::{Direction, RnnActivation};
pub use reduce::Reduce;
pub use regex_match::RegexMatch;
pub use reshape::Reshape;
pub use resize::{CoordinateMode, NearestMode, Resize, ResizeMode};
pub use reverse_sequence::ReverseSequence;
pub use rms_normalization::RmsNormalization;
pub use rnn::Rnn;
pub use roi_align::{RoiAlign, RoiMode};
pub use scatter_elements::{Reduction, ScatterElements};
pub use scatter_nd::ScatterNd;
pub use sequence_at::SequenceAt;
pub use sequence_concat::SequenceConcat;
pub use sequence_erase::SequenceErase;
pub use sequence_insert::SequenceInsert;
pub use sequence_length::SequenceLength;
pub use sequence_of::SequenceOf;
pub use sequence_shape::SequenceShape;
pub use sequence_split::SequenceSplit;
pub use slice::Slice;
pub use softmax::Softmax;
pub use spatial::Layout;
pub use string_case::StringCase;
pub use string_concat::StringConcat;
pub use string_pieces::StringPieces;
pub use string_split::StringSplit;
pub use support::axis_of;
pub use tf_idf::TfIdf;
pub use top_k::TopK;
pub use transpose::Transpose;
pub use tree_ensemble::{TreeEnsemble, TreeFn, key_f32, key_f64};
pub use unique::Unique;
pub use update::Update;

use support::{check_axes, check_float, check_indices, check_operand, rearranged_content, region_symbols};

macro_rules! ops {
    ($($name:ident => $variant:ident,)*) => {
        /// An op with its attributes.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "each variant is documented where its attributes are")]
        pub enum Op {
            Pointwise(Pointwise),
            $($variant($variant),)*
        }

        impl Op {
            /// Names of all ops but the pointwise ones.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// The op's name in IR text.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Pointwise(op) => op.function.name(),
                    $(Op::$variant(_) => stringify!($name),)*
                }
            }

            /// Its operands.
            pub fn operands(&self) -> &'static [OperandSpec] {
                match self {
                    Op::Pointwise(op) => op.function.operands(),
                    $(Op::$variant(_) => <$variant as OpDef>::OPERANDS,)*
                }
            }

            /// The op called `name` with these attributes; `None` if there is no such op.
            pub fn from_attrs(name: &str, map: &mut AttrMap) -> Option<Result<Op, AttrError>> {
                match name {
                    $(stringify!($name) => Some(<$variant as Attrs>::from_attrs(map).map(Op::$variant)),)*
                    _ => {
                        let function = ScalarOp::from_name(name)?;
                        Some(map.finish().map(|()| Op::Pointwise(Pointwise { function })))
                    }
                }
            }

            /// Names and texts of the attributes that differ from their defaults.
            pub fn attrs(&self) -> Vec<(&'static str, String)> {
                match self {
                    Op::Pointwise(_) => Vec::new(),
                    $(Op::$variant(op) => op.attrs(),)*
                }
            }

            /// Adds the names of the symbols in the attributes.
            pub fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>) {
                match self {
                    Op::Pointwise(_) => {}
                    $(Op::$variant(op) => op.collect_symbols(names),)*
                }
            }

            /// Replaces symbols in the attributes.
            pub fn substitute(&mut self, replace: Replacement) {
                match self {
                    Op::Pointwise(_) => {}
                    $(Op::$variant(op) => op.substitute(replace),)*
                }
            }

            /// Number of results.
            pub fn n_results(&self) -> usize {
                match self {
                    Op::Pointwise(op) => op.n_results(),
                    $(Op::$variant(op) => op.n_results(),)*
                }
            }

            /// See [`OpDef::infer`].
            ///
            /// # Errors
            /// If operands and attributes do not fit together.
            pub fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
                match self {
                    Op::Pointwise(op) => op.infer(x),
                    $(Op::$variant(op) => op.infer(x),)*
                }
            }

            /// See [`OpDef::is_foldable`].
            pub fn is_foldable(&self) -> bool {
                match self {
                    Op::Pointwise(op) => op.is_foldable(),
                    $(Op::$variant(op) => op.is_foldable(),)*
                }
            }

            /// See [`OpDef::content`].
            pub fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
                match self {
                    Op::Pointwise(op) => op.content(x),
                    $(Op::$variant(op) => op.content(x),)*
                }
            }

            /// See [`OpDef::eval`].
            ///
            /// # Errors
            /// If an operand's elements are out of range, or a dim cannot be evaluated.
            pub fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
                match self {
                    Op::Pointwise(op) => op.eval(x),
                    $(Op::$variant(op) => op.eval(x),)*
                }
            }
        }

        $(impl From<$variant> for Op {
            fn from(op: $variant) -> Op {
                Op::$variant(op)
            }
        })*
    };
}

ops! {
    constant => Constant,
    dims => Dims,
    iota => Iota,
    cast => Cast,
    bit_cast => BitCast,
    reshape => Reshape,
    transpose => Transpose,
    expand => Expand,
    slice => Slice,
    concat => Concat,
    update => Update,
    pad => Pad,
    gather => Gather,
    gather_elements => GatherElements,
    gather_nd => GatherNd,
    scatter_elements => ScatterElements,
    scatter_nd => ScatterNd,
    reduce => Reduce,
    arg_reduce => ArgReduce,
    cumulative => Cumulative,
    top_k => TopK,
    matmul => Matmul,
    convolution => Convolution,
    integer_matmul => IntegerMatmul,
    integer_convolution => IntegerConvolution,
    conv_transpose => ConvTranspose,
    pool => Pool,
    max_pool_indices => MaxPoolIndices,
    max_unpool => MaxUnpool,
    resize => Resize,
    grid_sample => GridSample,
    roi_align => RoiAlign,
    softmax => Softmax,
    attention => Attention,
    expert_matmul => ExpertMatmul,
    experts => Experts,
    gated_matmul => GatedMatmul,
    layer_normalization => LayerNormalization,
    rms_normalization => RmsNormalization,
    lstm => Lstm,
    dynamic_quantize_lstm => DynamicQuantizeLstm,
    gru => Gru,
    rnn => Rnn,
    quantize => Quantize,
    dequantize => Dequantize,
    if => If,
    loop => Loop,
    call => Call,
    non_zero => NonZero,
    non_max_suppression => NonMaxSuppression,
    unique => Unique,
    det => Det,
    reverse_sequence => ReverseSequence,
    dft => Dft,
    col2im => Col2Im,
    sequence_of => SequenceOf,
    sequence_insert => SequenceInsert,
    sequence_erase => SequenceErase,
    sequence_length => SequenceLength,
    sequence_shape => SequenceShape,
    sequence_at => SequenceAt,
    sequence_split => SequenceSplit,
    sequence_concat => SequenceConcat,
    find => Find,
    tf_idf => TfIdf,
    tree_ensemble => TreeEnsemble,
    random => Random,
    intern => Intern,
    string_concat => StringConcat,
    string_case => StringCase,
    string_pieces => StringPieces,
    string_split => StringSplit,
    regex_match => RegexMatch,
    image_decode => ImageDecode,
}

impl From<ScalarOp> for Op {
    fn from(function: ScalarOp) -> Op {
        Op::Pointwise(Pointwise { function })
    }
}
