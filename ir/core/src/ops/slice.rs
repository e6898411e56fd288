//! `slice`: a strided part along some axes. ONNX `Slice`, `Split`, `Crop`, negative `Pad`.

use crate::eval::{offset, rearrange, strides};
use crate::{Constraint, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// Along each of `axes`, element `j` of the result is element `starts[i] + j * steps[i]` of the operand.
    Slice {
        /// The axes that are sliced, each at most once.
        axes: Vec<usize>,
        /// First element along each axis, counted from the front.
        starts: Vec<Dim>,
        /// The result's extent along each axis.
        extents: Vec<Dim>,
        /// Distance of the elements along each axis; negative counts backwards, never 0.
        steps: Vec<i64>
    }
}

impl OpDef for Slice {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let n = self.axes.len();
        let fits = self.starts.len() == n && self.extents.len() == n && self.steps.len() == n;
        ensure!(fits, "`starts`, `extents` and `steps` must have {n} elements each, as `axes` has");
        super::check_axes(&self.axes, ty.rank())?;
        let mut shape = ty.shape.clone();
        for (i, &axis) in self.axes.iter().enumerate() {
            ensure!(self.steps[i] != 0, "a step must not be 0");
            self.check_range(i, &shape[axis])?;
            self.require_range(i, &shape[axis], x);
            shape[axis] = self.extents[i].clone();
        }
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        super::check_axes(&self.axes, input.rank())?;
        let mut shape = input.shape().to_vec();
        let mut starts = vec![0i64; shape.len()];
        let mut steps = vec![1i64; shape.len()];
        let extents = x.extents(&self.extents)?;
        for (i, &axis) in self.axes.iter().enumerate() {
            (starts[axis], steps[axis], shape[axis]) = (x.dim(&self.starts[i])?, self.steps[i], extents[i]);
        }
        let distances = strides(input.shape());
        let tensor = rearrange(input, shape, |at| {
            let source = (0..at.len()).map(|axis| {
                let position = i128::from(starts[axis]) + at[axis] as i128 * i128::from(steps[axis]);
                let extent = input.shape()[axis];
                let inside = usize::try_from(position).ok().filter(|&p| p < extent);
                inside.ok_or_else(|| OpError(format!("element {position} is outside of extent {extent}")))
            });
            Ok(offset(&source.collect::<Result<Vec<_>, _>>()?, &distances))
        })?;
        Ok(vec![tensor])
    }
}

impl Slice {
    /// Checks that the first and last element are inside of `extent`, where constants decide it.
    fn check_range(&self, i: usize, extent: &Dim) -> Result<(), OpError> {
        let (Some(start), Some(count), Some(extent)) =
            (self.starts[i].as_const(), self.extents[i].as_const(), extent.as_const())
        else {
            return Ok(());
        };
        let last = i128::from(start) + (i128::from(count) - 1) * i128::from(self.steps[i]);
        let inside = |position: i128| (0..i128::from(extent)).contains(&position);
        ensure!(
            count <= 0 || inside(start.into()) && inside(last),
            "elements {start} to {last} are outside of axis {} of extent {extent}",
            self.axes[i]
        );
        Ok(())
    }

    /// Leaves to the run what symbols decide: that the elements are inside of `extent`.
    fn require_range(&self, i: usize, extent: &Dim, x: &Operands) {
        let (start, count) = (&self.starts[i], &self.extents[i]);
        if count.is(0) {
            return;
        }
        let last = start.clone() + (count.clone() - Dim::constant(1)) * Dim::constant(self.steps[i]);
        let (low, high) = if self.steps[i] > 0 { (start.clone(), last) } else { (last, start.clone()) };
        let past = high + Dim::constant(1);
        let decided = |difference: Dim| difference.as_const().is_some() || difference.lower_bound() >= Some(0);
        // Of no elements, any are inside.
        let one = Dim::constant(1);
        let some = if count.lower_bound() >= Some(1) { one } else { count.minimum(&one) };
        let mut constraints = x.constraints.borrow_mut();
        if !decided(low.clone()) {
            let low = low * some.clone();
            constraints.push(Constraint::Equal(low.maximum(&Dim::constant(0)), low));
        }
        if !decided(extent.clone() - past.clone()) {
            constraints.push(Constraint::Equal(extent.maximum(&(past * some)), extent.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::DType;

    #[test]
    fn symbols_that_decide_the_range_are_left_to_the_run() {
        let n = Dim::symbol("n");
        let constraints = |start: Dim, count: Dim, extent: &Dim| {
            let ty = Type::from(TensorType::new(DType::F32, vec![extent.clone()]));
            let x = Operands {
                types: vec![Some(&ty)],
                contents: vec![None],
                regions: &[],
                constraints: Default::default(),
            };
            Slice { axes: vec![0], starts: vec![start], extents: vec![count], steps: vec![1] }.infer(&x).unwrap();
            x.constraints.take().len()
        };
        // The last element; the first; all but the first of at least one.
        assert_eq!(constraints(n.clone() - 1.into(), 1.into(), &n), 1);
        assert_eq!(constraints(0.into(), 1.into(), &n), 1);
        assert_eq!(constraints(1.into(), n.clone(), &(n.clone() + 1.into())), 0);
        // As many as another extent, which may be none.
        assert_eq!(constraints(Dim::symbol("m"), Dim::symbol("k"), &n), 1);
    }

    #[test]
    fn negative_steps_count_backwards() {
        let input = Tensor::from_elements(vec![5], vec![0i64, 1, 2, 3, 4]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let slice = Slice { axes: vec![0], starts: vec![4.into()], extents: vec![3.into()], steps: vec![-2] };
        assert_eq!(slice.eval(&x).unwrap()[0], Tensor::from_elements(vec![3], vec![4i64, 2, 0]));
    }
}
