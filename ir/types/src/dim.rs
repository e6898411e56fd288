//! Dimension expressions: integer polynomials over symbols in one canonical form.
//!
//! Two expressions that the canonical form can prove equal are equal as values (`==`), hash alike and print alike.
//! Symbols stand for extents and are never negative. Arithmetic saturates at the limits of `i64`; a tensor that large
//! is refused wherever a type is made, and evaluation at run time reports overflow.

mod terms;

use std::collections::BTreeSet;
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
}

/// Nesting of minima and maxima that comparisons look into.
const MAX_COMPARISONS: usize = 4;

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

    /// `self / divisor` when the division is exact for every value of the symbols (zero divisors aside).
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        let mut divisor_terms = divisor.terms.iter();
        let (Some((factor, &scale)), None) = (divisor_terms.next(), divisor_terms.next()) else {
            return if self == divisor && !divisor.is(0) { Some(Dim::constant(1)) } else { None };
        };
        let mut quotient = Dim::default();
        for (monomial, &coefficient) in &self.terms {
            if coefficient.checked_rem(scale) != Some(0) {
                return None;
            }
            quotient.add_term(monomial.without(factor)?, coefficient / scale);
        }
        Some(quotient)
    }

    /// Quotient rounded towards negative infinity. Division by the constant 0 stays symbolic and fails when evaluated.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if let Some(quotient) = self.exact_div(divisor) {
            return quotient;
        }
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const())
            && b != 0
        {
            return Dim::constant(floor_div(a, b));
        }
        if let Some(b) = divisor.as_const().filter(|&b| b > 0) {
            let (whole, rest) = self.split_multiples(b);
            if !whole.is(0) {
                return whole + rest.floor_div(divisor);
            }
            if rest.lower_bound().is_some_and(|low| low >= 0) && rest.upper_bound().is_some_and(|high| high < b) {
                return Dim::constant(0);
            }
            // A common factor of the divisor and of every coefficient cancels; the constant rounds down.
            let factor = rest.terms.iter().filter(|(m, _)| !m.0.is_empty()).fold(b, |g, (_, &c)| gcd(g, c));
            if factor > 1 && rest.as_const().is_none() {
                let terms = rest.terms.iter().map(|(m, &c)| (m.clone(), floor_div(c, factor)));
                return Dim::from_terms(terms).floor_div(&Dim::constant(b / factor));
            }
            // floordiv(floordiv(x, a) + c, b) = floordiv(x + a * c, a * b) for positive a and b.
            let offset = self.terms.get(&Monomial::default()).unwrap_or(0);
            if let Some(Atom::FloorDiv(inner)) = (self.clone() - Dim::constant(offset)).as_atom()
                && let Some(a) = inner.1.as_const().filter(|&a| a > 0)
                && let (Some(shift), Some(b)) = (a.checked_mul(offset), a.checked_mul(b))
            {
                return (inner.0.clone() + Dim::constant(shift)).floor_div(&Dim::constant(b));
            }
        }
        Dim::from_atom(Atom::FloorDiv(Arc::new((self.clone(), divisor.clone()))))
    }

    /// Quotient rounded towards positive infinity.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        -((-self.clone()).floor_div(divisor))
    }

    /// Remainder with the sign of the divisor.
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        if self.exact_div(divisor).is_some() {
            return Dim::constant(0);
        }
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const())
            && b != 0
        {
            return Dim::constant(a.wrapping_sub(b.wrapping_mul(floor_div(a, b))));
        }
        if let Some(b) = divisor.as_const().filter(|&b| b > 0) {
            let (whole, rest) = self.split_multiples(b);
            if !whole.is(0) {
                return rest.modulo(divisor);
            }
        }
        Dim::from_atom(Atom::Mod(Arc::new((self.clone(), divisor.clone()))))
    }

    /// The smaller of the two.
    pub fn minimum(&self, other: &Dim) -> Dim {
        match self.order(other) {
            Some(std::cmp::Ordering::Greater) => other.clone(),
            Some(_) => self.clone(),
            None => Dim::from_atom(Atom::Min(Arc::new(sorted(self, other)))),
        }
    }

    /// The larger of the two.
    pub fn maximum(&self, other: &Dim) -> Dim {
        match self.order(other) {
            Some(std::cmp::Ordering::Less) => other.clone(),
            Some(_) => self.clone(),
            None => Dim::from_atom(Atom::Max(Arc::new(sorted(self, other)))),
        }
    }

    /// How the two compare for every value of the symbols, where that is known: `Less` means `self <= other`.
    fn order(&self, other: &Dim) -> Option<std::cmp::Ordering> {
        if self == other {
            Some(std::cmp::Ordering::Equal)
        } else if other.is_at_most(self, MAX_COMPARISONS) {
            Some(std::cmp::Ordering::Greater)
        } else if self.is_at_most(other, MAX_COMPARISONS) {
            Some(std::cmp::Ordering::Less)
        } else {
            None
        }
    }

    /// Whether `self <= other` is known for every value of the symbols: from bounds, or because one is a minimum or
    /// maximum that has the other, or what compares with it, as a part.
    fn is_at_most(&self, other: &Dim, depth: usize) -> bool {
        if (other.clone() - self.clone()).lower_bound().is_some_and(|low| low >= 0) {
            return true;
        }
        let Some(depth) = depth.checked_sub(1) else { return false };
        let (below, above) = (|x: &Dim| x.is_at_most(other, depth), |x: &Dim| self.is_at_most(x, depth));
        let by_self = match self.as_atom() {
            Some(Atom::Min(pair)) => below(&pair.0) || below(&pair.1),
            Some(Atom::Max(pair)) => below(&pair.0) && below(&pair.1),
            _ => false,
        };
        by_self
            || match other.as_atom() {
                Some(Atom::Max(pair)) => above(&pair.0) || above(&pair.1),
                Some(Atom::Min(pair)) => above(&pair.0) && above(&pair.1),
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

    fn as_atom(&self) -> Option<&Atom> {
        let (monomial, coefficient) = self.terms.first()?;
        match (self.terms.len(), coefficient, monomial.0.as_slice()) {
            (1, 1, [atom]) => Some(atom),
            _ => None,
        }
    }

    /// Splits into `(whole, rest)` with `self = whole * divisor + rest`, where `whole` takes what divides exactly.
    fn split_multiples(&self, divisor: i64) -> (Dim, Dim) {
        let (mut whole, mut rest) = (Dim::default(), Dim::default());
        for (monomial, &coefficient) in &self.terms {
            let quotient = if monomial.0.is_empty() {
                floor_div(coefficient, divisor)
            } else if coefficient.wrapping_rem(divisor) == 0 {
                coefficient.wrapping_div(divisor)
            } else {
                0
            };
            whole.add_term(monomial.clone(), quotient);
            rest.add_term(monomial.clone(), coefficient.wrapping_sub(quotient.wrapping_mul(divisor)));
        }
        (whole, rest)
    }

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
                    Atom::FloorDiv(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair) => {
                        pair.1.remaining(pair.0.remaining(budget)?)
                    }
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
                Atom::FloorDiv(pair) | Atom::Mod(pair) | Atom::Min(pair) | Atom::Max(pair) => {
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
            Atom::Min(pair) => Some(pair.0.lower_bound()?.min(pair.1.lower_bound()?)),
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
            Atom::Max(pair) => Some(pair.0.upper_bound()?.max(pair.1.upper_bound()?)),
        }
    }

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
        }
    }

    fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        match self {
            Atom::Symbol(name) => lookup(name).unwrap_or_else(|| Dim::from_atom(self.clone())),
            Atom::FloorDiv(pair) => pair.0.substitute(lookup).floor_div(&pair.1.substitute(lookup)),
            Atom::Mod(pair) => pair.0.substitute(lookup).modulo(&pair.1.substitute(lookup)),
            Atom::Min(pair) => pair.0.substitute(lookup).minimum(&pair.1.substitute(lookup)),
            Atom::Max(pair) => pair.0.substitute(lookup).maximum(&pair.1.substitute(lookup)),
        }
    }
}

