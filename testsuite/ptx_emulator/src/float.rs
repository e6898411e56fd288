//! Floating-point formats and their conversions, with every rounding mode that `cvt` has (section 9.7.9.21).
//!
//! Values pass through f64, which holds every value of the other formats exactly, so each conversion rounds once.

/// A binary floating-point format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// IEEE binary16.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// f32 with 10 bits of fraction, in the upper 19 bits of 32.
    Tf32,
    /// 4 bits of exponent, 3 of fraction; no infinities.
    E4m3,
    /// 5 bits of exponent, 2 of fraction.
    E5m2,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

/// How a conversion chooses between the neighbours of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rounding {
    /// The nearest, ties to even.
    Nearest,
    /// The nearest, ties away from zero.
    NearestAway,
    /// Towards zero.
    Zero,
    /// Towards negative infinity.
    Down,
    /// Towards positive infinity.
    Up,
}

impl Format {
    /// Bits of fraction, and of exponent.
    fn layout(self) -> (u32, u32) {
        match self {
            Format::F16 => (10, 5),
            Format::Bf16 => (7, 8),
            Format::Tf32 => (10, 8),
            Format::E4m3 => (3, 4),
            Format::E5m2 => (2, 5),
            Format::F32 => (23, 8),
            Format::F64 => (52, 11),
        }
    }

    /// Bits of a register or of memory that a value takes.
    pub(crate) fn register_bits(self) -> u32 {
        match self {
            Format::F64 => 64,
            Format::F32 | Format::Tf32 => 32,
            Format::F16 | Format::Bf16 => 16,
            Format::E4m3 | Format::E5m2 => 8,
        }
    }

    /// Unused bits below the fraction.
    fn padding(self) -> u32 {
        if self == Format::Tf32 { 13 } else { 0 }
    }

    /// The value of `bits`; of tf32, the lowest 13 are ignored.
    pub fn decode(self, bits: u64) -> f64 {
        match self {
            Format::F64 => return f64::from_bits(bits),
            Format::F32 => return f32::from_bits(bits as u32).into(),
            Format::Tf32 => return f32::from_bits(bits as u32 & !0x1fff).into(),
            Format::Bf16 => return f32::from_bits((bits as u32 & 0xffff) << 16).into(),
            _ => {}
        }
        let (fraction_bits, exponent_bits) = self.layout();
        let fraction = bits & ((1 << fraction_bits) - 1);
        let exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1);
        let sign = if bits >> (fraction_bits + exponent_bits) & 1 == 1 { -1.0 } else { 1.0 };
        let bias = (1i32 << (exponent_bits - 1)) - 1;
        let top = (1u64 << exponent_bits) - 1;
        if self == Format::E4m3 && exponent == top && fraction == 7 {
            return f64::NAN;
        }
        if self != Format::E4m3 && exponent == top {
            return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        let ulp = |exponent: i32| 2f64.powi(exponent - bias - fraction_bits as i32);
        match exponent {
            0 => sign * fraction as f64 * ulp(1),
            _ => sign * (fraction + (1 << fraction_bits)) as f64 * ulp(exponent as i32),
        }
    }

    /// The bits of `x`, rounded. What is too large becomes an infinity or, if `saturate` is set or the format has none
    /// and `x` is finite, the largest finite value. NaN is the canonical one.
    pub fn encode(self, x: f64, rounding: Rounding, saturate: bool) -> u64 {
        match self {
            Format::F64 => return x.to_bits(),
            Format::F32 if rounding == Rounding::Nearest => {
                return if x.is_nan() { 0x7fff_ffff } else { (x as f32).to_bits().into() };
            }
            _ => {}
        }
        let (fraction_bits, exponent_bits) = self.layout();
        let padding = self.padding();
        let sign = u64::from(x.is_sign_negative()) << (fraction_bits + exponent_bits + padding);
        let top = (1u64 << exponent_bits) - 1;
        let infinity = top << fraction_bits;
        let largest = if self == Format::E4m3 { infinity + 6 } else { infinity - 1 };
        if x.is_nan() {
            return (infinity | ((1 << fraction_bits) - 1)) << padding;
        }
        let bias = (1i32 << (exponent_bits - 1)) - 1;
        let magnitude = x.abs();
        // The exponent of the unit in the last place, at least that of subnormals.
        let exponent = if magnitude == 0.0 { -2000 } else { exponent_of(magnitude) };
        let unit = (exponent.max(1 - bias)) - fraction_bits as i32;
        let steps = scale(magnitude, -unit);
        let steps = round(steps, rounding, x.is_sign_negative());
        // A number of units, without bias, is the encoding once the exponent's offset is added.
        let encoded = if magnitude.is_infinite() {
            largest + 1
        } else {
            let offset = (unit + fraction_bits as i32 + bias - 1).max(0) as u64;
            (offset << fraction_bits) + steps as u64
        };
        let encoded = if encoded > largest {
            let stays_finite = match rounding {
                Rounding::Zero => true,
                Rounding::Down => !x.is_sign_negative(),
                Rounding::Up => x.is_sign_negative(),
                Rounding::Nearest | Rounding::NearestAway => false,
            };
            if saturate || magnitude.is_finite() && (stays_finite || self == Format::E4m3) {
                largest
            } else if self == Format::E4m3 {
                infinity + 7
            } else {
                infinity
            }
        } else {
            encoded
        };
        (encoded << padding) | sign
    }
}

