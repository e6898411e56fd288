//! Which library kernel runs an op: a function per core op.
//!
//! A selection sees operands as strided views with symbolic extents. It names the kernel, the views that the kernel gets,
//! its attributes, and how constant operands are packed. What has no kernel is an error that says what is missing.

mod contraction;
mod experts;
mod handles;
mod image;
mod movement;
mod quantized;
mod recurrent;
mod sample;
mod search;

use crate::shared::weights::{Integers, Packing};
use ic_ir::Op;
use ic_types::{DType, Dim};

/// An operand or result of an op.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct View {
    /// Element type.
    pub(crate) dtype: DType,
    /// Extents.
    pub(crate) shape: Vec<Dim>,
    /// Distance between neighbours in elements; `None` if dense and row-major.
    pub(crate) strides: Option<Vec<Dim>>,
    /// Whether its elements are known at compile time.
    pub(crate) is_constant: bool,
    /// The element type that they can be stored in: a narrower one for constants that were widened.
    pub(crate) storage: DType,
    /// The integers that they are made of, if there are any.
    pub(crate) integers: Option<Integers>,
}

/// A call of a library kernel in terms of the op's operands and results.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct LibraryCall {
    /// Name in the kernel table.
    pub(crate) kernel: &'static str,
    /// Layout of its packed operands.
    pub(crate) layout: u32,
    /// What each kernel operand is; `None` for an absent optional one.
    pub(crate) operands: Vec<Option<CallOperand>>,
    /// Attributes in the kernel's order.
    pub(crate) attrs: Vec<Attr>,
    /// The op's operand that is added along the last axis before any other epilogue.
    pub(crate) bias: Option<usize>,
    /// Whether the kernel takes an epilogue and a callback.
    pub(crate) takes_epilogue: bool,
}

/// One operand of a library call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum CallOperand {
    /// An operand of the op, seen with this shape and these strides.
    Input {
        /// Which operand.
        index: usize,
        /// Extents that the kernel sees.
        shape: Vec<Dim>,
        /// Strides that the kernel sees; `None` if dense.
        strides: Option<Vec<Dim>>,
    },
    /// A constant operand of the op, packed when the artifact is written.
    Packed {
        /// Which operand.
        index: usize,
        /// Extents that the kernel sees.
        shape: Vec<Dim>,
        /// How it is packed.
        packing: Packing,
        /// What its elements are stored in.
        dtype: DType,
    },
    /// A result of the op, seen with this shape.
    Result {
        /// Which result.
        index: usize,
        /// Extents that the kernel sees.
        shape: Vec<Dim>,
        /// Strides that the kernel sees; `None` if dense.
        strides: Option<Vec<Dim>>,
    },
}

/// An attribute of a library call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Attr {
    /// An integer.
    Int(Dim),
    /// An f32, passed as its bits.
    F32(f32),
    /// An f64, passed as its bits.
    F64(f64),
}

impl From<usize> for Attr {
    fn from(value: usize) -> Attr {
        Attr::Int(Dim::constant(value as i64))
    }
}

impl From<i64> for Attr {
    fn from(value: i64) -> Attr {
        Attr::Int(Dim::constant(value))
    }
}

impl From<bool> for Attr {
    fn from(value: bool) -> Attr {
        Attr::Int(Dim::constant(value.into()))
    }
}

/// The operands and results of an op.
pub(crate) struct Site<'a> {
    /// Operands; `None` for an absent optional one.
    pub(crate) operands: &'a [Option<View>],
    /// Results; `None` for one that nothing uses.
    pub(crate) results: &'a [Option<View>],
}

impl Site<'_> {
    /// Operand `index`, which the op requires.
    fn operand(&self, index: usize) -> Result<&View, String> {
        self.operands.get(index).and_then(Option::as_ref).ok_or_else(|| format!("operand {index} is missing"))
    }

    /// Result `index`, which something uses.
    fn result(&self, index: usize) -> Result<&View, String> {
        self.results.get(index).and_then(Option::as_ref).ok_or_else(|| format!("result {index} is missing"))
    }

    /// Operand `index` as it is, if it is present.
    fn pass(&self, index: usize) -> Option<CallOperand> {
        let view = self.operands.get(index)?.as_ref()?;
        Some(CallOperand::Input { index, shape: view.shape.clone(), strides: view.strides.clone() })
    }

    /// Operand `index` as it is, if it is present; it must not be strided.
    fn dense(&self, index: usize) -> Result<Option<CallOperand>, String> {
        match self.pass(index) {
            Some(CallOperand::Input { strides: Some(_), .. }) => {
                Err(format!("a strided operand {index} has no kernel"))
            }
            operand => Ok(operand),
        }
    }

    /// Result `index` as it is, if something uses it.
    fn give(&self, index: usize) -> Option<CallOperand> {
        let view = self.results.get(index)?.as_ref()?;
        Some(CallOperand::Result { index, shape: view.shape.clone(), strides: view.strides.clone() })
    }
}

