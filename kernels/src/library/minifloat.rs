//! Floats of 16, 8 and 4 bits: their values, and rounding to them.

use ic_types::DType;

/// What a format does with its largest codes.
#[derive(Clone, Copy, PartialEq)]
enum Specials {
    /// The largest exponent is infinity and NaN.
    Ieee,
    /// The largest code is NaN; there is no infinity.
    LastIsNan,
    /// The code of negative zero is NaN; there is no infinity and no negative zero.
    NegativeZeroIsNan,
    /// Neither.
    Finite,
}

/// A float with a sign, an exponent and a mantissa.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    specials: Specials,
}

impl Format {
    /// The format of `dtype`, if it is a float of at most 16 bits with a mantissa.
    pub(crate) fn of(dtype: DType) -> Option<Format> {
        let format = |exponent_bits, mantissa_bits, bias, specials| {
            Some(Format { exponent_bits, mantissa_bits, bias, specials })
        };
        match dtype {
            DType::F16 => format(5, 10, 15, Specials::Ieee),
            DType::BF16 => format(8, 7, 127, Specials::Ieee),
            DType::F8E4M3FN => format(4, 3, 7, Specials::LastIsNan),
            DType::F8E4M3FNUZ => format(4, 3, 8, Specials::NegativeZeroIsNan),
            DType::F8E5M2 => format(5, 2, 15, Specials::Ieee),
            DType::F8E5M2FNUZ => format(5, 2, 16, Specials::NegativeZeroIsNan),
            DType::F4E2M1 => format(2, 1, 1, Specials::Finite),
            _ => None,
        }
    }

    /// The sign bit.
    fn sign_bit(self) -> u16 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    /// The code of the largest finite value.
    fn largest(self) -> u16 {
        match self.specials {
            Specials::Ieee => (((1 << self.exponent_bits) - 1) << self.mantissa_bits) - 1,
            Specials::LastIsNan => self.sign_bit() - 2,
            Specials::NegativeZeroIsNan | Specials::Finite => self.sign_bit() - 1,
        }
    }

    /// The value of `code`.
    pub(crate) fn decode(self, code: u16) -> f64 {
        let (sign, magnitude) = (code & self.sign_bit() != 0, code & (self.sign_bit() - 1));
        if self.specials == Specials::NegativeZeroIsNan && sign && magnitude == 0 {
            return f64::NAN;
        }
        let value = if magnitude > self.largest() {
            let is_infinity = self.specials == Specials::Ieee && magnitude == self.largest() + 1;
            if is_infinity { f64::INFINITY } else { f64::NAN }
        } else {
            let exponent = i32::from(magnitude >> self.mantissa_bits);
            let mantissa = f64::from(magnitude & ((1 << self.mantissa_bits) - 1));
            let scale = power_of_two(exponent.max(1) - self.bias - self.mantissa_bits as i32);
            (mantissa + if exponent > 0 { f64::from(1u32 << self.mantissa_bits) } else { 0.0 }) * scale
        };
        if sign { -value } else { value }
    }

    /// The code nearest to `x`, ties to even. `saturate` makes infinities and what is too large the largest value.
    pub(crate) fn encode(self, x: f64, saturate: bool) -> u16 {
        let sign = if x.is_sign_negative() { self.sign_bit() } else { 0 };
        if x.is_nan() {
            return self.nan(sign);
        }
        let magnitude = x.abs();
        let code = if magnitude.is_infinite() { u32::MAX } else { self.round(magnitude) };
        if code > u32::from(self.largest()) || (self.specials == Specials::LastIsNan && magnitude >= self.tie_to_nan())
        {
            return match self.specials {
                _ if saturate => sign | self.largest(),
                Specials::Ieee => sign | (self.largest() + 1),
                Specials::Finite => sign | self.largest(),
                _ => self.nan(sign),
            };
        }
        if code == 0 && self.specials == Specials::NegativeZeroIsNan { 0 } else { sign | code as u16 }
    }

    /// Half way between the largest value and the one that would follow: ONNX's reference makes it NaN.
    fn tie_to_nan(self) -> f64 {
        let largest = self.largest();
        self.decode(largest) + (self.decode(largest) - self.decode(largest - 1)) / 2.0
    }

    fn nan(self, sign: u16) -> u16 {
        match self.specials {
            Specials::Ieee => sign | (self.largest() + 1) | (1 << (self.mantissa_bits - 1)),
            Specials::LastIsNan => sign | (self.largest() + 1),
            Specials::NegativeZeroIsNan => self.sign_bit(),
            // There is no NaN: zero with the opposite sign, as ONNX's reference has it.
            Specials::Finite => sign ^ self.sign_bit(),
        }
    }

    /// The code of a finite `magnitude`, which may be past the largest.
    fn round(self, magnitude: f64) -> u32 {
        let lowest = 1 - self.bias;
        let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(lowest);
        if exponent > self.bias + 2 {
            return u32::MAX;
        }
        // Scaling by a power of two is exact: only the rounding loses bits.
        let steps = magnitude * power_of_two(self.mantissa_bits as i32 - exponent);
        (((exponent - lowest) as u32) << self.mantissa_bits) + steps.round_ties_even() as u32
    }
}

/// `2^exponent` for exponents of normal numbers.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The value of an exponent-only float.
pub(crate) fn decode_e8m0(code: u8) -> f64 {
    if code == 0xff { f64::NAN } else { power_of_two(i32::from(code) - 127) }
}
