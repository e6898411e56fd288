//! Types of instructions and registers (sections 5.2 and 5.2.1).

use crate::float::Format;

/// The type of an instruction's operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Ty {
    Pred,
    /// Untyped, of a number of bits.
    B(u32),
    /// Unsigned, of a number of bits.
    U(u32),
    /// Signed, of a number of bits.
    S(u32),
    F(Format),
    /// Two of them in one register.
    Pair(Format),
}

impl Ty {
    /// The type that a modifier of an opcode names.
    pub(crate) fn from_name(name: &str) -> Option<Ty> {
        Some(match name {
            "pred" => Ty::Pred,
            "b8" => Ty::B(8),
            "b16" => Ty::B(16),
            "b32" => Ty::B(32),
            "b64" => Ty::B(64),
            "b128" => Ty::B(128),
            "u8" => Ty::U(8),
            "u16" => Ty::U(16),
            "u32" => Ty::U(32),
            "u64" => Ty::U(64),
            "s8" => Ty::S(8),
            "s16" => Ty::S(16),
            "s32" => Ty::S(32),
            "s64" => Ty::S(64),
            "f16" => Ty::F(Format::F16),
            "bf16" => Ty::F(Format::Bf16),
            "tf32" => Ty::F(Format::Tf32),
            "e4m3" => Ty::F(Format::E4m3),
            "e5m2" => Ty::F(Format::E5m2),
            "f32" => Ty::F(Format::F32),
            "f64" => Ty::F(Format::F64),
            "f16x2" => Ty::Pair(Format::F16),
            "bf16x2" => Ty::Pair(Format::Bf16),
            "e4m3x2" => Ty::Pair(Format::E4m3),
            "e5m2x2" => Ty::Pair(Format::E5m2),
            _ => return None,
        })
    }

    /// Bits of a value.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Ty::Pred => 1,
            Ty::B(bits) | Ty::U(bits) | Ty::S(bits) => bits,
            Ty::F(format) => format.register_bits(),
            Ty::Pair(format) => 2 * format.register_bits(),
        }
    }

    /// Bytes of a value in memory.
    pub(crate) fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Ty::S(_))
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Ty::F(_) | Ty::Pair(_))
    }

    /// A value of this type as an integer, by its sign.
    pub(crate) fn int(self, bits: u64) -> i128 {
        let n = self.bits().min(64);
        let unsigned = mask(n) & bits;
        match self {
            Ty::S(_) => i128::from(((unsigned << (64 - n)) as i64) >> (64 - n)),
            _ => i128::from(unsigned),
        }
    }
}

/// The lowest `bits` bits.
pub(crate) fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}
