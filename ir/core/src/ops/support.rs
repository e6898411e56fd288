//! What several ops share: checks of axes and indices, and contents of ops that only move elements.

use crate::eval::Symbols;
use crate::graph::Graph;
use crate::op::{OpDef, OpError, Operands, Tensors};
use crate::types::TensorType;
use ic_types::{Dim, Tensor, symbols_of};

/// `axis` counted from the front.
///
/// # Errors
/// If it is outside `-rank..rank`.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    crate::ensure!((0..rank as i64).contains(&from_front), "axis {axis} is outside of rank {rank}");
    Ok(from_front as usize)
}

/// # Errors
/// If an axis is not below `rank`, or occurs twice.
pub(crate) fn check_axes(axes: &[usize], rank: usize) -> Result<(), OpError> {
    for (i, axis) in axes.iter().enumerate() {
        crate::ensure!(*axis < rank, "axis {axis} is outside of rank {rank}");
        crate::ensure!(!axes[..i].contains(axis), "axis {axis} is given twice");
    }
    Ok(())
}

/// # Errors
/// If the elements are not integers.
pub(crate) fn check_indices(ty: &TensorType) -> Result<(), OpError> {
    crate::ensure!(ty.dtype.is_int(), "indices must be integers, found {}", ty.dtype);
    Ok(())
}

/// # Errors
/// If the elements are not floats.
pub(crate) fn check_float(ty: &TensorType, name: &str) -> Result<(), OpError> {
    crate::ensure!(ty.dtype.is_float(), "`{name}` must be of a float type, found {}", ty.dtype);
    Ok(())
}

/// # Errors
/// If operand `i` is present and its type is not `expected` up to equality of extents.
pub(crate) fn check_operand(x: &Operands, i: usize, name: &str, expected: &TensorType) -> Result<(), OpError> {
    let Some(ty) = x.opt(i) else { return Ok(()) };
    crate::ensure!(
        ty.dtype == expected.dtype && ty.rank() == expected.rank(),
        "`{name}` must be {expected}, found {ty}"
    );
    for (found, expected) in ty.shape.iter().zip(&expected.shape) {
        x.equal(expected, found, &format!("extents of `{name}` and of what it belongs to"))?;
    }
    Ok(())
}

/// Elements of the result of an op that only moves the elements of the operands `moved`: evaluates the op on the
/// elements' numbers. The other operands must have constant contents, the attributes no symbols.
pub(crate) fn rearranged_content<T: OpDef>(op: &T, x: &Operands, moved: &[usize]) -> Option<Vec<Dim>> {
    let mut elements: Vec<Dim> = Vec::new();
    let mut operands: Vec<Tensor> = Vec::new();
    for i in 0..x.len() {
        let (shape, content) = (x.ty(i).ok()?.constant_shape()?, x.content(i)?);
        let numbers: Vec<i64> = if moved.contains(&i) {
            elements.extend_from_slice(content);
            (elements.len() - content.len()..elements.len()).map(|n| n as i64).collect()
        } else {
            content.iter().map(Dim::as_const).collect::<Option<_>>()?
        };
        operands.push(Tensor::from_elements(shape, numbers));
    }
    let tensors = Tensors { operands: operands.iter().map(Some).collect(), regions: x.regions, symbols: &|_| None };
    let result = op.eval(&tensors).ok()?;
    let numbers = result.first()?.elements::<i64>()?;
    numbers.iter().map(|&n| elements.get(usize::try_from(n).ok()?).cloned()).collect()
}

/// The values of the symbols that a region uses, as far as the graph around it knows them.
pub(crate) fn region_symbols(region: &Graph, x: &Tensors) -> Symbols {
    let types = region.values().filter_map(|(_, value)| value.ty.as_tensor());
    let mut names = symbols_of(types.flat_map(|ty| &ty.shape));
    region.nodes().for_each(|(_, node)| names.extend(region.node_symbols(node)));
    names.into_iter().filter_map(|name| Some((name.clone(), (x.symbols)(&name)?))).collect()
}
