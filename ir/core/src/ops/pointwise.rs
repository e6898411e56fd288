//! Pointwise ops: a scalar function on every element, operands broadcast as in NumPy.

use crate::op::{OpDef, OpError, OperandSpec, Operands, Tensors};
use crate::scalar::{Scalar, ScalarOp};
use crate::substitute::Replacement;
use crate::types::{TensorType, Type};
use crate::{AttrError, AttrMap, Attrs, ensure};
use ic_types::{Dim, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A scalar function on every element.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pointwise {
    /// The function.
    pub function: ScalarOp,
}

impl Attrs for Pointwise {
    fn attrs(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn collect_symbols(&self, _names: &mut BTreeSet<Arc<str>>) {}

    fn substitute(&mut self, _replace: Replacement) {}

    fn from_attrs(_map: &mut AttrMap) -> Result<Pointwise, AttrError> {
        Err(AttrError::Missing("function".into()))
    }
}

impl OpDef for Pointwise {
    const OPERANDS: &'static [OperandSpec] = &[];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let types = (0..x.len()).map(|i| x.ty(i)).collect::<Result<Vec<_>, _>>()?;
        let dtypes: Vec<_> = types.iter().map(|t| t.dtype).collect();
        let dtype = self.function.result_dtype(&dtypes)?;
        let shape = types.iter().try_fold(Vec::new(), |shape, ty| x.broadcast(&shape, &ty.shape))?;
        Ok(vec![TensorType::new(dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        let contents = (0..x.len()).map(|i| x.content(i)).collect::<Option<Vec<_>>>()?;
        let is_float = x.ty(x.len().checked_sub(1)?).ok()?.dtype.is_float();
        let shape = (0..x.len()).try_fold(Vec::new(), |s, i| x.broadcast(&s, &x.ty(i).ok()?.shape).ok())?;
        let shape: Vec<usize> = shape.iter().map(|d| d.as_const().map(|d| d as usize)).collect::<Option<_>>()?;
        let shapes = (0..x.len()).map(|i| x.ty(i).ok()?.constant_shape()).collect::<Option<Vec<_>>>()?;
        let len = shape.iter().product::<usize>();
        (0..len)
            .map(|i| {
                let args: Vec<&Dim> =
                    contents.iter().zip(&shapes).map(|(c, s)| &c[source_index(i, &shape, s)]).collect();
                if is_float { self.function.eval_whole(&args) } else { self.function.eval_dim(&args) }
            })
            .collect()
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let operands = (0..x.operands.len()).map(|i| x.get(i)).collect::<Result<Vec<_>, _>>()?;
        let shape = operands.iter().try_fold(Vec::new(), |shape, t| broadcast_extents(&shape, t.shape()))?;
        let dtypes: Vec<_> = operands.iter().map(|t| t.dtype()).collect();
        let mut result = Tensor::zeros(self.function.result_dtype(&dtypes)?, shape.clone());
        for i in 0..result.len() {
            let args: Vec<Scalar> =
                operands.iter().map(|t| Scalar::read(t.data(), source_index(i, &shape, t.shape()))).collect();
            self.function.eval(&args)?.write(result.data_mut(), i)?;
        }
        Ok(vec![result])
    }
}

/// The concrete shape to which both broadcast.
///
/// # Errors
/// If two extents differ and neither is 1.
pub(crate) fn broadcast_extents(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            (x, y) => {
                ensure!(false, "extents {x} and {y} of axis {axis} do not broadcast");
                Ok(x)
            }
        })
        .collect()
}

/// The element of a tensor of `source` shape that element `index` of the broadcast `shape` reads.
pub(crate) fn source_index(index: usize, shape: &[usize], source: &[usize]) -> usize {
    let (mut rest, mut stride, mut offset) = (index, 1, 0);
    for axis in (0..shape.len()).rev() {
        let coordinate = rest % shape[axis];
        rest /= shape[axis];
        if let Some(i) = (axis + source.len()).checked_sub(shape.len()) {
            if source[i] != 1 {
                offset += coordinate * stride;
            }
            stride *= source[i];
        }
    }
    offset
}
