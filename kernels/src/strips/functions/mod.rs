//! The math functions, generic over the instruction set.
//!
//! They are made of correctly rounded operations in a fixed order, so every instruction set gives the same bits (NaN
//! payloads aside). Each function states its bound in units in the last place (ULP) of the result, which a test checks
//! over the whole range.

mod clamped;
mod erf;
mod exp;
mod log;
mod trigonometric;

pub(crate) use clamped::{clamp, hard_swish, relu};
pub(crate) use erf::{erf, gelu};
pub(crate) use exp::{exp, exp_below_zero, exp_in_range, gelu_tanh, sigmoid, silu, tanh};
pub(crate) use log::{log, softplus};
pub(crate) use trigonometric::{cos, sin};

use crate::vector::Vector;

/// `|x|`.
#[inline(always)]
fn abs<V: Vector>(x: V) -> V {
    x.and(V::splat_bits(0x7fff_ffff))
}

/// `magnitude`, which is not negative, with the sign of `sign`.
#[inline(always)]
fn with_sign<V: Vector>(magnitude: V, sign: V) -> V {
    magnitude.or(sign.and(V::splat_bits(0x8000_0000)))
}

/// The polynomial with these coefficients, highest power first, by Horner's rule.
#[inline(always)]
fn polynomial<V: Vector, const N: usize>(x: V, coefficients: [f32; N]) -> V {
    let mut sum = V::splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = sum.mul_add(x, V::splat(coefficient));
    }
    sum
}
