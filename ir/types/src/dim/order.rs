//! Bounds of dimension expressions, how they compare, and what picks one of two: minima, maxima and broadcasting.

use super::division::floor_div;
use super::{Atom, Dim, Monomial};
use std::cmp::Ordering;
use std::sync::Arc;

/// Nesting of minima and maxima that comparisons look into.
const MAX_COMPARISONS: usize = 4;

impl Dim {
    /// The smaller of the two.
    pub fn minimum(&self, other: &Dim) -> Dim {
        match self.order(other) {
            Some(Ordering::Greater) => other.clone(),
            Some(_) => self.clone(),
            None => Dim::from_atom(Atom::Min(Arc::new(sorted(self, other)))),
        }
    }

    /// The larger of the two.
    pub fn maximum(&self, other: &Dim) -> Dim {
        match self.order(other) {
            Some(Ordering::Less) => other.clone(),
            Some(_) => self.clone(),
            None => Dim::from_atom(Atom::Max(Arc::new(sorted(self, other)))),
        }
    }

    /// The extent to which axes of these extents broadcast, as in NumPy. They must be equal or one of them 1; what the
    /// result is where they are not is left open.
    pub fn broadcast(&self, other: &Dim) -> Dim {
        let mut parts = Vec::new();
        self.collect_broadcast(&mut parts);
        other.collect_broadcast(&mut parts);
        parts.sort();
        parts.dedup();
        // Whatever is never 1 is the result.
        let is_result = |part: &&Dim| {
            part.lower_bound().is_some_and(|low| low > 1) || part.upper_bound().is_some_and(|high| high < 1)
        };
        let known = parts.iter().find(|part| part.as_const().is_some()).or_else(|| parts.iter().find(is_result));
        if let Some(part) = known {
            return part.clone();
        }
        // Another part decides where it is not 1, and is the same where it is.
        let follows = |i: usize| (0..parts.len()).any(|j| j != i && parts[i].is_one_with(&parts[j]));
        let parts: Vec<Dim> = (0..parts.len()).filter(|&i| !follows(i)).map(|i| parts[i].clone()).collect();
        let pair = |rest: Dim, part: Dim| Dim::from_atom(Atom::Broadcast(Arc::new((part, rest))));
        parts.into_iter().rev().reduce(pair).unwrap_or_else(|| Dim::constant(1))
    }

    /// Adds the extents that broadcast to this one, but 1, to `parts`.
    fn collect_broadcast(&self, parts: &mut Vec<Dim>) {
        match self.as_atom() {
            Some(Atom::Broadcast(pair)) => {
                pair.0.collect_broadcast(parts);
                pair.1.collect_broadcast(parts);
            }
            _ if self.is(1) => {}
            _ => parts.push(self.clone()),
        }
    }

    /// Whether this is known to be 1 wherever `other`, another expression, is.
    fn is_one_with(&self, other: &Dim) -> bool {
        if let Some(symbol) = other.as_symbol() {
            return self.substitute(&|name| (name == &**symbol).then(|| Dim::constant(1))).is(1);
        }
        let Some(Atom::Min(pair)) = self.as_atom() else { return false };
        let is_positive = |dim: &Dim| dim.lower_bound().is_some_and(|low| low >= 1);
        pair.0 == *other && is_positive(&pair.1) || pair.1 == *other && is_positive(&pair.0)
    }

    /// By what the index along an axis of the extent that this broadcasts to, `result`, is multiplied along an axis of
    /// this extent: 0 where this is 1, else 1.
    pub fn broadcast_factor(&self, result: &Dim) -> Dim {
        match self.as_const() {
            Some(extent) => Dim::constant(i64::from(extent != 1)),
            None if self == result => Dim::constant(1),
            None => (self.clone() - Dim::constant(1)).minimum(&Dim::constant(1)).maximum(&Dim::constant(0)),
        }
    }

    /// How the two compare for every value of the symbols, where that is known: `Less` means `self <= other`.
    fn order(&self, other: &Dim) -> Option<Ordering> {
        if self == other {
            Some(Ordering::Equal)
        } else if other.is_at_most(self, MAX_COMPARISONS) {
            Some(Ordering::Greater)
        } else if self.is_at_most(other, MAX_COMPARISONS) {
            Some(Ordering::Less)
        } else {
            None
        }
    }

    /// Whether `self <= other` is known for every value of the symbols: from bounds, or because one is a minimum, a
    /// maximum or a broadcast that has the other, or what compares with it, as a part.
    fn is_at_most(&self, other: &Dim, depth: usize) -> bool {
        if (other.clone() - self.clone()).lower_bound().is_some_and(|low| low >= 0) {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let (below, above) = (|x: &Dim| x.is_at_most(other, depth), |x: &Dim| self.is_at_most(x, depth));
        let by_self = match self.as_atom() {
            Some(Atom::Min(pair)) => below(&pair.0) || below(&pair.1),
            Some(Atom::Max(pair) | Atom::Broadcast(pair)) => below(&pair.0) && below(&pair.1),
            _ => false,
        };
        by_self
            || match other.as_atom() {
                Some(Atom::Max(pair)) => above(&pair.0) || above(&pair.1),
                Some(Atom::Min(pair) | Atom::Broadcast(pair)) => above(&pair.0) && above(&pair.1),
                _ => false,
            }
    }

    /// A value that this is never below, if one is known. Symbols are at least 0.
    pub fn lower_bound(&self) -> Option<i64> {
        self.terms.iter().try_fold(0i64, |sum, (monomial, &coefficient)| {
            let bound = if coefficient > 0 { monomial.lower_bound() } else { monomial.upper_bound() }?;
            Some(sum.saturating_add(bound.saturating_mul(coefficient)))
        })
    }

    /// A value that this is never above, if one is known.
    pub fn upper_bound(&self) -> Option<i64> {
        (-self.clone()).lower_bound().map(i64::saturating_neg)
    }
}

impl Monomial {
    fn lower_bound(&self) -> Option<i64> {
        self.0
            .iter()
            .try_fold(1i64, |product, atom| Some(product.saturating_mul(atom.lower_bound().filter(|&low| low >= 0)?)))
            .or_else(|| match self.0.as_slice() {
                [atom] => atom.lower_bound(),
                _ => None,
            })
    }

