//! Quasi-affine indices as code: one walk over their terms, whatever the code is.

use ic_ir::kernel::{Atom, Index};
use ic_types::Dim;

/// What arithmetic on indices is made of.
pub(crate) trait IndexCode {
    /// A value of the code.
    type Value: Copy;

    /// The value of an axis.
    fn axis(&mut self, axis: usize) -> Self::Value;

    /// The value of an extent or stride.
    fn dim(&mut self, dim: &Dim) -> Self::Value;

    /// `a + b`.
    fn add(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;

    /// `a * b`.
    fn times(&mut self, a: Self::Value, b: &Dim) -> Self::Value;

    /// `a` by a positive divisor, towards negative infinity; `sign` says what is known of `a`.
    fn floor_div(&mut self, a: Self::Value, divisor: &Dim, sign: Sign) -> Self::Value;

    /// What is left of that division: not negative.
    fn modulo(&mut self, a: Self::Value, divisor: &Dim, sign: Sign) -> Self::Value;
}

/// What is known of a dividend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// It is not negative.
    NonNegative,
    /// Nothing.
    Any,
}

/// The value of an index.
pub(crate) fn index_value<C: IndexCode>(code: &mut C, index: &Index) -> C::Value {
    let mut sum = None;
    for (atom, coefficient) in &index.terms {
        let value = match atom {
            Atom::Axis(axis) => code.axis(*axis as usize),
            Atom::FloorDiv(inner, divisor) => {
                let value = index_value(code, inner);
                code.floor_div(value, divisor, sign(inner))
            }
            Atom::Mod(inner, divisor) => {
                let value = index_value(code, inner);
                code.modulo(value, divisor, sign(inner))
            }
        };
        let term = code.times(value, coefficient);
        sum = Some(match sum {
            Some(sum) => code.add(sum, term),
            None => term,
        });
    }
    match sum {
        Some(sum) if index.constant.is(0) => sum,
        Some(sum) => {
            let constant = code.dim(&index.constant);
            code.add(sum, constant)
        }
        None => code.dim(&index.constant),
    }
}

/// What is known of an index: axes are not negative.
fn sign(index: &Index) -> Sign {
    let positive = |dim: &Dim| dim.lower_bound().is_some_and(|low| low >= 0);
    let terms = index.terms.iter().all(|(atom, coefficient)| {
        positive(coefficient)
            && match atom {
                Atom::Axis(_) | Atom::Mod(..) => true,
                Atom::FloorDiv(inner, _) => sign(inner) == Sign::NonNegative,
            }
    });
    if terms && positive(&index.constant) { Sign::NonNegative } else { Sign::Any }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code that is the value, at axes.
    struct At(Vec<i64>);

    impl IndexCode for At {
        type Value = i64;

        fn axis(&mut self, axis: usize) -> i64 {
            self.0[axis]
        }

        fn dim(&mut self, dim: &Dim) -> i64 {
            dim.as_const().unwrap()
        }

        fn add(&mut self, a: i64, b: i64) -> i64 {
            a + b
        }

        fn times(&mut self, a: i64, b: &Dim) -> i64 {
            a * self.dim(b)
        }

        fn floor_div(&mut self, a: i64, divisor: &Dim, sign: Sign) -> i64 {
            assert!(a >= 0 || sign == Sign::Any, "{a}");
            a.div_euclid(self.dim(divisor))
        }

        fn modulo(&mut self, a: i64, divisor: &Dim, sign: Sign) -> i64 {
            assert!(a >= 0 || sign == Sign::Any, "{a}");
            a.rem_euclid(self.dim(divisor))
        }
    }

    #[test]
    fn terms_are_summed_and_signs_known() {
        let constant = |value| Index::constant(Dim::constant(value));
        let inner = Index::axis(0).times(&Dim::constant(3)).plus(&constant(-4));
        let two = Dim::constant(2);
        let atoms = vec![
            (Atom::FloorDiv(Box::new(inner.clone()), two.clone()), Dim::constant(10)),
            (Atom::Mod(Box::new(inner), two.clone()), Dim::constant(1)),
            (Atom::Mod(Box::new(Index::axis(1)), two), Dim::constant(100)),
        ];
        let index = Index { terms: atoms, constant: Dim::constant(7) };
        // 3 * 1 - 4 = -1: -1 twos and 1.
        assert_eq!(index_value(&mut At(vec![1, 5]), &index), -10 + 1 + 100 + 7);
    }
}
