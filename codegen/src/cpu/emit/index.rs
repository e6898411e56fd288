//! Quasi-affine indices as i64 values.

use super::Emitter;
use crate::shared::index::{IndexCode, Sign, index_value};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use ic_ir::kernel::{Atom, Index};
use ic_types::Dim;

/// The vector axis with its value.
#[derive(Clone, Copy)]
pub(super) struct Along {
    pub(super) axis: usize,
    pub(super) value: Value,
}

/// Whether the index changes along `axis`.
pub(super) fn depends_on(index: &Index, axis: usize) -> bool {
    index.terms.iter().any(|(atom, _)| match atom {
        Atom::Axis(a) => *a as usize == axis,
        Atom::FloorDiv(index, _) | Atom::Mod(index, _) => depends_on(index, axis),
    })
}

/// `(rest, coefficient)` with `index = rest + coefficient * axis`, if it is of that form.
pub(super) fn split(index: &Index, axis: usize) -> Option<(Index, Dim)> {
    let mut rest = index.clone();
    let at = rest.terms.iter().position(|(atom, _)| *atom == Atom::Axis(axis as u32));
    let coefficient = at.map_or(Dim::constant(0), |at| rest.terms.remove(at).1);
    (!depends_on(&rest, axis)).then_some((rest, coefficient))
}

/// Indices at the emitter's axes.
struct At<'e, 'f> {
    emitter: &'e mut Emitter<'f>,
    along: Option<Along>,
}

impl IndexCode for At<'_, '_> {
    type Value = Value;

    fn axis(&mut self, axis: usize) -> Value {
        match self.along {
            Some(along) if along.axis == axis => along.value,
            _ => self.emitter.axes[axis].expect("only the vector axis has no value"),
        }
    }

    fn dim(&mut self, dim: &Dim) -> Value {
        self.emitter.dim(dim)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.emitter.b.ins().iadd(a, b)
    }

    fn times(&mut self, a: Value, b: &Dim) -> Value {
        self.emitter.times(a, b)
    }

    fn floor_div(&mut self, value: Value, divisor: &Dim, sign: Sign) -> Value {
        let e = &mut self.emitter;
        let d = e.divisor(divisor);
        if sign == Sign::NonNegative {
            return e.b.ins().udiv(value, d);
        }
        // Truncation is one too large where there is a remainder and the dividend is negative.
        let quotient = e.b.ins().sdiv(value, d);
        let product = e.b.ins().imul(quotient, d);
        let above = e.b.ins().icmp(IntCC::SignedGreaterThan, product, value);
        let one = e.iconst(1);
        let less = e.b.ins().isub(quotient, one);
        e.b.ins().select(above, less, quotient)
    }

    fn modulo(&mut self, value: Value, divisor: &Dim, sign: Sign) -> Value {
        let e = &mut self.emitter;
        let d = e.divisor(divisor);
        if sign == Sign::NonNegative {
            return e.b.ins().urem(value, d);
        }
        let rest = e.b.ins().srem(value, d);
        let zero = e.iconst(0);
        let negative = e.b.ins().icmp(IntCC::SignedLessThan, rest, zero);
        let wrapped = e.b.ins().iadd(rest, d);
        e.b.ins().select(negative, wrapped, rest)
    }
}

impl Emitter<'_> {
    /// The value of `index`; `along` gives that of the vector axis.
    pub(super) fn index(&mut self, index: &Index, along: Option<Along>) -> Value {
        index_value(&mut At { emitter: self, along }, index)
    }

    /// A divisor that is at least 1: one that is not belongs to an empty iteration space, where nothing is computed.
    fn divisor(&mut self, divisor: &Dim) -> Value {
        let d = self.dim(divisor);
        if divisor.as_const().is_some_and(|d| d > 0) {
            return d;
        }
        let one = self.iconst(1);
        self.b.ins().smax(d, one)
    }
}
