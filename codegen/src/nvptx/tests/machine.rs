//! Threads of a block with their registers: what one instruction does to one thread.
//!
//! It covers what the builder emits and nothing more. Every access is checked against the buffer that the address
//! belongs to, and against its alignment.

use crate::nvptx::ptx::{
    Binary, Class, Compare, Function, Instruction, Operand, Reg, Rounding, Space, Special, Ty, Unary,
};
use ic_types::{f16_to_f32, f32_to_bf16, f32_to_f16};

/// Buffer `i` begins at `i + 1` times this.
pub(super) const SPACING: u64 = 1 << 40;

/// The registers of a thread as bits, and where it is.
pub(super) struct Thread {
    registers: Vec<Vec<u64>>,
    pub(super) at: usize,
    pub(super) id: u32,
}

impl Thread {
    pub(super) fn new(function: &Function, id: u32) -> Thread {
        let registers = function.registers.iter().map(|&n| vec![0xdead_beef_dead_beef; n as usize]).collect();
        Thread { registers, at: 0, id }
    }

    pub(super) fn get(&self, reg: Reg) -> u64 {
        let bits = self.registers[reg.class as usize][reg.index as usize];
        match reg.class {
            Class::Pred => bits & 1,
            Class::B16 => bits & 0xffff,
            Class::B32 | Class::F32 => bits & 0xffff_ffff,
            Class::B64 | Class::F64 => bits,
        }
    }

    pub(super) fn set(&mut self, reg: Reg, bits: u64) {
        self.registers[reg.class as usize][reg.index as usize] = bits;
    }

    pub(super) fn value(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.get(reg),
            Operand::Int(value) => value as u64,
            Operand::F32(bits) => bits.into(),
            Operand::F64(bits) => bits,
        }
    }

    fn f32(&self, operand: Operand) -> f32 {
        f32::from_bits(self.value(operand) as u32)
    }

    fn f64(&self, operand: Operand) -> f64 {
        f64::from_bits(self.value(operand))
    }

    /// An integer of a type, by its sign.
    fn int(&self, ty: Ty, operand: Operand) -> i128 {
        let bits = self.value(operand);
        match ty {
            Ty::S32 => (bits as i32).into(),
            Ty::U32 | Ty::B32 => (bits as u32).into(),
            Ty::S64 => (bits as i64).into(),
            Ty::Pred => (bits & 1).into(),
            Ty::S8 => (bits as i8).into(),
            Ty::S16 => (bits as i16).into(),
            Ty::U8 => (bits as u8).into(),
            Ty::U16 | Ty::B16 => (bits as u16).into(),
            _ => bits.into(),
        }
    }

    /// Runs an instruction that concerns this thread alone and goes on after it.
    pub(super) fn step(&mut self, instruction: &Instruction, block: u32, dims: &[i64], bases: &[u64]) {
        use Instruction as I;
        match instruction {
            I::Param { dst, index } => {
                let value = bases.get(*index).copied().unwrap_or_else(|| dims[*index - bases.len()] as u64);
                self.set(*dst, value);
            }
            I::Special { dst, from: Special::Thread } => self.set(*dst, self.id.into()),
            I::Special { dst, from: Special::Block } => self.set(*dst, block.into()),
            I::SharedAddress { dst, at } => self.set(*dst, (*at).into()),
            I::Unary { op, ty, dst, a } => {
                let bits = self.unary(*op, *ty, *a);
                self.set(*dst, bits);
            }
            I::Binary { op, ty, dst, a, b } => {
                let bits = self.binary(*op, *ty, *a, *b);
                self.set(*dst, bits);
            }
            I::Fma { ty: Ty::F32, dst, a, b, c } => {
                let value = self.f32(*a).mul_add(self.f32(*b), self.f32(*c));
                self.set(*dst, value.to_bits().into());
            }
            I::Fma { ty, dst, a, b, c } => {
                let value = self.int(*ty, *a) * self.int(*ty, *b) + self.int(*ty, *c);
                self.set(*dst, value as u64);
            }
            I::MadWide { dst, a, b, c } => {
                let value = self.int(Ty::S32, *a) * self.int(Ty::S32, *b) + self.int(Ty::S64, *c);
                self.set(*dst, value as u64);
            }
            I::SetP { compare, ty, dst, a, b } => {
                let holds = self.compare(*compare, *ty, *a, *b);
                self.set(*dst, holds.into());
            }
            I::SelP { dst, yes, no, p, .. } => {
                let bits = self.value(if self.get(*p) == 1 { *yes } else { *no });
                self.set(*dst, bits);
            }
            I::Cvt { rounding, to, from, dst, a } => {
                let bits = self.convert(*rounding, *to, *from, *a);
                self.set(*dst, bits);
            }
            I::Pack { dst, parts } => self.set(*dst, self.get(parts[0]) | self.get(parts[1]) << 16),
            I::Unpack { parts, src } => {
                let bits = self.get(*src);
                self.set(parts[0], bits & 0xffff);
                self.set(parts[1], bits >> 16);
            }
            other => panic!("{other:?} is not of one thread"),
        }
        self.at += 1;
    }

    fn unary(&self, op: Unary, ty: Ty, a: Operand) -> u64 {
        match (op, ty) {
            (Unary::Mov, _) => self.value(a),
            (Unary::Neg, Ty::F32) => (-self.f32(a)).to_bits().into(),
            (Unary::Abs, Ty::F32) => self.f32(a).abs().to_bits().into(),
            (Unary::Sqrt, Ty::F32) => self.f32(a).sqrt().to_bits().into(),
            (Unary::Neg, Ty::F64) => (-self.f64(a)).to_bits(),
            (Unary::Abs, Ty::F64) => self.f64(a).abs().to_bits(),
            (Unary::Sqrt, Ty::F64) => self.f64(a).sqrt().to_bits(),
            (Unary::Neg, _) => -self.int(ty, a) as u64,
            (Unary::Abs, _) => self.int(ty, a).unsigned_abs() as u64,
            (Unary::Not, _) => !self.value(a),
            (Unary::Sqrt, _) => panic!("sqrt of {ty:?}"),
        }
    }

    fn binary(&self, op: Binary, ty: Ty, a: Operand, b: Operand) -> u64 {
        match ty {
            Ty::F32 => float(
                op,
                self.f32(a).into(),
                self.f32(b).into(),
                |x| (x as f32).into(),
                |x| (x as f32).to_bits().into(),
            ),
            Ty::F64 => float(op, self.f64(a), self.f64(b), |x| x, f64::to_bits),
            _ => {
                let (x, y) = (self.int(ty, a), self.int(ty, b));
                let bits = i128::from(ty.bytes()) * 8;
                let value = match op {
                    Binary::Add => x + y,
                    Binary::Sub => x - y,
                    Binary::Mul => x.wrapping_mul(y),
                    Binary::Div => x.checked_div(y).expect("no division by zero"),
                    Binary::Rem => x.checked_rem(y).expect("no division by zero"),
                    Binary::Min => x.min(y),
                    Binary::Max => x.max(y),
                    Binary::And => x & y,
                    Binary::Or => x | y,
                    Binary::Xor => x ^ y,
                    Binary::Shl if y >= bits => 0,
                    Binary::Shl => x << y,
                    Binary::Shr => x >> y.min(127),
                };
                value as u64
            }
        }
    }

    fn compare(&self, compare: Compare, ty: Ty, a: Operand, b: Operand) -> bool {
        match ty {
            Ty::F32 => ordered(compare, &self.f32(a), &self.f32(b)),
            Ty::F64 => ordered(compare, &self.f64(a), &self.f64(b)),
            _ => ordered(compare, &self.int(ty, a), &self.int(ty, b)),
        }
    }

    fn convert(&self, rounding: Rounding, to: Ty, from: Ty, a: Operand) -> u64 {
        let x: f64 = match from {
            Ty::F32 => self.f32(a).into(),
            Ty::F64 => self.f64(a),
            Ty::F16 => f16_to_f32(self.value(a) as u16).into(),
            _ => self.int(from, a) as f64,
        };
        let is_float = |ty: Ty| matches!(ty, Ty::F16 | Ty::Bf16 | Ty::F32 | Ty::F64);
        let x = match rounding {
            Rounding::None | Rounding::Rn => x,
            Rounding::Rni => x.round_ties_even(),
            Rounding::Rzi => x.trunc(),
            Rounding::Rmi => x.floor(),
            Rounding::Rpi => x.ceil(),
        };
        match to {
            Ty::F32 => (x as f32).to_bits().into(),
            Ty::F64 => x.to_bits(),
            Ty::F16 => f32_to_f16(x as f32).into(),
            Ty::Bf16 => f32_to_bf16(x as f32).into(),
            Ty::S32 if is_float(from) => (x as i32) as u64,
            Ty::U32 if is_float(from) => (x as u32).into(),
            Ty::S64 if is_float(from) => (x as i64) as u64,
            Ty::U64 if is_float(from) => x as u64,
            _ => self.int(from, a) as u64,
        }
    }
}

