//! Ops as stages of generated kernels: what an op computes as reductions and scalar expressions over its result.
//!
//! Ops and their lowerings are a table; one more is a file beside these and a line there. The stages take the place of
//! the op in its kernel, so that what follows it stays its epilogue.

mod arg_reduce;
mod body;
mod conv_transpose;
mod convolution;
mod cumulative;
mod gather;
mod integer;
mod pool;
mod resize;
mod reverse_sequence;
mod scatter;
mod window;

use crate::shared::form::dense_strides;
use body::Body;
use ic_ir::kernel::{Anchor, Axis, Bound, Expr, Index, Kernel, Load, Operand, Stage, Store};
use ic_ir::ops::Op;
use ic_types::{DType, Dim};

/// An op in its kernel.
struct Site<'a> {
    kernel: &'a Kernel,
    operands: &'a [Option<Operand>],
    /// The shape of the first result, which is the outer space.
    shape: Vec<Dim>,
}

/// The kernel with stages in place of the op that it begins with; `None` if the op has no lowering.
///
/// # Errors
/// What of the op has none.
pub(super) fn lower(kernel: &Kernel) -> Option<Result<Kernel, String>> {
    let Anchor::Op { op, operands, results } = &kernel.stages.first()?.anchor else { return None };
    let shape = match (kernel.stages.len(), results.first().copied().flatten()) {
        (1, Some(result)) => kernel.params[result as usize].shape.clone(),
        _ => kernel.outer.iter().map(|axis| axis.extent.clone()).collect(),
    };
    let site = Site { kernel, operands, shape };
    let stages = match op {
        Op::Pool(op) => pool::stages(op, &site),
        Op::Convolution(op) => convolution::stages(op, &site),
        Op::ConvTranspose(op) => conv_transpose::stages(op, &site),
        Op::Resize(op) => resize::stages(op, &site),
        Op::ArgReduce(op) => arg_reduce::stages(op, &site),
        Op::Cumulative(op) => cumulative::stages(op, &site),
        Op::Gather(op) => gather::slices(op, &site),
        Op::GatherElements(op) => gather::elements(op, &site),
        Op::GatherNd(op) => gather::tuples(op, &site),
        Op::ReverseSequence(op) => reverse_sequence::stages(op, &site),
        Op::ScatterElements(op) => scatter::elements(op, &site),
        Op::ScatterNd(op) => scatter::tuples(op, &site),
        Op::IntegerMatmul(op) => integer::matmul(op, &site),
        Op::IntegerConvolution(op) => integer::convolution(op, &site),
        _ => return None,
    };
    Some(stages.and_then(|stages| spliced(&site, results, stages)))
}

/// The kernel with these stages in place of its first.
fn spliced(site: &Site, results: &[Option<u32>], mut stages: Vec<Stage>) -> Result<Kernel, String> {
    if results.iter().skip(1).any(Option::is_some) {
        return Err("a second result".into());
    }
    let last = stages.last_mut().ok_or("an op without stages")?;
    if let Some(param) = results.first().copied().flatten() {
        if site.kernel.params[param as usize].shape.len() != site.shape.len() {
            return Err("a result that is stored in another shape".into());
        }
        let indices = (0..site.shape.len()).map(Index::axis).collect();
        let value = last.body.len().saturating_sub(1) as u32;
        last.stores.push(Store { value, param, indices, bounds: Vec::new() });
    }
    let shift = stages.len() as u32 - 1;
    stages.extend(site.kernel.stages[1..].iter().map(|stage| {
        let body = stage.body.iter().map(|expr| match expr {
            Expr::Stage(of) => Expr::Stage(of + shift),
            other => other.clone(),
        });
        Stage { body: body.collect(), ..stage.clone() }
    }));
    let outer = site.shape.iter().map(|extent| Axis { extent: extent.clone() }).collect();
    Ok(Kernel { params: site.kernel.params.clone(), outer, stages })
}

