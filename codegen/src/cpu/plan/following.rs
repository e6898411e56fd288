//! The stages after an op as kernels of their own, and where the op leaves its result for them.

use super::epilogue::{address, is_identity};
use ic_ir::kernel::{self, Atom, Expr, ExprId, Index, Kernel, Load, Param, Stage, Store};
use ic_types::Dim;

/// Where the epilogue of an op stores its result, and so where the op itself can leave it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Target {
    pub(super) param: u32,
    /// Distance between neighbours on each axis of the result; `None` if dense.
    pub(super) strides: Option<Vec<Dim>>,
    pub(super) offset: Dim,
}

/// The target of the last stage, if every point has one element with the last axis contiguous.
pub(super) fn epilogue_target(kernel: &Kernel) -> Option<Target> {
    let store = kernel.stages[1..].last()?.stores.last().filter(|store| store.bounds.is_empty())?;
    if is_identity(kernel, store.param, &store.indices) {
        return Some(Target { param: store.param, strides: None, offset: Dim::constant(0) });
    }
    let address = address(kernel, store.param, &store.indices);
    let is_affine = address.terms.iter().all(|(atom, _)| matches!(atom, Atom::Axis(_)));
    let coefficient = |axis: usize| {
        let found = address.terms.iter().find(|(atom, _)| *atom == Atom::Axis(axis as u32));
        found.map(|(_, coefficient)| coefficient.clone())
    };
    let mut strides = vec![Dim::constant(1); kernel.outer.len()];
    for axis in (0..kernel.outer.len()).rev() {
        strides[axis] = match (coefficient(axis), kernel.outer.get(axis + 1)) {
            (Some(stride), _) => stride,
            (None, _) if !kernel.outer[axis].extent.is(1) => return None,
            (None, Some(next)) => strides[axis + 1].clone() * next.extent.clone(),
            (None, None) => Dim::constant(1),
        };
    }
    let contiguous = strides.last().is_some_and(|stride| stride.is(1));
    (is_affine && contiguous).then_some(Target { param: store.param, strides: Some(strides), offset: address.constant })
}

/// The stages after the first as a kernel of their own that reads the op's result from parameter `result`.
pub(super) fn following(kernel: &Kernel, result: u32) -> Kernel {
    // The store into the result says where the element of this point is; the op wrote it there.
    let stored = kernel.stages[1..].iter().flat_map(|stage| &stage.stores).find(|store| store.param == result);
    let outer = (0..kernel.outer.len()).map(Index::axis).collect();
    let indices = stored.map_or(outer, |store| store.indices.clone());
    let load = Expr::Load(Load { param: result, indices, gathered: Vec::new(), bounds: Vec::new(), otherwise: None });
    let stages = kernel.stages[1..].iter().map(|stage| {
        let body = stage.body.iter().map(|expr| match expr {
            Expr::Stage(0) => load.clone(),
            Expr::Stage(earlier) => Expr::Stage(earlier - 1),
            expr => expr.clone(),
        });
        Stage { body: body.collect(), ..stage.clone() }
    });
    Kernel { params: kernel.params.clone(), outer: kernel.outer.clone(), stages: stages.collect() }
}

/// The last store of a stage.
fn stored(stage: &Stage) -> Option<&Store> {
    stage.stores.last()
}

/// An op with stages that fold rows of its result as two kernels: the op with its epilogue, which leaves its result
/// where a stage stores it or where the last stage stores its own; and the stages on rows, which load it from there.
/// `None` if that is no place for it: of another type, or not in the order of the result.
pub(super) fn rows_apart(kernel: &Kernel) -> Option<(Kernel, Kernel)> {
    let [op, sum, rows @ ..] = kernel.stages.as_slice() else { return None };
    let store = stored(sum).or_else(|| stored(rows.last()?))?;
    let outer = kernel.outer.iter().chain(&op.inner).cloned().collect();
    let value = sum.body.len().checked_sub(1)? as ExprId;
    let of_sum = Stage { inner: Vec::new(), stores: vec![Store { value, ..store.clone() }], ..sum.clone() };
    let of_op = Stage { inner: Vec::new(), ..op.clone() };
    let tiles = Kernel { params: kernel.params.clone(), outer, stages: vec![of_op, of_sum] };
    let param = &kernel.params[store.param as usize];
    let is_in_order = is_identity(&tiles, store.param, &store.indices) && store.bounds.is_empty();
    let is_there_once = stored(sum).is_some() || kernel.stages.iter().flat_map(|s| &s.stores).count() == 1;
    if param.dtype != kernel::stage_dtype(kernel, 1) || !is_in_order || !is_there_once {
        return None;
    }
    let load = Expr::Load(Load {
        param: store.param,
        indices: store.indices.clone(),
        gathered: Vec::new(),
        bounds: Vec::new(),
        otherwise: None,
    });
    let stages = rows.iter().map(|stage| {
        let body = stage.body.iter().map(|expr| match expr {
            Expr::Stage(1) => load.clone(),
            Expr::Stage(earlier) => Expr::Stage(earlier.saturating_sub(2)),
            expr => expr.clone(),
        });
        Stage { body: body.collect(), ..stage.clone() }
    });
    Some((tiles, Kernel { params: kernel.params.clone(), outer: kernel.outer.clone(), stages: stages.collect() }))
}

/// A kernel that folds rows of an op, with a parameter more, its last, where its second stage stores what the rows are
/// of; and the bytes of that.
pub(super) fn with_temporary_sum(kernel: &Kernel) -> Option<(Kernel, Dim)> {
    let dtype = kernel::stage_dtype(kernel, 1);
    let axes = kernel.outer.iter().chain(&kernel.stages[0].inner);
    let shape: Vec<Dim> = axes.map(|axis| axis.extent.clone()).collect();
    let indices = shape.iter().enumerate();
    let indices = indices.map(|(i, extent)| if extent.is(1) { Index::default() } else { Index::axis(i) }).collect();
    let bytes = shape.iter().cloned().product::<Dim>() * Dim::constant(dtype.size()? as i64);
    let mut kernel = kernel.clone();
    let (value, param) = (kernel.stages[1].body.len().checked_sub(1)? as ExprId, kernel.params.len() as u32);
    kernel.params.push(Param { dtype, shape, is_output: true });
    kernel.stages[1].stores = vec![Store { value, param, indices, bounds: Vec::new() }];
    Some((kernel, bytes))
}

/// The kernel with the parameters that it uses, and which of the old ones they are: weights that only the op reads are
/// not laid out for generated code.
pub(super) fn used_params(mut kernel: Kernel) -> (Kernel, Vec<usize>) {
    let mut used = vec![false; kernel.params.len()];
    for_each_param(&mut kernel, &mut |param| used[*param as usize] = true);
    let kept: Vec<usize> = (0..used.len()).filter(|&param| used[param]).collect();
    for_each_param(&mut kernel, &mut |param| {
        *param = kept.iter().position(|&k| k == *param as usize).expect("used parameters are kept") as u32;
    });
    kernel.params = kept.iter().map(|&param| kernel.params[param].clone()).collect();
    (kernel, kept)
}

fn for_each_param(kernel: &mut Kernel, f: &mut dyn FnMut(&mut u32)) {
    for stage in &mut kernel.stages {
        for expr in &mut stage.body {
            if let Expr::Load(load) = expr {
                f(&mut load.param);
            }
        }
        stage.stores.iter_mut().for_each(|store| f(&mut store.param));
    }
}
