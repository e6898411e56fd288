//! Kernels, stages and scalar expressions.

use super::index::Index;
use crate::ops::Op;
use crate::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};

/// Stages that run one after the other on each tile of a shared outer iteration space.
///
/// Three forms occur. *Pointwise*: one stage without inner axes over the outer axes, with one store or several. *Rows*:
/// reductions, normalizations and pointwise stages over the same inner axes, or none: a pointwise stage without inner
/// axes gives one value per outer point, which later stages with inner axes may use. *Op*: see [`Anchor::Op`].
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// Buffers that it reads and writes, dense and row-major.
    pub params: Vec<Param>,
    /// Parallel axes that all stages share. Iterations are independent.
    pub outer: Vec<Axis>,
    /// What is done at each point of the outer space, in order.
    pub stages: Vec<Stage>,
}

/// A buffer that a kernel reads or writes.
///
/// Its shape has as many elements as the buffer's: generated kernels see most buffers as one axis of all elements, so that
/// an access has one index, whose coefficients are the strides.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Param {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<Dim>,
    /// Whether the kernel writes it.
    pub is_output: bool,
}

/// An axis of an iteration space: `0..extent`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    /// Number of points.
    pub extent: Dim,
}

/// One pass over `outer × inner`.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    /// The stage's own axes, after the outer ones. Those of a reduce are reduced in row-major order.
    pub inner: Vec<Axis>,
    /// What becomes of the root expression.
    pub anchor: Anchor,
    /// Scalar expressions; each refers to earlier ones.
    pub body: Vec<Expr>,
    /// Where results go; empty where later stages refer to the result as [`Expr::Stage`] only.
    pub stores: Vec<Store>,
}

/// What a stage does.
#[derive(Clone, PartialEq, Debug)]
pub enum Anchor {
    /// The root, the last of `body`, at every point. As [`Expr::Stage`] of a later stage with the same inner axes it is
    /// the value at the same point; without inner axes it is the one value of the outer point for every later stage.
    Pointwise,
    /// The root reduced over the inner axes; one value per outer point.
    ///
    /// f32 sums use 16 lanes by inner index modulo 16, then a fixed tree.
    Reduce(ReduceFn),
    /// A whole op over buffers: contraction, convolution, pooling, sort, recurrent cell …. `body` is empty.
    ///
    /// The kernel has no axes unless other stages follow. If these are pointwise (an epilogue), the outer axes are those
    /// of the op's first result, and [`Expr::Stage`] is its element there. If they fold rows of the result (a
    /// normalization), its last axis is the inner one of this stage and of those, the outer axes are the others but for
    /// extents of 1, and [`Expr::Stage`] is the element at the same point, counted in row-major order.
    Op {
        /// The op with its attributes.
        op: Op,
        /// Its operands; `None` for an absent optional one.
        operands: Vec<Option<Operand>>,
        /// Its results. The first may be absent if an epilogue stores it.
        results: Vec<Option<u32>>,
    },
}

/// A strided view of a buffer as an operand of [`Anchor::Op`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operand {
    /// Index into [`Kernel::params`].
    pub param: u32,
    /// Extents as the op sees them.
    pub shape: Vec<Dim>,
    /// Distance between neighbours in elements; 0 repeats.
    pub strides: Vec<Dim>,
    /// First element.
    pub offset: Dim,
}

/// Index into [`Stage::body`].
pub type ExprId = u32;

/// A scalar expression.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// A constant: the element's little-endian bytes, zero-extended.
    Const(DType, u128),
    /// The value of an index expression, as i64.
    Index(Index),
    /// An element of a buffer.
    Load(Load),
    /// The result of an earlier stage at this point.
    Stage(u32),
    /// A scalar function.
    Apply(ScalarOp, Vec<ExprId>),
    /// Conversion as op `cast` does it.
    Cast(DType, ExprId),
}

/// An element of a buffer.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    /// Index into [`Kernel::params`].
    pub param: u32,
    /// One index per axis of the buffer.
    pub indices: Vec<Index>,
    /// Axes whose index comes from an integer expression instead: (axis, expression). Negative values count from the
    /// end; the target clamps what is out of range.
    pub gathered: Vec<(u32, ExprId)>,
    /// Conditions under which the element is read.
    pub bounds: Vec<Bound>,
    /// The value where a condition fails. Present if there are bounds.
    pub otherwise: Option<ExprId>,
}

/// `low <= index < high`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bound {
    /// What is tested.
    pub index: Index,
    /// Smallest value that passes.
    pub low: Dim,
    /// Past the largest value that passes.
    pub high: Dim,
}

/// Stores an expression of the stage, or the reduced root.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// Which expression; ignored by a reduce, which stores its result.
    pub value: ExprId,
    /// Index into [`Kernel::params`].
    pub param: u32,
    /// One index per axis of the buffer, over the outer axes and, unless the stage reduces, the inner ones.
    pub indices: Vec<Index>,
    /// Conditions under which the element is written.
    pub bounds: Vec<Bound>,
}
