//! Conversions between f64 and the floats of at most 16 bits, each rounding once, to nearest even.
//!
//! `f8e8m0` rounds up instead, as ONNX `Cast` does by default.

use ic_types::DType;

/// What an overflowing or infinite value becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// The largest finite value of its sign.
    Saturate,
    /// Infinity, or NaN where the format has no infinity.
    Special,
}

/// A format of sign, exponent and mantissa.
struct Format {
    mantissa_bits: u32,
    exponent_bias: i32,
    /// Bits of the largest finite magnitude.
    max: u16,
    /// Bits of positive infinity.
    infinity: Option<u16>,
    /// Bits of NaN.
    nan: u16,
    sign: u16,
    /// Whether the bits of negative zero mean something else.
    unsigned_zero: bool,
}

fn format(dtype: DType) -> Option<Format> {
    let signed = |mantissa_bits, exponent_bias, max, infinity, nan, sign| Format {
        mantissa_bits,
        exponent_bias,
        max,
        infinity,
        nan,
        sign,
        unsigned_zero: false,
    };
    Some(match dtype {
        DType::F16 => signed(10, 15, 0x7bff, Some(0x7c00), 0x7e00, 0x8000),
        DType::BF16 => signed(7, 127, 0x7f7f, Some(0x7f80), 0x7fc0, 0x8000),
        DType::F8E4M3FN => signed(3, 7, 0x7e, None, 0x7f, 0x80),
        DType::F8E5M2 => signed(2, 15, 0x7b, Some(0x7c), 0x7f, 0x80),
        DType::F8E4M3FNUZ => Format { unsigned_zero: true, ..signed(3, 8, 0x7f, None, 0x80, 0x80) },
        DType::F8E5M2FNUZ => Format { unsigned_zero: true, ..signed(2, 16, 0x7f, None, 0x80, 0x80) },
        // There is no NaN: it becomes negative zero.
        DType::F4E2M1 => signed(1, 1, 0x7, None, 0x8, 0x8),
        _ => return None,
    })
}

/// The value that `bits` stand for in the float type `dtype` of at most 16 bits; NaN for other types. Exact.
pub fn decode(dtype: DType, bits: u16) -> f64 {
    if dtype == DType::F8E8M0 {
        return if bits == 0xff { f64::NAN } else { power_of_two(i32::from(bits) - 127) };
    }
    let Some(format) = format(dtype) else { return f64::NAN };
    let magnitude = bits & (format.sign - 1);
    let sign = if bits & format.sign == 0 { 1.0 } else { -1.0 };
    if format.unsigned_zero && bits == format.nan {
        return f64::NAN;
    }
    if magnitude > format.max {
        return if Some(magnitude) == format.infinity { sign * f64::INFINITY } else { f64::NAN };
    }
    let mantissa = f64::from(magnitude & ((1 << format.mantissa_bits) - 1));
    let exponent = i32::from(magnitude >> format.mantissa_bits);
    let unit = power_of_two(exponent.max(1) - format.exponent_bias - format.mantissa_bits as i32);
    let hidden = if exponent > 0 { f64::from(1u16 << format.mantissa_bits) } else { 0.0 };
    sign * (hidden + mantissa) * unit
}

/// The bits of the value of the float type `dtype` of at most 16 bits nearest to `x`; 0 for other types.
pub fn encode(dtype: DType, x: f64, overflow: Overflow) -> u16 {
    if dtype == DType::F8E8M0 {
        return encode_exponent(x, overflow);
    }
    let Some(format) = format(dtype) else { return 0 };
    if x.is_nan() {
        return format.nan;
    }
    let sign = if x.is_sign_negative() { format.sign } else { 0 };
    let magnitude = magnitude_bits(&format, x.abs());
    let bits = match overflow {
        _ if magnitude <= u64::from(format.max) => magnitude as u16,
        Overflow::Saturate => format.max,
        Overflow::Special => match format.infinity {
            Some(infinity) => infinity,
            None if format.unsigned_zero || format.nan == format.sign => return format.nan,
            None => format.nan,
        },
    };
    if bits == 0 && format.unsigned_zero { 0 } else { sign | bits }
}

