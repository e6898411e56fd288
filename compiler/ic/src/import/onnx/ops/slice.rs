//! ONNX `Slice`, `Split`, `Concat`, `Pad`, `Tile`, `CenterCropPad`, with symbolic bounds.

use super::prelude::*;
use ic_ir::ops;
use ic_ir::ops::PadMode;

/// Bounds at least this large mean the end of an axis of symbolic extent.
const END: i64 = 1_000_000_000;

/// A bound of `dim` with every symbol at least 1.
fn positive(dim: &Dim) -> Dim {
    dim.substitute(&|name| Some(Dim::symbol(name) + Dim::constant(1)))
}

/// Whether `a <= b` for all extents of 1 and more. Where it says from which end something counts, this is taken for
/// granted, and the run refuses other extents.
fn at_most(a: &Dim, b: &Dim) -> bool {
    positive(&(b.clone() - a.clone())).lower_bound().is_some_and(|low| low >= 0)
}

/// `max(dim, 0)`.
pub(super) fn not_negative(dim: &Dim) -> Dim {
    dim.maximum(&Dim::constant(0))
}

/// A bound of a slice: between two elements of an axis, or at an end.
enum Bound {
    /// Behind as many elements, if there are so many.
    Front(Dim),
    /// Before as many elements, if there are so many.
    Back(Dim),
}

impl Bound {
    /// # Errors
    /// If its sign depends on symbols.
    fn new(bound: &Dim, extent: &Dim, name: &str) -> Result<Bound> {
        let zero = Dim::constant(0);
        match bound.as_const() {
            _ if bound == extent => Ok(Bound::Back(zero)),
            Some(b) if b >= END && extent.as_const().is_none() => Ok(Bound::Back(zero)),
            Some(b) if b <= -END && extent.as_const().is_none() => Ok(Bound::Front(zero)),
            _ if at_most(&zero, bound) => Ok(Bound::Front(bound.clone())),
            _ if at_most(bound, &Dim::constant(-1)) => Ok(Bound::Back(-bound.clone())),
            _ => Err(unsupported!("whether `{name}` = `{bound}` counts from the end depends on symbolic dims")),
        }
    }

    /// The number of elements before it. An extent is never negative, though its expression may not show that.
    fn position(&self, extent: &Dim) -> Dim {
        match self {
            Bound::Front(n) if n.is(0) => n.clone(),
            Bound::Back(n) if n.is(0) => extent.clone(),
            Bound::Front(n) => n.minimum(extent),
            Bound::Back(n) => not_negative(&(extent.clone() - n.clone())),
        }
    }
}

/// First element and number of elements of a slice along an axis.
fn bounds(start: &Dim, end: &Dim, step: i64, extent: &Dim) -> Result<(Dim, Dim)> {
    match step {
        0 => Err(invalid!("a step is 0")),
        1.. => forwards(start, end, step, extent),
        _ => backwards(start, end, step, extent),
    }
}

fn forwards(start: &Dim, end: &Dim, step: i64, extent: &Dim) -> Result<(Dim, Dim)> {
    let (start, end) = (Bound::new(start, extent, "starts")?, Bound::new(end, extent, "ends")?);
    let (first, past) = (start.position(extent), end.position(extent));
    let step = Dim::constant(step);
    let n = match (&start, &end) {
        (Bound::Front(before), _) if before.is(0) => past.ceil_div(&step),
        (Bound::Front(before), Bound::Back(after)) => {
            not_negative(&(extent.clone() - before.clone() - after.clone()).ceil_div(&step))
        }
        (Bound::Back(n), Bound::Back(after)) if after.is(0) => n.minimum(extent).ceil_div(&step),
        _ if first.minimum(&past) == first => (past - first.clone()).ceil_div(&step),
        _ => not_negative(&(past - first.clone()).ceil_div(&step)),
    };
    Ok((first, n))
}

