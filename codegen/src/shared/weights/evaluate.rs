//! Constant expressions as tensors: fast paths for large weights, else the reference evaluator.

use super::narrowed;
use ic_ir::ops::Op;
use ic_ir::{Graph, ScalarOp, Tensors, ValueId};
use ic_types::{DType, Data, Tensor, bf16_to_f32, f16_to_f32};
use std::io;

/// The value of a constant expression.
pub(super) fn evaluate(graph: &Graph, value: ValueId) -> io::Result<Tensor> {
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
    use crate::shared::weights::storage;
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
