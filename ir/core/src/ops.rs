//! The core op set: one file per op, one line per op here.
//!
//! The scalar functions of [`crate::scalar`] are ops too, under their own names: they are the variants of
//! [`Op::Pointwise`].

use crate::attr::{AttrError, AttrMap, Attrs};
use crate::op::{OpDef, OpError, OperandSpec, Operands, Tensors};
use crate::scalar::ScalarOp;
use crate::types::Type;
use ic_types::{Dim, Tensor};

mod constant;
mod dims;
mod pointwise;
mod softmax;

pub use constant::Constant;
pub use dims::Dims;
pub use pointwise::Pointwise;
pub use softmax::Softmax;

macro_rules! ops {
    ($($name:ident => $variant:ident,)*) => {
        /// An op with its attributes.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[expect(missing_docs, reason = "each variant is documented where its attributes are")]
        pub enum Op {
            Pointwise(Pointwise),
            $($variant($variant),)*
        }

        impl Op {
            /// Names of all ops but the pointwise ones.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// The op's name in IR text.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Pointwise(op) => op.function.name(),
                    $(Op::$variant(_) => stringify!($name),)*
                }
            }

            /// Its operands.
            pub fn operands(&self) -> &'static [OperandSpec] {
                match self {
                    Op::Pointwise(op) => op.function.operands(),
                    $(Op::$variant(_) => <$variant as OpDef>::OPERANDS,)*
                }
            }

            /// The op called `name` with these attributes; `None` if there is no such op.
            pub fn from_attrs(name: &str, map: &mut AttrMap) -> Option<Result<Op, AttrError>> {
                match name {
                    $(stringify!($name) => Some(<$variant as Attrs>::from_attrs(map).map(Op::$variant)),)*
                    _ => {
                        let function = ScalarOp::from_name(name)?;
                        Some(map.finish().map(|()| Op::Pointwise(Pointwise { function })))
                    }
                }
            }

            /// Names and texts of the attributes that differ from their defaults.
            pub fn attrs(&self) -> Vec<(&'static str, String)> {
                match self {
                    Op::Pointwise(_) => Vec::new(),
                    $(Op::$variant(op) => op.attrs(),)*
                }
            }

            /// Number of results.
            pub fn n_results(&self) -> usize {
                match self {
                    Op::Pointwise(op) => op.n_results(),
                    $(Op::$variant(op) => op.n_results(),)*
                }
            }

            /// See [`OpDef::infer`].
            ///
            /// # Errors
            /// If operands and attributes do not fit together.
            pub fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
                match self {
                    Op::Pointwise(op) => op.infer(x),
                    $(Op::$variant(op) => op.infer(x),)*
                }
            }

            /// See [`OpDef::content`].
            pub fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
                match self {
                    Op::Pointwise(op) => op.content(x),
                    $(Op::$variant(op) => op.content(x),)*
                }
            }

            /// See [`OpDef::eval`].
            ///
            /// # Errors
            /// If an operand's elements are out of range, or a dim cannot be evaluated.
            pub fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
                match self {
                    Op::Pointwise(op) => op.eval(x),
                    $(Op::$variant(op) => op.eval(x),)*
                }
            }
        }

        $(impl From<$variant> for Op {
            fn from(op: $variant) -> Op {
                Op::$variant(op)
            }
        })*
    };
}

ops! {
    constant => Constant,
    dims => Dims,
    softmax => Softmax,
}

impl From<ScalarOp> for Op {
    fn from(function: ScalarOp) -> Op {
        Op::Pointwise(Pointwise { function })
    }
}

/// `axis` counted from the front.
///
/// # Errors
/// If it is outside `-rank..rank`.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    crate::ensure!((0..rank as i64).contains(&from_front), "axis {axis} is outside of rank {rank}");
    Ok(from_front as usize)
}