/// Positions are -1, before the front, to `extent - 1`.
fn backwards(start: &Dim, end: &Dim, step: i64, extent: &Dim) -> Result<(Dim, Dim)> {
    let one = Dim::constant(1);
    let last = extent.clone() - one.clone();
    let position = |bound: &Dim, name: &str| -> Result<Dim> {
        match bound.as_const() {
            Some(b) if b >= END => Ok(last.clone()),
            Some(b) if b <= -END => Ok(Dim::constant(-1)),
            Some(b) if b < 0 => match extent.as_const() {
                Some(n) => Ok(Dim::constant((b + n).clamp(-1, n - 1))),
                None => Ok((extent.clone() + bound.clone()).maximum(&Dim::constant(-1))),
            },
            _ if at_most(&Dim::constant(0), bound) => Ok(bound.minimum(&last)),
            _ => Err(unsupported!("whether `{name}` = `{bound}` counts from the end depends on symbolic dims")),
        }
    };
    let start = match (start.as_const(), extent.as_const()) {
        (Some(b), Some(n)) => Dim::constant((if b < 0 { b.saturating_add(n) } else { b }).clamp(0, (n - 1).max(0))),
        // Before the front counts as the front.
        (Some(b), None) if -END < b && b < -1 => not_negative(&(extent.clone() + start.clone())).minimum(&last),
        _ => position(start, "starts")?,
    };
    let end = position(end, "ends")?;
    let n = (start.clone() - end).ceil_div(&Dim::constant(-step));
    let n = if extent.is(0) { Dim::constant(0) } else { not_negative(&n) };
    Ok((start, n))
}

/// `Slice`: bounds are attributes before opset 10, then inputs.
pub(super) fn slice(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    if !has_known_bounds(cx, node) {
        return super::slice_in_run::slice(cx, node);
    }
    let list = |cx: &mut Context, name: &str, index: usize| -> Result<Option<Vec<Dim>>> {
        match (node.ints(name), node.opt(index)) {
            (Some(ints), _) => Ok(Some(ints.iter().map(|&i| Dim::constant(i)).collect())),
            (None, Some(value)) => cx.ints(value, name).map(Some),
            (None, None) => Ok(None),
        }
    };
    let starts = list(cx, "starts", 1)?.ok_or_else(|| invalid!("`starts` is missing"))?;
    let ends = list(cx, "ends", 2)?.ok_or_else(|| invalid!("`ends` is missing"))?;
    let axes = match int_list(cx, node, "axes", 3)? {
        Some(axes) => axes.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = match node.opt(4) {
        Some(steps) => cx.constant_ints(steps, "steps")?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len())
        || axes.iter().any(|&a| a >= shape.len())
    {
        return Err(invalid!("`starts`, `ends`, `axes` and `steps` do not fit the input or each other"));
    }
    let mut op = ops::Slice { axes: vec![], starts: vec![], extents: vec![], steps: vec![] };
    for (i, &axis) in axes.iter().enumerate() {
        let (start, n) = bounds(&starts[i], &ends[i], steps[i], &shape[axis])?;
        if steps[i] != 1 || !start.is(0) || n != shape[axis] {
            op.axes.push(axis);
            op.starts.push(start);
            op.extents.push(n);
            op.steps.push(steps[i]);
        }
    }
    if op.axes.is_empty() {
        return Ok(vec![x]);
    }
    Ok(vec![cx.push(op, &[x])?])
}

/// Whether bounds, axes and steps are all known before a run, and it is known which bounds count from the end.
fn has_known_bounds(cx: &mut Context, node: &NodeView) -> bool {
    let has_sign = |dim: &Dim| at_most(&Dim::constant(0), dim) || at_most(dim, &Dim::constant(-1));
    let mut is_known = |index: usize| match node.opt(index) {
        None => true,
        Some(value) if index < 3 => cx.try_ints(value).is_some_and(|bounds| bounds.iter().all(has_sign)),
        Some(value) => cx.constant_ints(value, "bounds").is_ok(),
    };
    (1..5).all(&mut is_known)
}

/// `Split`: by sizes, or into equal parts of which the last may be smaller.
pub(super) fn split(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(0))?;
    let extent = cx.shape(x)?[axis].clone();
    let n = node.n_outputs().max(1);
    let sizes = match (node.ints("split"), node.opt(1)) {
        (Some(sizes), _) => sizes.iter().map(|&s| Dim::constant(s)).collect(),
        (None, Some(sizes)) => cx.ints(sizes, "split")?,
        (None, None) => equal_parts(&extent, node.int("num_outputs").map_or(n, |k| k.max(1) as usize)),
    };
    if sizes.len() < n {
        return Err(invalid!("{n} outputs are split into {} parts", sizes.len()));
    }
    let total: Dim = sizes.iter().cloned().sum();
    if let (Some(total), Some(extent)) = (total.as_const(), extent.as_const())
        && total != extent
    {
        return Err(invalid!("parts of {total} elements do not make up an extent of {extent}"));
    }
    // The run checks that the parts make up the extent.
    let mut whole = cx.shape(x)?;
    whole[axis] = total;
    let x = cx.reshape(x, whole)?;
    let mut start = Dim::constant(0);
    let mut parts = Vec::new();
    for size in sizes {
        parts.push(cx.slice(x, axis, start.clone(), size.clone())?);
        start = start + size;
    }
    Ok(parts)
}