/// Bits of the nearest magnitude as if exponents had no upper limit.
fn magnitude_bits(format: &Format, x: f64) -> u64 {
    if x.is_infinite() {
        return u64::MAX;
    }
    let smallest = 1 - format.exponent_bias;
    let exponent = exponent_of(x).max(smallest);
    let quotient = libm::rint(x * power_of_two(format.mantissa_bits as i32 - exponent)) as u64;
    // The hidden bit of a normal number carries into the exponent field.
    (((exponent - smallest) as u64) << format.mantissa_bits) + quotient
}

fn encode_exponent(x: f64, overflow: Overflow) -> u16 {
    // As ONNX's reference has it: the sign is dropped, and infinity has no code.
    if !x.is_finite() {
        return 0xff;
    }
    let x = x.abs();
    let exponent = exponent_of(x);
    let up = i32::from(x > power_of_two(exponent.max(-200)));
    match (exponent + up + 127, overflow) {
        (biased, _) if biased <= 0xfe => biased.max(0) as u16,
        (_, Overflow::Saturate) => 0xfe,
        (_, Overflow::Special) => 0xff,
    }
}

/// The exponent of the power of two just below `x`; -1023 for subnormal f64 and zero, 1024 for infinity.
fn exponent_of(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// `2^exponent` for exponents of normal f64 numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [(DType, u16); 8] = [
        (DType::F16, 0xffff),
        (DType::BF16, 0xffff),
        (DType::F8E4M3FN, 0xff),
        (DType::F8E4M3FNUZ, 0xff),
        (DType::F8E5M2, 0xff),
        (DType::F8E5M2FNUZ, 0xff),
        (DType::F8E8M0, 0xff),
        (DType::F4E2M1, 0xf),
    ];

    #[test]
    fn every_pattern_round_trips() {
        for (dtype, last) in FORMATS {
            for bits in 0..=last {
                let x = decode(dtype, bits);
                let back = encode(dtype, x, Overflow::Special);
                if x.is_nan() {
                    assert!(decode(dtype, back).is_nan(), "{dtype} {bits:#x}");
                } else {
                    assert_eq!(back, bits, "{dtype} {x}");
                }
            }
        }
    }

    #[test]
    fn sixteen_bit_floats_agree_with_the_f32_conversions() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let x = f32::from_bits(bits);
            if !x.is_nan() {
                assert_eq!(encode(DType::F16, x.into(), Overflow::Special), ic_types::f32_to_f16(x), "{x:e}");
                assert_eq!(encode(DType::BF16, x.into(), Overflow::Special), ic_types::f32_to_bf16(x), "{x:e}");
            }
        }
    }

    #[test]
    fn overflow_follows_the_cast_table() {
        let cast = |dtype, x, overflow| decode(dtype, encode(dtype, x, overflow));
        assert_eq!(cast(DType::F8E4M3FN, 1e6, Overflow::Saturate), 448.0);
        assert_eq!(cast(DType::F8E4M3FN, -f64::INFINITY, Overflow::Saturate), -448.0);
        assert!(cast(DType::F8E4M3FN, 1e6, Overflow::Special).is_nan());
        assert!(cast(DType::F8E4M3FNUZ, -1e6, Overflow::Special).is_nan());
        assert_eq!(cast(DType::F8E5M2, -1e6, Overflow::Special), -f64::INFINITY);
        assert_eq!(cast(DType::F8E5M2FNUZ, 1e6, Overflow::Saturate), 57344.0);
        assert_eq!(cast(DType::F4E2M1, 1e6, Overflow::Saturate), 6.0);
        assert_eq!(cast(DType::F8E8M0, 1.1, Overflow::Saturate), 2.0);
        assert_eq!(encode(DType::F8E8M0, 0.0, Overflow::Saturate), 0);
        assert_eq!(cast(DType::F8E8M0, -3.0, Overflow::Saturate), 4.0);
        assert!(cast(DType::F8E8M0, f64::INFINITY, Overflow::Saturate).is_nan());
    }
}
