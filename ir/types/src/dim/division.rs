//! Quotients and remainders of dimension expressions, simplified where the division is exact or bounds decide.

use super::{Atom, Dim, Monomial};
use std::sync::Arc;

impl Dim {
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
pub(super) fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{c, n};

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
}