/// Greatest common divisor; `a` is positive.
fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}

/// Quotient rounded towards negative infinity; `b` is not 0.
fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

fn sorted(a: &Dim, b: &Dim) -> (Dim, Dim) {
    if a <= b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) }
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

    fn n() -> Dim {
        Dim::symbol("N")
    }

    fn c(value: i64) -> Dim {
        Dim::constant(value)
    }

    #[test]
    fn polynomials_are_canonical() {
        assert_eq!((n() + c(1)) * (n() - c(1)), n() * n() - c(1));
        assert_eq!(n() - n(), c(0));
        assert!((n() - n()).is(0));
    }

    #[test]
    fn division_simplifies_where_exact() {
        assert_eq!((n() * c(64)).floor_div(&n()), c(64));
        assert_eq!((n() * c(4) + c(6)).floor_div(&c(4)), n() + c(1));
        assert_eq!((n() * c(4) + c(6)).modulo(&c(4)), c(2));
        assert_eq!(n().floor_div(&c(2)).floor_div(&c(3)), n().floor_div(&c(6)));
        assert_eq!((n() * c(6) + c(2)).floor_div(&c(4)), (n() * c(3) + c(1)).floor_div(&c(2)));
        assert_eq!(((n() + c(1)).floor_div(&c(2)) + c(1)).floor_div(&c(2)), (n() + c(3)).floor_div(&c(4)));
        assert_eq!(n().modulo(&c(8)).floor_div(&c(8)), c(0));
    }

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
    fn every_simplification_keeps_the_value() {
        let lookup = |value: i64| move |_: &str| Some(value);
        for scale in -6..=6 {
            for offset in -9..=9 {
                for divisor in [-5, -3, -1, 1, 2, 3, 4, 6] {
                    let x = n() * c(scale) + c(offset);
                    let (quotient, rest) = (x.floor_div(&c(divisor)), x.modulo(&c(divisor)));
                    for value in 0..9 {
                        let plain = (scale * value + offset) as f64 / divisor as f64;
                        assert_eq!(quotient.eval(&lookup(value)), Ok(plain.floor() as i64));
                        let expected = scale * value + offset - divisor * plain.floor() as i64;
                        assert_eq!(rest.eval(&lookup(value)), Ok(expected), "{x:?} mod {divisor}");
                        let low = x.maximum(&c(divisor)).eval(&lookup(value));
                        assert_eq!(low, Ok((scale * value + offset).max(divisor)));
                    }
                }
            }
        }
    }

    #[test]
    fn evaluation_reports_errors() {
        let none = |_: &str| None;
        assert_eq!(n().eval(&none), Err(DimError::Unbound("N".into())));
        assert_eq!((n() * n()).eval(&|_| Some(i64::MAX)), Err(DimError::Overflow));
        assert_eq!(c(1).floor_div(&n()).eval(&|_| Some(0)), Err(DimError::DivisionByZero));
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