impl Site<'_> {
    /// Operand `i`, which may be a view of its parameter.
    fn view(&self, i: usize) -> Result<&Operand, String> {
        self.operands.get(i).and_then(Option::as_ref).ok_or_else(|| "a missing operand".into())
    }

    /// Operand `i`, which is all of its parameter.
    fn operand(&self, i: usize) -> Result<&Operand, String> {
        let operand = self.view(i)?;
        if self.is_whole(operand) { Ok(operand) } else { Err("an operand that is a view".into()) }
    }

    fn is_whole(&self, operand: &Operand) -> bool {
        let param = &self.kernel.params[operand.param as usize];
        let dense = dense_strides(&operand.shape);
        let mut axes = operand.shape.iter().zip(operand.strides.iter().zip(&dense));
        param.shape == operand.shape
            && operand.offset.is(0)
            && axes.all(|(extent, (stride, dense))| extent.is(1) || stride == dense)
    }

    /// Whether there is an operand `i`.
    fn has(&self, i: usize) -> bool {
        self.operands.get(i).is_some_and(Option::is_some)
    }

    /// The element type of operand `i`.
    fn dtype(&self, i: usize) -> Result<DType, String> {
        Ok(self.kernel.params[self.view(i)?.param as usize].dtype)
    }

    /// The shape of operand `i`.
    fn shape_of(&self, i: usize) -> Result<&[Dim], String> {
        Ok(&self.view(i)?.shape)
    }

    /// An element of operand `i`.
    fn load(&self, i: usize, indices: Vec<Index>) -> Result<Expr, String> {
        self.guarded(i, indices, Vec::new(), None)
    }

    /// An element of operand `i`, or `otherwise` where a bound is not kept.
    fn guarded(
        &self,
        i: usize,
        indices: Vec<Index>,
        bounds: Vec<Bound>,
        otherwise: Option<u32>,
    ) -> Result<Expr, String> {
        let operand = self.view(i)?;
        let param = operand.param;
        let indices = if self.is_whole(operand) { indices } else { self.of_whole(operand, &indices) };
        Ok(Expr::Load(Load { param, indices, gathered: Vec::new(), bounds, otherwise }))
    }

    /// Indices of a view as indices of its parameter: all of the distance along the last axis, where neighbours are.
    fn of_whole(&self, operand: &Operand, indices: &[Index]) -> Vec<Index> {
        let rank = self.kernel.params[operand.param as usize].shape.len();
        let start = Index::constant(operand.offset.clone());
        let steps = indices.iter().zip(&operand.strides).map(|(index, stride)| index.times(stride));
        let mut whole = vec![Index::default(); rank];
        if let Some(last) = whole.last_mut() {
            *last = steps.fold(start, |sum, step| sum.plus(&step));
        }
        whole
    }

    /// The element of operand `i` at axes that expressions give, and at `indices` else.
    fn gathered(&self, i: usize, indices: Vec<Index>, gathered: Vec<(u32, u32)>) -> Result<Expr, String> {
        let param = self.operand(i)?.param;
        Ok(Expr::Load(Load { param, indices, gathered, bounds: Vec::new(), otherwise: None }))
    }

    /// The axes of the result.
    fn axes(&self) -> Vec<Index> {
        (0..self.shape.len()).map(Index::axis).collect()
    }
}

/// A stage of one value per point.
fn pointwise(body: Body) -> Stage {
    Stage { inner: Vec::new(), anchor: Anchor::Pointwise, body: body.exprs, stores: Vec::new() }
}

/// A stage that reduces over axes of these extents, which come after the outer ones.
fn reduce(function: ic_ir::scalar::ReduceFn, inner: Vec<Dim>, body: Body) -> Stage {
    let inner = inner.into_iter().map(|extent| Axis { extent }).collect();
    Stage { inner, anchor: Anchor::Reduce(function), body: body.exprs, stores: Vec::new() }
}

/// What sums of elements of a type are in.
fn sum_dtype(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}
