//! Scalar functions of f32 that are strips: calls on whole arrays.

use ic_ir::scalar::ScalarOp;
use ic_kernels::abi::Strip;

/// The strip that computes `op` on f32.
pub(crate) fn strip_of(op: ScalarOp) -> Option<Strip> {
    Some(match op {
        ScalarOp::Exp => Strip::Exp,
        ScalarOp::Log => Strip::Log,
        ScalarOp::Erf => Strip::Erf,
        ScalarOp::Tanh => Strip::Tanh,
        ScalarOp::Sigmoid => Strip::Sigmoid,
        ScalarOp::Silu => Strip::Silu,
        ScalarOp::Gelu => Strip::Gelu,
        ScalarOp::GeluTanh => Strip::GeluTanh,
        ScalarOp::Sin => Strip::Sin,
        ScalarOp::Cos => Strip::Cos,
        ScalarOp::Softplus => Strip::Softplus,
        ScalarOp::Tan => Strip::Tan,
        ScalarOp::Asin => Strip::Asin,
        ScalarOp::Acos => Strip::Acos,
        ScalarOp::Atan => Strip::Atan,
        ScalarOp::Sinh => Strip::Sinh,
        ScalarOp::Cosh => Strip::Cosh,
        ScalarOp::Asinh => Strip::Asinh,
        ScalarOp::Acosh => Strip::Acosh,
        ScalarOp::Atanh => Strip::Atanh,
        _ => return None,
    })
}
