//! How generated code walks a kernel's iteration space.

use super::{Form, Node, Pass};
use ic_ir::kernel::{Atom, Index};
use ic_types::Dim;

/// How the iteration space is walked, and which axis lies along the vectors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Schedule {
    /// No pass has inner axes. The last outer axis lies along the vectors.
    Points,
    /// Each outer point alone; the last inner axis lies along the vectors.
    Rows,
    /// The last outer axis lies along the vectors; inner axes are walked one point at a time.
    Columns,
}

/// The schedule whose memory accesses are contiguous most often.
pub(crate) fn choose(form: &Form) -> Schedule {
    if form.passes.iter().all(|pass| pass.inner.is_empty()) {
        return Schedule::Points;
    }
    let Some(column) = form.outer.len().checked_sub(1) else { return Schedule::Rows };
    let is_below = |extent: &Dim, bound: i64| extent.as_const().is_some_and(|extent| extent < bound);
    let narrow = is_below(&form.outer[column], 8);
    // Of a few elements, a row costs more than its elements.
    if !narrow && form.passes.iter().filter_map(|pass| pass.inner.last()).all(|extent| is_below(extent, 8)) {
        return Schedule::Columns;
    }
    let (mut rows, mut columns) = (0, 0);
    for pass in form.passes.iter().filter(|pass| !pass.inner.is_empty()) {
        let row = form.outer.len() + pass.inner.len() - 1;
        let indices = accesses(pass);
        rows += indices.iter().filter(|index| is_unit(index, row)).count();
        columns += indices.iter().filter(|index| is_unit(index, column) && !is_unit(index, row)).count();
    }
    if columns > rows && !narrow { Schedule::Columns } else { Schedule::Rows }
}

fn accesses(pass: &Pass) -> Vec<&Index> {
    let loads = pass.nodes.iter().filter_map(|node| match node {
        Node::Load(get) => Some(&get.at),
        _ => None,
    });
    let stores = pass.stores.iter().filter(|_| pass.reduce.is_none()).map(|store| &store.at);
    loads.chain(stores).collect()
}

/// Whether neighbours on `axis` are neighbours in memory.
fn is_unit(index: &Index, axis: usize) -> bool {
    index.terms.iter().any(|(atom, coefficient)| *atom == Atom::Axis(axis as u32) && coefficient.is(1))
}
