//! Barriers, exchanges within a warp and matrix instructions (sections 9.7.9.6, 9.7.13 and 9.7.14).

use super::Decoder;
use crate::float::Format;
use crate::instruction::{Binary, Factor, Mma, Op, Operand, Reg, ShuffleMode, Space, Vote};
use crate::parse::operand::list;
use crate::types::Ty;

const WORD: Ty = Ty::B(32);

impl Decoder<'_> {
    /// The instruction, if `name` is one of these.
    pub(super) fn warp(&mut self, name: &str) -> Result<Option<Op>, String> {
        Ok(Some(match name {
            "bar" | "barrier" => self.barrier()?,
            "shfl" => self.shuffle()?,
            "vote" => self.vote()?,
            "activemask" => {
                self.ty()?;
                self.count(1)?;
                Op::ActiveMask { dst: self.dst(0, WORD)? }
            }
            "redux" => self.reduce()?,
            "ldmatrix" => {
                let (n, transposed) = self.matrices()?;
                self.count(2)?;
                let dst = list(self.operands[0]).into_iter().map(|text| self.scope.typed(text, WORD));
                let dst = dst.collect::<Result<Vec<_>, _>>()?;
                check(n, dst.len())?;
                Op::LoadMatrix { dst, at: self.at(1, Space::Shared)?, transposed }
            }
            "stmatrix" => {
                let (n, transposed) = self.matrices()?;
                self.count(2)?;
                let src = self.words(1)?;
                check(n, src.len())?;
                Op::StoreMatrix { src, at: self.at(0, Space::Shared)?, transposed }
            }
            "mma" => Op::Mma(self.mma()?),
            _ => return Ok(None),
        }))
    }

    fn barrier(&mut self) -> Result<Op, String> {
        self.accept("cta");
        if self.accept("warp") {
            if !self.accept("sync") {
                return Err("only `bar.warp.sync` is supported".into());
            }
            self.count(1)?;
            return Ok(Op::WarpBarrier { mask: self.src(0, WORD)? });
        }
        if !self.accept("sync") {
            return Err("only `bar.sync` is supported".into());
        }
        self.accept("aligned");
        let threads = (self.operands.len() == 2).then(|| self.src(1, WORD)).transpose()?;
        if threads.is_none() {
            self.count(1)?;
        }
        Ok(Op::Barrier { id: self.src(0, WORD)?, threads })
    }

    fn need_sync(&mut self) -> Result<(), String> {
        if self.accept("sync") { Ok(()) } else { Err("only the `.sync` form is supported".into()) }
    }

    fn shuffle(&mut self) -> Result<Op, String> {
        self.need_sync()?;
        let mode = self.take(|m| match m {
            "up" => Some(ShuffleMode::Up),
            "down" => Some(ShuffleMode::Down),
            "bfly" => Some(ShuffleMode::Butterfly),
            "idx" => Some(ShuffleMode::Index),
            _ => None,
        });
        let mode = mode.ok_or("no mode")?;
        self.ty()?;
        self.count(5)?;
        let (dst, in_range) = self.operands[0].split_once('|').unwrap_or((self.operands[0], ""));
        let in_range = (!in_range.is_empty()).then(|| self.scope.typed(in_range, Ty::Pred)).transpose()?;
        let dst = self.scope.typed(dst, WORD)?;
        let [a, b, c, mask] = [1, 2, 3, 4].map(|i| self.src(i, WORD));
        Ok(Op::Shuffle { mode, dst, in_range, a: a?, b: b?, c: c?, mask: mask? })
    }

    fn vote(&mut self) -> Result<Op, String> {
        self.need_sync()?;
        let vote = self.take(|m| match m {
            "all" => Some(Vote::All),
            "any" => Some(Vote::Any),
            "uni" => Some(Vote::Uniform),
            "ballot" => Some(Vote::Ballot),
            _ => None,
        });
        let ty = self.ty()?;
        self.count(3)?;
        let p = self.scope.guard(self.operands[1])?;
        Ok(Op::Vote { vote: vote.ok_or("no mode")?, dst: self.dst(0, ty)?, p, mask: self.src(2, WORD)? })
    }

    fn reduce(&mut self) -> Result<Op, String> {
        self.need_sync()?;
        let op = self.take(|m| match m {
            "add" => Some(Binary::Add),
            "min" => Some(Binary::Min),
            "max" => Some(Binary::Max),
            "and" => Some(Binary::And),
            "or" => Some(Binary::Or),
            "xor" => Some(Binary::Xor),
            _ => None,
        });
        let ty = self.ty()?;
        self.count(3)?;
        let (dst, a) = (self.dst(0, ty)?, self.src(1, ty)?);
        Ok(Op::Reduce { op: op.ok_or("no operation")?, ty, dst, a, mask: self.src(2, WORD)? })
    }

    /// The number of matrices of 8 × 8 halves, and whether they are transposed.
    fn matrices(&mut self) -> Result<(usize, bool), String> {
        self.need_sync()?;
        let is_known =
            self.accept("aligned") && self.accept("m8n8") && (self.accept("shared") | self.accept("shared::cta"));
        let n = self.take(|m| match m {
            "x1" => Some(1),
            "x2" => Some(2),
            "x4" => Some(4),
            _ => None,
        });
        let transposed = self.accept("trans");
        match (is_known && self.accept("b16"), n) {
            (true, Some(n)) => Ok((n, transposed)),
            _ => Err("expected `.sync.aligned.m8n8.x1|x2|x4.shared.b16`".into()),
        }
    }

    fn words(&self, i: usize) -> Result<Vec<Operand>, String> {
        list(self.operand_text(i)?).into_iter().map(|text| self.scope.operand(text, WORD)).collect()
    }

    fn mma(&mut self) -> Result<Mma, String> {
        self.need_sync()?;
        self.accept("aligned");
        let k = self.take(|m| m.strip_prefix("m16n8k").and_then(|k| k.parse::<usize>().ok()));
        let k = k.ok_or("only shapes `m16n8k…` are supported")?;
        if !(self.accept("row") && self.accept("col")) {
            return Err("expected `.row.col`".into());
        }
        let clamps = self.accept("satfinite");
        let [d_ty, a_ty, b_ty, c_ty] = [self.ty()?, self.ty()?, self.ty()?, self.ty()?];
        if d_ty != c_ty {
            return Err("results and accumulators must have one type".into());
        }
        let (a_factor, b_factor) = (factor(a_ty)?, factor(b_ty)?);
        let bits = a_ty.bits();
        // Section 9.7.14.5: shapes by the type of the factors.
        let known: &[usize] = match (a_factor, b_factor) {
            (Factor::Float(Format::Tf32), Factor::Float(Format::Tf32)) => &[4, 8],
            (Factor::Float(a), Factor::Float(b)) if bits == 16 && a == b => &[8, 16],
            (Factor::Float(_), Factor::Float(_)) if bits == 8 && b_ty.bits() == 8 => &[16, 32],
            (Factor::Int8 { .. }, Factor::Int8 { .. }) => &[16, 32],
            _ => &[],
        };
        if !known.contains(&k) {
            return Err(format!("no product of {a_ty:?} and {b_ty:?} over {k} steps"));
        }
        let is_integer = matches!(a_factor, Factor::Int8 { .. });
        let is_half = matches!(a_factor, Factor::Float(Format::F16)) || bits == 8 && !is_integer;
        let fits = match d_ty {
            Ty::S(32) => is_integer,
            Ty::F(Format::F32) => !is_integer,
            Ty::F(Format::F16) => is_half,
            _ => false,
        };
        if !fits {
            return Err(format!("no product of {a_ty:?} and {b_ty:?} with sums of {d_ty:?}"));
        }
        self.count(4)?;
        let d = list(self.operands[0]).into_iter().map(|text| self.scope.typed(text, WORD));
        let d = d.collect::<Result<Vec<Reg>, _>>()?;
        let [a, b, c] = [self.words(1)?, self.words(2)?, self.words(3)?];
        let per_lane = |elements: usize, bits: u32| (elements * bits as usize).div_ceil(32 * 32);
        check(per_lane(16 * 8, d_ty.bits()), d.len())?;
        check(per_lane(16 * 8, d_ty.bits()), c.len())?;
        check(per_lane(16 * k, bits), a.len())?;
        check(per_lane(8 * k, b_ty.bits()), b.len())?;
        Ok(Mma { k, a_ty: a_factor, b_ty: b_factor, accumulator: d_ty, clamps, d, a, b, c })
    }
}

fn factor(ty: Ty) -> Result<Factor, String> {
    match ty {
        Ty::F(format) if format != Format::F32 && format != Format::F64 => Ok(Factor::Float(format)),
        Ty::S(8) => Ok(Factor::Int8 { signed: true }),
        Ty::U(8) => Ok(Factor::Int8 { signed: false }),
        _ => Err(format!("products of {ty:?} are not supported")),
    }
}

/// Whether there are as many registers as the shape needs.
fn check(n: usize, found: usize) -> Result<(), String> {
    if n == found { Ok(()) } else { Err(format!("{n} registers, found {found}")) }
}
