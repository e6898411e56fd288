//! Fewer and longer loops: axes that only occur divided are split, neighbours that are contiguous everywhere merge.

use super::comparisons::relax_comparisons;
use ic_ir::kernel::{Atom, Axis, Bound, Expr, Index, Kernel, Stage};
use ic_types::Dim;

/// Simplifies the axes of a generated kernel. Kernels of whole ops keep theirs.
pub(crate) fn simplify_axes(kernel: &mut Kernel) {
    const MAX_SPLITS: usize = 8;
    for _ in 0..MAX_SPLITS {
        let Some((axis, divisor)) = split_point(kernel) else { break };
        split(kernel, axis, &divisor);
    }
    relax_bounds(kernel);
    let extents = all_extents(kernel);
    relax_comparisons(kernel, &extents);
    while let Some(axis) = merge_point(kernel) {
        merge(kernel, axis);
    }
}

/// The extents of the axes that a stage sees.
fn extents(kernel: &Kernel, stage: &Stage) -> Vec<Dim> {
    kernel.outer.iter().chain(&stage.inner).map(|axis| axis.extent.clone()).collect()
}

/// The extents of all axes; stages with inner axes have the same ones.
fn all_extents(kernel: &Kernel) -> Vec<Dim> {
    let longest = kernel.stages.iter().max_by_key(|stage| stage.inner.len());
    longest.map_or(Vec::new(), |stage| extents(kernel, stage))
}

fn for_each_index(stage: &Stage, visit: &mut dyn FnMut(&Index)) {
    let visit_bounds = |bounds: &[Bound], visit: &mut dyn FnMut(&Index)| bounds.iter().for_each(|b| visit(&b.index));
    for expr in &stage.body {
        match expr {
            Expr::Index(index) => visit(index),
            Expr::Load(load) => {
                load.indices.iter().for_each(&mut *visit);
                visit_bounds(&load.bounds, visit);
            }
            Expr::Const(..) | Expr::Stage(_) | Expr::Apply(..) | Expr::Cast(..) => {}
        }
    }
    for store in &stage.stores {
        store.indices.iter().for_each(&mut *visit);
        visit_bounds(&store.bounds, visit);
    }
}

fn map_indices(stage: &mut Stage, map: &dyn Fn(&Index) -> Index) {
    let map_bounds = |bounds: &mut [Bound]| bounds.iter_mut().for_each(|b| b.index = map(&b.index));
    for expr in &mut stage.body {
        match expr {
            Expr::Index(index) => *index = map(index),
            Expr::Load(load) => {
                load.indices.iter_mut().for_each(|index| *index = map(index));
                map_bounds(&mut load.bounds);
            }
            Expr::Const(..) | Expr::Stage(_) | Expr::Apply(..) | Expr::Cast(..) => {}
        }
    }
    for store in &mut stage.stores {
        store.indices.iter_mut().for_each(|index| *index = map(index));
        map_bounds(&mut store.bounds);
    }
}

/// An axis that is divided by something that divides its extent, or cut by bounds.
fn split_point(kernel: &Kernel) -> Option<(usize, Dim)> {
    let mut found = None;
    for stage in &kernel.stages {
        let extents = extents(kernel, stage);
        for_each_index(stage, &mut |index| find_split(index, &extents, &mut found));
        let bounds = stage.body.iter().filter_map(|expr| match expr {
            Expr::Load(load) => Some(&load.bounds),
            _ => None,
        });
        for bound in bounds.flatten() {
            found = found.or_else(|| bound_split(bound, &extents));
        }
    }
    found.map(|(axis, divisor)| finer_split(kernel, axis, divisor))
}

/// The split of an axis where all bounds cut it, unless the pieces become much smaller than `divisor`: in which order
/// pieces were put together does not show.
fn finer_split(kernel: &Kernel, axis: usize, divisor: Dim) -> (usize, Dim) {
    const MUCH: i64 = 4;
    let Some(coarse) = divisor.as_const() else { return (axis, divisor) };
    let mut fine = coarse;
    for stage in &kernel.stages {
        let extents = extents(kernel, stage);
        for bound in stage.body.iter().filter_map(|expr| if let Expr::Load(load) = expr { Some(load) } else { None }) {
            let splits = bound.bounds.iter().filter_map(|bound| bound_split(bound, &extents));
            fine = splits.filter(|split| split.0 == axis).filter_map(|split| split.1.as_const()).fold(fine, gcd);
        }
    }
    if fine > 1 && fine * MUCH >= coarse { (axis, Dim::constant(fine)) } else { (axis, divisor) }
}

fn find_split(index: &Index, extents: &[Dim], found: &mut Option<(usize, Dim)>) {
    for (atom, _) in &index.terms {
        let (Atom::FloorDiv(inner, divisor) | Atom::Mod(inner, divisor)) = atom else { continue };
        find_split(inner, extents, found);
        let [(Atom::Axis(axis), one)] = inner.terms.as_slice() else { continue };
        let whole = one.is(1) && inner.constant.is(0);
        if found.is_none() && whole && is_proper_divisor(divisor, &extents[*axis as usize]) {
            *found = Some((*axis as usize, divisor.clone()));
        }
    }
}

fn is_proper_divisor(divisor: &Dim, extent: &Dim) -> bool {
    !divisor.is(1) && extent != divisor && extent.exact_div(divisor).is_some()
}

