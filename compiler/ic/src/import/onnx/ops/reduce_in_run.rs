//! Reductions over axes that only a run knows: every element is scattered, with a reduction, to its place in the result.

use super::prelude::*;
use ic_ir::ops::{Cumulative, CumulativeFn, ReduceFn, Reduction, ScatterElements};

/// Axes that only a run knows.
#[derive(Clone, Copy)]
pub(super) struct AxesInRun {
    /// The numbers of the axes.
    axes: ValueId,
    /// Whether none means none rather than all.
    none_is_none: bool,
}

impl AxesInRun {
    /// The axes of a reduction; `noop` is its attribute `noop_with_empty_axes`.
    ///
    /// # Errors
    /// If `axes` holds no integers.
    pub(super) fn new(cx: &mut Context, axes: ValueId, noop: bool) -> Result<AxesInRun> {
        Ok(AxesInRun { axes: cx.vector_of(axes, "axes")?, none_is_none: noop })
    }

    /// For each axis of `rank`, whether it is reduced.
    fn flags(self, cx: &mut Context, rank: usize) -> Result<ValueId> {
        let flags = cx.axis_flags(self.axes, rank)?;
        if self.none_is_none {
            return Ok(flags);
        }
        let count = cx.shape(self.axes)?;
        let count = cx.dims(count)?;
        let none = cx.with_scalar(ScalarOp::Eq, count, 0.0)?;
        cx.binary(ScalarOp::Or, flags, none)
    }

    /// Reduces over the axes, which keep the extent 1.
    ///
    /// # Errors
    /// If the function does not take the operand's type.
    pub(super) fn reduce(self, cx: &mut Context, function: ReduceFn, x: ValueId) -> Result<ValueId> {
        let dtype = cx.dtype(x)?;
        let (reduction, start) = match function {
            ReduceFn::Sum | ReduceFn::Mean => (Reduction::Add, cx.scalar(dtype, 0.0)?),
            ReduceFn::Prod => (Reduction::Mul, cx.scalar(dtype, 1.0)?),
            ReduceFn::Max => (Reduction::Max, limit(cx, dtype, Extreme::Lowest)?),
            ReduceFn::Min => (Reduction::Min, limit(cx, dtype, Extreme::Highest)?),
            ReduceFn::Any | ReduceFn::All => {
                let wide = cx.cast(x, DType::I32)?;
                let (reduction, start) =
                    if function == ReduceFn::Any { (Reduction::Max, 0.0) } else { (Reduction::Min, 1.0) };
                let start = cx.scalar(DType::I32, start)?;
                let result = self.scatter(cx, wide, reduction, start)?;
                return cx.cast(result, dtype);
            }
        };
        let result = self.scatter(cx, x, reduction, start)?;
        if function != ReduceFn::Mean {
            return Ok(result);
        }
        let (ones, shape) = (cx.scalar(dtype, 1.0)?, cx.shape(x)?);
        let ones = cx.expand(ones, shape)?;
        let count = self.scatter(cx, ones, reduction, start)?;
        cx.binary(ScalarOp::Div, result, count)
    }

    /// Folds every element into its place of the result, which is `start` at first.
    fn scatter(self, cx: &mut Context, x: ValueId, reduction: Reduction, start: ValueId) -> Result<ValueId> {
        let ty = cx.ty(x)?;
        let flags = self.flags(cx, ty.rank())?;
        let (one, extents) = (cx.scalar(DType::I64, 1.0)?, cx.dims(ty.shape.clone())?);
        let extents = cx.select(flags, one, extents)?;
        let shape = cx.ints(extents, "axes")?;
        let places = places(cx, &ty.shape, flags, extents)?;
        let start = cx.expand(start, vec![shape.iter().cloned().product()])?;
        let elements = cx.reshape(x, vec![ty.elements()])?;
        let result = cx.push(ScatterElements { axis: 0, reduction }, &[start, places, elements])?;
        cx.reshape(result, shape)
    }

    /// `result`, a reduction of `x`, without the reduced axes.
    ///
    /// # Errors
    /// If it is not known how many there are.
    pub(super) fn dropped(self, cx: &mut Context, x: ValueId, result: ValueId) -> Result<ValueId> {
        let n = cx.length(self.axes, "axes")?;
        if n == 0 && !self.none_is_none {
            return cx.reshape(result, vec![]);
        }
        let shape = cx.shape(x)?;
        let kept = super::shape::squeezed_in_run(cx, &shape, self.axes)?;
        cx.reshape(result, kept)
    }
}

/// For each element, in row-major order, the number of the element of the result that it is reduced into.
fn places(cx: &mut Context, shape: &[Dim], flags: ValueId, extents: ValueId) -> Result<ValueId> {
    let strides = Cumulative { function: CumulativeFn::Prod, axis: 0, exclusive: true, reverse: true };
    let strides = cx.push(strides, &[extents])?;
    let zero = cx.scalar(DType::I64, 0.0)?;
    let strides = cx.select(flags, zero, strides)?;
    let mut total = zero;
    for (axis, extent) in shape.iter().enumerate() {
        let position = cx.iota(extent.clone(), DType::I64)?;
        let mut along = vec![Dim::constant(1); shape.len()];
        along[axis] = extent.clone();
        let position = cx.reshape(position, along)?;
        let stride = cx.element(strides, axis)?;
        let part = cx.binary(ScalarOp::Mul, position, stride)?;
        total = cx.binary(ScalarOp::Add, total, part)?;
    }
    let total = cx.expand(total, shape.to_vec())?;
    cx.reshape(total, vec![shape.iter().cloned().product()])
}

/// An end of the range of an element type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extreme {
    Lowest,
    Highest,
}

fn limit(cx: &mut Context, dtype: DType, extreme: Extreme) -> Result<ValueId> {
    if dtype.is_float() {
        return cx.scalar(dtype, if extreme == Extreme::Lowest { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let (low, high) = ic_ir::eval::int_range(dtype);
    let number = if extreme == Extreme::Lowest { low } else { high };
    // Exact, other than by way of f64.
    let tensor = ic_ir::eval::from_ints(dtype, vec![], vec![number])?;
    cx.constant(tensor)
}