/// The largest `e` with `2^e <= x`, of a positive finite or infinite number.
fn exponent_of(x: f64) -> i32 {
    let exponent = (x.to_bits() >> 52) as i32;
    if exponent == 0 { -1023 } else { exponent - 1023 }
}

/// `x * 2^n`, in two steps that neither overflow nor lose bits for what formats below f64 hold.
fn scale(x: f64, n: i32) -> f64 {
    let half = n / 2;
    x * 2f64.powi(half) * 2f64.powi(n - half)
}

fn round(x: f64, rounding: Rounding, is_negative: bool) -> f64 {
    match (rounding, is_negative) {
        (Rounding::Nearest, _) => x.round_ties_even(),
        (Rounding::NearestAway, _) => x.round(),
        (Rounding::Zero, _) | (Rounding::Down, false) | (Rounding::Up, true) => x.trunc(),
        (Rounding::Down, true) | (Rounding::Up, false) => x.ceil(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_small_format_is_read_as_it_is_written() {
        for format in [Format::F16, Format::Bf16, Format::E4m3, Format::E5m2] {
            for bits in 0..1u64 << format.register_bits() {
                let x = format.decode(bits);
                if !x.is_nan() {
                    assert_eq!(format.encode(x, Rounding::Nearest, false), bits, "{format:?} {bits:#x} {x}");
                }
            }
        }
    }

    #[test]
    fn roundings_by_hand() {
        let f16 = |x: f64, rounding| Format::F16.encode(x, rounding, false);
        assert_eq!(f16(1.0, Rounding::Nearest), 0x3c00);
        // Half a unit above 1, and above 1 + a unit: ties.
        assert_eq!(f16(1.0 + 2f64.powi(-11), Rounding::Nearest), 0x3c00);
        assert_eq!(f16(1.0 + 3.0 * 2f64.powi(-11), Rounding::Nearest), 0x3c02);
        assert_eq!(f16(1.0 + 2f64.powi(-11), Rounding::NearestAway), 0x3c01);
        assert_eq!(f16(1.0 + 2f64.powi(-11), Rounding::Up), 0x3c01);
        assert_eq!(f16(-1.0 - 2f64.powi(-11), Rounding::Up), 0xbc00);
        assert_eq!(f16(65504.0, Rounding::Nearest), 0x7bff);
        assert_eq!(f16(65520.0, Rounding::Nearest), 0x7c00);
        assert_eq!(f16(65520.0, Rounding::Zero), 0x7bff);
        assert_eq!(f16(2f64.powi(-24), Rounding::Nearest), 1);
        assert_eq!(f16(2f64.powi(-25), Rounding::Nearest), 0);
        assert_eq!(Format::Bf16.encode(3.0e38, Rounding::Nearest, false), 0x7f62);
        assert_eq!(Format::E4m3.encode(448.0, Rounding::Nearest, true), 0x7e);
        assert_eq!(Format::E4m3.encode(1000.0, Rounding::Nearest, true), 0x7e);
        assert_eq!(Format::E4m3.encode(f64::NAN, Rounding::Nearest, true), 0x7f);
        assert_eq!(Format::E5m2.encode(1e6, Rounding::Nearest, false), 0x7c);
        // tf32 keeps 10 bits of fraction: `cvt.rna` rounds ties away.
        let x = f32::from_bits(0x3f80_1000);
        assert_eq!(Format::Tf32.encode(x.into(), Rounding::NearestAway, false), 0x3f80_2000);
        assert_eq!(Format::F32.encode(0.1, Rounding::Zero, false), 0x3dcc_cccc);
        assert_eq!(Format::F32.encode(0.1, Rounding::Up, false), 0x3dcc_cccd);
    }
}
