//! ONNX ops on shapes: `Shape`, `Size`, `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`, `Identity`, `Expand`, `Transpose`.

use super::prelude::*;
use ic_ir::ops::ReduceFn;

/// `Identity`.
pub(super) fn identity(_cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![node.input(0)?])
}

/// `Shape`, of a part of the axes from opset 15.
pub(super) fn shape(cx: &mut Context, node: &NodeView) -> Results {
    let shape = cx.shape(node.input(0)?)?;
    let rank = shape.len() as i64;
    let clamp = |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (clamp(node.int("start").unwrap_or(0)), clamp(node.int("end").unwrap_or(rank)));
    Ok(vec![cx.dims(shape[start..end.max(start)].to_vec())?])
}

/// `Size`: the number of elements.
pub(super) fn size(cx: &mut Context, node: &NodeView) -> Results {
    let elements = cx.ty(node.input(0)?)?.elements();
    Ok(vec![cx.dim_scalar(elements)?])
}

/// `Reshape`: -1 stands for what is left, and 0 without `allowzero` for the input's extent.
pub(super) fn reshape(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let allow_zero = node.flag("allowzero", false);
    let target = match node.ints("shape") {
        Some(shape) => shape.iter().map(|&d| Dim::constant(d)).collect(),
        None => match cx.try_ints(node.input(1)?) {
            Some(target) => target,
            None => {
                let shape = resolve_in_run(cx, x, node.input(1)?, allow_zero)?;
                return Ok(vec![cx.reshape(x, shape)?]);
            }
        },
    };
    let shape = resolve(&cx.shape(x)?, target, allow_zero)?;
    Ok(vec![cx.reshape(x, shape)?])
}

/// The target shape of a reshape that only a run knows, as symbols: nodes fill in what 0 and -1 stand for.
fn resolve_in_run(cx: &mut Context, x: ValueId, target: ValueId, allow_zero: bool) -> Result<Vec<Dim>> {
    let mut target = cx.vector_of(target, "shape")?;
    let n = cx.length(target, "shape")?;
    let input = cx.shape(x)?;
    if !allow_zero {
        let own = (0..n).map(|axis| input.get(axis).cloned().unwrap_or(Dim::constant(0))).collect();
        let own = cx.dims(own)?;
        let is_zero = cx.with_scalar(ScalarOp::Eq, target, 0.0)?;
        target = cx.select(is_zero, own, target)?;
    }
    let is_rest = cx.with_scalar(ScalarOp::Eq, target, -1.0)?;
    let one = cx.scalar(DType::I64, 1.0)?;
    let known = cx.select(is_rest, one, target)?;
    let known = cx.reduce(ReduceFn::Prod, known, vec![0])?;
    let known = cx.binary(ScalarOp::Max, known, one)?;
    let elements = cx.dims(vec![input.into_iter().product()])?;
    let rest = cx.binary(ScalarOp::Div, elements, known)?;
    let resolved = cx.select(is_rest, rest, target)?;
    cx.ints(resolved, "shape")
}

/// The target shape of a reshape without 0 and -1.
pub(super) fn resolve(input: &[Dim], mut target: Vec<Dim>, allow_zero: bool) -> Result<Vec<Dim>> {
    for (axis, dim) in target.iter_mut().enumerate().filter(|(_, dim)| dim.is(0) && !allow_zero) {
        *dim = input.get(axis).cloned().ok_or_else(|| invalid!("`shape` copies axis {axis}, which the input lacks"))?;
    }
    let unknown: Vec<usize> = (0..target.len()).filter(|&i| target[i].is(-1)).collect();
    if let Some(dim) = target.iter().find(|dim| dim.as_const().is_some_and(|d| d < -1)) {
        return Err(invalid!("`shape` has the extent {dim}"));
    }
    match unknown.as_slice() {
        [] => {}
        [axis] => target[*axis] = rest(input, &target, *axis)?,
        _ => return Err(invalid!("`shape` has more than one -1")),
    }
    Ok(target)
}

/// The extent of `axis` that keeps the number of elements. Equal extents cancel first, so that the division is simple.
fn rest(input: &[Dim], target: &[Dim], axis: usize) -> Result<Dim> {
    let mut numerator: Vec<Dim> = input.to_vec();
    let mut denominator = Vec::new();
    for dim in target.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, dim)| dim) {
        match numerator.iter().position(|d| d == dim && !d.is(0)) {
            Some(i) => {
                numerator.remove(i);
            }
            None => denominator.push(dim.clone()),
        }
    }
    let (all, known): (Dim, Dim) = (numerator.into_iter().product(), denominator.into_iter().product());
    if known.is(0) {
        return Err(invalid!("-1 in `shape` is ambiguous beside an extent of 0"));
    }
    let (Some(all_elements), Some(known_elements)) = (all.as_const(), known.as_const()) else {
        return Ok(all.floor_div(&known));
    };
    if all_elements % known_elements != 0 {
        return Err(invalid!("{all_elements} elements cannot be cut into rows of {known_elements}"));
    }
    Ok(Dim::constant(all_elements / known_elements))
}

