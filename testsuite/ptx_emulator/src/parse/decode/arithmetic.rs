//! Arithmetic, comparisons, conversions and copies (sections 9.7.1 to 9.7.9).

use super::Decoder;
use crate::float::Rounding;
use crate::instruction::{Binary, BoolOp, Compare, IntegerRounding, Op, Ternary, Unary};
use crate::parse::operand::list;
use crate::types::Ty;

impl Decoder<'_> {
    /// The instruction, if `name` is one of these.
    pub(super) fn arithmetic(&mut self, name: &str) -> Result<Option<Op>, String> {
        if let Some(op) = self.unary(name) {
            let mode = self.mode();
            // Where there is no exact form, results are those of the exact function, rounded.
            self.accept("approx");
            let ty = self.ty()?;
            self.count(2)?;
            let result = if matches!(op, Unary::Popc | Unary::Clz) { Ty::U(32) } else { ty };
            return Ok(Some(Op::Unary { op, ty, mode, dst: self.dst(0, result)?, a: self.src(1, ty)? }));
        }
        if let Some(op) = binary(name) {
            return self.binary(op).map(Some);
        }
        let op = match name {
            "mov" => self.mov()?,
            "fma" | "mad" => self.multiply_add(name)?,
            "lop3" | "prmt" | "bfe" | "shf" | "dp4a" => self.ternary(name)?,
            "bfi" => {
                let ty = self.ty()?;
                self.count(5)?;
                let (position, length) = (self.src(3, Ty::U(32))?, self.src(4, Ty::U(32))?);
                Op::InsertBits { ty, dst: self.dst(0, ty)?, a: self.src(1, ty)?, b: self.src(2, ty)?, position, length }
            }
            "setp" => self.compare()?,
            "selp" => {
                let ty = self.ty()?;
                self.count(4)?;
                let p = self.scope.guard(self.operand_text(3)?)?;
                Op::SelP { ty, dst: self.dst(0, ty)?, a: self.src(1, ty)?, b: self.src(2, ty)?, p }
            }
            "cvt" => self.convert()?,
            "cvta" => {
                // Addresses of a space are generic addresses here.
                self.accept("to");
                if self.take(|m| matches!(m, "global" | "shared" | "param").then_some(())).is_none() {
                    return Err("expected a state space".into());
                }
                let ty = self.ty()?;
                self.count(2)?;
                Op::Mov { ty, dst: self.dst(0, ty)?, a: self.src(1, ty)? }
            }
            _ => return Ok(None),
        };
        Ok(Some(op))
    }

    fn unary(&mut self, name: &str) -> Option<Unary> {
        Some(match name {
            "neg" => Unary::Neg,
            "abs" => Unary::Abs,
            "not" => Unary::Not,
            "sqrt" => Unary::Sqrt,
            "rsqrt" => Unary::Rsqrt,
            "rcp" => Unary::Rcp,
            "ex2" => Unary::Ex2,
            "lg2" => Unary::Lg2,
            "sin" => Unary::Sin,
            "cos" => Unary::Cos,
            "tanh" => Unary::Tanh,
            "popc" => Unary::Popc,
            "clz" => Unary::Clz,
            "brev" => Unary::Brev,
            _ => return None,
        })
    }

    fn mov(&mut self) -> Result<Op, String> {
        let ty = self.ty()?;
        self.count(2)?;
        let (to, from) = (list(self.operands[0]), list(self.operands[1]));
        if self.operands[1].starts_with('{') {
            let part_bits = ty.bits() / from.len() as u32;
            let parts = from.into_iter().map(|part| self.scope.operand(part, Ty::B(part_bits)));
            return Ok(Op::Pack { dst: self.dst(0, ty)?, part_bits, parts: parts.collect::<Result<_, _>>()? });
        }
        if self.operands[0].starts_with('{') {
            let part_bits = ty.bits() / to.len() as u32;
            let part = |text: &str| match text {
                "_" => Ok(None),
                text => self.scope.typed(text, Ty::B(part_bits)).map(Some),
            };
            let parts = to.into_iter().map(part).collect::<Result<_, _>>()?;
            return Ok(Op::Unpack { parts, part_bits, a: self.src(1, ty)? });
        }
        Ok(Op::Mov { ty, dst: self.dst(0, ty)?, a: self.src(1, ty)? })
    }

    fn binary(&mut self, mut op: Binary) -> Result<Op, String> {
        let mode = self.mode();
        let is_full = self.accept("full") | self.accept("approx");
        let (wide, high) = (self.accept("wide"), self.accept("hi"));
        self.accept("lo");
        let ty = self.ty()?;
        if mode.rounding != Rounding::Nearest {
            return Err("only `.rn` is supported".into());
        }
        if is_full && !(op == Binary::Div && ty.is_float()) {
            return Err("`.approx` is not supported".into());
        }
        let mut result = ty;
        if op == Binary::Mul && wide {
            op = Binary::MulWide;
            result = widened(ty)?;
        } else if op == Binary::Mul && high {
            op = Binary::MulHi;
        }
        self.count(3)?;
        let amount = if matches!(op, Binary::Shl | Binary::Shr) { Ty::U(32) } else { ty };
        Ok(Op::Binary { op, ty, mode, dst: self.dst(0, result)?, a: self.src(1, ty)?, b: self.src(2, amount)? })
    }

    fn multiply_add(&mut self, name: &str) -> Result<Op, String> {
        let mode = self.mode();
        let (wide, high, low) = (self.accept("wide"), self.accept("hi"), self.accept("lo"));
        let ty = self.ty()?;
        if mode.rounding != Rounding::Nearest {
            return Err("only `.rn` is supported".into());
        }
        if (name == "mad") == ty.is_float() || name == "mad" && !(wide || high || low) {
            return Err(format!("`{name}` of {ty:?} is not supported"));
        }
        let (op, result) = match (wide, high) {
            (true, _) => (Ternary::MadWide, widened(ty)?),
            (_, true) => (Ternary::MadHi, ty),
            _ => (Ternary::Fma, ty),
        };
        self.count(4)?;
        let (a, b, c) = (self.src(1, ty)?, self.src(2, ty)?, self.src(3, result)?);
        Ok(Op::Ternary { op, ty, mode, dst: self.dst(0, result)?, a, b, c })
    }

    fn ternary(&mut self, name: &str) -> Result<Op, String> {
        let mode = self.mode();
        let (left, right) = (self.accept("l"), self.accept("r"));
        let (wraps, _) = (self.accept("wrap"), self.accept("clamp"));
        let ty = self.ty()?;
        let word = Ty::B(32);
        let (op, [a, b, c]) = match name {
            "lop3" => {
                self.count(5)?;
                let table = self.operands[4].trim_start_matches("0x");
                let radix = if self.operands[4].starts_with("0x") { 16 } else { 10 };
                let table = u8::from_str_radix(table, radix).map_err(|_| "expected a table of 8 bits".to_string())?;
                (Ternary::Lop3(table), [ty; 3])
            }
            "prmt" => (Ternary::Prmt, [word; 3]),
            "bfe" => (Ternary::Bfe, [ty, word, word]),
            "shf" if left => (Ternary::FunnelLeft { wraps }, [word; 3]),
            "shf" if right => (Ternary::FunnelRight { wraps }, [word; 3]),
            "dp4a" => {
                let b_ty = self.ty()?;
                (Ternary::Dp4a { a_signed: ty.is_signed(), b_signed: b_ty.is_signed() }, [word; 3])
            }
            _ => return Err(format!("this form of `{name}` is not supported")),
        };
        if name != "lop3" {
            self.count(4)?;
        }
        let (a, b, c) = (self.src(1, a)?, self.src(2, b)?, self.src(3, c)?);
        Ok(Op::Ternary { op, ty, mode, dst: self.dst(0, ty)?, a, b, c })
    }

    fn compare(&mut self) -> Result<Op, String> {
        self.accept("ftz");
        let (compare, unordered) = self.take(comparison).ok_or("no comparison")?;
        let combine = self.take(|m| match m {
            "and" => Some(BoolOp::And),
            "or" => Some(BoolOp::Or),
            "xor" => Some(BoolOp::Xor),
            _ => None,
        });
        let ty = self.ty()?;
        self.count(if combine.is_some() { 4 } else { 3 })?;
        let (dst, inverse) = self.operands[0].split_once('|').unwrap_or((self.operands[0], ""));
        let inverse = (!inverse.is_empty()).then(|| self.scope.typed(inverse, Ty::Pred)).transpose()?;
        let combine = combine.map(|op| Ok::<_, String>((op, self.scope.guard(self.operands[3])?))).transpose()?;
        let dst = self.scope.typed(dst, Ty::Pred)?;
        Ok(Op::SetP { compare, unordered, ty, dst, inverse, a: self.src(1, ty)?, b: self.src(2, ty)?, combine })
    }

    fn convert(&mut self) -> Result<Op, String> {
        let integral = self.take(|m| match m {
            "rni" => Some(IntegerRounding::Nearest),
            "rzi" => Some(IntegerRounding::Zero),
            "rmi" => Some(IntegerRounding::Down),
            "rpi" => Some(IntegerRounding::Up),
            _ => None,
        });
        let mode = self.mode();
        let (to, from) = (self.ty()?, self.ty()?);
        let is_packing = matches!(to, Ty::Pair(_)) && !matches!(from, Ty::Pair(_));
        self.count(if is_packing { 3 } else { 2 })?;
        if from.is_float() && !to.is_float() && integral.is_none() {
            return Err("expected a rounding to an integer".into());
        }
        let dst = self.scope.wide_operand(self.operands[0], to)?;
        let crate::instruction::Operand::Reg(dst) = dst else { return Err("expected a register".into()) };
        let a = self.scope.wide_operand(self.operands[1], from)?;
        let low = is_packing.then(|| self.scope.wide_operand(self.operands[2], from)).transpose()?;
        Ok(Op::Cvt { to, from, integral, mode, dst, a, low })
    }
}

