//! The terms of a dimension expression: a sorted map from monomials to coefficients. Most dims are a constant or a symbol:
//! one term lies in the map itself, so that a constant takes no memory of its own.

use super::Monomial;

/// Monomials in order, each with a coefficient that is not zero.
#[derive(Clone, Default)]
pub(super) enum Terms {
    /// None.
    #[default]
    Zero,
    /// One.
    One((Monomial, i64)),
    /// Any number.
    Many(Vec<(Monomial, i64)>),
}

type Pair<'a> = fn(&'a (Monomial, i64)) -> (&'a Monomial, &'a i64);

impl Terms {
    fn as_slice(&self) -> &[(Monomial, i64)] {
        match self {
            Terms::Zero => &[],
            Terms::One(term) => std::slice::from_ref(term),
            Terms::Many(terms) => terms,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The coefficient of a monomial.
    pub(super) fn get(&self, monomial: &Monomial) -> Option<i64> {
        let terms = self.as_slice();
        terms.binary_search_by(|(m, _)| m.cmp(monomial)).ok().map(|at| terms[at].1)
    }

    /// The first.
    pub(super) fn first(&self) -> Option<(&Monomial, i64)> {
        self.as_slice().first().map(|(monomial, coefficient)| (monomial, *coefficient))
    }

    /// All, in order.
    pub(super) fn iter(&self) -> std::iter::Map<std::slice::Iter<'_, (Monomial, i64)>, Pair<'_>> {
        self.as_slice().iter().map(|(monomial, coefficient)| (monomial, coefficient))
    }

    /// The monomials, in order.
    pub(super) fn monomials(&self) -> impl Iterator<Item = &Monomial> {
        self.as_slice().iter().map(|(monomial, _)| monomial)
    }

    /// The coefficients, none of which may become zero.
    pub(super) fn coefficients_mut(&mut self) -> impl Iterator<Item = &mut i64> {
        let terms = match self {
            Terms::Zero => &mut [],
            Terms::One(term) => std::slice::from_mut(term),
            Terms::Many(terms) => terms.as_mut_slice(),
        };
        terms.iter_mut().map(|(_, coefficient)| coefficient)
    }

    /// Adds a term to the sum.
    pub(super) fn add(&mut self, monomial: Monomial, coefficient: i64) {
        if coefficient == 0 {
            return;
        }
        match self {
            Terms::Zero => *self = Terms::One((monomial, coefficient)),
            Terms::One((own, sum)) if *own == monomial => {
                *sum = sum.saturating_add(coefficient);
                if *sum == 0 {
                    *self = Terms::Zero;
                }
            }
            Terms::One(_) => {
                let Terms::One(first) = std::mem::take(self) else { return };
                let mut terms = vec![first, (monomial, coefficient)];
                terms.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
                *self = Terms::Many(terms);
            }
            Terms::Many(terms) => match terms.binary_search_by(|(m, _)| m.cmp(&monomial)) {
                Err(at) => terms.insert(at, (monomial, coefficient)),
                Ok(at) => {
                    terms[at].1 = terms[at].1.saturating_add(coefficient);
                    if terms[at].1 == 0 {
                        terms.remove(at);
                    }
                }
            },
        }
    }
}

impl<'a> IntoIterator for &'a Terms {
    type Item = (&'a Monomial, &'a i64);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (Monomial, i64)>, Pair<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Terms) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Terms {}

impl PartialOrd for Terms {
    fn partial_cmp(&self, other: &Terms) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Terms {
    fn cmp(&self, other: &Terms) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for Terms {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dim;

    #[test]
    fn sums_do_not_depend_on_the_order_of_their_terms() {
        let terms = [Dim::symbol("a"), Dim::symbol("b") * Dim::constant(3), Dim::constant(7), Dim::symbol("c")];
        let forwards: Dim = terms.iter().cloned().sum();
        let backwards: Dim = terms.iter().rev().cloned().sum();
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.to_string(), backwards.to_string());
        let rest = forwards.clone() - terms[1].clone() - terms[3].clone() - terms[2].clone();
        // However few terms are left, the expression is that of so few.
        assert_eq!(rest, Dim::symbol("a"));
        assert_eq!(rest.cmp(&Dim::symbol("a")), std::cmp::Ordering::Equal);
        assert_eq!(forwards - backwards, Dim::constant(0));
    }
}
