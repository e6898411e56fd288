//! Builds a function: every method adds an instruction and returns the register of its result.

use super::Function;
use super::instruction::{
    Binary, Class, Compare, Instruction, Label, Operand, Reg, Rounding, Space, Special, Ty, Unary,
};

/// A function under construction.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    registers: [u32; Class::ALL.len()],
    /// Reads of parameters, which come first.
    parameters: Vec<Instruction>,
    body: Vec<Instruction>,
    n_labels: u32,
    shared_bytes: u32,
}

impl Builder {
    /// A new register.
    pub(crate) fn reg(&mut self, class: Class) -> Reg {
        let index = self.registers[class as usize];
        self.registers[class as usize] += 1;
        Reg { class, index }
    }

    /// A new label.
    pub(crate) fn label(&mut self) -> Label {
        self.n_labels += 1;
        Label(self.n_labels - 1)
    }

    /// Adds an instruction.
    pub(crate) fn push(&mut self, instruction: Instruction) {
        self.body.push(instruction);
    }

    /// Sets `label` to this point.
    pub(crate) fn place(&mut self, label: Label) {
        self.push(Instruction::Label(label));
    }

    /// Reserves shared memory; the address of its first byte. All functions of one builder share one block of it.
    pub(crate) fn shared(&mut self, bytes: u32) -> u32 {
        let at = self.shared_bytes.next_multiple_of(16);
        self.shared_bytes = at + bytes;
        at
    }

    /// Parameter `index`, an address if `class` says so, read at the function's start.
    pub(crate) fn parameter(&mut self, class: Class, index: usize) -> Reg {
        let dst = self.reg(class);
        self.parameters.push(Instruction::Param { dst, index });
        dst
    }

    /// A special register.
    pub(crate) fn special(&mut self, from: Special) -> Reg {
        let dst = self.reg(Class::B32);
        self.push(Instruction::Special { dst, from });
        dst
    }

