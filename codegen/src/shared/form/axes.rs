//! Axes: those of extent 1 vanish, those that every access walks as one are merged.

use super::{Form, Pass, Schedule};
use ic_ir::kernel::{Atom, Index};
use ic_types::Dim;

/// Drops axes of extent 1. The last outer axis stays if `fixed` says that its tiles are columns.
pub(super) fn drop_unit_axes(form: &mut Form, fixed: Option<Schedule>) {
    let columns = usize::from(fixed == Some(Schedule::Points));
    let droppable = |outer: &[Dim]| outer.len().saturating_sub(columns);
    while let Some(axis) = form.outer[..droppable(&form.outer)].iter().position(|extent| extent.is(1)) {
        form.outer.remove(axis);
        form.passes.iter_mut().for_each(|pass| pass.for_each_index(&mut |index| *index = without(index, axis)));
    }
    let n_outer = form.outer.len();
    for pass in &mut form.passes {
        while let Some(axis) = pass.inner.iter().position(|extent| extent.is(1)) {
            pass.inner.remove(axis);
            pass.for_each_index(&mut |index| *index = without(index, n_outer + axis));
        }
        // The reduction of one element is that element.
        if pass.inner.is_empty() {
            pass.reduce = None;
        }
    }
    // Vectors lie along the last outer axis of a kernel without inner ones.
    if form.outer.is_empty() && form.passes.iter().all(|pass| pass.inner.is_empty()) {
        form.outer.push(Dim::constant(1));
    }
}

/// The index with axis `axis` at 0, and the axes after it renumbered.
fn without(index: &Index, axis: usize) -> Index {
    map_axes(index, &|a| match (a as usize).cmp(&axis) {
        std::cmp::Ordering::Less => Some(a),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(a - 1),
    })
}

/// The index with every axis renumbered, or at 0 where `to` says `None`.
fn map_axes(index: &Index, to: &dyn Fn(u32) -> Option<u32>) -> Index {
    let mut result = Index::constant(index.constant.clone());
    for (atom, coefficient) in &index.terms {
        let atom = match atom {
            Atom::Axis(axis) => to(*axis).map(Atom::Axis),
            Atom::FloorDiv(index, divisor) => Some(Atom::FloorDiv(Box::new(map_axes(index, to)), divisor.clone())),
            Atom::Mod(index, divisor) => Some(Atom::Mod(Box::new(map_axes(index, to)), divisor.clone())),
        };
        if let Some(atom) = atom {
            result = result.plus(&Index { terms: vec![(atom, coefficient.clone())], constant: Dim::constant(0) });
        }
    }
    result
}

/// Merges neighbouring axes that every access walks as one. The last outer axis stays apart if `fixed` says that its
/// tiles are columns.
pub(super) fn merge_axes(form: &mut Form, fixed: Option<Schedule>) {
    let mut a = form.outer.len().saturating_sub(1);
    while a > 0 {
        a -= 1;
        let is_column = fixed == Some(Schedule::Points) && a + 2 == form.outer.len();
        let extent = form.outer[a + 1].clone();
        if !is_column && form.passes.iter_mut().all(|pass| walks_as_one(pass, a, &extent)) {
            form.passes.iter_mut().for_each(|pass| merge(pass, a));
            form.outer[a] = form.outer[a].clone() * extent;
            form.outer.remove(a + 1);
        }
    }
    let n_outer = form.outer.len();
    for pass in &mut form.passes {
        let mut a = pass.inner.len().saturating_sub(1);
        while a > 0 {
            a -= 1;
            let extent = pass.inner[a + 1].clone();
            if walks_as_one(pass, n_outer + a, &extent) {
                merge(pass, n_outer + a);
                pass.inner[a] = pass.inner[a].clone() * extent;
                pass.inner.remove(a + 1);
            }
        }
    }
}

/// Gives vectors a longer axis to lie along than one of a few channels, if no pass has inner axes.
pub(super) fn move_short_axis(form: &mut Form) {
    let is_short = |extent: &Dim| extent.as_const().is_some_and(|extent| extent < 8);
    let last = form.outer.len().saturating_sub(1);
    let points = form.passes.iter().all(|pass| pass.inner.is_empty());
    if points && last > 0 && is_short(&form.outer[last]) && !is_short(&form.outer[last - 1]) {
        form.outer.swap(last - 1, last);
        let swapped = |axis: u32| match axis as usize {
            axis if axis == last => last - 1,
            axis if axis + 1 == last => last,
            axis => axis,
        };
        let swap = &mut |index: &mut Index| *index = map_axes(index, &|axis| Some(swapped(axis) as u32));
        form.passes.iter_mut().for_each(|pass| pass.for_each_index(swap));
    }
}

/// Whether the last outer axis is so short that a loop over it would cost more than its elements.
pub(super) fn has_short_columns(form: &Form) -> bool {
    let is_short = |extent: &Dim| extent.as_const().is_some_and(|extent| (1..=64).contains(&extent));
    let has_strips = form.passes.iter().any(|pass| (0..pass.nodes.len()).any(|id| pass.is_strip(id)));
    form.schedule == Schedule::Points && !has_strips && form.outer.len() > 1 && form.outer.last().is_some_and(is_short)
}

/// Merges axes `a` and `a + 1`, of extent `extent`, of a pass, if every access walks them as one; whether it did.
pub(crate) fn merge_pair(pass: &mut Pass, a: usize, extent: &Dim) -> bool {
    let merges = walks_as_one(pass, a, extent);
    if merges {
        merge(pass, a);
    }
    merges
}

/// Whether all indices see axes `a` and `a + 1`, of extent `extent`, as one.
fn walks_as_one(pass: &mut Pass, a: usize, extent: &Dim) -> bool {
    fn check(index: &Index, a: usize, extent: &Dim) -> bool {
        let coefficient = |axis: usize| {
            let found = index.terms.iter().find(|(atom, _)| *atom == Atom::Axis(axis as u32));
            found.map_or(Dim::constant(0), |(_, coefficient)| coefficient.clone())
        };
        coefficient(a) == coefficient(a + 1) * extent.clone()
            && index.terms.iter().all(|(atom, _)| match atom {
                Atom::Axis(_) => true,
                Atom::FloorDiv(index, _) | Atom::Mod(index, _) => check(index, a, extent),
            })
    }
    let mut all = true;
    pass.for_each_index(&mut |index| all &= check(index, a, extent));
    all
}

/// Makes axes `a` and `a + 1` one.
fn merge(pass: &mut Pass, a: usize) {
    pass.for_each_index(&mut |index| {
        *index = map_axes(index, &|axis| match (axis as usize).cmp(&a) {
            std::cmp::Ordering::Less => Some(axis),
            // The coefficient of the second axis is that of the merged one.
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(axis - 1),
        });
    });
}
