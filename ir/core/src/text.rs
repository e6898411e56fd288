//! Text form of Graph IR: `parse(print(g))` prints the same text again.
//!
//! ```text
//! graph @attention(%x: f32[N, 64]) {
//!   %0 = softmax(%x) {axis = 1} : f32[N, 64] @"/attn/Softmax"
//!   return "y" = %0
//! }
//! ```
//! Inputs are named as in the model where the name is plain, results are numbered. A nested graph follows its node in
//! braces.

mod lexer;
mod literal;
mod parse;
mod print;

pub(crate) use literal::{literal_from_text, literal_to_text};
pub use parse::{ParseError, parse};
pub use print::print;

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_that_are_too_long_an_expression_are_refused() {
        let sum = |axis: usize| (0..30).map(|i| format!("a{axis}_{i}")).collect::<Vec<_>>().join(" + ");
        let shape = (0..8).map(sum).collect::<Vec<_>>().join(", ");
        let error = parse(&format!("graph @g(%x: f32[{shape}]) {{ return %x }}")).unwrap_err();
        assert!(error.to_string().contains("too long an expression"), "{error}");
    }
}
