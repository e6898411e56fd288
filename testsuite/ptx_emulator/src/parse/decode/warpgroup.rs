//! Products of warpgroups and the fences around them (section 9.7.15).

use super::Decoder;
use crate::float::Format;
use crate::instruction::{Op, Operand};
use crate::parse::operand::list;
use crate::types::Ty;
use crate::warpgroup::{Left, WarpgroupMma};

const WORD: Ty = Ty::B(32);
const WIDE: Ty = Ty::B(64);

impl Decoder<'_> {
    /// The instruction, if `name` is `wgmma`.
    pub(super) fn warpgroup(&mut self, name: &str) -> Result<Option<Op>, String> {
        if name != "wgmma" {
            return Ok(None);
        }
        let what = self.take(|m| match m {
            "fence" | "commit_group" | "wait_group" | "mma_async" => Some(m.to_string()),
            _ => None,
        });
        if !(self.accept("sync") && self.accept("aligned")) {
            return Err("expected `.sync.aligned`".into());
        }
        let op = match what.as_deref() {
            Some("fence") => Op::WarpgroupFence,
            Some("commit_group") => Op::WarpgroupCommit,
            Some("wait_group") => {
                self.count(1)?;
                let n = self.operands[0].parse().map_err(|_| "expected a number of groups".to_string())?;
                return Ok(Some(Op::WarpgroupWait(n)));
            }
            Some(_) => return Ok(Some(Op::WarpgroupMma(Box::new(self.warpgroup_mma()?)))),
            None => return Err("expected `.fence`, `.mma_async`, `.commit_group` or `.wait_group`".into()),
        };
        self.count(0)?;
        Ok(Some(op))
    }

    fn warpgroup_mma(&mut self) -> Result<WarpgroupMma, String> {
        let shape = |m: &str| m.strip_prefix("m64n").and_then(|m| m.strip_suffix("k16")).and_then(|n| n.parse().ok());
        let n = self.take(shape).filter(|n: &usize| n.is_multiple_of(8) && (8..=256).contains(n));
        let n = n.ok_or("only shapes `m64nNk16` are supported")?;
        let format = match [self.ty()?, self.ty()?, self.ty()?] {
            [Ty::F(Format::F32), Ty::F(a), Ty::F(b)] if a == b && [Format::F16, Format::Bf16].contains(&a) => a,
            types => return Err(format!("products of {types:?} are not supported")),
        };
        let d = list(self.operand_text(0)?).into_iter().map(|text| self.scope.typed(text, Ty::F(Format::F32)));
        let d = d.collect::<Result<Vec<_>, _>>()?;
        if d.len() != n / 2 {
            return Err(format!("{} registers, found {}", n / 2, d.len()));
        }
        let in_registers = self.operand_text(1)?.starts_with('{');
        self.count(if in_registers { 7 } else { 8 })?;
        let accumulates = self.scope.guard(self.operands[3])?;
        let mut is_negated = false;
        for text in &self.operands[4..6] {
            is_negated ^= match *text {
                "1" => false,
                "-1" => true,
                _ => return Err(format!("`{text}` is no sign")),
            };
        }
        let flag = |i: usize| match self.operands[i] {
            "0" => Ok(false),
            "1" => Ok(true),
            text => Err(format!("`{text}` does not say whether a factor is transposed")),
        };
        let a = if in_registers {
            let words = list(self.operands[1]).into_iter().map(|text| self.scope.operand(text, WORD));
            let words = words.collect::<Result<Vec<Operand>, _>>()?;
            if words.len() != 4 {
                return Err(format!("4 registers, found {}", words.len()));
            }
            Left::Registers(words)
        } else {
            Left::Memory(self.src(1, WIDE)?, flag(6)?)
        };
        let b = (self.src(2, WIDE)?, flag(self.operands.len() - 1)?);
        Ok(WarpgroupMma { n, format, d, a, b, accumulates, is_negated })
    }
}