    fn upper_bound(&self) -> Option<i64> {
        match self.0.as_slice() {
            [] => Some(1),
            [atom] => atom.upper_bound(),
            _ => None,
        }
    }
}

impl Atom {
    fn lower_bound(&self) -> Option<i64> {
        match self {
            Atom::Symbol(_) => Some(0),
            Atom::FloorDiv(pair) => {
                let divisor = pair.1.lower_bound().filter(|&d| d > 0)?;
                let low = pair.0.lower_bound()?;
                Some(if low >= 0 {
                    pair.1.as_const().map_or(0, |d| floor_div(low, d))
                } else {
                    floor_div(low, divisor)
                })
            }
            Atom::Mod(pair) => pair.1.lower_bound().filter(|&d| d > 0).map(|_| 0),
            Atom::Min(pair) | Atom::Broadcast(pair) => Some(pair.0.lower_bound()?.min(pair.1.lower_bound()?)),
            Atom::Max(pair) => match (pair.0.lower_bound(), pair.1.lower_bound()) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
        }
    }

    fn upper_bound(&self) -> Option<i64> {
        match self {
            Atom::Symbol(_) => None,
            Atom::FloorDiv(pair) => {
                let divisor = pair.1.as_const().filter(|&d| d > 0)?;
                Some(floor_div(pair.0.upper_bound()?, divisor))
            }
            Atom::Mod(pair) => pair.1.as_const().filter(|&d| d > 0).map(|d| d - 1),
            Atom::Min(pair) => match (pair.0.upper_bound(), pair.1.upper_bound()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            Atom::Max(pair) | Atom::Broadcast(pair) => Some(pair.0.upper_bound()?.max(pair.1.upper_bound()?)),
        }
    }
}

fn sorted(a: &Dim, b: &Dim) -> (Dim, Dim) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
}

#[cfg(test)]
mod tests {
    use super::super::Dim;
    use super::super::tests::{c, n};

    #[test]
    fn min_and_max_use_bounds() {
        assert_eq!(n().maximum(&c(0)), n());
        assert_eq!((n() + c(3)).minimum(&n()), n());
        assert_eq!(n().maximum(&c(2)), c(2).maximum(&n()));
        assert_ne!(n().maximum(&c(2)), n());
        let small = n().minimum(&c(9));
        assert_eq!((small.maximum(&n()), small.minimum(&n())), (n(), small.clone()));
        assert_eq!(n().maximum(&c(2)).maximum(&n()), n().maximum(&c(2)));
    }

    #[test]
    fn broadcasting_is_canonical() {
        let (m, k) = (Dim::symbol("M"), Dim::symbol("K"));
        assert_eq!((n().broadcast(&n()), n().broadcast(&c(1)), c(1).broadcast(&n())), (n(), n(), n()));
        assert_eq!((n().broadcast(&c(5)), c(0).broadcast(&n())), (c(5), c(0)));
        assert_eq!(n().broadcast(&(m.clone() + c(2))), m.clone() + c(2));
        assert_eq!((n().broadcast(&n().minimum(&c(5))), n().minimum(&c(5)).broadcast(&n())), (n(), n()));
        let (sum, least) = (n() + m.clone(), (n() + m.clone()).minimum(&c(5)));
        assert_eq!((sum.broadcast(&least), sum.broadcast(&sum.minimum(&k)) == sum), (sum.clone(), false));
        let all = n().broadcast(&m).broadcast(&k);
        assert_eq!(all, k.broadcast(&n().broadcast(&m)));
        assert_eq!((all.broadcast(&m), all.broadcast(&all)), (all.clone(), all.clone()));
        assert_eq!(all.substitute(&|name| (name != "K").then(|| c(1))), k);
        assert_eq!((all.lower_bound(), all.upper_bound()), (Some(0), None));
        let small = n().minimum(&c(9)).broadcast(&m.minimum(&c(7)));
        assert_eq!((small.upper_bound(), small.minimum(&c(9))), (Some(9), small.clone()));
        assert_eq!(n().minimum(&small).minimum(&c(3)), small.minimum(&n()).minimum(&c(3)));
    }

    #[test]
    fn extents_broadcast_as_numpy_does() {
        let lookup = |m: i64, k: i64| move |name: &str| Some(if name == "M" { m } else { k });
        let (m, k) = (Dim::symbol("M"), Dim::symbol("K"));
        let both = m.broadcast(&k);
        for (x, y, expected) in [(0, 1, 0), (1, 0, 0), (3, 1, 3), (1, 3, 3), (2, 2, 2), (1, 1, 1), (0, 0, 0)] {
            assert_eq!(both.eval(&lookup(x, y)), Ok(expected), "{x} and {y}");
            assert_eq!(both.substitute(&|name| lookup(x, y)(name).map(c)), c(expected), "{x} and {y}");
            for (dim, extent) in [(&m, x), (&k, y)] {
                assert_eq!(dim.broadcast_factor(&both).eval(&lookup(x, y)), Ok((extent > 1).into()));
            }
        }
        assert_eq!(c(0).broadcast_factor(&c(0)), c(1));
        assert_eq!(m.broadcast_factor(&m), c(1));
    }
}
