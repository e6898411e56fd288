//! Where the elements of a result come from, for ops that only move elements, as quasi-affine indices.

use ic_ir::kernel::Index;
use ic_ir::ops::Op;
use ic_ir::{Graph, Node, ValueId};
use ic_types::Dim;

/// The operand's element that the element `indices` of the node's result copies, if the node only moves elements of
/// one operand. `extents` are those of the axes in the indices.
pub(crate) fn moved(graph: &Graph, node: &Node, indices: &[Index], extents: &[Dim]) -> Option<(ValueId, Vec<Index>)> {
    let operand = node.operands.first().copied().flatten()?;
    let result = &graph.ty(*node.results.first()?).as_tensor()?.shape;
    let source = &graph.ty(operand).as_tensor()?.shape;
    let indices = match &node.op {
        Op::Reshape(_) => reshape(indices, result, source, extents),
        Op::Transpose(op) => {
            let mut moved = vec![Index::default(); source.len()];
            op.perm.iter().zip(indices).for_each(|(&axis, index)| moved[axis].clone_from(index));
            moved
        }
        Op::Expand(_) => broadcast(indices, result, source),
        Op::Slice(op) => {
            let mut moved = indices.to_vec();
            for (i, &axis) in op.axes.iter().enumerate() {
                let start = Index::constant(op.starts[i].clone());
                moved[axis] = indices[axis].times(&Dim::constant(op.steps[i])).plus(&start);
            }
            moved
        }
        Op::Gather(op) => {
            let selected = selected(graph, node, &source[op.axis])?;
            let rank = graph.ty(node.operands[1]?).as_tensor()?.rank();
            let mut moved = indices[..op.axis].to_vec();
            moved.push(Index::constant(selected));
            moved.extend_from_slice(&indices[op.axis + rank..]);
            moved
        }
        Op::Cast(op) if op.to == graph.dtype(operand) => indices.to_vec(),
        Op::Reduce(op) if op.axes.is_empty() => indices.to_vec(),
        _ => return None,
    };
    Some((operand, indices))
}

/// The one index of a gather whose indices are a single known element, counted from the front.
fn selected(graph: &Graph, node: &Node, extent: &Dim) -> Option<Dim> {
    let [index] = graph.elements(node.operands[1]?)? else { return None };
    match index.as_const() {
        Some(i) if i < 0 => Some(extent.clone() + Dim::constant(i)),
        _ if index.lower_bound().is_some_and(|low| low >= 0) => Some(index.clone()),
        _ => None,
    }
}

/// The element of a tensor of shape `source` that broadcasts to element `indices` of shape `result`.
///
/// An extent that may or may not be 1 multiplies its index by 0 where it is 1 and by 1 otherwise.
pub(crate) fn broadcast(indices: &[Index], result: &[Dim], source: &[Dim]) -> Vec<Index> {
    let skip = result.len() - source.len();
    let axes = source.iter().zip(result[skip..].iter().zip(&indices[skip..]));
    axes.map(|(extent, (result, index))| index.times(&extent.broadcast_factor(result))).collect()
}

/// The element of a tensor of shape `source` that has the row-major number of element `indices` of shape `result`.
pub(crate) fn reshape(indices: &[Index], result: &[Dim], source: &[Dim], extents: &[Dim]) -> Vec<Index> {
    let mut moved = Vec::with_capacity(source.len());
    for (from, to) in groups(result, source) {
        let linear = linearize(&indices[from.clone()], &result[from]);
        moved.extend(delinearize(linear, &source[to], extents));
    }
    moved
}

type Range = std::ops::Range<usize>;

/// Runs of axes of `a` and `b` with equal numbers of elements, in order: as short as the extents let one prove.
fn groups(a: &[Dim], b: &[Dim]) -> Vec<(Range, Range)> {
    let prefix = |shape: &[Dim]| {
        let mut products = vec![Dim::constant(1)];
        for extent in shape {
            let last = products[products.len() - 1].clone();
            products.push(last * extent.clone());
        }
        products
    };
    let (x, y) = (prefix(a), prefix(b));
    let (mut groups, mut i, mut j) = (Vec::new(), 0, 0);
    while i < a.len() || j < b.len() {
        let ends = (i + 1..=a.len()).flat_map(|m| (j + 1..=b.len()).map(move |n| (m, n)));
        let end = ends.filter(|&(m, n)| x[m] == y[n]).min_by_key(|(m, n)| m + n).unwrap_or((a.len(), b.len()));
        groups.push((i..end.0, j..end.1));
        (i, j) = end;
    }
    groups
}

/// The row-major number of element `indices` of `shape`.
pub(crate) fn linearize(indices: &[Index], shape: &[Dim]) -> Index {
    indices.iter().zip(strides(shape)).fold(Index::default(), |sum, (index, stride)| sum.plus(&index.times(&stride)))
}

/// Row-major strides of `shape`.
pub(crate) fn strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::constant(1); shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].clone() * shape[axis].clone();
    }
    strides
}

/// The element of `shape` with row-major number `linear`.
pub(crate) fn delinearize(linear: Index, shape: &[Dim], extents: &[Dim]) -> Vec<Index> {
    let mut indices = vec![Index::default(); shape.len()];
    let Some(first) = shape.iter().position(|extent| !extent.is(1)) else { return indices };
    let mut rest = linear;
    for axis in (first + 1..shape.len()).rev() {
        indices[axis] = rest.modulo(&shape[axis], extents);
        rest = rest.floor_div(&shape[axis], extents);
    }
    indices[first] = rest;
    indices
}

/// Whether the result of a node that only moves elements is a run of its operand's elements, in their order: `Some`
/// with the operand and the number of the first.
pub(crate) fn dense_part(graph: &Graph, node: &Node) -> Option<(ValueId, Dim)> {
    let shape = &graph.ty(*node.results.first()?).as_tensor()?.shape;
    let axes = domain(shape);
    let (operand, indices) = moved(graph, node, &axes, shape)?;
    let source = linearize(&indices, &graph.ty(operand).as_tensor()?.shape);
    let offset = source.constant.clone();
    let start = Index::constant(offset.clone());
    (source == linearize(&axes, shape).plus(&start)).then_some((operand, offset))
}

/// One index per axis of `shape`: the axis's variable, or 0 where the extent is 1.
pub(crate) fn domain(shape: &[Dim]) -> Vec<Index> {
    let variable = |(axis, extent): (usize, &Dim)| if extent.is(1) { Index::default() } else { Index::axis(axis) };
    shape.iter().enumerate().map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_match_axes_with_sums_as_extents() {
        let total = Dim::symbol("P") + Dim::symbol("S");
        let (twelve, d) = (Dim::constant(12), Dim::constant(64));
        let result = [total.clone(), twelve.clone() * d.clone()];
        let source = [total.clone(), twelve, d];
        let back = reshape(&domain(&source), &source, &result, &source);
        assert_eq!(back, [Index::axis(0), Index::axis(1).times(&Dim::constant(64)).plus(&Index::axis(2))]);
        assert_eq!(groups(&result, &source), [(0..1, 0..1), (1..2, 1..3)]);
    }

    #[test]
    fn extents_of_1_match_nothing_or_anything() {
        let one = Dim::constant(1);
        let n = Dim::symbol("N");
        let moved = reshape(
            &domain(std::slice::from_ref(&n)),
            std::slice::from_ref(&n),
            &[one.clone(), n.clone(), one],
            std::slice::from_ref(&n),
        );
        assert_eq!(moved, [Index::default(), Index::axis(0), Index::default()]);
    }
}
