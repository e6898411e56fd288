//! Arithmetic of one lane (sections 9.7.1 to 9.7.8).

use crate::float::{Format, Rounding};
use crate::instruction::{Binary, BoolOp, Compare, FloatMode, Ternary, Unary};
use crate::types::{Ty, mask};

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The bits of an f32 result: NaN is the canonical one (section 9.7.3).
fn f32_bits(x: f32) -> u64 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits().into() }
}

/// `fma.rn.f32`.
pub(super) fn fma(a: u64, b: u64, c: u64) -> u64 {
    f32_bits(f32_of(a).mul_add(f32_of(b), f32_of(c)))
}

/// The frequent operations, without tests in the loop over lanes.
pub(super) fn fast_binary(op: Binary, ty: Ty, mode: FloatMode) -> Option<fn(u64, u64) -> u64> {
    let is_plain = !mode.flushes && !mode.saturates;
    Some(match (op, ty) {
        (Binary::Add, Ty::F(Format::F32)) if is_plain => |a, b| f32_bits(f32_of(a) + f32_of(b)),
        (Binary::Sub, Ty::F(Format::F32)) if is_plain => |a, b| f32_bits(f32_of(a) - f32_of(b)),
        (Binary::Mul, Ty::F(Format::F32)) if is_plain => |a, b| f32_bits(f32_of(a) * f32_of(b)),
        (Binary::Add, Ty::S(32) | Ty::U(32)) => |a, b| (a as u32).wrapping_add(b as u32).into(),
        (Binary::Sub, Ty::S(32) | Ty::U(32)) => |a, b| (a as u32).wrapping_sub(b as u32).into(),
        (Binary::Mul, Ty::S(32) | Ty::U(32)) => |a, b| (a as u32).wrapping_mul(b as u32).into(),
        (Binary::Add, Ty::S(64) | Ty::U(64)) => u64::wrapping_add,
        (Binary::And, Ty::B(_) | Ty::Pred) => |a, b| a & b,
        (Binary::Or, Ty::B(_) | Ty::Pred) => |a, b| a | b,
        (Binary::Xor, Ty::B(_) | Ty::Pred) => |a, b| a ^ b,
        _ => return None,
    })
}

/// A value of a pair, or the value itself.
fn per_element(ty: Ty, args: &[u64], f: impl Fn(Format, &[u64]) -> Result<u64, String>) -> Result<u64, String> {
    match ty {
        Ty::F(format) => f(format, args),
        Ty::Pair(format) => {
            let bits = format.register_bits();
            let half = |i: u32| args.iter().map(|x| x >> (i * bits) & mask(bits)).collect::<Vec<_>>();
            Ok(f(format, &half(0))? | f(format, &half(1))? << bits)
        }
        _ => Err("no float".into()),
    }
}

/// Flushes a subnormal value of f32 to zero.
fn flushed(format: Format, x: f64, flushes: bool) -> f64 {
    if flushes && format == Format::F32 && x.abs() < f64::from(f32::MIN_POSITIVE) { 0f64.copysign(x) } else { x }
}

fn finish(format: Format, x: f64, mode: FloatMode) -> u64 {
    let x = if mode.saturates { if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) } } else { x };
    let x = if mode.relu && x < 0.0 { 0.0 } else { x };
    let bits = format.encode(x, Rounding::Nearest, false);
    if mode.flushes {
        format.encode(flushed(format, format.decode(bits), true), Rounding::Nearest, false)
    } else {
        bits
    }
}

pub(super) fn unary(op: Unary, ty: Ty, mode: FloatMode, a: u64) -> Result<u64, String> {
    if ty.is_float() {
        return per_element(ty, &[a], |format, a| float_unary(op, format, mode, a[0]));
    }
    let (value, bits) = (ty.int(a), ty.bits());
    let unsigned = a & mask(bits);
    Ok(match op {
        Unary::Neg => -value as u64,
        Unary::Abs => value.unsigned_abs() as u64,
        Unary::Not => !a,
        Unary::Popc => unsigned.count_ones().into(),
        Unary::Clz => (unsigned.leading_zeros() - (64 - bits)).into(),
        Unary::Brev => unsigned.reverse_bits() >> (64 - bits),
        _ => return Err(format!("{op:?} of {ty:?}")),
    })
}

