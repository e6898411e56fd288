//! Conversions: between registers and memory, and op `cast`.

use super::{Emitter, arithmetic, class_of};
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Rounding, Ty};
use ic_types::DType;

impl Emitter<'_> {
    /// A loaded element as a value.
    pub(crate) fn loaded(&mut self, dtype: DType, reg: Reg) -> Operand {
        match dtype {
            DType::F16 => self.b.cvt(Rounding::None, Ty::F32, Ty::F16, reg).into(),
            DType::BF16 => {
                // The upper half of an f32.
                let zero = self.b.mov(Ty::B16, 0);
                let wide = self.b.reg(Class::B32);
                self.b.push(Instruction::Pack { dst: wide, parts: [zero, reg] });
                self.as_float(wide).into()
            }
            DType::Bool => self.b.compare(Compare::Ne, Ty::S32, reg, 0).into(),
            _ => reg.into(),
        }
    }

    /// A value as it is stored.
    pub(crate) fn storable(&mut self, dtype: DType, value: Operand) -> Reg {
        match dtype {
            DType::F16 => self.b.cvt(Rounding::Rn, Ty::F16, Ty::F32, value),
            DType::BF16 => self.b.cvt(Rounding::Rn, Ty::Bf16, Ty::F32, value),
            DType::Bool => self.truth(value),
            _ => self.b.in_register(arithmetic(dtype), value),
        }
    }

    /// A bool as 0 or 1.
    pub(crate) fn truth(&mut self, value: Operand) -> Reg {
        match value {
            Operand::Reg(p) => self.b.select(Ty::B32, p, 1, 0),
            other => self.b.mov(Ty::B32, other),
        }
    }

    /// The same bits as a float.
    pub(crate) fn as_float(&mut self, bits: Reg) -> Reg {
        let dst = self.b.reg(Class::F32);
        self.b.assign(Ty::B32, dst, bits);
        dst
    }

    /// The same bits as an integer.
    pub(crate) fn as_bits(&mut self, float: Reg) -> Reg {
        let dst = self.b.reg(Class::B32);
        self.b.assign(Ty::B32, dst, float);
        dst
    }

    /// The low bits of an integer, extended by the sign of its type.
    pub(crate) fn normalized(&mut self, dtype: DType, value: Reg) -> Reg {
        match dtype {
            DType::I8 => self.b.cvt(Rounding::None, Ty::S32, Ty::S8, value),
            DType::I16 => self.b.cvt(Rounding::None, Ty::S32, Ty::S16, value),
            DType::U8 => self.b.binary(Binary::And, Ty::B32, value, 0xff),
            DType::U16 => self.b.binary(Binary::And, Ty::B32, value, 0xffff),
            _ => value,
        }
    }

    /// Op `cast`: floats to integers truncate.
    ///
    /// # Errors
    /// If there is no code for it.
    pub(crate) fn cast(&mut self, from: DType, to: DType, value: Operand) -> Result<Operand, String> {
        let (source, target) = (class_of(from), class_of(to));
        if from == to {
            return Ok(value);
        }
        Ok(match (source, target) {
            (Class::F32, Class::F32) => self.rounded(to, value),
            (_, Class::Pred) => {
                let zero = match source {
                    Class::F32 => 0.0f32.into(),
                    Class::F64 => Operand::F64(0),
                    _ => Operand::Int(0),
                };
                self.b.compare(Compare::Ne, arithmetic(from), value, zero).into()
            }
            (Class::Pred, _) => {
                let number = self.truth(value);
                return self.cast(DType::I32, to, number.into());
            }
            (Class::F32, Class::F64) => self.b.cvt(Rounding::None, Ty::F64, Ty::F32, value).into(),
            (Class::F64, Class::F32) => {
                let single = self.b.cvt(Rounding::Rn, Ty::F32, Ty::F64, value);
                if to == DType::F32 { single.into() } else { return Err(format!("conversion of {from} to {to}")) }
            }
            (Class::F32 | Class::F64, _) => {
                // Out of range, conversions saturate to the register's type; what is narrower wraps, as on the CPU.
                let integer = self.b.cvt(Rounding::Rzi, arithmetic(to), arithmetic(from), value);
                self.normalized(to, integer).into()
            }
            (_, Class::F32 | Class::F64) => {
                let value = self.b.in_register(arithmetic(from), value);
                let float = self.b.cvt(Rounding::Rn, arithmetic(to), arithmetic(from), value).into();
                self.rounded(to, float)
            }
            (a, b) if a == b => {
                let value = self.b.in_register(arithmetic(from), value);
                self.normalized(to, value).into()
            }
            _ => {
                let value = self.b.in_register(arithmetic(from), value);
                let integer = self.b.cvt(Rounding::None, arithmetic(to), arithmetic(from), value);
                self.normalized(to, integer).into()
            }
        })
    }

    /// An f32 rounded to `dtype`.
    fn rounded(&mut self, dtype: DType, value: Operand) -> Operand {
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return value;
        }
        let narrow = self.storable(dtype, value);
        let wide = self.loaded(dtype, narrow);
        if let Operand::Reg(wide) = wide {
            self.exact.insert(wide, (dtype, value));
        }
        wide
    }

    /// What the value was before it was rounded to `dtype`, if that is how it came about.
    fn unrounded(&self, dtype: DType, value: Operand) -> Operand {
        let Operand::Reg(reg) = value else { return value };
        self.exact.get(&reg).filter(|(of, _)| *of == dtype).map_or(value, |(_, exact)| *exact)
    }

    /// Two neighbours as they are stored, halves in one register.
    pub(crate) fn storable_pair(&mut self, dtype: DType, values: [Operand; 2]) -> Reg {
        let ty = match dtype {
            DType::F16 => Ty::F16,
            DType::BF16 => Ty::Bf16,
            _ => {
                let [low, high] = values.map(|value| self.storable(dtype, value));
                return self.pair(low, high);
            }
        };
        let parts = values.map(|value| {
            let value = self.unrounded(dtype, value);
            self.b.in_register(Ty::F32, value)
        });
        let dst = self.b.reg(Class::B32);
        self.b.push(Instruction::Round { ty, dst, parts });
        dst
    }
}