/// A call without packing or epilogue.
pub(crate) fn plain(kernel: &'static str, operands: Vec<Option<CallOperand>>, attrs: Vec<Attr>) -> LibraryCall {
    LibraryCall { kernel, layout: 0, operands, attrs, bias: None, takes_epilogue: false }
}

/// The layout of packed panels of these elements: 1 for f32, 2 for 16-bit floats.
fn panel_layout(storage: DType) -> u32 {
    if storage == DType::F32 { 1 } else { 2 }
}

/// Fails unless `view` holds `dtype`.
fn require(view: &View, dtype: DType, what: &str) -> Result<(), String> {
    if view.dtype == dtype { Ok(()) } else { Err(format!("{what} of {} has no kernel", view.dtype)) }
}

/// The library call that runs `op`.
///
/// # Errors
/// What keeps the op from running: its element type, a layout, an attribute.
pub(crate) fn select(op: &Op, site: &Site) -> Result<LibraryCall, String> {
    match op {
        Op::Matmul(_) => contraction::matmul(site),
        Op::Attention(op) => contraction::attention(op, site),
        Op::ExpertMatmul(_) => experts::expert_matmul(site),
        Op::Experts(op) => experts::experts(op, site),
        Op::GatedMatmul(op) => contraction::gated_matmul(op, site),
        Op::Convolution(op) => image::convolution(op, site),
        Op::IntegerMatmul(_) => contraction::integer_matmul(site),
        Op::IntegerConvolution(op) => image::integer_convolution(op, site),
        Op::ConvTranspose(op) => image::conv_transpose(op, site),
        Op::Pool(op) => image::pool(op, site),
        Op::MaxPoolIndices(op) => image::max_pool_indices(op, site),
        Op::Resize(op) => image::resize(op, site),
        Op::Lstm(op) => recurrent::lstm(op, site),
        Op::DynamicQuantizeLstm(op) => recurrent::dynamic_quantize_lstm(op, site),
        Op::Gru(op) => recurrent::gru(op, site),
        Op::Rnn(op) => recurrent::rnn(op, site),
        Op::Gather(op) => movement::gather(op, site),
        Op::GatherElements(op) => movement::gather_elements(op, site),
        Op::GatherNd(op) => movement::gather_nd(op, site),
        Op::ScatterElements(op) => movement::scatter_elements(op, site),
        Op::ScatterNd(op) => movement::scatter_nd(op, site),
        Op::Pad(op) => movement::pad(op, site),
        Op::Transpose(op) => movement::transpose(op, site),
        Op::Concat(op) => movement::concat(op, site),
        Op::Cast(op) => movement::cast(op, site),
        Op::ReverseSequence(op) => movement::reverse_sequence(op, site),
        Op::TopK(op) => search::top_k(op, site),
        Op::ArgReduce(op) => search::arg_reduce(op, site),
        Op::Cumulative(op) => search::cumulative(op, site),
        Op::Reduce(op) => search::reduce(op, site),
        Op::TreeEnsemble(op) => search::tree_ensemble(op, site),
        Op::NonZero(_) => search::non_zero(site),
        Op::NonMaxSuppression(op) => search::non_max_suppression(op, site),
        Op::Unique(op) => search::unique(op, site),
        Op::GridSample(op) => sample::grid_sample(op, site),
        Op::RoiAlign(op) => sample::roi_align(op, site),
        Op::Det(_) => sample::det(site),
        Op::Dft(op) => sample::dft(op, site),
        Op::MaxUnpool(op) => sample::max_unpool(op, site),
        Op::BitCast(op) => sample::bit_cast(op, site),
        Op::Col2Im(op) => sample::col2im(op, site),
        Op::SequenceOf(op) => handles::sequence_of(op, site),
        Op::SequenceShape(op) => handles::sequence_shape(op, site),
        Op::SequenceSplit(op) => handles::sequence_split(op, site),
        Op::SequenceConcat(op) => handles::sequence_concat(op, site),
        Op::TfIdf(op) => handles::tf_idf(op, site),
        Op::Random(op) => handles::random(op, site),
        Op::StringCase(op) => handles::string_case(op, site),
        Op::ImageDecode(op) => handles::image_decode(op, site),
        Op::SequenceInsert(_) => handles::as_it_is("sequence_insert", 3, site),
        Op::SequenceErase(_) => handles::as_it_is("sequence_erase", 2, site),
        Op::SequenceLength(_) => handles::as_it_is("sequence_length", 1, site),
        Op::SequenceAt(_) => handles::as_it_is("sequence_at", 2, site),
        Op::Find(_) => handles::as_it_is("find", 2, site),
        Op::Intern(_) => handles::as_it_is("intern", 2, site),
        Op::StringConcat(_) => handles::as_it_is("string_concat", 2, site),
        Op::RegexMatch(_) => handles::as_it_is("regex_match", 2, site),
        Op::StringPieces(op) => handles::pieces("string_pieces", op.max_splits, site),
        Op::StringSplit(op) => handles::pieces("string_split", op.max_splits, site),
        Op::Quantize(op) => quantized::quantize(op, site),
        Op::Dequantize(op) => quantized::dequantize(op, site),
        op => Err(format!("`{}` has no kernel for this target", op.name())),
    }
}
