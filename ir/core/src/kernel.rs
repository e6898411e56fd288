//! Kernel IR: what partition makes of a graph and every target generates code from.
//!
//! A [`Program`] is a list of steps over buffers. A step runs a [`Kernel`]: stages that share an outer tile. A stage is an
//! iteration space, scalar expressions over it, and an anchor that says what becomes of them. Softmax is one kernel of
//! four stages; a projection with bias and activation is one kernel of two. No target is named here.

mod dtype;
mod eval;
mod index;
mod print;
mod program;
mod stage;
mod symbols;
mod traffic;
mod work;

pub use dtype::{expr_dtypes, op_result, stage_dtype};
pub use eval::{Evaluated, eval_kernels, eval_program};
pub use index::{Atom, Index};
pub use program::{Argument, Buffer, BufferId, BufferKind, Carried, Loop, Program, ReadSymbol, StateUse, Step};
pub use stage::{Anchor, Axis, Bound, Expr, ExprId, Kernel, Load, Operand, Param, Stage, Store};
pub use traffic::{Traffic, traffic};
pub use work::{Work, work};
