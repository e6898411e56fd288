//! Operands as they are written, and what their names stand for.

use crate::instruction::{Address, Guard, Operand, Reg, Special};
use crate::types::Ty;
use std::collections::HashMap;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbol {
    /// An offset in the block of parameters.
    Param(usize),
    /// An address in shared memory.
    Shared(usize),
}

/// Names of a kernel.
#[derive(Clone, Default, Debug)]
pub(super) struct Scope {
    pub(super) symbols: HashMap<String, Symbol>,
    pub(super) dynamic_shared: Option<usize>,
    registers: HashMap<String, Reg>,
    pub(super) bits: Vec<u32>,
    pub(super) names: Vec<String>,
}

/// Registers that a kernel may declare.
const MAX_REGISTERS: usize = 1 << 20;

impl Scope {
    /// Declares `name`, or `name<n>` for `name0 … name(n - 1)`.
    pub(super) fn declare(&mut self, name: &str, bits: u32) -> Result<(), String> {
        let names = match name.split_once('<') {
            None => vec![name.to_string()],
            Some((prefix, count)) => {
                let count = count.trim_end_matches('>').parse::<usize>().ok().filter(|&count| count <= MAX_REGISTERS);
                let count = count.ok_or_else(|| format!("`{name}`: expected a number of registers"))?;
                (0..count).map(|i| format!("{prefix}{i}")).collect()
            }
        };
        for name in names {
            if self.bits.len() >= MAX_REGISTERS {
                return Err("too many registers".into());
            }
            let number = self.bits.len() as Reg;
            if self.registers.insert(name.clone(), number).is_some() {
                return Err(format!("`{name}` is declared twice"));
            }
            self.bits.push(bits);
            self.names.push(name);
        }
        Ok(())
    }

    /// The register of this name.
    pub(super) fn register(&self, text: &str) -> Result<Reg, String> {
        self.registers.get(text).copied().ok_or_else(|| format!("`{text}` is no register"))
    }

    /// The register, which must have the bits of `ty`; wider ones are allowed where instructions convert.
    pub(super) fn typed(&self, text: &str, ty: Ty) -> Result<Reg, String> {
        let reg = self.register(text)?;
        let bits = self.bits[reg as usize];
        if bits == ty.bits() {
            Ok(reg)
        } else {
            Err(format!("`{text}` has {bits} bits, but the instruction's type has {}", ty.bits()))
        }
    }

    /// A source operand of a type.
    pub(super) fn operand(&self, text: &str, ty: Ty) -> Result<Operand, String> {
        if let Some(&reg) = self.registers.get(text) {
            return self.typed(text, ty).map(|_| Operand::Reg(reg));
        }
        self.constant(text, ty)
    }

    /// A source operand whose register may be wider than the type.
    pub(super) fn wide_operand(&self, text: &str, ty: Ty) -> Result<Operand, String> {
        match self.registers.get(text) {
            Some(&reg) if self.bits[reg as usize] < ty.bits() => Err(format!("`{text}` is too narrow")),
            Some(&reg) => Ok(Operand::Reg(reg)),
            None => self.constant(text, ty),
        }
    }

    fn constant(&self, text: &str, ty: Ty) -> Result<Operand, String> {
        if let Some(special) = special(text) {
            return Ok(Operand::Special(special));
        }
        let (name, offset) = offset(text);
        if let Some(Symbol::Shared(at)) = self.symbols.get(name) {
            return Ok(Operand::Bits((*at as i64).wrapping_add(offset?) as u64));
        }
        constant(text, ty).map(Operand::Bits).ok_or_else(|| format!("`{text}` is no operand of type {ty:?}"))
    }

    /// `%p` or `!%p`.
    pub(super) fn guard(&self, text: &str) -> Result<Guard, String> {
        let (text, negated) = text.strip_prefix('!').map_or((text, false), |text| (text, true));
        Ok(Guard { reg: self.typed(text.trim(), Ty::Pred)?, negated })
    }

    /// `[base + offset]`. `address_ty` is the type of addresses that are registers.
    pub(super) fn address(&self, text: &str, address_ty: Ty) -> Result<Address, String> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let inner = inner.ok_or_else(|| format!("`{text}` is no address"))?.trim();
        let (name, offset) = offset(inner);
        let offset = offset?;
        let base = match self.symbols.get(name) {
            Some(Symbol::Param(at) | Symbol::Shared(at)) => Operand::Bits(*at as u64),
            None => self.wide_operand(name, address_ty)?,
        };
        Ok(Address { base, offset })
    }
}

/// `name+4`, `name+-4`, `name-4` or `name`.
fn offset(text: &str) -> (&str, Result<i64, String>) {
    let at = text.find(['+', '-']).filter(|&at| at > 0);
    let Some(at) = at else { return (text, Ok(0)) };
    let (name, rest) = text.split_at(at);
    let digits: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    (name.trim(), int(digits).map(|x| x as i64).ok_or_else(|| format!("`{digits}` is no offset")))
}

fn int(text: &str) -> Option<u64> {
    let (text, negative) = text.strip_prefix('-').map_or((text, false), |text| (text, true));
    let text = text.strip_suffix('U').unwrap_or(text);
    let value = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => text.parse().ok()?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The bits of a constant of a type.
fn constant(text: &str, ty: Ty) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0f").or(text.strip_prefix("0F")) {
        return u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8 && ty.bits() == 32);
    }
    if let Some(digits) = text.strip_prefix("0d").or(text.strip_prefix("0D")) {
        return u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 16 && ty.bits() == 64);
    }
    if let Ty::F(format) = ty {
        let value = text.parse::<f64>().ok().filter(|_| text.contains('.'))?;
        return Some(format.encode(value, crate::Rounding::Nearest, false));
    }
    int(text)
}

fn special(text: &str) -> Option<Special> {
    let axis = |name: &str| match name {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    match text.split_once('.') {
        Some(("%tid", name)) => axis(name).map(Special::Tid),
        Some(("%ntid", name)) => axis(name).map(Special::Ntid),
        Some(("%ctaid", name)) => axis(name).map(Special::Ctaid),
        Some(("%nctaid", name)) => axis(name).map(Special::Nctaid),
        Some(_) => None,
        None => match text {
            "%laneid" => Some(Special::LaneId),
            "%warpid" => Some(Special::WarpId),
            "%lanemask_eq" => Some(Special::LaneMask(0)),
            "%lanemask_le" => Some(Special::LaneMask(1)),
            "%lanemask_lt" => Some(Special::LaneMask(2)),
            "%lanemask_ge" => Some(Special::LaneMask(3)),
            "%lanemask_gt" => Some(Special::LaneMask(4)),
            "%dynamic_smem_size" => Some(Special::DynamicSharedSize),
            _ => None,
        },
    }
}

/// Splits operands at commas outside of braces and brackets.
pub(super) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

/// The parts of `{a, b}`, or the operand itself.
pub(super) fn list(text: &str) -> Vec<&str> {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(inner) => split(inner),
        None => vec![text],
    }
}
