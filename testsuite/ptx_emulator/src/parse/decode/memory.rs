//! Loads, stores, atomics and asynchronous copies (sections 9.7.9 and 9.7.13).

use super::Decoder;
use crate::instruction::{Address, Atomic, Op, Operand, Reg, Space};
use crate::parse::operand::list;
use crate::types::Ty;

impl Decoder<'_> {
    /// The instruction, if `name` is one of these.
    pub(super) fn memory(&mut self, name: &str) -> Result<Option<Op>, String> {
        Ok(Some(match name {
            "ld" | "ldu" => {
                let (space, ty) = self.access()?;
                self.count(2)?;
                let dst = list(self.operands[0]).into_iter().map(|text| self.loaded(text, ty));
                let dst = dst.collect::<Result<Vec<_>, _>>()?;
                Op::Load { space, ty, dst, at: self.at(1, space)? }
            }
            "st" => {
                let (space, ty) = self.access()?;
                self.count(2)?;
                let src = list(self.operands[1]).into_iter().map(|text| self.scope.wide_operand(text, ty));
                let src = src.collect::<Result<Vec<_>, _>>()?;
                Op::Store { space, ty, src, at: self.at(0, space)? }
            }
            "atom" | "red" => self.atomic(name)?,
            "cp" => self.copy()?,
            "fence" if self.accept("proxy") => {
                if !self.accept("async") {
                    return Err("only `fence.proxy.async` is supported".into());
                }
                self.space();
                Op::ProxyFence
            }
            "membar" | "fence" => {
                self.modifiers.clear();
                Op::Fence
            }
            _ => return Ok(None),
        }))
    }

    fn loaded(&self, text: &str, ty: Ty) -> Result<Option<Reg>, String> {
        match self.scope.wide_operand(text, ty) {
            _ if text == "_" => Ok(None),
            Ok(Operand::Reg(reg)) => Ok(Some(reg)),
            Ok(_) => Err(format!("`{text}` is no register")),
            Err(error) => Err(error),
        }
    }

    /// Space, type and number of elements; hints have no effect here.
    fn access(&mut self) -> Result<(Space, Ty), String> {
        let space = self.space();
        for hint in ["weak", "volatile", "relaxed", "acquire", "release", "gpu", "cta", "sys", "nc"] {
            self.accept(hint);
        }
        for hint in ["ca", "cg", "cs", "lu", "cv", "wb", "wt"] {
            self.accept(hint);
        }
        self.modifiers.retain(|m| !m.starts_with("L1::") && !m.starts_with("L2::"));
        let n: Option<usize> = self.take(|m| m.strip_prefix('v').and_then(|n| n.parse().ok()));
        let ty = self.ty()?;
        let written = list(self.operands.iter().find(|o| !o.starts_with('[')).copied().unwrap_or_default()).len();
        let n = n.unwrap_or(1);
        if n != written || ![1, 2, 4, 8].contains(&n) || n as u32 * ty.bytes() > 16 {
            return Err(format!("{n} elements of {ty:?}, found {written} registers"));
        }
        Ok((space.unwrap_or(Space::Global), ty))
    }

    fn space(&mut self) -> Option<Space> {
        self.take(|m| match m {
            "global" => Some(Space::Global),
            "shared" | "shared::cta" => Some(Space::Shared),
            "param" => Some(Space::Param),
            _ => None,
        })
    }

    /// The address of a space.
    pub(super) fn at(&self, i: usize, space: Space) -> Result<Address, String> {
        let bits = if space == Space::Global { 64 } else { 32 };
        self.scope.address(self.operand_text(i)?, Ty::U(bits))
    }

    fn atomic(&mut self, name: &str) -> Result<Op, String> {
        let space = self.space().unwrap_or(Space::Global);
        for hint in ["relaxed", "acquire", "release", "acq_rel", "gpu", "cta", "sys", "noftz"] {
            self.accept(hint);
        }
        let op = self.take(|m| match m {
            "add" => Some(Atomic::Add),
            "min" => Some(Atomic::Min),
            "max" => Some(Atomic::Max),
            "and" => Some(Atomic::And),
            "or" => Some(Atomic::Or),
            "xor" => Some(Atomic::Xor),
            "exch" => Some(Atomic::Exchange),
            "cas" => Some(Atomic::CompareAndSwap),
            _ => None,
        });
        let op = op.ok_or("no operation")?;
        let ty = self.ty()?;
        if ty.bits() != 32 {
            return Err(format!("atomics of {ty:?} are not supported"));
        }
        let first = usize::from(name == "atom");
        self.count(first + if op == Atomic::CompareAndSwap { 3 } else { 2 })?;
        let dst = (first == 1).then(|| self.dst(0, ty)).transpose()?;
        let b = (op == Atomic::CompareAndSwap).then(|| self.src(first + 2, ty)).transpose()?;
        Ok(Op::Atomic { op, space, ty, dst, at: self.at(first, space)?, a: self.src(first + 1, ty)?, b })
    }

    fn copy(&mut self) -> Result<Op, String> {
        if !self.accept("async") {
            return Err("only `cp.async` is supported".into());
        }
        if self.accept("commit_group") {
            self.count(0)?;
            return Ok(Op::CommitGroup);
        }
        if self.accept("wait_all") {
            self.count(0)?;
            return Ok(Op::WaitAll);
        }
        if self.accept("wait_group") {
            self.count(1)?;
            let n = self.operands[0].parse().map_err(|_| "expected a number of groups".to_string())?;
            return Ok(Op::WaitGroup(n));
        }
        let around_l1 = self.accept("cg");
        if !around_l1 && !self.accept("ca") {
            return Err("expected `.ca` or `.cg`".into());
        }
        let is_placed = (self.accept("shared") || self.accept("shared::cta")) && self.accept("global");
        if !is_placed {
            return Err("expected `.shared.global`".into());
        }
        self.modifiers.retain(|m| !m.starts_with("L2::"));
        if !(3..=4).contains(&self.operands.len()) {
            return Err(format!("3 or 4 operands, found {}", self.operands.len()));
        }
        let bytes = self.operands[2].parse().ok().filter(|bytes| [4, 8, 16].contains(bytes));
        let bytes =
            bytes.filter(|&bytes| !around_l1 || bytes == 16).ok_or("expected 16 bytes, or with `.ca` 4 or 8")?;
        let source_bytes = self.operands.get(3).map(|text| self.scope.operand(text, Ty::U(32))).transpose()?;
        let (to, from) = (self.at(0, Space::Shared)?, self.at(1, Space::Global)?);
        Ok(Op::CopyAsync { bytes, to, from, source_bytes })
    }
}
