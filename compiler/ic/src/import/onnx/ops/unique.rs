//! ONNX `Unique`: rows are sorted column by column, then those that differ from the one before are picked.

use super::prelude::*;
use ic_ir::ops::{Cumulative, CumulativeFn, NonZero, Reduce, ReduceFn, Reduction, ScatterElements, TopK};

/// Elements of a row beyond which sorting column by column is refused.
const MAX_COLUMNS: i64 = 64;

/// `Unique`: values, first positions, the value of each position, and counts.
pub(super) fn unique(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let axis = node.int("axis").map(|axis| cx.axis(x, axis)).transpose()?;
    let front =
        axis.map_or(vec![], |axis| std::iter::once(axis).chain((0..shape.len()).filter(|i| *i != axis)).collect());
    let (rows, row_shape) = match axis {
        Some(_) => {
            let moved = cx.transpose(x, front.clone())?;
            let moved_shape = cx.shape(moved)?;
            let width = moved_shape[1..].iter().cloned().product();
            (cx.reshape(moved, vec![moved_shape[0].clone(), width])?, moved_shape[1..].to_vec())
        }
        None => {
            let elements = cx.ty(x)?.elements();
            (cx.reshape(x, vec![elements, Dim::constant(1)])?, vec![])
        }
    };
    let order = sorted_order(cx, rows)?;
    let sorted = cx.gather(rows, order, 0)?;
    let is_first = differs_from_previous(cx, sorted)?;
    let count = super::select::count(cx, node);
    let found = cx.push(NonZero { count: count.clone() }, &[is_first])?;
    let found = cx.reshape(found, vec![count.clone()])?;
    // Equal rows keep their order, so the first of each run is the first of the input.
    let mut first = cx.gather(order, found, 0)?;
    let mut groups = group_of_each(cx, is_first, order)?;
    if !node.flag("sorted", true) {
        let by_position = ascending(cx, first)?;
        let places = cx.iota(count.clone(), DType::I64)?;
        let new_place =
            cx.push(ScatterElements { axis: 0, reduction: Reduction::None }, &[places, by_position, places])?;
        first = cx.gather(first, by_position, 0)?;
        groups = cx.gather(new_place, groups, 0)?;
    }
    let picked = cx.gather(rows, first, 0)?;
    let mut values = cx.reshape(picked, [vec![count.clone()], row_shape].concat())?;
    if axis.is_some() {
        let mut back = vec![0; front.len()];
        front.iter().enumerate().for_each(|(i, &axis)| back[axis] = i);
        values = cx.transpose(values, back)?;
    }
    let none = cx.scalar(DType::I64, 0.0)?;
    let none = cx.expand(none, vec![count])?;
    let one = cx.scalar(DType::I64, 1.0)?;
    let ones = cx.expand(one, cx.shape(groups)?)?;
    let counts = cx.push(ScatterElements { axis: 0, reduction: Reduction::Add }, &[none, groups, ones])?;
    Ok(vec![values, first, groups, counts])
}

/// The positions of the elements of a vector in ascending order; equal ones keep theirs.
fn ascending(cx: &mut Context, x: ValueId) -> Result<ValueId> {
    let k = cx.shape(x)?[0].clone();
    Ok(cx.push_all(TopK { k, axis: 0, largest: false, sorted: true }, &[Some(x)])?[1])
}

/// The order of rows that is ascending by the first column, then by the second, and so on.
fn sorted_order(cx: &mut Context, rows: ValueId) -> Result<ValueId> {
    let shape = cx.shape(rows)?;
    let n_columns = shape[1].as_const().filter(|n| *n <= MAX_COLUMNS);
    let n_columns = n_columns.ok_or_else(|| unsupported!("slices of {} elements are not sorted", shape[1]))?;
    let mut order = cx.iota(shape[0].clone(), DType::I64)?;
    for column in (0..n_columns).rev() {
        let keys = cx.slice(rows, 1, Dim::constant(column), Dim::constant(1))?;
        let keys = cx.squeeze(keys, &[1])?;
        let keys = cx.gather(keys, order, 0)?;
        let refined = ascending(cx, keys)?;
        order = cx.gather(order, refined, 0)?;
    }
    Ok(order)
}

/// Whether each row differs from the one before; the first does.
fn differs_from_previous(cx: &mut Context, rows: ValueId) -> Result<ValueId> {
    let position = cx.iota(cx.shape(rows)?[0].clone(), DType::I64)?;
    let before = cx.with_scalar(ScalarOp::Sub, position, 1.0)?;
    let before = cx.with_scalar(ScalarOp::Max, before, 0.0)?;
    let previous = cx.gather(rows, before, 0)?;
    let unequal = cx.binary(ScalarOp::Ne, rows, previous)?;
    let differs = cx.push(Reduce { function: ReduceFn::Any, axes: vec![1], keep_dims: false }, &[unequal])?;
    let is_start = cx.with_scalar(ScalarOp::Eq, position, 0.0)?;
    cx.binary(ScalarOp::Or, differs, is_start)
}

/// For each position of the input, the number of its run in sorted order.
fn group_of_each(cx: &mut Context, is_first: ValueId, order: ValueId) -> Result<ValueId> {
    let starts = cx.cast(is_first, DType::I64)?;
    let sum = Cumulative { function: CumulativeFn::Sum, axis: 0, exclusive: false, reverse: false };
    let running = cx.push(sum, &[starts])?;
    let group = cx.with_scalar(ScalarOp::Sub, running, 1.0)?;
    cx.push(ScatterElements { axis: 0, reduction: Reduction::None }, &[order, order, group])
}
