//! Weights: constant expressions of the graph, evaluated and packed one at a time.
//!
//! Invariant: at most one weight and the constants it is computed from are in memory.

mod evaluate;
mod integers;
mod packing;
mod widened;

use crate::Block;
use evaluate::evaluate;
use ic_ir::ops::Op;
use ic_ir::{Graph, Literal, LiteralData, ValueId};
use ic_types::{DType, Data, Tensor, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub(crate) use integers::{Integers, integers, narrow_integers};
pub(crate) use packing::Packing;
use std::io::{self, Write};
pub(crate) use widened::WidenedShape;

/// One block of the weight section.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Weight {
    /// The value, which depends on constants alone.
    pub(crate) value: ValueId,
    /// How it is laid out, and what its elements are stored in; row-major and as they are if `None`.
    pub(crate) packing: Option<(Packing, DType)>,
}

impl Weight {
    /// Bytes that it takes. Its extents are constant.
    pub(crate) fn bytes(&self, graph: &Graph) -> u64 {
        let ty = graph.tensor_ty(self.value);
        let elements: usize = ty.constant_shape().map_or(0, |shape| shape.iter().product());
        match &self.packing {
            None => elements as u64 * ty.dtype.size().unwrap_or(0) as u64,
            Some((Packing::Widened(shape), _)) => shape.bytes() as u64,
            Some((packing, dtype)) if is_half(*dtype) => packing.bytes() as u64 / 2,
            Some((packing, _)) => packing.bytes() as u64,
        }
    }

    /// Evaluates and packs the value. A constant of the model that is stored as it is stays where it is.
    ///
    /// # Errors
    /// If a file that holds constants cannot be read, or an expression cannot be evaluated.
    pub(crate) fn contents<'a>(&self, graph: &'a Graph) -> io::Result<Contents<'a>> {
        match (&self.packing, graph.constant(self.value)) {
            (None, Some(literal)) => Ok(Contents::Literal(literal)),
            (None, None) => Ok(Contents::Tensor(evaluate(graph, self.value)?)),
            (Some((packing @ Packing::Scaled(_), _)), _) => {
                let unknown = || io::Error::other("a weight with scales is none");
                let Integers { values, scales, .. } = integers(graph, self.value).ok_or_else(unknown)?;
                Ok(Contents::Tensor(packing.packed_scaled(&evaluate(graph, values)?, &evaluate(graph, scales)?)?))
            }
            (Some((Packing::Widened(shape), _)), _) => {
                let unknown = || io::Error::other("a weight of integers is none");
                let found = narrow_integers(graph, self.value).ok_or_else(unknown)?;
                let (values, scales) = (evaluate(graph, found.values)?, evaluate(graph, found.scales)?);
                let (Data::I8(integers) | Data::I4(integers)) = values.data() else { return Err(unknown()) };
                let scales = widened_floats(scales.data()).ok_or_else(unknown)?;
                Ok(Contents::Tensor(Tensor::from_elements(vec![shape.bytes()], shape.packed(integers, &scales))))
            }
            (Some((packing, dtype)), _) => {
                let packed = packing.packed(&evaluate(graph, self.value)?)?;
                Ok(Contents::Tensor(match packed.data() {
                    Data::F32(elements) if is_half(*dtype) => {
                        Tensor::new(packed.shape().to_vec(), narrowed(elements, *dtype))
                    }
                    _ => packed,
                }))
            }
        }
    }
}

/// What the elements of a constant can be stored in: the 16-bit type that they were widened from, or their own.
pub(crate) fn storage(graph: &Graph, value: ValueId) -> DType {
    let own = graph.dtype(value);
    let Some(node) = graph.def(value) else { return own };
    let sources = node.operands.iter().flatten();
    match &node.op {
        Op::Cast(_) if own == DType::F32 => match node.operands[0].map(|x| graph.dtype(x)) {
            Some(narrow @ (DType::F16 | DType::BF16)) => narrow,
            _ => own,
        },
        Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Expand(_) | Op::Concat(_) => {
            let mut types = sources.map(|&source| storage(graph, source));
            let first = types.next().unwrap_or(own);
            if types.all(|dtype| dtype == first) { first } else { own }
        }
        _ => own,
    }
}

/// The elements of a value that depends on constants alone.
///
/// # Errors
/// If a file that holds constants cannot be read, or an expression cannot be evaluated.
pub fn constant_value(graph: &Graph, value: ValueId) -> io::Result<Tensor> {
    evaluate(graph, value)
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The elements in a type that holds them exactly.
fn narrowed(elements: &[f32], dtype: DType) -> Data {
    match dtype {
        DType::F16 => Data::F16(elements.iter().map(|&x| f32_to_f16(x)).collect()),
        DType::BF16 => Data::BF16(elements.iter().map(|&x| f32_to_bf16(x)).collect()),
        _ => Data::F32(elements.to_vec()),
    }
}

/// Floats of at most 32 bits as f32.
fn widened_floats(data: &Data) -> Option<Vec<f32>> {
    Some(match data {
        Data::F32(elements) => elements.clone(),
        Data::F16(elements) => elements.iter().map(|&x| f16_to_f32(x)).collect(),
        Data::BF16(elements) => elements.iter().map(|&x| bf16_to_f32(x)).collect(),
        _ => return None,
    })
}

/// The bytes of a weight.
pub(crate) enum Contents<'a> {
    /// A constant of the model.
    Literal(&'a Literal),
    /// In memory.
    Tensor(Tensor),
}

impl Block for Contents<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Contents::Literal(literal) => literal.bytes() as u64,
            Contents::Tensor(tensor) => tensor.len() as u64 * tensor.dtype().size().unwrap_or(0) as u64,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Contents::Literal(literal) => copy_literal(literal, out),
            Contents::Tensor(tensor) => write_elements(tensor.data(), out),
        }
    }
}

/// Bytes that are read or written at a time.
const CHUNK: usize = 1 << 20;

fn copy_literal(literal: &Literal, out: &mut dyn Write) -> io::Result<()> {
    match &literal.data {
        LiteralData::Inline(data) => write_elements(data, out),
        LiteralData::File { source, offset } => {
            let total = literal.bytes();
            for start in (0..total).step_by(CHUNK) {
                out.write_all(&source.read(offset + start as u64, CHUNK.min(total - start))?)?;
            }
            Ok(())
        }
    }
}

fn write_elements(data: &Data, out: &mut dyn Write) -> io::Result<()> {
    if data.dtype().is_handle() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "strings are no weights; `lower_strings` makes them bytes",
        ));
    }
    if let Data::F32(elements) = data {
        let mut bytes = Vec::with_capacity(CHUNK);
        for chunk in elements.chunks(CHUNK / 4) {
            bytes.clear();
            chunk.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
            out.write_all(&bytes)?;
        }
        return Ok(());
    }
    out.write_all(&data.to_le_bytes())
}
