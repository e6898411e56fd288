//! Quasi-affine index expressions: sums of axis variables with symbolic coefficients, floor division and remainder by
//! extents.

use ic_types::Dim;

/// A quasi-affine expression over a stage's axes: `constant + Σ coefficient · atom`.
///
/// Atoms are sorted and distinct, and no coefficient is 0, so equal expressions are equal as values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Index {
    /// Atoms with their coefficients.
    pub terms: Vec<(Atom, Dim)>,
    /// What is added.
    pub constant: Dim,
}

/// A part of an index that changes with the axes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Atom {
    /// The variable of an axis: outer axes first, then the stage's own.
    Axis(u32),
    /// `floordiv(index, divisor)`.
    FloorDiv(Box<Index>, Dim),
    /// `mod(index, divisor)`.
    Mod(Box<Index>, Dim),
}

impl Index {
    /// The variable of an axis.
    pub fn axis(axis: usize) -> Index {
        Index { terms: vec![(Atom::Axis(axis as u32), Dim::constant(1))], constant: Dim::constant(0) }
    }

    /// An index that does not depend on any axis.
    pub fn constant(value: Dim) -> Index {
        Index { terms: Vec::new(), constant: value }
    }

    fn atom(atom: Atom) -> Index {
        Index { terms: vec![(atom, Dim::constant(1))], constant: Dim::constant(0) }
    }

    /// The value, if it does not depend on any axis.
    pub fn as_constant(&self) -> Option<&Dim> {
        self.terms.is_empty().then_some(&self.constant)
    }

    /// `self + other`.
    #[must_use]
    pub fn plus(&self, other: &Index) -> Index {
        let mut sum = self.clone();
        sum.constant = sum.constant + other.constant.clone();
        for (atom, coefficient) in &other.terms {
            match sum.terms.binary_search_by(|(a, _)| a.cmp(atom)) {
                Ok(i) => sum.terms[i].1 = sum.terms[i].1.clone() + coefficient.clone(),
                Err(i) => sum.terms.insert(i, (atom.clone(), coefficient.clone())),
            }
        }
        sum.terms.retain(|(_, coefficient)| !coefficient.is(0));
        sum
    }

    /// `self * factor`.
    #[must_use]
    pub fn times(&self, factor: &Dim) -> Index {
        let terms = self.terms.iter().map(|(a, c)| (a.clone(), c.clone() * factor.clone()));
        Index { terms: terms.filter(|(_, c)| !c.is(0)).collect(), constant: self.constant.clone() * factor.clone() }
    }

    /// `floordiv(self, divisor)`, where `extents` are those of the axes.
    ///
    /// Terms that the divisor divides exactly leave the division when what remains is within `0..divisor`.
    #[must_use]
    pub fn floor_div(&self, divisor: &Dim, extents: &[Dim]) -> Index {
        if divisor.is(1) {
            return self.clone();
        }
        let (whole, rest) = self.split(divisor);
        if rest.is_within(divisor, extents) {
            return whole;
        }
        if let Some(value) = rest.as_constant() {
            return whole.plus(&Index::constant(value.floor_div(divisor)));
        }
        whole.plus(&Index::atom(Atom::FloorDiv(Box::new(rest), divisor.clone())))
    }

    /// `mod(self, divisor)`, where `extents` are those of the axes.
    #[must_use]
    pub fn modulo(&self, divisor: &Dim, extents: &[Dim]) -> Index {
        if divisor.is(1) {
            return Index::default();
        }
        let (_, rest) = self.split(divisor);
        if rest.is_within(divisor, extents) {
            return rest;
        }
        if let Some(value) = rest.as_constant() {
            return Index::constant(value.modulo(divisor));
        }
        Index::atom(Atom::Mod(Box::new(rest), divisor.clone()))
    }

