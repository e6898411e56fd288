//! Weights: constant expressions of the graph, evaluated and packed one at a time.
//!
//! Invariant: at most one weight and the constants it is computed from are in memory.

use super::select::Packing;
use crate::Block;
use ic_ir::ops::Op;
use ic_ir::{Graph, Literal, LiteralData, ScalarOp, Tensors, ValueId};
use ic_kernels::pack::{self, Bytes, Segments};
use ic_types::{DType, Data, Tensor, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use std::io::{self, Write};

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
            (Some((packing, dtype)), _) => {
                let packed = packing.packed(&evaluate(graph, self.value)?)?;
                Ok(Contents::Tensor(match packed.data() {
                    Data::F32(elements) if is_half(*dtype) => {
                        Tensor::new(packed.shape().to_vec(), narrowed(elements.clone(), *dtype))
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

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The elements in a type that holds them exactly.
fn narrowed(elements: Vec<f32>, dtype: DType) -> Data {
    match dtype {
        DType::F16 => Data::F16(elements.into_iter().map(f32_to_f16).collect()),
        DType::BF16 => Data::BF16(elements.into_iter().map(f32_to_bf16).collect()),
        _ => Data::F32(elements),
    }
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

impl Packing {
    /// Bytes after packing.
    fn bytes(&self) -> usize {
        let floats = match self {
            Packing::MatmulB { k, n } => pack::matmul_b_len(*k, *n),
            Packing::Conv(shape) => pack::conv_weights_len(*shape),
            Packing::Winograd { outputs, inputs } => pack::winograd_weights_len(*outputs, *inputs),
            Packing::Depthwise { channels, kernel: [h, w] } => pack::depthwise_weights_len(*channels, *h, *w),
            Packing::ConvTranspose(shape) => pack::conv_transpose_weights_len(*shape),
            Packing::Recurrent { directions, gates, hidden, k } => {
                pack::recurrent_weights_len(*directions, *gates, *hidden, *k)
            }
            Packing::Int8Matmul { k, n } => return Segments { count: 1, len: *k }.packed_bytes(*n),
            Packing::Int8Conv(shape) => return shape.packed_bytes(),
            Packing::Int8Recurrent { directions, gates, hidden, k } => {
                return pack::int8_recurrent_bytes(*directions, *gates, *hidden, *k);
            }
            Packing::Int8Depthwise { channels, kernel } => {
                return pack::int8_depthwise_segments(*kernel).packed_bytes(*channels);
            }
        };
        floats * size_of::<f32>()
    }

    /// Packs a row-major tensor.
    fn packed(&self, tensor: &Tensor) -> io::Result<Tensor> {
        if let Some((elements, bytes)) = bytes_of(tensor) {
            let mut packed = vec![0; self.bytes()];
            self.pack_bytes(&elements, bytes, &mut packed)?;
            return Ok(Tensor::new(vec![packed.len()], Data::U8(packed)));
        }
        let elements =
            tensor.elements::<f32>().ok_or_else(|| io::Error::other("packed weights must be f32 or 8-bit"))?;
        let mut packed = vec![0.0; self.bytes() / size_of::<f32>()];
        self.pack(elements, &mut packed)?;
        Ok(Tensor::from_elements(vec![packed.len()], packed))
    }

    /// Packs row-major floats.
    fn pack(&self, elements: &[f32], packed: &mut [f32]) -> io::Result<()> {
        let filter =
            |i: usize, buffer: &mut [f32]| buffer.copy_from_slice(&elements[i * buffer.len()..][..buffer.len()]);
        match self {
            Packing::MatmulB { k, n } => pack::pack_matmul_b(*k, *n, filter, packed),
            Packing::Conv(shape) => pack::pack_conv_weights(*shape, filter, packed),
            Packing::Winograd { outputs, inputs } => pack::pack_winograd_weights(*outputs, *inputs, filter, packed),
            Packing::Depthwise { channels, kernel: [h, w] } => {
                pack::pack_depthwise_weights(*channels, *h, *w, filter, packed);
            }
            Packing::ConvTranspose(shape) => pack::pack_conv_transpose_weights(*shape, filter, packed),
            Packing::Recurrent { directions, gates, hidden, k } => {
                pack::pack_recurrent_weights(*directions, *gates, *hidden, *k, filter, packed);
            }
            Packing::Int8Matmul { .. }
            | Packing::Int8Conv(_)
            | Packing::Int8Depthwise { .. }
            | Packing::Int8Recurrent { .. } => {
                return Err(io::Error::other("weights of integer contractions must be 8-bit"));
            }
        }
        Ok(())
    }

    /// Packs row-major bytes.
    fn pack_bytes(&self, elements: &[u8], bytes: Bytes, packed: &mut [u8]) -> io::Result<()> {
        match self {
            Packing::Int8Matmul { k, n } => pack::pack_int8_matmul(*k, *n, bytes, elements, packed),
            Packing::Int8Conv(shape) => pack::pack_int8_conv(*shape, bytes, elements, packed),
            Packing::Int8Depthwise { channels, kernel } => {
                pack::pack_int8_depthwise(*channels, *kernel, bytes, elements, packed);
            }
            Packing::Int8Recurrent { directions, gates, hidden, k } => {
                pack::pack_int8_recurrent(*directions, *gates, *hidden, *k, bytes, elements, packed);
            }
            Packing::MatmulB { .. }
            | Packing::Conv(_)
            | Packing::Winograd { .. }
            | Packing::Depthwise { .. }
            | Packing::ConvTranspose(_)
            | Packing::Recurrent { .. } => {
                return Err(io::Error::other("weights of f32 contractions must be f32"));
            }
        }
        Ok(())
    }
}

/// The elements of a tensor of 8-bit integers, and how they are meant.
fn bytes_of(tensor: &Tensor) -> Option<(Vec<u8>, Bytes)> {
    match tensor.data() {
        Data::U8(_) => Some((tensor.data().to_le_bytes().to_vec(), Bytes::Unsigned)),
        Data::I8(_) => Some((tensor.data().to_le_bytes().to_vec(), Bytes::Signed)),
        _ => None,
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

/// The value of a constant expression.
fn evaluate(graph: &Graph, value: ValueId) -> io::Result<Tensor> {
    let unknown = || io::Error::other("a weight depends on an input");
    let node = graph.def(value).ok_or_else(unknown)?;
    if let Op::Constant(constant) = &node.op {
        return constant.value.tensor();
    }
    let operands =
        node.operands.iter().map(|v| v.map(|v| evaluate(graph, v)).transpose()).collect::<io::Result<Vec<_>>>()?;
    if let Some(tensor) = evaluate_fast(&node.op, &operands) {
        return Ok(tensor);
    }
    let x =
        Tensors { operands: operands.iter().map(Option::as_ref).collect(), regions: &node.regions, symbols: &|_| None };
    let results =
        node.op.eval(&x).map_err(|e| io::Error::other(format!("{} at `{}`: {e}", node.op.name(), node.location)))?;
    let index = node.results.iter().position(|&r| r == value);
    index.and_then(|i| results.into_iter().nth(i)).ok_or_else(unknown)
}

/// What weights of many megabytes are computed with, the same bits as the reference evaluation gives.
fn evaluate_fast(op: &Op, operands: &[Option<Tensor>]) -> Option<Tensor> {
    match (op, operands) {
        (Op::Reshape(op), [Some(x)]) => {
            let shape = op.shape.iter().map(|d| d.as_const().map(|d| d as usize)).collect::<Option<Vec<_>>>()?;
            Some(x.clone().reshaped(shape))
        }
        (Op::Transpose(op), [Some(x)]) => {
            let shape: Vec<usize> = op.perm.iter().map(|&axis| x.shape()[axis]).collect();
            let source = row_major(x.shape());
            let strides: Vec<usize> = op.perm.iter().map(|&axis| source[axis]).collect();
            let data = match x.data() {
                Data::F32(elements) => Data::F32(strided(elements, &shape, &strides)),
                Data::U8(elements) => Data::U8(strided(elements, &shape, &strides)),
                Data::I8(elements) => Data::I8(strided(elements, &shape, &strides)),
                _ => return None,
            };
            Some(Tensor::new(shape, data))
        }
        (Op::Cast(op), [Some(x)]) => {
            let data = match (x.data(), op.to) {
                (Data::F32(x), DType::F16 | DType::BF16) => narrowed(x.clone(), op.to),
                (Data::F16(x), DType::F32) => Data::F32(x.iter().map(|&x| f16_to_f32(x)).collect()),
                (Data::BF16(x), DType::F32) => Data::F32(x.iter().map(|&x| bf16_to_f32(x)).collect()),
                _ => return None,
            };
            Some(Tensor::new(x.shape().to_vec(), data))
        }
        (Op::Pointwise(op), [Some(a), Some(b)]) => {
            let function: fn(f32, f32) -> f32 = match op.function {
                ScalarOp::Add => |a, b| a + b,
                ScalarOp::Sub => |a, b| a - b,
                ScalarOp::Mul => |a, b| a * b,
                ScalarOp::Div => |a, b| a / b,
                _ => return None,
            };
            let rank = a.rank().max(b.rank());
            let (a_shape, b_shape) = (aligned(a.shape(), rank), aligned(b.shape(), rank));
            let shape: Vec<usize> = a_shape.iter().zip(&b_shape).map(|(&x, &y)| if x == 1 { y } else { x }).collect();
            let left = strided(a.elements::<f32>()?, &shape, &broadcast_strides(&a_shape));
            let right = strided(b.elements::<f32>()?, &shape, &broadcast_strides(&b_shape));
            Some(Tensor::from_elements(shape, left.into_iter().zip(right).map(|(a, b)| function(a, b)).collect()))
        }
        _ => None,
    }
}

/// The shape with leading axes of extent 1 up to `rank`.
fn aligned(shape: &[usize], rank: usize) -> Vec<usize> {
    [&vec![1; rank - shape.len()], shape].concat()
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Row-major strides, 0 on axes of extent 1.
fn broadcast_strides(shape: &[usize]) -> Vec<usize> {
    row_major(shape).into_iter().zip(shape).map(|(stride, &extent)| if extent == 1 { 0 } else { stride }).collect()
}

/// The elements at `strides`, in row-major order of `shape`.
fn strided<T: Copy>(elements: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
    let len = shape.iter().product();
    let mut out = Vec::with_capacity(len);
    let (inner_extent, inner_stride) = (shape.last().copied().unwrap_or(1), strides.last().copied().unwrap_or(1));
    let outer = shape.len().saturating_sub(1);
    let mut coordinates = vec![0; outer];
    while out.len() < len {
        let base: usize = coordinates.iter().zip(strides).map(|(c, s)| c * s).sum();
        out.extend((0..inner_extent).map(|i| elements[base + i * inner_stride]));
        for axis in (0..outer).rev() {
            coordinates[axis] += 1;
            if coordinates[axis] < shape[axis] {
                break;
            }
            coordinates[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::Builder;
    use ic_ir::ops::{Cast, Transpose};

    #[test]
    fn fast_paths_give_the_bits_of_the_evaluator() {
        let mut graph = Graph::new("weights");
        let mut b = Builder { graph: &mut graph, location: "".into() };
        let w = b.constant(Tensor::from_elements(vec![2, 3, 4], (0..24).map(|i| i as f32 * 0.37).collect())).unwrap();
        let scale = b.constant(Tensor::from_elements(vec![3, 1], vec![0.1f32, -2.0, 3.3])).unwrap();
        let scaled = b.mul(w, scale).unwrap();
        let moved = b.push(Transpose { perm: vec![2, 0, 1] }, &[scaled]).unwrap();
        let slow = ic_ir::eval::eval_values(&graph, &[], &Default::default(), &[moved]).unwrap().remove(0);
        assert_eq!(evaluate(&graph, moved).unwrap(), slow);
        assert_eq!(storage(&graph, moved), DType::F32);
        for to in [DType::F16, DType::BF16] {
            let mut b = Builder { graph: &mut graph, location: "".into() };
            let narrow = b.push(Cast { to, saturate: true }, &[scaled]).unwrap();
            let wide = b.push(Cast { to: DType::F32, saturate: true }, &[narrow]).unwrap();
            let moved = b.push(Transpose { perm: vec![2, 0, 1] }, &[wide]).unwrap();
            let slow = ic_ir::eval::eval_values(&graph, &[], &Default::default(), &[moved]).unwrap().remove(0);
            assert_eq!(evaluate(&graph, moved).unwrap(), slow);
            assert_eq!(storage(&graph, moved), to);
        }
    }
}
