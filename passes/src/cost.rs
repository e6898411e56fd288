//! What ops cost, roughly: enough to choose between spellings of one function.
//!
//! Symbolic dims count as [`ASSUMED_EXTENT`]. The unit is the time in which a byte moves to or from memory. Pointwise
//! ops mostly run in the kernel of their producer, so that they are charged for a part of what they would cost alone.

mod device;

use device::DEVICE;
use ic_ir::scalar::ScalarOp;
use ic_ir::{Op, TensorType, Type};
use ic_types::Dim;

/// The extent that an unbound symbol is taken to have.
const ASSUMED_EXTENT: i64 = 64;

/// Multiply-adds of f32 in the unit.
pub(crate) const MULTIPLY_ADDS: u64 = DEVICE.multiply_adds;

/// One kernel more. What starting it takes is a tenth of this; what it keeps from running within its neighbours is the
/// rest.
const LAUNCH: u64 = 16 << 10;

/// What a device does in the time in which a byte moves.
struct Device {
    /// Multiply-adds of f32.
    multiply_adds: u64,
    /// Those of 8-bit integers. Their sums mostly leave the registers as bytes.
    integer_multiply_adds: u64,
}

/// The value of a dim where every symbol has the assumed extent. What is not constant is at least 1, as nothing is
/// free at every size.
pub(crate) fn assumed(dim: &Dim) -> u64 {
    assumed_at(dim, ASSUMED_EXTENT)
}

/// The value of a dim where every symbol is `extent`; at least 1 if it is not constant.
pub(crate) fn assumed_at(dim: &Dim, extent: i64) -> u64 {
    let least = u64::from(dim.as_const().is_none());
    u64::try_from(dim.eval(&|_| Some(extent)).unwrap_or(1)).unwrap_or(0).max(least)
}

/// Number of elements, symbols assumed.
pub(crate) fn assumed_elements(ty: &TensorType) -> u64 {
    ty.shape.iter().map(assumed).fold(1, u64::saturating_mul)
}

/// Bytes of a tensor, symbols assumed.
pub(crate) fn assumed_bytes(ty: &TensorType) -> u64 {
    assumed_elements(ty).saturating_mul(ty.dtype.size().unwrap_or(16) as u64)
}

/// What a run pays for a node.
pub(crate) fn node_cost(op: &Op, operands: &[Option<&Type>], results: &[Type]) -> u64 {
    let bytes_of = |ty: &Type| ty.as_tensor().map_or(0, assumed_bytes);
    let operand = |i: usize| operands.get(i).copied().flatten().and_then(Type::as_tensor);
    let written: u64 = results.iter().map(bytes_of).fold(0, u64::saturating_add);
    let read: u64 = operands.iter().flatten().map(|ty| bytes_of(ty)).fold(0, u64::saturating_add);
    let elements = results.first().and_then(Type::as_tensor).map_or(0, assumed_elements);
    match op {
        Op::Constant(_) => 0,
        // Views, and what runs within its producer.
        Op::Reshape(_) => LAUNCH / 64,
        Op::Slice(_) | Op::Expand(_) | Op::Dims(_) | Op::Iota(_) => LAUNCH / 16 + written / 4,
        Op::Cast(_) | Op::BitCast(_) => LAUNCH / 8 + written / 4,
        // Of two functions that cost the same, the one with fewer operands.
        Op::Pointwise(op) => {
            LAUNCH / 8 + written / 4 + elements.saturating_mul(weight(op.function)) + operands.len() as u64
        }
        // One pass over rows that stay in cache.
        Op::Softmax(_) => LAUNCH / 2 + written + elements.saturating_mul(weight(ScalarOp::Exp)),
        Op::LayerNormalization(_) | Op::RmsNormalization(_) => LAUNCH / 2 + written,
        // Rows that lie apart are read with strides.
        Op::Reduce(op) => {
            let rank = operand(0).map_or(0, TensorType::rank);
            let is_tail = (rank.saturating_sub(op.axes.len())..rank).all(|axis| op.axes.contains(&axis));
            LAUNCH / 2 + read / 2 + if is_tail { 0 } else { read / 8 }
        }
        Op::Matmul(_) => {
            let contracted = operand(0).and_then(|ty| ty.shape.last()).map_or(1, assumed);
            LAUNCH + read + written + elements.saturating_mul(contracted) / DEVICE.multiply_adds
        }
        // The scores stay in cache.
        Op::Attention(_) => {
            let extent = |i: usize, back: usize| {
                operand(i)
                    .and_then(|ty| ty.shape.len().checked_sub(back).map(|axis| assumed(&ty.shape[axis])))
                    .unwrap_or(1)
            };
            let (n, d, e) = (extent(1, 2), extent(1, 1), extent(2, 1));
            let scores = elements.checked_div(e).unwrap_or(0).saturating_mul(n);
            let work = scores.saturating_mul(d + e) / DEVICE.multiply_adds;
            let exp = scores.saturating_mul(weight(ScalarOp::Exp));
            LAUNCH + read + written + work + exp
        }
        // Each row is multiplied with one of the matrices.
        Op::ExpertMatmul(_) | Op::Experts(_) => {
            let rows = operand(0).map_or(0, |ty| {
                let axes = ty.shape.len().saturating_sub(1);
                ty.shape[..axes].iter().map(assumed).fold(1, u64::saturating_mul)
            });
            let matrices = (1..operands.len()).filter_map(operand).filter(|ty| ty.rank() == 3);
            let per_row: u64 = matrices.map(|ty| ty.shape[1..].iter().map(assumed).fold(1, u64::saturating_mul)).sum();
            LAUNCH + read + written + rows.saturating_mul(per_row) / DEVICE.multiply_adds
        }
        Op::IntegerMatmul(_) => {
            let contracted = operand(0).and_then(|ty| ty.shape.last()).map_or(1, assumed);
            LAUNCH + read + written / 4 + elements.saturating_mul(contracted) / DEVICE.integer_multiply_adds
        }
        Op::IntegerConvolution(_) => {
            let window = operand(1).map_or(1, |w| w.shape[1..].iter().map(assumed).fold(1, u64::saturating_mul));
            LAUNCH + read + written / 4 + elements.saturating_mul(window) / DEVICE.integer_multiply_adds
        }
        Op::Convolution(_) | Op::ConvTranspose(_) => {
            let window = operand(1).map_or(1, |w| w.shape[1..].iter().map(assumed).fold(1, u64::saturating_mul));
            LAUNCH + read + written + elements.saturating_mul(window) / DEVICE.multiply_adds
        }
        _ => LAUNCH + read + written,
    }
}

/// What a scalar function costs per element.
fn weight(function: ScalarOp) -> u64 {
    match function {
        ScalarOp::Pow => 16,
        ScalarOp::Exp
        | ScalarOp::Log
        | ScalarOp::Erf
        | ScalarOp::Sin
        | ScalarOp::Cos
        | ScalarOp::Tanh
        | ScalarOp::Sigmoid
        | ScalarOp::Silu
        | ScalarOp::Gelu
        | ScalarOp::GeluTanh
        | ScalarOp::Softplus => 4,
        ScalarOp::Div | ScalarOp::Reciprocal | ScalarOp::Sqrt => 2,
        _ => 1,
    }
}