fn float(op: Binary, a: f64, b: f64, round: impl Fn(f64) -> f64, bits: impl Fn(f64) -> u64) -> u64 {
    let nan = a.is_nan() || b.is_nan();
    // Rounding a sum, product or quotient of two f32 twice, through f64, gives the same f32.
    bits(round(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min | Binary::Max if nan => f64::NAN,
        Binary::Min => a.min(b),
        Binary::Max => a.max(b),
        other => panic!("{other:?} of floats"),
    }))
}

fn ordered<T: PartialOrd>(compare: Compare, a: &T, b: &T) -> bool {
    match compare {
        Compare::Eq => a == b,
        Compare::Ne => a != b,
        Compare::Lt => a < b,
        Compare::Le => a <= b,
        Compare::Gt => a > b,
        Compare::Ge => a >= b,
    }
}

/// Memory of a launch: buffers, and the shared memory of the block that runs.
pub(super) struct Memory<'a> {
    pub(super) buffers: &'a mut [Vec<u8>],
    pub(super) shared: Vec<u8>,
}

impl Memory<'_> {
    /// `n` bytes at an address.
    pub(super) fn bytes(&mut self, space: Space, address: u64, n: usize) -> &mut [u8] {
        assert!(address.is_multiple_of(n as u64), "an access of {n} bytes at {address:#x}");
        let (memory, at, what) = match space {
            Space::Shared => (&mut self.shared, address, "shared memory".to_string()),
            Space::Global => {
                let buffer = (address / SPACING).checked_sub(1).expect("an address in a buffer") as usize;
                (&mut self.buffers[buffer], address % SPACING, format!("buffer {buffer}"))
            }
        };
        let len = memory.len();
        memory.get_mut(at as usize..at as usize + n).unwrap_or_else(|| panic!("byte {at} of {what}, which has {len}"))
    }
}
