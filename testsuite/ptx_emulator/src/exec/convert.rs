//! `cvt` (section 9.7.9.21).

use crate::float::{Format, Rounding};
use crate::instruction::{FloatMode, IntegerRounding};
use crate::types::{Ty, mask};

/// The value `a` of one type as another. To pairs, `low` is the lower half and `a` the upper.
pub(super) fn convert(
    to: Ty,
    from: Ty,
    integral: Option<IntegerRounding>,
    mode: FloatMode,
    a: u64,
    low: Option<u64>,
) -> u64 {
    match (to, from, low) {
        (Ty::Pair(format), Ty::F(source), Some(low)) => {
            let one = |bits: u64| encode(format, source.decode(bits), mode);
            one(low) | one(a) << format.register_bits()
        }
        (Ty::Pair(format), Ty::Pair(source), _) => {
            let one = |i: u32| {
                let bits = a >> (i * source.register_bits()) & mask(source.register_bits());
                encode(format, source.decode(bits), mode) << (i * format.register_bits())
            };
            one(0) | one(1)
        }
        (Ty::F(format), Ty::F(source), _) => {
            let x = source.decode(a);
            let is_integral = integral.filter(|_| format == source);
            encode(format, is_integral.map_or(x, |integral| rounded(x, integral)), mode)
        }
        (Ty::F(format), _, _) => {
            let value = from.int(a);
            match format {
                // Through f64, large integers would be rounded twice.
                Format::F32 if mode.rounding == Rounding::Nearest => (value as f32).to_bits().into(),
                _ => encode(format, value as f64, mode),
            }
        }
        (_, Ty::F(source), _) => {
            let x = rounded(source.decode(a), integral.unwrap_or(IntegerRounding::Zero));
            // Out of range is clamped, and NaN is 0.
            let bits = to.bits();
            match (to.is_signed(), bits) {
                (true, 64) => x as i64 as u64,
                (false, 64) => x as u64,
                (true, _) => (x as i64).clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as u64,
                (false, _) => (x as u64).min(mask(bits)),
            }
        }
        _ => {
            let value = from.int(a);
            let bits = to.bits();
            let value = match (mode.saturates, to.is_signed()) {
                (false, _) => value,
                (true, true) => value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
                (true, false) => value.clamp(0, (1 << bits) - 1),
            };
            // Registers that are wider than the type get its sign.
            to.int(value as u64) as u64
        }
    }
}

fn encode(format: Format, x: f64, mode: FloatMode) -> u64 {
    let x = if mode.relu && x < 0.0 { 0.0 } else { x };
    let x = match mode.saturates {
        true if x.is_nan() => 0.0,
        true => x.clamp(0.0, 1.0),
        false => x,
    };
    let flushes = mode.flushes && x.abs() < f64::from(f32::MIN_POSITIVE);
    format.encode(if flushes { 0f64.copysign(x) } else { x }, mode.rounding, mode.clamps)
}

fn rounded(x: f64, integral: IntegerRounding) -> f64 {
    match integral {
        IntegerRounding::Nearest => x.round_ties_even(),
        IntegerRounding::Zero => x.trunc(),
        IntegerRounding::Down => x.floor(),
        IntegerRounding::Up => x.ceil(),
    }
}
