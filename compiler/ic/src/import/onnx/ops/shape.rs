//! ONNX ops on shapes: `Shape`, `Size`, `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`, `Identity`, `Expand`, `Transpose`.

use super::prelude::*;

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
    let target = match node.ints("shape") {
        Some(shape) => shape.iter().map(|&d| Dim::constant(d)).collect(),
        None => cx.ints(node.input(1)?, "shape")?,
    };
    let shape = resolve(&cx.shape(x)?, target, node.flag("allowzero", false))?;
    Ok(vec![cx.reshape(x, shape)?])
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
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let axes = match int_list(cx, node, "axes", 1)? {
        Some(axes) => cx.axes(x, &axes)?,
        None if shape.iter().all(|d| d.as_const().is_some()) => {
            (0..shape.len()).filter(|&axis| shape[axis].is(1)).collect()
        }
        None => return Err(unsupported!("which axes to take out depends on symbolic extents; name them in `axes`")),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis].as_const().is_some_and(|d| d != 1)) {
        return Err(invalid!("axis {axis} has the extent {}, which is not 1", shape[axis]));
    }
    Ok(vec![cx.squeeze(x, &axes)?])
}

/// `Unsqueeze`.
pub(super) fn unsqueeze(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
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
