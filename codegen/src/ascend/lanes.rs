//! Values over the axes of a kernel, on their way into the tree.
//!
//! A lane spans only the axes that it depends on, in ascending order; it is broadcast where it meets lanes that span
//! more. Axes of extent 1 are never spanned.

use super::functions::{BinaryFn, CompareFn, FoldFn, UnaryFn};
use super::tree::{Function, Number, Operand, TensorId, TensorOp};
use ic_types::{DType, Dim};

/// A value over some axes of a kernel.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Lane {
    /// The same everywhere.
    Number(Number),
    /// One element per point of the axes.
    Tensor {
        /// The tensor.
        id: TensorId,
        /// Which axes, ascending.
        axes: Vec<usize>,
    },
}

/// A function under construction and the space that its lanes are over.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) function: Function,
    /// Extents of the axes.
    pub(crate) extents: Vec<Dim>,
}

impl Lanes {
    /// The element type.
    pub(crate) fn dtype(&self, lane: &Lane) -> DType {
        match lane {
            Lane::Number(number) => number.dtype,
            Lane::Tensor { id, .. } => self.function.ty(*id).dtype,
        }
    }

    fn shape(&self, axes: &[usize]) -> Vec<Dim> {
        axes.iter().map(|&axis| self.extents[axis].clone()).collect()
    }

    /// The tensor of a lane that has been made to span `axes`, which include its own.
    pub(crate) fn span(&mut self, lane: &Lane, axes: &[usize]) -> TensorId {
        let shape = self.shape(axes);
        self.span_shape(lane, axes, shape)
    }

    /// [`Lanes::span`] over a part of the space, whose extents on `axes` are `shape`.
    pub(crate) fn span_shape(&mut self, lane: &Lane, axes: &[usize], shape: Vec<Dim>) -> TensorId {
        match lane {
            Lane::Number(number) => self.function.push(TensorOp::Fill(*number), number.dtype, shape),
            Lane::Tensor { id, axes: own } if own == axes => *id,
            Lane::Tensor { id, axes: own } => {
                let missing: Vec<usize> = (0..axes.len()).filter(|&i| !own.contains(&axes[i])).collect();
                let dtype = self.function.ty(*id).dtype;
                self.function.push(TensorOp::Broadcast(*id, missing), dtype, shape)
            }
        }
    }

    /// The axes that any of the lanes spans.
    fn union(lanes: &[&Lane]) -> Vec<usize> {
        let own = |lane: &&Lane| if let Lane::Tensor { axes, .. } = lane { axes.clone() } else { Vec::new() };
        let mut axes: Vec<usize> = lanes.iter().flat_map(own).collect();
        axes.sort_unstable();
        axes.dedup();
        axes
    }

    /// An operand that spans `axes`, or a number.
    fn operand(&mut self, lane: &Lane, axes: &[usize]) -> Operand {
        match lane {
            Lane::Number(number) => Operand::Number(*number),
            Lane::Tensor { .. } => Operand::Tensor(self.span(lane, axes)),
        }
    }

    /// Two operands, at least one of which is a tensor.
    fn operands(&mut self, a: &Lane, b: &Lane) -> (Operand, Operand, Vec<usize>) {
        let axes = Lanes::union(&[a, b]);
        let (a, b) = match (a, b) {
            (Lane::Number(_), Lane::Number(_)) => (Operand::Tensor(self.span(a, &axes)), self.operand(b, &axes)),
            _ => (self.operand(a, &axes), self.operand(b, &axes)),
        };
        (a, b, axes)
    }

    /// Appends an operation whose result spans `axes`.
    pub(crate) fn push(&mut self, op: TensorOp, dtype: DType, axes: Vec<usize>) -> Lane {
        let shape = self.shape(&axes);
        Lane::Tensor { id: self.function.push(op, dtype, shape), axes }
    }

    /// The tensor of a lane over its own axes.
    pub(crate) fn tensor(&mut self, lane: &Lane) -> (TensorId, Vec<usize>) {
        let axes = Lanes::union(&[lane]);
        (self.span(lane, &axes), axes)
    }

    pub(crate) fn unary(&mut self, function: UnaryFn, x: &Lane) -> Lane {
        let (id, axes) = self.tensor(x);
        self.push(TensorOp::Unary(function, id), self.dtype(x), axes)
    }

    pub(crate) fn binary(&mut self, function: BinaryFn, a: &Lane, b: &Lane) -> Lane {
        let dtype = self.dtype(a);
        let (a, b, axes) = self.operands(a, b);
        self.push(TensorOp::Binary(function, a, b), dtype, axes)
    }

    pub(crate) fn compare(&mut self, function: CompareFn, a: &Lane, b: &Lane) -> Lane {
        let (a, b, axes) = self.operands(a, b);
        self.push(TensorOp::Compare(function, a, b), DType::Bool, axes)
    }

    pub(crate) fn select(&mut self, condition: &Lane, a: &Lane, b: &Lane) -> Lane {
        let dtype = self.dtype(a);
        let axes = Lanes::union(&[condition, a, b]);
        let condition = self.span(condition, &axes);
        let (a, b) = (self.operand(a, &axes), self.operand(b, &axes));
        self.push(TensorOp::Select(condition, a, b), dtype, axes)
    }

    pub(crate) fn cast(&mut self, x: &Lane, to: DType) -> Lane {
        if self.dtype(x) == to {
            return x.clone();
        }
        let (id, axes) = self.tensor(x);
        self.push(TensorOp::Cast(id), to, axes)
    }

    /// Combines the elements along the axes `from..`.
    pub(crate) fn fold(&mut self, function: FoldFn, x: &Lane, from: usize) -> Lane {
        let dtype = self.dtype(x);
        let mut axes = Lanes::union(&[x]);
        axes.retain(|&axis| axis < from);
        let kept = axes.len();
        axes.extend((from..self.extents.len()).filter(|&axis| !self.extents[axis].is(1)));
        if axes.len() == kept {
            return x.clone();
        }
        let id = self.span(x, &axes);
        let folded = (kept..axes.len()).collect();
        axes.truncate(kept);
        self.push(TensorOp::Fold(function, id, folded), dtype, axes)
    }

    /// An extent as a number.
    pub(crate) fn extent(&mut self, dim: &Dim, dtype: DType) -> Lane {
        self.push(TensorOp::Extent(dim.clone()), dtype, vec![])
    }

    /// The number of each point along an axis, as i64.
    pub(crate) fn arange(&mut self, axis: usize) -> Lane {
        if self.extents[axis].is(1) {
            return Lane::Number(Number::i64(0));
        }
        self.push(TensorOp::Arange, DType::I64, vec![axis])
    }
}
