//! An interpreter of the tree, slow and obvious: what the text of a kernel must compute, without any MLIR.

mod contraction;
mod kernel;

use super::tree::{Function, Number, Operand, TensorOp};
use ic_ir::scalar::{Scalar, ScalarOp};
use ic_ir::{Op, OpError, Tensors};
use ic_types::{DType, Data, Dim, Tensor};

pub use contraction::eval_contraction;
pub use kernel::eval_kernel;

/// The type of a tensor whose extents are known.
struct TensorType {
    dtype: DType,
    shape: Vec<usize>,
}

/// Runs a function of tensors.
///
/// # Errors
/// If an extent is symbolic, or an operation does not take its operands.
pub fn eval_function(function: &Function, arguments: &[Tensor]) -> Result<Vec<Tensor>, OpError> {
    let mut values: Vec<Tensor> = Vec::with_capacity(function.values.len());
    for value in &function.values {
        let ty = TensorType { dtype: value.ty.dtype, shape: extents(&value.ty.shape)? };
        let result = eval(&value.op, &ty, &values, arguments)?;
        values.push(result);
    }
    Ok(function.results.iter().map(|&id| values[id as usize].clone()).collect())
}

fn eval(op: &TensorOp, ty: &TensorType, values: &[Tensor], arguments: &[Tensor]) -> Result<Tensor, OpError> {
    let x = |id: &u32| &values[*id as usize];
    match op {
        TensorOp::Argument(i) => {
            let given = arguments.get(*i as usize).ok_or_else(|| OpError::new("an argument is missing"))?;
            Ok(given.clone().reshaped(ty.shape.clone()))
        }
        TensorOp::Fill(number) => each(ty, |_| Ok(scalar_of(*number))),
        TensorOp::Extent(dim) => {
            let number = extent(dim)? as f64;
            let float = |_| Ok(Scalar::F32(number as f32, ty.dtype));
            let int = |_| Ok(Scalar::Int(number as i128, ty.dtype));
            if ty.dtype.is_float() { each(ty, float) } else { each(ty, int) }
        }
        TensorOp::Arange => each(ty, |at| Ok(Scalar::Int(at as i128, DType::I64))),
        TensorOp::Unary(function, a) => apply(function.scalar(), &[Operand::Tensor(*a)], ty, values),
        TensorOp::Binary(function, a, b) => apply(function.scalar(), &[*a, *b], ty, values),
        TensorOp::Compare(function, a, b) => apply(function.scalar(), &[*a, *b], ty, values),
        TensorOp::Select(c, a, b) => apply(ScalarOp::Select, &[Operand::Tensor(*c), *a, *b], ty, values),
        TensorOp::Cast(a) => {
            let cast = Op::from(ic_ir::ops::Cast { to: ty.dtype, saturate: true });
            let operands = vec![Some(x(a))];
            let results = cast.eval(&Tensors { operands, regions: &[], symbols: &|_| None })?;
            results.into_iter().next().ok_or_else(|| OpError::new("a cast without a result"))
        }
        TensorOp::Fold(function, a, axes) => fold(function.binary().scalar(), x(a), axes, ty),
        TensorOp::Broadcast(a, axes) => {
            let source = x(a);
            Ok(gather(ty, source, |point| {
                let kept = point.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &p)| p);
                kept.collect()
            }))
        }
        TensorOp::Transpose(a, permutation) => Ok(gather(ty, x(a), |point| {
            let mut source = vec![0; point.len()];
            permutation.iter().zip(point).for_each(|(&axis, &p)| source[axis] = p);
            source
        })),
        TensorOp::Slice(a, starts) => {
            let starts = extents(starts)?;
            Ok(gather(ty, x(a), |point| {
                starts.iter().enumerate().map(|(i, start)| start + point.get(i).unwrap_or(&0)).collect()
            }))
        }
        TensorOp::Insert { base, piece, starts } => {
            let (mut whole, piece, starts) = (x(base).clone(), x(piece), extents(starts)?);
            for (from, point) in points(piece.shape()).enumerate() {
                let at: Vec<usize> = point.iter().zip(&starts).map(|(p, s)| p + s).collect();
                let to = linear(&at, &ty.shape);
                whole.data_mut().set(to, piece.data(), from);
            }
            Ok(whole)
        }
    }
}

/// An extent, which must be known.
fn extent(dim: &Dim) -> Result<usize, OpError> {
    let value = dim.as_const().and_then(|value| usize::try_from(value).ok());
    value.ok_or_else(|| OpError(format!("extent `{dim}` is not a number")))
}

fn extents(dims: &[Dim]) -> Result<Vec<usize>, OpError> {
    dims.iter().map(extent).collect()
}

/// A tensor whose element number `i` is `element(i)`.
fn each(ty: &TensorType, element: impl Fn(usize) -> Result<Scalar, OpError>) -> Result<Tensor, OpError> {
    let mut data = Data::zeros(ty.dtype, ty.shape.iter().product());
    for at in 0..data.len() {
        element(at)?.write(&mut data, at)?;
    }
    Ok(Tensor::new(ty.shape.clone(), data))
}

fn apply(op: ScalarOp, operands: &[Operand], ty: &TensorType, values: &[Tensor]) -> Result<Tensor, OpError> {
    each(ty, |at| {
        let element = |operand: &Operand| match operand {
            Operand::Tensor(id) => Scalar::read(values[*id as usize].data(), at),
            Operand::Number(number) => scalar_of(*number),
        };
        op.eval(&operands.iter().map(element).collect::<Vec<_>>())
    })
}

fn fold(op: ScalarOp, x: &Tensor, axes: &[usize], ty: &TensorType) -> Result<Tensor, OpError> {
    let mut sums: Vec<Option<Scalar>> = vec![None; ty.shape.iter().product()];
    for (from, point) in points(x.shape()).enumerate() {
        let kept: Vec<usize> = point.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &p)| p).collect();
        let (to, element) = (linear(&kept, &ty.shape), Scalar::read(x.data(), from));
        sums[to] = Some(match sums[to].take() {
            Some(sum) => op.eval(&[sum, element])?,
            None => element,
        });
    }
    each(ty, |at| sums[at].clone().ok_or_else(|| OpError::new("a fold of nothing")))
}

fn gather(ty: &TensorType, source: &Tensor, place: impl Fn(&[usize]) -> Vec<usize>) -> Tensor {
    let from = points(&ty.shape).map(|point| linear(&place(&point), source.shape()));
    Tensor::new(ty.shape.clone(), source.data().gather(from))
}

fn scalar_of(number: Number) -> Scalar {
    let data = number.data().unwrap_or_else(|| Data::zeros(number.dtype, 1));
    Scalar::read(&data, 0)
}

fn linear(point: &[usize], shape: &[usize]) -> usize {
    point.iter().zip(shape).fold(0, |sum, (p, n)| sum * n + p)
}

/// All points of a row-major space.
fn points(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product::<usize>()).map(move |mut rest| {
        let mut point = vec![0; shape.len()];
        for (i, &extent) in shape.iter().enumerate().rev() {
            point[i] = rest % extent;
            rest /= extent;
        }
        point
    })
}
