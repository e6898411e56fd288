//! Quasi-affine index expressions: sums of axis variables with symbolic coefficients, floor division and remainder by
//! extents.

use ic_types::{Dim, DimError};
use std::fmt;

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

    /// The value as a number, if it depends on no axis and no symbol.
    pub fn as_const_index(&self) -> Option<usize> {
        self.as_constant()?.as_const().and_then(|i| usize::try_from(i).ok())
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
        sum.recombined()
    }

    /// The same value with `floordiv(x, d) * d * c + mod(x, d) * c` written as `x * c`.
    fn recombined(self) -> Index {
        let pair = self.terms.iter().enumerate().find_map(|(i, (atom, c))| {
            let Atom::Mod(index, divisor) = atom else { return None };
            let quotient = Atom::FloorDiv(index.clone(), divisor.clone());
            let j = self.terms.binary_search_by(|(a, _)| a.cmp(&quotient)).ok()?;
            (self.terms[j].1 == c.clone() * divisor.clone()).then(|| (i, j, index.times(c)))
        });
        let Some((i, j, whole)) = pair else { return self };
        let mut rest = self;
        rest.terms.remove(i.max(j));
        rest.terms.remove(i.min(j));
        rest.plus(&whole)
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
        if let Some((factor, multiple, _)) = rest.common_factor(divisor, extents) {
            return whole.plus(&multiple.floor_div(&factor, extents));
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
        if let Some((factor, multiple, small)) = rest.common_factor(divisor, extents) {
            let scale = divisor.exact_div(&factor).unwrap_or_else(|| Dim::constant(1));
            return multiple.modulo(&factor, extents).times(&scale).plus(&small);
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

    /// `(factor, multiple, small)` with `divisor = factor * g`, `self = multiple * g + small` and `0 <= small < g` for
    /// some `g` other than 1 and the divisor itself.
    fn common_factor(&self, divisor: &Dim, extents: &[Dim]) -> Option<(Dim, Index, Index)> {
        self.terms.iter().map(|(_, coefficient)| coefficient).find_map(|g| {
            let factor = divisor.exact_div(g)?;
            if g.is(1) || factor.is(1) || g.lower_bound().is_none_or(|low| low < 0) {
                return None;
            }
            let (multiple, small) = self.split(g);
            small.is_within(g, extents).then_some((factor, multiple, small))
        })
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

impl Index {
    /// The value at the point `axes`, where `lookup` gives the symbols.
    ///
    /// # Errors
    /// If a symbol is unbound, arithmetic overflows or a divisor is zero.
    pub fn eval(&self, axes: &[i64], lookup: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        let mut sum = self.constant.eval(lookup)?;
        for (atom, coefficient) in &self.terms {
            let divided = |index: &Index, divisor: &Dim| {
                let (value, divisor) = (index.eval(axes, lookup)?, divisor.eval(lookup)?);
                if divisor == 0 { Err(DimError::DivisionByZero) } else { Ok((value, divisor)) }
            };
            let value = match atom {
                Atom::Axis(axis) => axes[*axis as usize],
                Atom::FloorDiv(index, divisor) => divided(index, divisor).map(|(a, b)| a.div_euclid(b))?,
                Atom::Mod(index, divisor) => divided(index, divisor).map(|(a, b)| a.rem_euclid(b))?,
            };
            let term = value.checked_mul(coefficient.eval(lookup)?).ok_or(DimError::Overflow)?;
            sum = sum.checked_add(term).ok_or(DimError::Overflow)?;
        }
        Ok(sum)
    }

    /// The coefficients of axes `0..n_axes`, if the index is affine: it has no quotients and remainders.
    pub fn strides(&self, n_axes: usize) -> Option<Vec<Dim>> {
        let mut strides = vec![Dim::constant(0); n_axes];
        for (atom, coefficient) in &self.terms {
            match atom {
                Atom::Axis(axis) => strides.get_mut(*axis as usize)?.clone_from(coefficient),
                _ => return None,
            }
        }
        Some(strides)
    }

    /// Whether the value depends on `axis`.
    pub fn uses(&self, axis: u32) -> bool {
        self.terms.iter().any(|(atom, _)| match atom {
            Atom::Axis(a) => *a == axis,
            Atom::FloorDiv(index, _) | Atom::Mod(index, _) => index.uses(axis),
        })
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (atom, coefficient)) in self.terms.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " + " })?;
            match coefficient.terms().count() {
                _ if coefficient.is(1) => write!(f, "{atom}")?,
                1 => write!(f, "{atom} * {coefficient}")?,
                _ => write!(f, "{atom} * ({coefficient})")?,
            }
        }
        match (self.terms.is_empty(), self.constant.is(0)) {
            (true, _) => write!(f, "{}", self.constant),
            (false, true) => Ok(()),
            (false, false) => write!(f, " + {}", self.constant),
        }
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Axis(axis) => write!(f, "i{axis}"),
            Atom::FloorDiv(index, divisor) => write!(f, "floordiv({index}, {divisor})"),
            Atom::Mod(index, divisor) => write!(f, "mod({index}, {divisor})"),
        }
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
    fn quotient_and_remainder_recombine() {
        let extents = [Dim::constant(100)];
        let (i, seven, five) = (Index::axis(0), Dim::constant(7), Dim::constant(5));
        let rest = i.floor_div(&seven, &extents);
        let linear = rest.floor_div(&five, &extents).times(&Dim::constant(35));
        let linear = linear.plus(&rest.modulo(&five, &extents).times(&seven)).plus(&i.modulo(&seven, &extents));
        assert_eq!(linear, i);
    }

    #[test]
    fn a_common_factor_leaves_the_division() {
        // (h * 64 + d) / 128 = h / 2.
        let extents = [Dim::constant(12), Dim::constant(64)];
        let merged = Index::axis(0).times(&Dim::constant(64)).plus(&Index::axis(1));
        let two = Dim::constant(2);
        assert_eq!(merged.floor_div(&Dim::constant(128), &extents), Index::axis(0).floor_div(&two, &extents));
    }

    #[test]
    fn what_does_not_divide_stays() {
        let extents = [Dim::constant(100)];
        let quotient = Index::axis(0).floor_div(&Dim::constant(7), &extents);
        assert!(matches!(quotient.terms.as_slice(), [(Atom::FloorDiv(..), _)]));
    }
}
