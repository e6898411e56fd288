//! The dim program of a plan: every dimension expression that steps or code need is a slot, equal ones share it.

use ic_artifact::{DimOp, DimSlot};
use ic_types::{Atom, Dim};
use std::collections::HashMap;
use std::sync::Arc;

/// Identity of a dim step: its kind and operands.
type Key = (u8, i64, i64);

/// Builds a dim program. Slots are numbered in the order in which they are asked for.
#[derive(Debug, Default)]
pub(crate) struct DimBuilder {
    ops: Vec<DimOp>,
    slots: HashMap<Key, DimSlot>,
    dims: HashMap<Dim, DimSlot>,
    symbols: HashMap<Arc<str>, u32>,
}

/// A symbol that nothing gives a value to at this point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unbound(pub(crate) Arc<str>);

impl DimBuilder {
    /// Makes `name` the symbol of this index.
    pub(crate) fn bind(&mut self, name: &Arc<str>, index: u32) {
        self.symbols.entry(name.clone()).or_insert(index);
    }

    /// Whether the symbol has a value at this point.
    pub(crate) fn is_bound(&self, name: &str) -> bool {
        self.symbols.contains_key(name)
    }

    /// Number of slots.
    pub(crate) fn len(&self) -> u32 {
        self.ops.len() as u32
    }

    /// The program.
    pub(crate) fn finish(self) -> Vec<DimOp> {
        self.ops
    }

    /// The slot of a constant.
    pub(crate) fn constant(&mut self, value: i64) -> DimSlot {
        self.push(DimOp::Const(value))
    }

    /// The slot of an f32 attribute.
    pub(crate) fn float(&mut self, value: f32) -> DimSlot {
        self.constant(i64::from(value.to_bits()))
    }

    /// The slot of `dim`.
    ///
    /// # Errors
    /// If a symbol has no value yet.
    pub(crate) fn slot(&mut self, dim: &Dim) -> Result<DimSlot, Unbound> {
        if let Some(&slot) = self.dims.get(dim) {
            return Ok(slot);
        }
        let slot = self.sum(dim)?;
        self.dims.insert(dim.clone(), slot);
        Ok(slot)
    }

    fn sum(&mut self, dim: &Dim) -> Result<DimSlot, Unbound> {
        if let Some(value) = dim.as_const() {
            return Ok(self.constant(value));
        }
        let mut total = None;
        for (monomial, coefficient) in dim.terms() {
            let mut product = (coefficient != 1 || monomial.0.is_empty()).then(|| self.constant(coefficient));
            for atom in &monomial.0 {
                let factor = self.atom(atom)?;
                product = Some(match product {
                    Some(product) => self.push(DimOp::Mul(product, factor)),
                    None => factor,
                });
            }
            total = match (total, product) {
                (Some(total), Some(product)) => Some(self.push(DimOp::Add(total, product))),
                (total, product) => total.or(product),
            };
        }
        Ok(total.unwrap_or_else(|| self.constant(0)))
    }

    fn atom(&mut self, atom: &Atom) -> Result<DimSlot, Unbound> {
        let (op, pair): (fn(DimSlot, DimSlot) -> DimOp, _) = match atom {
            Atom::Symbol(name) => {
                let symbol = *self.symbols.get(name).ok_or_else(|| Unbound(name.clone()))?;
                return Ok(self.push(DimOp::Symbol(symbol)));
            }
            Atom::FloorDiv(pair) => (DimOp::FloorDiv, pair),
            Atom::Mod(pair) => (DimOp::Mod, pair),
            Atom::Min(pair) => (DimOp::Min, pair),
            Atom::Max(pair) => (DimOp::Max, pair),
            Atom::Broadcast(pair) => (DimOp::Broadcast, pair),
        };
        let (a, b) = (self.slot(&pair.0)?, self.slot(&pair.1)?);
        Ok(self.push(op(a, b)))
    }

    fn push(&mut self, op: DimOp) -> DimSlot {
        let next = self.ops.len() as DimSlot;
        let slot = *self.slots.entry(key(op)).or_insert(next);
        if slot == next {
            self.ops.push(op);
        }
        slot
    }
}

fn key(op: DimOp) -> Key {
    match op {
        DimOp::Symbol(a) => (0, a.into(), 0),
        DimOp::Const(a) => (1, a, 0),
        DimOp::Add(a, b) => (2, a.into(), b.into()),
        DimOp::Mul(a, b) => (3, a.into(), b.into()),
        DimOp::FloorDiv(a, b) => (4, a.into(), b.into()),
        DimOp::Mod(a, b) => (5, a.into(), b.into()),
        DimOp::Min(a, b) => (6, a.into(), b.into()),
        DimOp::Max(a, b) => (7, a.into(), b.into()),
        DimOp::Broadcast(a, b) => (8, a.into(), b.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_dims_share_slots() {
        let mut dims = DimBuilder::default();
        dims.bind(&"N".into(), 0);
        let n = Dim::symbol("N");
        let a = dims.slot(&(n.clone() * Dim::constant(4))).unwrap();
        let b = dims.slot(&(Dim::constant(4) * n.clone())).unwrap();
        assert_eq!(a, b);
        dims.slot(&(n.clone() * Dim::constant(4) + Dim::constant(1))).unwrap();
        assert_eq!(dims.ops.len(), 5, "N, 4, 4N, 1, 4N + 1");
        assert_eq!(dims.slot(&Dim::symbol("M")), Err(Unbound("M".into())));
    }
}