fn equal_parts(extent: &Dim, n: usize) -> Vec<Dim> {
    let size = extent.ceil_div(&Dim::constant(n as i64));
    let mut sizes = vec![size.clone(); n - 1];
    sizes.push(extent.clone() - size * Dim::constant(n as i64 - 1));
    sizes
}

/// `Concat`.
pub(super) fn concat(cx: &mut Context, node: &NodeView) -> Results {
    let inputs = node.all_inputs()?;
    let first = node.input(0)?;
    let axis = cx.axis(first, node.int("axis").unwrap_or(1))?;
    Ok(vec![cx.concat(&inputs, axis)?])
}

/// `Pad`; what is negative is cut off.
pub(super) fn pad(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let rank = cx.rank(x)?;
    let given = match node.ints("pads").or(node.ints("paddings")) {
        Some(pads) => pads.iter().map(|&p| Dim::constant(p)).collect(),
        None if cx.try_ints(node.input(1)?).is_none() || super::runtime_axes(cx, node, 3).is_some() => {
            return super::slice_in_run::pad(cx, node);
        }
        None => cx.ints(node.input(1)?, "pads")?,
    };
    let axes = match node.opt(3) {
        Some(axes) => cx.constant_ints(axes, "axes")?.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if given.len() != 2 * axes.len() {
        return Err(invalid!("`pads` must have {} elements, found {}", 2 * axes.len(), given.len()));
    }
    let mut pads = vec![Dim::constant(0); 2 * rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[axis] = given[i].clone();
        pads[rank + axis] = given[axes.len() + i].clone();
    }
    let (mode, value) = pad_mode(cx, node)?;
    Ok(vec![pad_or_crop(cx, x, pads, mode, value)?])
}

/// How `Pad` fills, and with what if that is not 0.
pub(super) fn pad_mode(cx: &mut Context, node: &NodeView) -> Result<(PadMode, Option<ValueId>)> {
    let mode = match node.text("mode") {
        None | Some("constant") => PadMode::Constant,
        Some("reflect") => PadMode::Reflect,
        Some("edge") => PadMode::Edge,
        Some("wrap") => PadMode::Wrap,
        Some(other) => return Err(invalid!("attribute `mode` is `{other}`")),
    };
    let value = match (node.opt(2), node.float("value")) {
        (Some(value), _) => Some(cx.reshape(value, vec![])?),
        (None, Some(value)) if value != 0.0 => Some(cx.scalar_like(node.input(0)?, f64::from(value))?),
        _ => None,
    };
    Ok((mode, value.filter(|_| mode == PadMode::Constant)))
}

/// Pads, and cuts off where pads are negative.
pub(super) fn pad_or_crop(
    cx: &mut Context,
    mut x: ValueId,
    mut pads: Vec<Dim>,
    mode: PadMode,
    value: Option<ValueId>,
) -> Result<ValueId> {
    let rank = cx.rank(x)?;
    for axis in 0..rank {
        let negative = |pad: &Dim| !at_most(&Dim::constant(0), pad);
        let (begin, end) = (pads[axis].clone(), pads[rank + axis].clone());
        if !negative(&begin) && !negative(&end) {
            continue;
        }
        let zero = Dim::constant(0);
        let [cut_begin, cut_end] = [&begin, &end].map(|pad| (zero.clone() - pad.clone()).maximum(&zero));
        let extent = cx.shape(x)?[axis].clone() - cut_begin.clone() - cut_end;
        x = cx.slice(x, axis, cut_begin, extent)?;
        pads[axis] = begin.maximum(&zero);
        pads[rank + axis] = end.maximum(&zero);
    }
    if pads.iter().all(|pad| pad.is(0)) {
        return Ok(x);
    }
    let results = cx.push_all(ops::Pad { mode, pads }, &[Some(x), value])?;
    Ok(results[0])
}

/// `Tile`: repeats along every axis, by a broadcast over new axes.
pub(super) fn tile(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let repeats = match (node.opset < 6, node.opt(2)) {
        (true, Some(axis)) => {
            let (axis, tiles) = (cx.constant_ints(axis, "axis")?, cx.ints(node.input(1)?, "tiles")?);
            let mut repeats = vec![Dim::constant(1); shape.len()];
            let axis = cx.axis(x, axis.first().copied().unwrap_or(0))?;
            repeats[axis] = tiles.into_iter().next().unwrap_or_else(|| Dim::constant(1));
            repeats
        }
        _ => cx.ints(node.input(1)?, "repeats")?,
    };
    if repeats.len() != shape.len() {
        return Err(invalid!("`repeats` must have {} elements, found {}", shape.len(), repeats.len()));
    }
    Ok(vec![repeated(cx, x, &repeats)?])
}

/// The tensor `repeats[i]` times along each axis `i`.
pub(super) fn repeated(cx: &mut Context, x: ValueId, repeats: &[Dim]) -> Result<ValueId> {
    let shape = cx.shape(x)?;
    if repeats.iter().any(|repeat| repeat.is(0)) {
        let zero = cx.constant(Tensor::zeros(cx.dtype(x)?, vec![]))?;
        return cx.expand(zero, shape.into_iter().zip(repeats).map(|(d, n)| d * n.clone()).collect());
    }
    let (mut split, mut wide, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (extent, repeat) in shape.iter().zip(repeats) {
        if !repeat.is(1) {
            split.push(Dim::constant(1));
            wide.push(repeat.clone());
        }
        split.push(extent.clone());
        wide.push(extent.clone());
        joined.push(extent.clone() * repeat.clone());
    }
    let split = cx.reshape(x, split)?;
    let wide = cx.expand(split, wide)?;
    cx.reshape(wide, joined)
}

/// `CenterCropPad`: along each axis cut or padded with zeros to the target extent, half at either end.
pub(super) fn center_crop_pad(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = node.input(0)?;
    let target = cx.ints(node.input(1)?, "shape")?;
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?,
        None => (0..cx.rank(x)?).collect(),
    };
    let rank = cx.rank(x)?;
    let mut pads = vec![Dim::constant(0); 2 * rank];
    let (zero, two) = (Dim::constant(0), Dim::constant(2));
    for (&axis, extent) in axes.iter().zip(&target) {
        let found = cx.shape(x)?[axis].clone();
        let (cut, added) = (found.clone() - extent.clone(), extent.clone() - found.clone());
        if !at_most(&cut, &zero) {
            x = cx.slice(x, axis, not_negative(&cut).floor_div(&two), extent.minimum(&found))?;
        }
        pads[axis] = not_negative(&added).floor_div(&two);
        pads[rank + axis] = not_negative(&added).ceil_div(&two);
    }
    Ok(vec![pad_or_crop(cx, x, pads, PadMode::Constant, None)?])
}