fn float_unary(op: Unary, format: Format, mode: FloatMode, bits: u64) -> Result<u64, String> {
    let sign = 1u64 << (format.register_bits() - 1);
    match op {
        Unary::Neg => return Ok(bits ^ sign),
        Unary::Abs => return Ok(bits & !sign),
        _ => {}
    }
    let x = flushed(format, format.decode(bits), mode.flushes);
    let y = match op {
        // The root of an f32 in f64, rounded to f32, is the correctly rounded one.
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Rcp => 1.0 / x,
        Unary::Ex2 => x.exp2(),
        Unary::Lg2 => x.log2(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        _ => return Err(format!("{op:?} of floats")),
    };
    Ok(finish(format, y, mode))
}

pub(super) fn binary(op: Binary, ty: Ty, mode: FloatMode, a: u64, b: u64) -> Result<u64, String> {
    if ty.is_float() {
        return per_element(ty, &[a, b], |format, x| float_binary(op, format, mode, x[0], x[1]));
    }
    let bits = ty.bits();
    let (x, y) = (ty.int(a), ty.int(b));
    let limits = |value: i128| {
        let (low, high) =
            if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        value.clamp(low, high)
    };
    Ok(match op {
        Binary::Add if mode.saturates => limits(x + y) as u64,
        Binary::Sub if mode.saturates => limits(x - y) as u64,
        Binary::Add => (x + y) as u64,
        Binary::Sub => (x - y) as u64,
        Binary::Mul | Binary::MulWide => x.wrapping_mul(y) as u64,
        Binary::MulHi => (x.wrapping_mul(y) >> bits) as u64,
        Binary::Div => x.checked_div(y).ok_or("a division by zero")? as u64,
        Binary::Rem => x.checked_rem(y).ok_or("a division by zero")? as u64,
        Binary::Min => x.min(y) as u64,
        Binary::Max => x.max(y) as u64,
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        // Amounts are unsigned words; those beyond the width give zeros, or copies of the sign.
        Binary::Shl if b as u32 >= bits => 0,
        Binary::Shl => a << (b as u32),
        Binary::Shr => (x >> (b as u32).min(127)) as u64,
    })
}

fn float_binary(op: Binary, format: Format, mode: FloatMode, a: u64, b: u64) -> Result<u64, String> {
    let [x, y] = [a, b].map(|bits| flushed(format, format.decode(bits), mode.flushes));
    // In f64, one operation on two f32 or narrower numbers and the rounding after it round like one.
    let value = match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Min | Binary::Max if mode.propagates_nan && (x.is_nan() || y.is_nan()) => f64::NAN,
        Binary::Min => {
            if less(x, y) || y.is_nan() {
                x
            } else {
                y
            }
        }
        Binary::Max => {
            if less(y, x) || y.is_nan() {
                x
            } else {
                y
            }
        }
        _ => return Err(format!("{op:?} of floats")),
    };
    Ok(finish(format, value, mode))
}

/// Whether a number is less than another, where -0 is less than 0 and NaN than nothing.
fn less(x: f64, y: f64) -> bool {
    x < y || x == y && x.is_sign_negative() && y.is_sign_positive()
}

