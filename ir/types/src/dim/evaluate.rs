//! Values of dimension expressions, and what they are made of: symbols, which may be replaced, and the number of parts.

use super::division::floor_div;
use super::{Atom, Dim, DimError};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Dim {
    /// The value under `lookup`, with every step checked.
    ///
    /// # Errors
    /// If a symbol is unbound, a step overflows or a divisor is zero.
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        let mut sum = 0i64;
        for (monomial, &coefficient) in &self.terms {
            let mut product = coefficient;
            for atom in &monomial.0 {
                product = product.checked_mul(atom.eval(lookup)?).ok_or(DimError::Overflow)?;
            }
            sum = sum.checked_add(product).ok_or(DimError::Overflow)?;
        }
        Ok(sum)
    }

    /// The expression with every symbol for which `lookup` has an answer replaced by it.
    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut sum = Dim::default();
        for (monomial, &coefficient) in &self.terms {
            let product = monomial.0.iter().fold(Dim::constant(coefficient), |p, atom| p * atom.substitute(lookup));
            sum = sum + product;
        }
        sum
    }

    /// Whether the expression has at most `limit` terms and factors, those of nested expressions included.
    pub fn is_within(&self, limit: usize) -> bool {
        self.remaining(limit).is_some()
    }

    /// What is left of `budget` after the parts of this are taken from it.
    fn remaining(&self, budget: usize) -> Option<usize> {
        self.terms.monomials().try_fold(budget, |budget, monomial| {
            monomial.0.iter().try_fold(budget.checked_sub(1)?, |budget, atom| {
                let budget = budget.checked_sub(1)?;
                match atom {
                    Atom::Symbol(_) => Some(budget),
                    Atom::FloorDiv(pair)
                    | Atom::Mod(pair)
                    | Atom::Min(pair)
                    | Atom::Max(pair)
                    | Atom::Broadcast(pair) => pair.1.remaining(pair.0.remaining(budget)?),
                }
            })
        })
    }

    /// Adds the names of all symbols to `names`.
    pub fn collect_symbols(&self, names: &mut BTreeSet<Arc<str>>) {
        for atom in self.terms.monomials().flat_map(|m| &m.0) {
            match atom {
                Atom::Symbol(name) => {
                    names.insert(name.clone());
                }
                Atom::FloorDiv(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair) | Atom::Broadcast(pair) => {
                    pair.0.collect_symbols(names);
                    pair.1.collect_symbols(names);
                }
            }
        }
    }
}

/// The names of all symbols in `dims`, sorted.
pub fn symbols_of<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> BTreeSet<Arc<str>> {
    let mut names = BTreeSet::new();
    for dim in dims {
        dim.collect_symbols(&mut names);
    }
    names
}

impl Atom {
    fn eval(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        let both = |pair: &(Dim, Dim)| Ok((pair.0.eval(lookup)?, pair.1.eval(lookup)?));
        match self {
            Atom::Symbol(name) => lookup(name).ok_or_else(|| DimError::Unbound(name.clone())),
            Atom::FloorDiv(pair) => match both(pair)? {
                (_, 0) => Err(DimError::DivisionByZero),
                (i64::MIN, -1) => Err(DimError::Overflow),
                (a, b) => Ok(floor_div(a, b)),
            },
            Atom::Mod(pair) => match both(pair)? {
                (_, 0) => Err(DimError::DivisionByZero),
                (i64::MIN, -1) => Ok(0),
                (a, b) => Ok(a.wrapping_sub(b.wrapping_mul(floor_div(a, b)))),
            },
            Atom::Min(pair) => both(pair).map(|(a, b)| a.min(b)),
            Atom::Max(pair) => both(pair).map(|(a, b)| a.max(b)),
            Atom::Broadcast(pair) => both(pair).map(|(a, b)| if a == 1 { b } else { a }),
        }
    }

    fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        match self {
            Atom::Symbol(name) => lookup(name).unwrap_or_else(|| Dim::from_atom(self.clone())),
            Atom::FloorDiv(pair) => pair.0.substitute(lookup).floor_div(&pair.1.substitute(lookup)),
            Atom::Mod(pair) => pair.0.substitute(lookup).modulo(&pair.1.substitute(lookup)),
            Atom::Min(pair) => pair.0.substitute(lookup).minimum(&pair.1.substitute(lookup)),
            Atom::Max(pair) => pair.0.substitute(lookup).maximum(&pair.1.substitute(lookup)),
            Atom::Broadcast(pair) => pair.0.substitute(lookup).broadcast(&pair.1.substitute(lookup)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dim, DimError};

    fn n() -> Dim {
        Dim::symbol("N")
    }

    #[test]
    fn evaluation_reports_errors() {
        let none = |_: &str| None;
        assert_eq!(n().eval(&none), Err(DimError::Unbound("N".into())));
        assert_eq!((n() * n()).eval(&|_| Some(i64::MAX)), Err(DimError::Overflow));
        assert_eq!(Dim::constant(1).floor_div(&n()).eval(&|_| Some(0)), Err(DimError::DivisionByZero));
    }
}