fn widened(ty: Ty) -> Result<Ty, String> {
    match ty {
        Ty::U(bits) => Ok(Ty::U(bits * 2)),
        Ty::S(bits) => Ok(Ty::S(bits * 2)),
        _ => Err("`.wide` of integers only".into()),
    }
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "add" => Binary::Add,
        "sub" => Binary::Sub,
        "mul" => Binary::Mul,
        "div" => Binary::Div,
        "rem" => Binary::Rem,
        "min" => Binary::Min,
        "max" => Binary::Max,
        "and" => Binary::And,
        "or" => Binary::Or,
        "xor" => Binary::Xor,
        "shl" => Binary::Shl,
        "shr" => Binary::Shr,
        _ => return None,
    })
}

/// A comparison, and whether NaN makes it true.
fn comparison(name: &str) -> Option<(Compare, bool)> {
    Some(match name {
        "eq" => (Compare::Eq, false),
        "ne" => (Compare::Ne, false),
        "lt" | "lo" => (Compare::Lt, false),
        "le" | "ls" => (Compare::Le, false),
        "gt" | "hi" => (Compare::Gt, false),
        "ge" | "hs" => (Compare::Ge, false),
        "equ" => (Compare::Eq, true),
        "neu" => (Compare::Ne, true),
        "ltu" => (Compare::Lt, true),
        "leu" => (Compare::Le, true),
        "gtu" => (Compare::Gt, true),
        "geu" => (Compare::Ge, true),
        "num" => (Compare::Num, false),
        "nan" => (Compare::Nan, true),
        _ => return None,
    })
}
