//! Quasi-affine indices as i64 values.

use super::Emitter;
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

fn is_never_negative(index: &Index) -> bool {
    let positive = |dim: &Dim| dim.lower_bound().is_some_and(|low| low >= 0);
    positive(&index.constant)
        && index.terms.iter().all(|(atom, coefficient)| {
            positive(coefficient)
                && match atom {
                    Atom::Axis(_) | Atom::Mod(..) => true,
                    Atom::FloorDiv(index, _) => is_never_negative(index),
                }
        })
}

impl Emitter<'_> {
    /// The value of `index`; `along` gives that of the vector axis.
    pub(super) fn index(&mut self, index: &Index, along: Option<Along>) -> Value {
        let mut sum = None;
        for (atom, coefficient) in &index.terms {
            let value = match atom {
                Atom::Axis(axis) => match along {
                    Some(along) if along.axis == *axis as usize => along.value,
                    _ => self.axes[*axis as usize].expect("only the vector axis has no value"),
                },
                Atom::FloorDiv(inner, divisor) => {
                    let value = self.index(inner, along);
                    self.floor_div(value, divisor, is_never_negative(inner))
                }
                Atom::Mod(inner, divisor) => {
                    let value = self.index(inner, along);
                    self.modulo(value, divisor, is_never_negative(inner))
                }
            };
            let term = self.times(value, coefficient);
            sum = Some(match sum {
                Some(sum) => self.b.ins().iadd(sum, term),
                None => term,
            });
        }
        match sum {
            Some(sum) if index.constant.is(0) => sum,
            Some(sum) => {
                let constant = self.dim(&index.constant);
                self.b.ins().iadd(sum, constant)
            }
            None => self.dim(&index.constant),
        }
    }

    fn floor_div(&mut self, value: Value, divisor: &Dim, non_negative: bool) -> Value {
        let d = self.divisor(divisor);
        if non_negative {
            return self.b.ins().udiv(value, d);
        }
        // Truncation is one too large where there is a remainder and the dividend is negative.
        let quotient = self.b.ins().sdiv(value, d);
        let product = self.b.ins().imul(quotient, d);
        let above = self.b.ins().icmp(IntCC::SignedGreaterThan, product, value);
        let one = self.iconst(1);
        let less = self.b.ins().isub(quotient, one);
        self.b.ins().select(above, less, quotient)
    }

    fn modulo(&mut self, value: Value, divisor: &Dim, non_negative: bool) -> Value {
        let d = self.divisor(divisor);
        if non_negative {
            return self.b.ins().urem(value, d);
        }
        let rest = self.b.ins().srem(value, d);
        let zero = self.iconst(0);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, rest, zero);
        let wrapped = self.b.ins().iadd(rest, d);
        self.b.ins().select(negative, wrapped, rest)
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