/// An axis that a bound cuts at a multiple of something that divides its extent.
fn bound_split(bound: &Bound, extents: &[Dim]) -> Option<(usize, Dim)> {
    let [(Atom::Axis(axis), one)] = bound.index.terms.as_slice() else { return None };
    let extent = extents[*axis as usize].as_const()?;
    let low = bound.low.as_const()?.checked_sub(bound.index.constant.as_const()?)?.max(0);
    let high = bound.high.as_const()?.checked_sub(bound.index.constant.as_const()?)?.min(extent);
    let divisor = gcd(gcd(low, high), extent);
    (one.is(1) && divisor > 1 && divisor < extent).then(|| (*axis as usize, Dim::constant(divisor)))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

/// Replaces `axis` by two: quotient and remainder by `divisor`.
fn split(kernel: &mut Kernel, axis: usize, divisor: &Dim) {
    let n_outer = kernel.outer.len();
    let parts = |extent: &Dim| {
        let quotient = extent.exact_div(divisor).unwrap_or_else(|| extent.floor_div(divisor));
        [Axis { extent: quotient }, Axis { extent: divisor.clone() }]
    };
    if axis < n_outer {
        let split = parts(&kernel.outer[axis].extent);
        kernel.outer.splice(axis..=axis, split);
    } else {
        for stage in kernel.stages.iter_mut().filter(|stage| !stage.inner.is_empty()) {
            let split = parts(&stage.inner[axis - n_outer].extent);
            stage.inner.splice(axis - n_outer..=axis - n_outer, split);
        }
    }
    let quotient = Index::axis(axis).times(divisor).plus(&Index::axis(axis + 1));
    rename(kernel, &|a| match (a as usize).cmp(&axis) {
        std::cmp::Ordering::Less => Index::axis(a as usize),
        std::cmp::Ordering::Equal => quotient.clone(),
        std::cmp::Ordering::Greater => Index::axis(a as usize + 1),
    });
}

/// Replaces every axis variable. The kernel has the new axes already.
pub(crate) fn rename(kernel: &mut Kernel, replace: &dyn Fn(u32) -> Index) {
    let extents = all_extents(kernel);
    for stage in &mut kernel.stages {
        map_indices(stage, &|index| index.substitute(replace, &extents));
    }
}

/// Divides bounds by what divides both limits, and drops bounds that always hold.
fn relax_bounds(kernel: &mut Kernel) {
    let extents = all_extents(kernel);
    for stage in &mut kernel.stages {
        for expr in &mut stage.body {
            let Expr::Load(load) = expr else { continue };
            load.bounds.iter_mut().for_each(|bound| relax(bound, &extents));
            load.bounds.retain(|b| !(b.low.is(0) && b.index.is_within(&b.high, &extents)));
            if load.bounds.is_empty() {
                load.otherwise = None;
            }
        }
    }
}

/// `low * g <= index * g + rest < high * g` with `0 <= rest < g` is `low <= index < high`.
fn relax(bound: &mut Bound, extents: &[Dim]) {
    let steps: Vec<Dim> = bound.index.terms.iter().map(|(_, c)| c.clone()).filter(|c| !c.is(1)).collect();
    for step in steps {
        let (Some(low), Some(high)) = (bound.low.exact_div(&step), bound.high.exact_div(&step)) else { continue };
        if step.lower_bound().is_none_or(|bound| bound < 1) {
            continue;
        }
        bound.index = bound.index.floor_div(&step, extents);
        (bound.low, bound.high) = (low, high);
        return;
    }
}

/// An axis that is contiguous with the next one wherever they occur.
fn merge_point(kernel: &Kernel) -> Option<usize> {
    let extents = all_extents(kernel);
    let n_outer = kernel.outer.len();
    (0..extents.len().saturating_sub(1)).filter(|axis| axis + 1 != n_outer).find(|&axis| {
        kernel.stages.iter().all(|stage| {
            let mut fits = true;
            for_each_index(stage, &mut |index| fits &= is_contiguous(index, axis as u32, &extents[axis + 1]));
            fits
        })
    })
}

/// Whether `axis` and the next, of extent `extent`, occur only as `axis * extent + next`.
fn is_contiguous(index: &Index, axis: u32, extent: &Dim) -> bool {
    let coefficient = |axis: u32| {
        let term = index.terms.iter().find(|(atom, _)| *atom == Atom::Axis(axis));
        term.map_or_else(|| Dim::constant(0), |(_, c)| c.clone())
    };
    coefficient(axis) == coefficient(axis + 1) * extent.clone()
        && index.terms.iter().all(|(atom, _)| match atom {
            Atom::Axis(_) => true,
            Atom::FloorDiv(inner, _) | Atom::Mod(inner, _) => is_contiguous(inner, axis, extent),
        })
}

/// Makes one axis of `axis` and the next.
fn merge(kernel: &mut Kernel, axis: usize) {
    let n_outer = kernel.outer.len();
    let join = |axes: &mut Vec<Axis>, i: usize| {
        let next = axes.remove(i + 1);
        axes[i].extent = axes[i].extent.clone() * next.extent;
    };
    if axis < n_outer {
        join(&mut kernel.outer, axis);
    } else {
        let stages = kernel.stages.iter_mut().filter(|stage| !stage.inner.is_empty());
        stages.for_each(|stage| join(&mut stage.inner, axis - n_outer));
    }
    rename(kernel, &|a| match (a as usize).cmp(&(axis + 1)) {
        std::cmp::Ordering::Less if a as usize == axis => Index::default(),
        std::cmp::Ordering::Less => Index::axis(a as usize),
        std::cmp::Ordering::Equal => Index::axis(axis),
        std::cmp::Ordering::Greater => Index::axis(a as usize - 1),
    });
}