/// `Flatten`: to a matrix.
pub(super) fn flatten(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let (rank, axis) = (shape.len() as i64, node.int("axis").unwrap_or(1));
    let axis = if axis < 0 { axis + rank } else { axis };
    if !(0..=rank).contains(&axis) {
        return Err(invalid!("`axis` is outside of rank {rank}"));
    }
    let (outer, inner) = shape.split_at(axis as usize);
    let matrix = vec![outer.iter().cloned().product(), inner.iter().cloned().product()];
    Ok(vec![cx.reshape(x, matrix)?])
}

/// `Squeeze`: the given axes, or all of extent 1.
pub(super) fn squeeze(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = node.input(0)?;
    let shape = cx.shape(x)?;
    if let Some(axes) = super::runtime_axes(cx, node, 1) {
        let target = squeezed_in_run(cx, &shape, axes)?;
        return Ok(vec![cx.reshape(x, target)?]);
    }
    let axes = match int_list(cx, node, "axes", 1)? {
        Some(axes) => cx.axes(x, &axes)?,
        None => {
            x = refuse_ones(cx, x)?;
            (0..shape.len()).filter(|&axis| shape[axis].is(1)).collect()
        }
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis].as_const().is_some_and(|d| d != 1)) {
        return Err(invalid!("axis {axis} has the extent {}, which is not 1", shape[axis]));
    }
    Ok(vec![cx.squeeze(x, &axes)?])
}

/// `x`, in a run that fails if an extent that is no constant is 1: `Squeeze` would take the axis out, and the rank of the
/// result is fixed.
fn refuse_ones(cx: &mut Context, x: ValueId) -> Result<ValueId> {
    let shape = cx.shape(x)?;
    let symbolic: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis].as_const().is_none()).collect();
    let Some(&axis) = symbolic.first() else { return Ok(x) };
    cx.warn("takes out the axes whose extent is 1 now; a run in which another extent is 1 is refused");
    let extents = cx.dims(symbolic.iter().map(|&axis| shape[axis].clone()).collect())?;
    let is_one = cx.with_scalar(ScalarOp::Eq, extents, 1.0)?;
    let is_one = cx.cast(is_one, DType::I64)?;
    let negative = cx.unary(ScalarOp::Neg, is_one)?;
    // Symbols that are 0, or the run fails: where the slice of all begins.
    let start = cx.read(negative, "squeezed")?.into_iter().sum();
    cx.slice(x, axis, start, shape[axis].clone())
}

/// The extents of the axes that are not among `axes`, which only a run knows.
pub(super) fn squeezed_in_run(cx: &mut Context, shape: &[Dim], axes: ValueId) -> Result<Vec<Dim>> {
    let n = cx.length(axes, "axes")?;
    let n_kept = shape.len().checked_sub(n).ok_or_else(|| invalid!("`axes` has {n} elements"))?;
    let flags = cx.axis_flags(axes, shape.len())?;
    let keep = cx.unary(ScalarOp::Not, flags)?;
    let extents = cx.dims(shape.to_vec())?;
    let kept = cx.kept(extents, keep, n_kept)?;
    cx.ints(kept, "axes")
}

/// The extents with 1 put in at `axes` of the result, which only a run knows.
fn unsqueezed_in_run(cx: &mut Context, shape: &[Dim], axes: ValueId) -> Result<Vec<Dim>> {
    let rank = shape.len() + cx.length(axes, "axes")?;
    let flags = cx.axis_flags(axes, rank)?;
    let is_old = cx.unary(ScalarOp::Not, flags)?;
    let from = cx.ranks(is_old)?;
    // One more, for new axes at the end; repeated axes leave the result with too few elements.
    let extents = cx.dims([shape, &[Dim::constant(1)]].concat())?;
    let from = cx.with_scalar(ScalarOp::Min, from, shape.len() as f64)?;
    let old = cx.gather(extents, from, 0)?;
    let one = cx.scalar(DType::I64, 1.0)?;
    let extents = cx.select(flags, one, old)?;
    cx.ints(extents, "axes")
}

/// `Unsqueeze`.
pub(super) fn unsqueeze(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    if let Some(axes) = super::runtime_axes(cx, node, 1) {
        let shape = cx.shape(x)?;
        let target = unsqueezed_in_run(cx, &shape, axes)?;
        return Ok(vec![cx.reshape(x, target)?]);
    }
    let axes = int_list(cx, node, "axes", 1)?.ok_or_else(|| invalid!("`axes` is missing"))?;
    Ok(vec![cx.unsqueeze(x, &axes)?])
}

/// `Expand`.
pub(super) fn expand(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.ints(node.input(1)?, "shape")?;
    Ok(vec![cx.expand(x, shape)?])
}

/// `Transpose`: by default all axes in reverse.
pub(super) fn transpose(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let rank = cx.rank(x)?;
    let perm = match node.ints("perm") {
        Some(perm) => perm.iter().map(|&p| cx.axis(x, p)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).rev().collect(),
    };
    Ok(vec![cx.transpose(x, perm)?])
}
