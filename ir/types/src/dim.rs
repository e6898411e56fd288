//! Dimension expressions: integer polynomials over symbols in one canonical form.
//!
//! Two expressions that the canonical form can prove equal are equal as values (`==`), hash alike and print alike.
//! Symbols stand for extents and are never negative. Arithmetic saturates at the limits of `i64`; a tensor that large
//! is refused wherever a type is made, and evaluation at run time reports overflow.

mod division;
mod evaluate;
mod order;
mod terms;

pub use evaluate::symbols_of;

use std::sync::Arc;
use terms::Terms;

/// An integer expression over symbolic dimensions.
///
/// A sum of `coefficient × monomial`, sorted by monomial, with no zero coefficients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Dim {
    terms: Terms,
}

/// A product of atoms, sorted; the empty product is 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monomial(pub Vec<Atom>);

/// An indivisible factor of a dimension expression.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Atom {
    /// A named extent, at least 0.
    Symbol(Arc<str>),
    /// Quotient rounded towards negative infinity.
    FloorDiv(Arc<(Dim, Dim)>),
    /// Remainder with the sign of the divisor: `a - b * floordiv(a, b)`.
    Mod(Arc<(Dim, Dim)>),
    /// The smaller of two.
    Min(Arc<(Dim, Dim)>),
    /// The larger of two.
    Max(Arc<(Dim, Dim)>),
    /// What two extents broadcast to: the second where the first is 1, else the first. They are equal unless one is 1.
    Broadcast(Arc<(Dim, Dim)>),
}

/// Why an expression could not be evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DimError {
    /// A symbol has no value.
    Unbound(Arc<str>),
    /// A value does not fit in 64 bits.
    Overflow,
    /// Division or remainder by zero.
    DivisionByZero,
}

impl std::fmt::Display for DimError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DimError::Unbound(name) => write!(f, "dimension `{name}` is not bound"),
            DimError::Overflow => f.write_str("dimension does not fit in 64 bits"),
            DimError::DivisionByZero => f.write_str("division of a dimension by zero"),
        }
    }
}

impl std::error::Error for DimError {}

impl Dim {
    /// The constant `value`.
    pub fn constant(value: i64) -> Dim {
        Dim::from_terms([(Monomial::default(), value)])
    }

    /// The symbol `name`.
    pub fn symbol(name: &str) -> Dim {
        Dim::from_atom(Atom::Symbol(name.into()))
    }

    fn from_atom(atom: Atom) -> Dim {
        Dim::from_terms([(Monomial(vec![atom]), 1)])
    }

    fn from_terms(terms: impl IntoIterator<Item = (Monomial, i64)>) -> Dim {
        let mut sum = Dim::default();
        for (monomial, coefficient) in terms {
            sum.add_term(monomial, coefficient);
        }
        sum
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        self.terms.add(monomial, coefficient);
    }

    /// The terms in canonical order: monomial and non-zero coefficient.
    pub fn terms(&self) -> impl Iterator<Item = (&Monomial, i64)> {
        self.terms.iter().map(|(m, &c)| (m, c))
    }

    /// The value, if this is a constant.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.len() {
            0 => Some(0),
            1 => self.terms.get(&Monomial::default()),
            _ => None,
        }
    }

    /// The symbol's name, if this is a bare symbol.
    pub fn as_symbol(&self) -> Option<&Arc<str>> {
        let (monomial, coefficient) = self.terms.first()?;
        match (self.terms.len(), coefficient, monomial.0.as_slice()) {
            (1, 1, [Atom::Symbol(name)]) => Some(name),
            _ => None,
        }
    }

    /// Whether this is the constant `value`.
    pub fn is(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    fn as_atom(&self) -> Option<&Atom> {
        let (monomial, coefficient) = self.terms.first()?;
        match (self.terms.len(), coefficient, monomial.0.as_slice()) {
            (1, 1, [atom]) => Some(atom),
            _ => None,
        }
    }
}

impl Monomial {
    fn times(&self, other: &Monomial) -> Monomial {
        let mut atoms = [self.0.as_slice(), &other.0].concat();
        atoms.sort();
        Monomial(atoms)
    }

    /// This product with the factors of `divisor` taken out, if it has them all.
    fn without(&self, divisor: &Monomial) -> Option<Monomial> {
        let mut atoms = self.0.clone();
        for atom in &divisor.0 {
            atoms.remove(atoms.iter().position(|a| a == atom)?);
        }
        Some(Monomial(atoms))
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::constant(value)
    }
}

impl std::ops::Add for Dim {
    type Output = Dim;
    fn add(mut self, other: Dim) -> Dim {
        for (monomial, &coefficient) in &other.terms {
            self.add_term(monomial.clone(), coefficient);
        }
        self
    }
}

impl std::ops::Neg for Dim {
    type Output = Dim;
    fn neg(mut self) -> Dim {
        for coefficient in self.terms.coefficients_mut() {
            *coefficient = coefficient.saturating_neg();
        }
        self
    }
}

impl std::ops::Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + -other
    }
}

impl std::ops::Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        let mut product = Dim::default();
        for (a, &x) in &self.terms {
            for (b, &y) in &other.terms {
                product.add_term(a.times(b), x.saturating_mul(y));
            }
        }
        product
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::constant(1), |a, b| a * b)
    }
}

impl std::iter::Sum for Dim {
    fn sum<I: Iterator<Item = Dim>>(dims: I) -> Dim {
        dims.fold(Dim::constant(0), |a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn n() -> Dim {
        Dim::symbol("N")
    }

    pub(super) fn c(value: i64) -> Dim {
        Dim::constant(value)
    }

    #[test]
    fn polynomials_are_canonical() {
        assert_eq!((n() + c(1)) * (n() - c(1)), n() * n() - c(1));
        assert_eq!(n() - n(), c(0));
        assert!((n() - n()).is(0));
    }

    #[test]
    fn huge_constants_saturate() {
        assert_eq!((n() + c(i64::MIN)).modulo(&c(3)), (n() + c(1)).modulo(&c(3)));
        assert_eq!(c(i64::MIN + 1).modulo(&c(5)).as_const(), Some(3));
        assert!((n() * c(i64::MIN)).exact_div(&c(-1)).is_none());
        assert_eq!((c(i64::MAX) + c(1)).as_const(), Some(i64::MAX));
        assert_eq!((c(1 << 62) * c(16)).as_const(), Some(i64::MAX));
    }
}
