//! How many bytes a kernel reads and writes: what remains when everything that is used twice stays in cache.

use super::dtype::op_result;
use super::index::{Atom, Index};
use super::stage::{Anchor, Axis, Expr, Kernel, Load, Operand, Stage};
use crate::ops::Op;
use ic_types::Dim;

/// Bytes that a kernel moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Read, each element once.
    pub read: Dim,
    /// Written.
    pub written: Dim,
}

/// The bytes of the parameters for which `counts` holds that a kernel reads and writes: of an op, the elements of its
/// operands and results; of a load or store, those at the points of the axes that its indices depend on, at most all of the
/// parameter.
pub fn traffic(kernel: &Kernel, counts: &dyn Fn(u32) -> bool) -> Traffic {
    let (mut read, mut written) = (vec![Vec::new(); kernel.params.len()], vec![Vec::new(); kernel.params.len()]);
    for stage in &kernel.stages {
        if let Anchor::Op { op, operands, results } = &stage.anchor {
            let whole = |param: u32| kernel.params[param as usize].shape.iter().cloned().product();
            let picked = matches!(op, Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_))
                .then(|| op_result(kernel, stage))
                .flatten()
                .map(|ty| ty.shape.into_iter().product::<Dim>());
            for (param, reads) in read.iter_mut().enumerate() {
                let is_source = operands.first().and_then(Option::as_ref).is_some_and(|x| x.param == param as u32);
                // Of what it gathers from, an op reads what it gives.
                let most = picked.as_ref().filter(|_| is_source);
                reads.extend(viewed(operands, param as u32).map(|n| most.map_or(n.clone(), |most| least(n, most))));
            }
            results.iter().flatten().for_each(|&param| written[param as usize].push(whole(param)));
        }
        for expr in &stage.body {
            if let Expr::Load(load) = expr {
                read[load.param as usize].push(loaded(kernel, stage, load));
            }
        }
        let reduces = matches!(stage.anchor, Anchor::Reduce(_));
        let axes = kernel.outer.iter().chain(if reduces { &[] } else { stage.inner.as_slice() });
        let points: Dim = axes.map(|axis| axis.extent.clone()).product();
        stage.stores.iter().for_each(|store| written[store.param as usize].push(points.clone()));
    }
    let bytes = |lists: Vec<Vec<Dim>>| {
        let of_param = |(param, list): (usize, Vec<Dim>)| {
            let size = Dim::constant(kernel.params[param].dtype.size().unwrap_or(1) as i64);
            list.into_iter().reduce(most).filter(|_| counts(param as u32)).map_or(Dim::constant(0), |n| n * size)
        };
        lists.into_iter().enumerate().map(of_param).sum()
    };
    Traffic { read: bytes(read), written: bytes(written) }
}

/// The elements of a parameter that an op sees, if any: those of different views are taken to be different.
fn viewed(operands: &[Option<Operand>], param: u32) -> Option<Dim> {
    let mut views: Vec<&Operand> = Vec::new();
    for operand in operands.iter().flatten().filter(|operand| operand.param == param) {
        if !views.contains(&operand) {
            views.push(operand);
        }
    }
    let elements = |operand: &Operand| {
        let axes = operand.shape.iter().zip(&operand.strides).filter(|(_, stride)| !stride.is(0));
        axes.map(|(extent, _)| extent.clone()).product::<Dim>()
    };
    views.into_iter().map(elements).reduce(|a, b| a + b)
}

fn loaded(kernel: &Kernel, stage: &Stage, load: &Load) -> Dim {
    let whole: Dim = kernel.params[load.param as usize].shape.iter().cloned().product();
    let axes: Vec<&Axis> = kernel.outer.iter().chain(&stage.inner).collect();
    let is_used = |axis: usize| !load.gathered.is_empty() || load.indices.iter().any(|index| depends(index, axis));
    let points: Dim =
        axes.iter().enumerate().filter(|(i, _)| is_used(*i)).map(|(_, axis)| axis.extent.clone()).product();
    least(points, &whole)
}

fn depends(index: &Index, axis: usize) -> bool {
    index.terms.iter().any(|(atom, _)| match atom {
        Atom::Axis(a) => *a as usize == axis,
        Atom::FloorDiv(index, _) | Atom::Mod(index, _) => depends(index, axis),
    })
}

/// The smaller of two numbers of elements; the first if that is not known.
fn least(a: Dim, b: &Dim) -> Dim {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) => Dim::constant(x.min(y)),
        _ => a,
    }
}

/// The greater of two numbers of elements; the first if that is not known.
fn most(a: Dim, b: Dim) -> Dim {
    match (a.as_const(), b.as_const()) {
        (Some(x), Some(y)) => Dim::constant(x.max(y)),
        _ => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Param, Store};
    use crate::ops::Matmul;
    use ic_types::DType;

    #[test]
    fn views_count_their_elements_and_rows_their_points() {
        let dims = |list: &[i64]| list.iter().map(|&n| Dim::constant(n)).collect::<Vec<_>>();
        let param = |dtype, list: &[i64], is_output| Param { dtype, shape: dims(list), is_output };
        let view = |param, shape: &[i64], strides: &[i64]| {
            Some(Operand { param, shape: dims(shape), strides: dims(strides), offset: Dim::constant(0) })
        };
        let at = |axes: &[usize]| axes.iter().map(|&axis| Index::axis(axis)).collect::<Vec<_>>();
        let load = |param, axes: &[usize]| {
            Expr::Load(Load { param, indices: at(axes), gathered: vec![], bounds: vec![], otherwise: None })
        };
        let operands = vec![view(0, &[5, 8], &[24, 1]), view(1, &[8, 4], &[4, 1])];
        let op = Anchor::Op { op: Matmul {}.into(), operands, results: vec![None] };
        let store = Store { value: 2, param: 3, indices: at(&[0, 1]), bounds: vec![] };
        let body = vec![Expr::Stage(0), load(2, &[1]), Expr::Apply(crate::ScalarOp::Add, vec![0, 1])];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &[5, 24], false),
                param(DType::F32, &[8, 4], false),
                param(DType::F16, &[4], false),
                param(DType::F32, &[5, 4], true),
            ],
            outer: dims(&[5, 4]).into_iter().map(|extent| Axis { extent }).collect(),
            stages: vec![
                Stage { inner: vec![], anchor: op, body: vec![], stores: vec![] },
                Stage { inner: vec![], anchor: Anchor::Pointwise, body, stores: vec![store] },
            ],
        };
        let found = traffic(&kernel, &|param| param != 1);
        assert_eq!((found.read, found.written), (Dim::constant(5 * 8 * 4 + 4 * 2), Dim::constant(80)));
    }
}