    /// An operation of one source.
    pub(crate) fn unary(&mut self, op: Unary, ty: Ty, a: impl Into<Operand>) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Instruction::Unary { op, ty, dst, a: a.into() });
        dst
    }

    /// A copy in a register of its own.
    pub(crate) fn mov(&mut self, ty: Ty, a: impl Into<Operand>) -> Reg {
        self.unary(Unary::Mov, ty, a)
    }

    /// Sets a register again.
    pub(crate) fn assign(&mut self, ty: Ty, dst: Reg, a: impl Into<Operand>) {
        self.push(Instruction::Unary { op: Unary::Mov, ty, dst, a: a.into() });
    }

    /// An operation of two sources.
    pub(crate) fn binary(&mut self, op: Binary, ty: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Instruction::Binary { op, ty, dst, a: a.into(), b: b.into() });
        dst
    }

    /// `a * b + c`, rounded once.
    pub(crate) fn fma(&mut self, ty: Ty, a: impl Into<Operand>, b: impl Into<Operand>, c: impl Into<Operand>) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Instruction::Fma { ty, dst, a: a.into(), b: b.into(), c: c.into() });
        dst
    }

    /// A comparison.
    pub(crate) fn compare(&mut self, compare: Compare, ty: Ty, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        let dst = self.reg(Class::Pred);
        self.push(Instruction::SetP { compare, ty, dst, a: a.into(), b: b.into() });
        dst
    }

    /// `p ? yes : no`.
    pub(crate) fn select(&mut self, ty: Ty, p: Reg, yes: impl Into<Operand>, no: impl Into<Operand>) -> Reg {
        let dst = self.reg(ty.class());
        self.push(Instruction::SelP { ty, dst, yes: yes.into(), no: no.into(), p });
        dst
    }

    /// A conversion.
    pub(crate) fn cvt(&mut self, rounding: Rounding, to: Ty, from: Ty, a: impl Into<Operand>) -> Reg {
        let dst = self.reg(to.class());
        self.push(Instruction::Cvt { rounding, to, from, dst, a: a.into() });
        dst
    }

    /// Loads neighbours into `dst`; where `guard` is false, they keep their values.
    pub(crate) fn load(
        &mut self,
        space: Space,
        ty: Ty,
        dst: &[Reg],
        base: impl Into<Operand>,
        offset: i32,
        guard: Option<Reg>,
    ) {
        self.push(Instruction::Load { space, ty, dst: dst.to_vec(), base: base.into(), offset, guard });
    }

    /// Stores neighbours.
    pub(crate) fn store(
        &mut self,
        space: Space,
        ty: Ty,
        src: &[Reg],
        base: impl Into<Operand>,
        offset: i32,
        guard: Option<Reg>,
    ) {
        self.push(Instruction::Store { space, ty, src: src.to_vec(), base: base.into(), offset, guard });
    }

    /// `a + b` of 32-bit integers; nothing is added where one is 0.
    pub(crate) fn add(&mut self, a: Operand, b: Operand) -> Operand {
        match (a, b) {
            (Operand::Int(0), x) | (x, Operand::Int(0)) => x,
            (Operand::Int(a), Operand::Int(b)) => Operand::Int(a + b),
            _ => self.binary(Binary::Add, Ty::S32, a, b).into(),
        }
    }

    /// `a * b` of 32-bit integers.
    pub(crate) fn mul(&mut self, a: Operand, b: Operand) -> Operand {
        match (a, b) {
            (Operand::Int(0), _) | (_, Operand::Int(0)) => Operand::Int(0),
            (Operand::Int(1), x) | (x, Operand::Int(1)) => x,
            (Operand::Int(a), Operand::Int(b)) => Operand::Int(a * b),
            // Immediates go last.
            (Operand::Int(_), Operand::Reg(_)) => self.binary(Binary::Mul, Ty::S32, b, a).into(),
            _ => self.binary(Binary::Mul, Ty::S32, a, b).into(),
        }
    }

    /// `a / b` and `a % b` of 32-bit integers that are not negative.
    pub(crate) fn div_rem(&mut self, a: Operand, b: Operand) -> (Operand, Operand) {
        match (a, b) {
            (_, Operand::Int(1)) => (a, Operand::Int(0)),
            (Operand::Int(a), Operand::Int(b)) if b > 0 => (Operand::Int(a / b), Operand::Int(a % b)),
            _ => {
                let quotient = self.binary(Binary::Div, Ty::U32, a, b);
                let whole = self.mul(quotient.into(), b);
                (quotient.into(), self.binary(Binary::Sub, Ty::S32, a, whole).into())
            }
        }
    }

    /// A copy of the bits in a register of another class.
    pub(crate) fn mov_bits(&mut self, class: Class, ty: Ty, a: Reg) -> Reg {
        let dst = self.reg(class);
        self.assign(ty, dst, a);
        dst
    }

    /// The address of byte `at` of the shared memory.
    pub(crate) fn shared_address(&mut self, at: u32) -> Reg {
        let dst = self.reg(Class::B32);
        self.push(Instruction::SharedAddress { dst, at });
        dst
    }

    /// The operand in a register.
    pub(crate) fn in_register(&mut self, ty: Ty, a: Operand) -> Reg {
        match a {
            Operand::Reg(reg) => reg,
            _ => self.mov(ty, a),
        }
    }

    /// The address of element `index` of a buffer at `base`.
    pub(crate) fn address(&mut self, base: Reg, index: Operand, bytes: u32) -> Reg {
        match index {
            Operand::Int(0) => base,
            Operand::Int(i) => self.binary(Binary::Add, Ty::S64, base, i * i64::from(bytes)),
            _ => {
                let dst = self.reg(Class::B64);
                let (b, c) = (Operand::Int(bytes.into()), base.into());
                self.push(Instruction::MadWide { dst, a: index, b, c });
                dst
            }
        }
    }

    /// Both, of which either may be absent.
    pub(crate) fn both(&mut self, a: Option<Reg>, b: Option<Reg>) -> Option<Reg> {
        match (a, b) {
            (Some(a), Some(b)) => Some(self.binary(Binary::And, Ty::Pred, a, b)),
            (a, b) => a.or(b),
        }
    }

    /// The function.
    pub(crate) fn finish(self, name: String, n_buffers: usize, n_dims: usize, threads: u32) -> Function {
        let body = self.parameters.into_iter().chain(self.body).chain([Instruction::Return]).collect();
        let (registers, shared_bytes) = (self.registers, self.shared_bytes);
        Function { name, n_buffers, n_dims, threads, shared_bytes, registers, body }
    }
}
