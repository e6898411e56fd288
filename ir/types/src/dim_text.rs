//! Text form of dimension expressions: `2*N + 1`, `floordiv(N + 1, 2)`, `min(N, 64)`.
//!
//! `parse(print(d)) == d`. Symbols that are not plain identifiers are printed between backquotes.

use crate::dim::{Atom, Dim};
use std::fmt;
use std::str::FromStr;

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is(0) {
            return f.write_str("0");
        }
        // Highest monomials first reads naturally: the constant, the empty monomial, comes last.
        let terms: Vec<_> = self.terms().collect();
        for (i, (monomial, coefficient)) in terms.into_iter().rev().enumerate() {
            let sign = if coefficient < 0 { "-" } else { "+" };
            match (i, coefficient < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                _ => write!(f, " {sign} ")?,
            }
            let magnitude = coefficient.unsigned_abs();
            if monomial.0.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
            }
            for (j, atom) in monomial.0.iter().enumerate() {
                if j > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) if is_identifier(name) => f.write_str(name),
            Atom::Symbol(name) => write!(f, "`{}`", name.replace('`', "'")),
            Atom::FloorDiv(p) => write!(f, "floordiv({}, {})", p.0, p.1),
            Atom::Mod(p) => write!(f, "mod({}, {})", p.0, p.1),
            Atom::Min(p) => write!(f, "min({}, {})", p.0, p.1),
            Atom::Max(p) => write!(f, "max({}, {})", p.0, p.1),
            Atom::Broadcast(p) => write!(f, "broadcast({}, {})", p.0, p.1),
        }
    }
}

const FUNCTIONS: &[&str] = &["floordiv", "mod", "min", "max", "broadcast"];

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !FUNCTIONS.contains(&name)
}

/// Text that is not a dimension expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseDimError {
    /// Byte offset of the first character that does not fit.
    pub offset: usize,
    /// What would have fitted.
    pub expected: &'static str,
}

impl fmt::Display for ParseDimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {} of the dimension expression", self.expected, self.offset)
    }
}

impl std::error::Error for ParseDimError {}

impl FromStr for Dim {
    type Err = ParseDimError;

    fn from_str(text: &str) -> Result<Dim, ParseDimError> {
        let mut cursor = Cursor { text, offset: 0, depth: 0 };
        let dim = cursor.sum()?;
        if cursor.peek().is_some() {
            return Err(cursor.error("an operator or the end"));
        }
        Ok(dim)
    }
}

/// Nesting of functions beyond which text is refused rather than parsed.
const MAX_DEPTH: usize = 64;

struct Cursor<'a> {
    text: &'a str,
    offset: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    fn error(&self, expected: &'static str) -> ParseDimError {
        ParseDimError { offset: self.offset, expected }
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.offset..];
        self.offset += rest.len() - rest.trim_start().len();
        self.text[self.offset..].chars().next()
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.offset += c.len_utf8();
        }
        found
    }

    fn expect(&mut self, c: char, expected: &'static str) -> Result<(), ParseDimError> {
        if self.accept(c) { Ok(()) } else { Err(self.error(expected)) }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.offset..];
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.offset += end;
        &rest[..end]
    }

    fn sum(&mut self) -> Result<Dim, ParseDimError> {
        let negative = self.accept('-');
        let first = self.product()?;
        let mut sum = if negative { -first } else { first };
        loop {
            if self.accept('+') {
                sum = sum + self.product()?;
            } else if self.accept('-') {
                sum = sum - self.product()?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self) -> Result<Dim, ParseDimError> {
        let mut product = self.factor()?;
        while self.accept('*') {
            product = product * self.factor()?;
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Dim, ParseDimError> {
        match self.peek() {
            Some('`') => {
                self.offset += 1;
                let name = self.take_while(|c| c != '`');
                self.expect('`', "a closing backquote")?;
                Ok(Dim::symbol(name))
            }
            Some(c) if c.is_ascii_digit() => {
                let digits = self.take_while(|c| c.is_ascii_digit());
                digits.parse().map(Dim::constant).map_err(|_| self.error("a number of at most 63 bits"))
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                if FUNCTIONS.contains(&name) { self.function(name) } else { Ok(Dim::symbol(name)) }
            }
            _ => Err(self.error("a number, a symbol or a function")),
        }
    }

    fn function(&mut self, name: &str) -> Result<Dim, ParseDimError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("less deep nesting"));
        }
        self.expect('(', "an opening parenthesis")?;
        let a = self.sum()?;
        self.expect(',', "a comma")?;
        let b = self.sum()?;
        self.expect(')', "a closing parenthesis")?;
        self.depth -= 1;
        Ok(match name {
            "floordiv" => a.floor_div(&b),
            "mod" => a.modulo(&b),
            "min" => a.minimum(&b),
            "max" => a.maximum(&b),
            _ => a.broadcast(&b),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_then_parse_is_identity() {
        let cases = [
            "0",
            "N",
            "-N + 3",
            "2*N*M - 1",
            "floordiv(N + 1, 2)",
            "3*mod(N, 4)*`a b`",
            "min(N, max(M, 2))",
            "2*broadcast(N, broadcast(M, K))",
            "`broadcast` + 1",
        ];
        for text in cases {
            let dim: Dim = text.parse().unwrap();
            assert_eq!(dim.to_string().parse::<Dim>().as_ref(), Ok(&dim), "{text} printed as {dim}");
        }
    }

    #[test]
    fn malformed_text_is_an_error() {
        for text in ["", "N +", "min(N)", "99999999999999999999", "N M", "`open", "("] {
            assert!(text.parse::<Dim>().is_err(), "{text}");
        }
        assert!("min(N,".repeat(100).parse::<Dim>().is_err());
    }
}
