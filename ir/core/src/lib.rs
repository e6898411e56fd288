//! The intermediate representations of `ic`.
//!
//! [`Graph`] is Graph IR: a typed SSA graph of tensor operations with symbolic dims, the oracle evaluator and a text
//! form. [`kernel`] is Kernel IR: stages of scalar expressions over iteration spaces. Both name no target.

#![warn(missing_docs)]

#[macro_use]
mod attr;
mod binding;
pub mod builder;
mod content;
pub mod diagnostic;
pub mod eval;
mod graph;
pub mod kernel;
mod literal;
mod math;
pub mod minifloat;
mod op;
pub mod ops;
pub mod scalar;
mod substitute;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
mod types;
mod verify;

pub use attr::{Attr, AttrError, AttrMap, Attrs, F32};
pub use binding::Binding;
pub use builder::Builder;
pub use diagnostic::{Diagnostic, Location};
pub use graph::{Graph, GraphError, Inferred, Node, NodeId, SymbolRange, Value, ValueDef, ValueId, infer};
pub use literal::{Literal, LiteralData, Source};
pub use op::{Constraint, OpDef, OpError, OperandSpec, Operands, Tensors};
pub use ops::Op;
pub use scalar::ScalarOp;
pub use substitute::Replacement;
pub use types::{MAX_TENSOR_BYTES, TensorType, Type};
pub use verify::verify;