    /// `(whole, rest)` with `self = whole * divisor + rest`.
    fn split(&self, divisor: &Dim) -> (Index, Index) {
        let (mut whole, mut rest) = (Index::default(), Index::default());
        for (atom, coefficient) in &self.terms {
            match coefficient.exact_div(divisor) {
                Some(quotient) => whole.terms.push((atom.clone(), quotient)),
                None => rest.terms.push((atom.clone(), coefficient.clone())),
            }
        }
        match self.constant.exact_div(divisor) {
            Some(quotient) => whole.constant = quotient,
            None => rest.constant = self.constant.clone(),
        }
        (whole, rest)
    }

    /// Whether the value is within `0..bound` for all axis values; false where that is not known.
    pub fn is_within(&self, bound: &Dim, extents: &[Dim]) -> bool {
        self.lower_bound().is_some() && self.maximum(extents).is_some_and(|max| at_most(&max, bound))
    }

    /// 0 if the value is never negative.
    fn lower_bound(&self) -> Option<()> {
        let positive = |dim: &Dim| dim.lower_bound().is_some_and(|low| low >= 0);
        let terms = self.terms.iter().all(|(atom, coefficient)| {
            positive(coefficient)
                && match atom {
                    Atom::Axis(_) | Atom::Mod(..) => true,
                    Atom::FloorDiv(index, divisor) => positive(divisor) && index.lower_bound().is_some(),
                }
        });
        (terms && positive(&self.constant)).then_some(())
    }

    /// The largest value, assuming non-negative coefficients.
    fn maximum(&self, extents: &[Dim]) -> Option<Dim> {
        let one = Dim::constant(1);
        self.terms.iter().try_fold(self.constant.clone(), |sum, (atom, coefficient)| {
            let max = match atom {
                Atom::Axis(axis) => extents.get(*axis as usize)?.clone() - one.clone(),
                Atom::Mod(_, divisor) => divisor.clone() - one.clone(),
                Atom::FloorDiv(index, divisor) => index.maximum(extents)?.floor_div(divisor),
            };
            Some(sum + max * coefficient.clone())
        })
    }

    /// The index with every axis variable replaced by `replace(axis)`, where `extents` are those of the new axes.
    #[must_use]
    pub fn substitute(&self, replace: &dyn Fn(u32) -> Index, extents: &[Dim]) -> Index {
        self.terms.iter().fold(Index::constant(self.constant.clone()), |sum, (atom, coefficient)| {
            let value = match atom {
                Atom::Axis(axis) => replace(*axis),
                Atom::FloorDiv(index, d) => index.substitute(replace, extents).floor_div(d, extents),
                Atom::Mod(index, d) => index.substitute(replace, extents).modulo(d, extents),
            };
            sum.plus(&value.times(coefficient))
        })
    }
}

/// Whether `value < bound` is known.
fn at_most(value: &Dim, bound: &Dim) -> bool {
    (bound.clone() - value.clone() - Dim::constant(1)).lower_bound().is_some_and(|low| low >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_a_merged_axis_simplifies() {
        // (h * 64 + d) over h in 0..12, d in 0..64.
        let extents = [Dim::constant(12), Dim::constant(64)];
        let merged = Index::axis(0).times(&Dim::constant(64)).plus(&Index::axis(1));
        assert_eq!(merged.floor_div(&Dim::constant(64), &extents), Index::axis(0));
        assert_eq!(merged.modulo(&Dim::constant(64), &extents), Index::axis(1));
    }

    #[test]
    fn symbolic_extents_simplify() {
        let n = Dim::symbol("N");
        let extents = [Dim::constant(3), n.clone()];
        let merged = Index::axis(0).times(&n).plus(&Index::axis(1));
        assert_eq!(merged.floor_div(&n, &extents), Index::axis(0));
        assert_eq!(merged.modulo(&n, &extents), Index::axis(1));
    }

    #[test]
    fn what_does_not_divide_stays() {
        let extents = [Dim::constant(100)];
        let quotient = Index::axis(0).floor_div(&Dim::constant(7), &extents);
        assert!(matches!(quotient.terms.as_slice(), [(Atom::FloorDiv(..), _)]));
    }
}