pub(super) fn ternary(op: Ternary, ty: Ty, mode: FloatMode, [a, b, c]: [u64; 3]) -> Result<u64, String> {
    if ty.is_float() {
        return per_element(ty, &[a, b, c], |format, x| {
            let [x, y, z] = [0, 1, 2].map(|i| flushed(format, format.decode(x[i]), mode.flushes));
            if format == Format::F32 && !mode.flushes && !mode.saturates {
                return Ok(fma(a, b, c));
            }
            Ok(finish(format, x.mul_add(y, z), mode))
        });
    }
    let (x, y) = (ty.int(a), ty.int(b));
    let bits = ty.bits();
    Ok(match op {
        Ternary::Fma => x.wrapping_mul(y).wrapping_add(ty.int(c)) as u64,
        Ternary::MadHi => (x.wrapping_mul(y) >> bits).wrapping_add(ty.int(c)) as u64,
        Ternary::MadWide => x.wrapping_mul(y).wrapping_add(i128::from(c as i64)) as u64,
        Ternary::Lop3(table) => (0..8).filter(|i| table >> i & 1 == 1).fold(0, |sum, i| {
            let pick = |bit: u32, x: u64| if i >> bit & 1 == 1 { x } else { !x };
            sum | pick(2, a) & pick(1, b) & pick(0, c)
        }),
        Ternary::Prmt => permute(a as u32, b as u32, c as u32).into(),
        Ternary::Bfe => extract_bits(ty, a, b as u32 & 0xff, c as u32 & 0xff),
        Ternary::FunnelLeft { wraps } | Ternary::FunnelRight { wraps } => {
            let amount = if wraps { c as u32 % 32 } else { (c as u32).min(32) };
            let both = (b & 0xffff_ffff) << 32 | a & 0xffff_ffff;
            let is_left = matches!(op, Ternary::FunnelLeft { .. });
            let shifted = if is_left { (u128::from(both) << amount >> 32) as u64 } else { both >> amount };
            shifted & 0xffff_ffff
        }
        Ternary::Dp4a { a_signed, b_signed } => {
            let byte = |x: u64, i: u32, signed: bool| {
                let byte = (x >> (8 * i)) as u8;
                if signed { i64::from(byte as i8) } else { i64::from(byte) }
            };
            let sum: i64 = (0..4).map(|i| byte(a, i, a_signed) * byte(b, i, b_signed)).sum();
            (sum + i64::from(c as i32)) as u64
        }
    })
}

/// `prmt` in its default mode: each digit of the selector picks a byte, or copies of its sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |word, i| {
        let digit = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (digit & 7))) as u8;
        let byte = if digit & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 };
        word | u32::from(byte) << (8 * i)
    })
}

fn extract_bits(ty: Ty, a: u64, position: u32, length: u32) -> u64 {
    let bits = ty.bits();
    let sign_at = (position + length).saturating_sub(1).min(bits - 1);
    let sign = ty.is_signed() && length > 0 && a >> sign_at & 1 == 1;
    let value = if position >= bits { 0 } else { (a & mask(bits)) >> position & mask(length.min(bits)) };
    if sign && length < bits { value | !mask(length.min(bits - position.min(bits))) } else { value }
}

/// `bfi`: the lowest bits of `a` in `b`.
pub(super) fn insert_bits(ty: Ty, a: u64, b: u64, position: u64, length: u64) -> u64 {
    let (position, length) = (position as u32 & 0xff, length as u32 & 0xff);
    if position >= ty.bits() {
        return b;
    }
    let field = mask(length) << position & mask(ty.bits());
    b & !field | a << position & field
}

pub(super) fn compare(compare: Compare, unordered: bool, ty: Ty, a: u64, b: u64) -> bool {
    if let Ty::F(format) = ty {
        let (x, y) = (format.decode(a), format.decode(b));
        if x.is_nan() || y.is_nan() {
            return unordered || compare == Compare::Nan;
        }
        return ordered(compare, &x, &y);
    }
    ordered(compare, &ty.int(a), &ty.int(b))
}

fn ordered<T: PartialOrd>(compare: Compare, x: &T, y: &T) -> bool {
    match compare {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt => x < y,
        Compare::Le => x <= y,
        Compare::Gt => x > y,
        Compare::Ge => x >= y,
        Compare::Num => true,
        Compare::Nan => false,
    }
}

pub(super) fn combine(op: BoolOp, a: u32, b: u32) -> u32 {
    match op {
        BoolOp::And => a & b,
        BoolOp::Or => a | b,
        BoolOp::Xor => a ^ b,
    }
}
