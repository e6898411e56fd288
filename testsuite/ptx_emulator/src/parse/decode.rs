//! One instruction: opcode, modifiers, operands.
//!
//! Every modifier must be consumed: one that is not known makes the instruction an error.

mod arithmetic;
mod memory;
mod warp;
mod warpgroup;

use super::operand::{Scope, split};
use crate::float::Rounding;
use crate::instruction::{FloatMode, Guard, Op, Operand, Reg};
use crate::types::Ty;
use std::collections::HashMap;

/// An instruction being decoded.
struct Decoder<'a> {
    scope: &'a Scope,
    /// Modifiers that nothing has consumed.
    modifiers: Vec<&'a str>,
    operands: Vec<&'a str>,
}

/// The guard and the operation of a statement.
pub(super) fn instruction(
    text: &str,
    scope: &Scope,
    labels: &HashMap<&str, usize>,
) -> Result<(Option<Guard>, Op), String> {
    let (guard, rest) = match text.strip_prefix('@') {
        Some(rest) => {
            let (guard, rest) = rest.split_once(' ').ok_or("expected an instruction after the guard")?;
            (Some(scope.guard(guard)?), rest.trim())
        }
        None => (None, text),
    };
    let (opcode, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut words = opcode.split('.');
    let name = words.next().unwrap_or_default();
    let mut decoder = Decoder { scope, modifiers: words.collect(), operands: split(operands) };
    let op = decoder.decode(name, labels)?;
    match decoder.modifiers.first() {
        None => Ok((guard, op)),
        Some(modifier) => Err(format!("`.{modifier}` of `{name}` is not supported")),
    }
}

impl<'a> Decoder<'a> {
    fn decode(&mut self, name: &str, labels: &HashMap<&str, usize>) -> Result<Op, String> {
        if let Some(op) = self.arithmetic(name)? {
            return Ok(op);
        }
        if let Some(op) = self.memory(name)? {
            return Ok(op);
        }
        if let Some(op) = self.warp(name)? {
            return Ok(op);
        }
        if let Some(op) = self.warpgroup(name)? {
            return Ok(op);
        }
        match name {
            "bra" => {
                self.accept("uni");
                self.count(1)?;
                let label = self.operands[0];
                let to = labels.get(label).ok_or_else(|| format!("no label `{label}`"))?;
                Ok(Op::Branch { to: *to })
            }
            "ret" | "exit" => {
                self.accept("uni");
                self.count(0)?;
                Ok(Op::Exit)
            }
            _ => Err(format!("`{name}` is not supported")),
        }
    }

    /// Consumes a modifier, if it is there.
    fn accept(&mut self, modifier: &str) -> bool {
        let at = self.modifiers.iter().position(|m| *m == modifier);
        at.map(|at| self.modifiers.remove(at)).is_some()
    }

    /// Consumes the first modifier that `read` knows.
    fn take<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (at, value) = self.modifiers.iter().enumerate().find_map(|(at, m)| Some((at, read(m)?)))?;
        self.modifiers.remove(at);
        Some(value)
    }

    /// Consumes the next type.
    fn ty(&mut self) -> Result<Ty, String> {
        self.take(Ty::from_name).ok_or_else(|| "no type".into())
    }

    /// Checks the number of operands.
    fn count(&self, n: usize) -> Result<(), String> {
        match self.operands.len() {
            found if found == n => Ok(()),
            found => Err(format!("{n} operands, found {found}")),
        }
    }

    fn dst(&self, i: usize, ty: Ty) -> Result<Reg, String> {
        self.scope.typed(self.operand_text(i)?, ty)
    }

    fn src(&self, i: usize, ty: Ty) -> Result<Operand, String> {
        self.scope.operand(self.operand_text(i)?, ty)
    }

    fn operand_text(&self, i: usize) -> Result<&'a str, String> {
        self.operands.get(i).copied().ok_or_else(|| format!("operand {} is missing", i + 1))
    }

    /// Consumes what says how floats are rounded and clamped.
    fn mode(&mut self) -> FloatMode {
        let rounding = self.take(|m| match m {
            "rn" => Some(Rounding::Nearest),
            "rna" => Some(Rounding::NearestAway),
            "rz" => Some(Rounding::Zero),
            "rm" => Some(Rounding::Down),
            "rp" => Some(Rounding::Up),
            _ => None,
        });
        FloatMode {
            rounding: rounding.unwrap_or(Rounding::Nearest),
            flushes: self.accept("ftz"),
            saturates: self.accept("sat"),
            propagates_nan: self.accept("NaN"),
            relu: self.accept("relu"),
            clamps: self.accept("satfinite"),
        }
    }
}
