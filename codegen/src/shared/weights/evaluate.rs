//! Constant expressions as tensors: fast paths for large weights, else the reference evaluator.

use super::narrowed;
use ic_ir::ops::{Op, ReduceFn};
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
    if let (Op::Reshape(op), &[Some(x)]) = (&node.op, node.operands.as_slice())
        && let Some(shape) = op.shape.iter().map(|d| usize::try_from(d.as_const()?).ok()).collect()
    {
        return Ok(evaluate(graph, x)?.reshaped(shape));
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
                (Data::F32(x), DType::F16 | DType::BF16) => narrowed(x, op.to),
                (Data::F16(x), DType::F32) => Data::F32(x.iter().map(|&x| f16_to_f32(x)).collect()),
                (Data::BF16(x), DType::F32) => Data::F32(x.iter().map(|&x| bf16_to_f32(x)).collect()),
                _ => return None,
            };
            Some(Tensor::new(x.shape().to_vec(), data))
        }
        (Op::Pointwise(op), [Some(x)]) if op.function == ScalarOp::Abs => {
            let elements = x.elements::<f32>()?.iter().map(|x| x.abs()).collect();
            Some(Tensor::from_elements(x.shape().to_vec(), elements))
        }
        (Op::Reduce(op), [Some(x)]) if op.function == ReduceFn::Max && !op.keep_dims => greatest(x, &op.axes),
        (Op::Quantize(op), [Some(x), Some(scale)]) => {
            let (low, high) = match op.to {
                DType::I8 => (-128, 127),
                DType::I4 => (-8, 7),
                _ => return None,
            };
            let quotient = |x: f32, scale: f32| ((x / scale).round_ties_even() as i32).clamp(low, high) as i8;
            let integers = with_scales(x.elements::<f32>()?, x.shape(), scale, (op.axis, op.block_size), quotient)?;
            let data = if op.to == DType::I8 { Data::I8(integers) } else { Data::I4(integers) };
            Some(Tensor::new(x.shape().to_vec(), data))
        }
        (Op::Dequantize(op), [Some(x), Some(scale)]) if op.to == DType::F32 => {
            let (Data::I8(integers) | Data::I4(integers)) = x.data() else { return None };
            let product = |x: i8, scale: f32| f32::from(x) * scale;
            let floats = with_scales(integers, x.shape(), scale, (op.axis, op.block_size), product)?;
            Some(Tensor::from_elements(x.shape().to_vec(), floats))
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

/// The greatest elements along one axis, which goes.
fn greatest(x: &Tensor, axes: &[usize]) -> Option<Tensor> {
    let (&[axis], shape) = (axes, x.shape()) else { return None };
    let elements = x.elements::<f32>()?;
    let (outer, inner) = (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product::<usize>());
    let mut largest = vec![f32::NEG_INFINITY; outer * inner];
    for (i, row) in elements.chunks_exact(inner.max(1)).enumerate() {
        let to = &mut largest[i / shape[axis].max(1) * inner..][..inner];
        to.iter_mut().zip(row).for_each(|(to, &x)| *to = if to.is_nan() || *to > x { *to } else { x });
    }
    Some(Tensor::from_elements([&shape[..axis], &shape[axis + 1..]].concat(), largest))
}

/// `f` of each element and its scale: one for each position on an axis, or for each block of the first axis of a matrix.
fn with_scales<T: Copy, U>(
    elements: &[T],
    shape: &[usize],
    scale: &Tensor,
    (axis, block_size): (i64, usize),
    f: impl Fn(T, f32) -> U,
) -> Option<Vec<U>> {
    let scales = scale.elements::<f32>()?;
    let axis = usize::try_from(axis).ok().filter(|&axis| axis < shape.len())?;
    let mut results = Vec::with_capacity(elements.len());
    match (block_size, shape) {
        (0, _) if scale.shape() == [shape[axis]] => {
            let inner = shape[axis + 1..].iter().product::<usize>().max(1);
            for (i, elements) in elements.chunks_exact(inner).enumerate() {
                let scale = scales[i % scales.len()];
                results.extend(elements.iter().map(|&x| f(x, scale)));
            }
        }
        (block, &[k, n]) if block > 0 && axis == 0 && scale.shape() == [k.div_ceil(block), n] => {
            for (row, elements) in elements.chunks_exact(n.max(1)).enumerate() {
                let scales = &scales[row / block * n..][..n];
                results.extend(elements.iter().zip(scales).map(|(&x, &scale)| f(x, scale)));
            }
        }
        _ => return None,
    }
    Some(results)
}

/// The shape with leading axes of extent 1 up to `rank`.
fn aligned(shape: &[usize], rank: usize) -> Vec<usize> {
    [&vec![1; rank - shape.len()], shape].concat()
}

/// Row-major strides.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
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
pub(super) fn strided<T: Copy>(elements: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
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
    use ic_ir::ops::{Cast, Dequantize, Quantize, Reduce, Transpose};

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

    #[test]
    fn quantized_weights_are_those_of_the_evaluator() {
        let mut graph = Graph::new("weights");
        let mut b = Builder { graph: &mut graph, location: "".into() };
        let elements = (0..70).map(|i| ((i * 37) % 23) as f32 * 0.37 - 4.0).collect();
        let w = b.constant(Tensor::from_elements(vec![7, 10], elements)).unwrap();
        let magnitude = b.push(ScalarOp::Abs, &[w]).unwrap();
        let largest =
            b.push(Reduce { function: ReduceFn::Max, axes: vec![0], keep_dims: false }, &[magnitude]).unwrap();
        let steps = b.constant(Tensor::from_elements(vec![], vec![127.0f32])).unwrap();
        let columns = b.div(largest, steps).unwrap();
        let blocks: Vec<f32> = (1..=20).map(|i| i as f32 * 0.11).collect();
        let blocks = b.constant(Tensor::from_elements(vec![2, 10], blocks)).unwrap();
        let rows = b.constant(Tensor::from_elements(vec![7], vec![0.3f32, 0.1, 0.2, 0.4, 0.7, 0.6, 0.5])).unwrap();
        let kinds = [(DType::I8, columns, 1, 0), (DType::I8, rows, 0, 0), (DType::I4, blocks, 0, 4)];
        for (to, scale, axis, block_size) in kinds {
            let mut b = Builder { graph: &mut graph, location: "".into() };
            let narrow = b.push(Quantize { axis, block_size, to, saturate: true }, &[w, scale]).unwrap();
            let wide = b.push(Dequantize { axis, block_size, to: DType::F32 }, &[narrow, scale]).unwrap();
            for value in [largest, narrow, wide] {
                let slow = ic_ir::eval::eval_values(&graph, &[], &Default::default(), &[value]).unwrap().remove(0);
                assert_eq!(evaluate(&graph, value).unwrap(), slow);
            }
        }
    }
}
