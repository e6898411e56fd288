//! Shapes that models compute become symbolic shapes: the patterns that exporters write, as text.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::text::parse;
use ic_types::Dim;

/// Checks that the elements of the graph's output are known to be `expected`.
fn check(text: &str, expected: &[&str]) {
    let graph = parse(text).unwrap();
    let content = graph.value(graph.outputs()[0]).content.as_deref().expect("the elements are known");
    assert_eq!(content.iter().map(Dim::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn gather_unsqueeze_concat() {
    check(
        "graph @g() {
           %shape = dims() {value = [N, T, 64]} : i64[3]
           %zero = constant() {value = i64[] [0]} : i64[]
           %n = gather(%shape, %zero) {axis = 0} : i64[]
           %n1 = reshape(%n) {shape = [1]} : i64[1]
           %rest = constant() {value = i64[2] [-1, 8]} : i64[2]
           %y = concat(%n1, %rest) {axis = 0} : i64[3]
           return %y
         }",
        &["N", "-1", "8"],
    );
}

#[test]
fn equal_where_expand() {
    check(
        "graph @g() {
           %shape = dims() {value = [N, 1, T]} : i64[3]
           %one = constant() {value = i64[1] [1]} : i64[1]
           %ones = expand(%one) {shape = [3]} : i64[3]
           %minus = constant() {value = i64[] [-1]} : i64[]
           %dynamic = mul(%ones, %minus) : i64[3]
           %is_dynamic = eq(%shape, %dynamic) : bool[3]
           %y = select(%is_dynamic, %ones, %shape) : i64[3]
           return %y
         }",
        &["N", "1", "T"],
    );
}

#[test]
fn sizes_scaled_in_floats() {
    check(
        "graph @g() {
           %shape = dims() {value = [H, W]} : i64[2]
           %real = cast(%shape) {to = f32} : f32[2]
           %scale = constant() {value = f32[2] splat 2.0} : f32[2]
           %scaled = mul(%real, %scale) : f32[2]
           %whole = floor(%scaled) : f32[2]
           %y = cast(%whole) {to = i64} : i64[2]
           return %y
         }",
        &["2*H", "2*W"],
    );
}

#[test]
fn slices_and_reductions() {
    check(
        "graph @g() {
           %shape = dims() {value = [N, H, W]} : i64[3]
           %space = slice(%shape) {axes = [0], starts = [1], extents = [2], steps = [1]} : i64[2]
           %y = reduce(%space) {function = prod, axes = [0]} : i64[1]
           return %y
         }",
        &["H*W"],
    );
}

#[test]
fn what_depends_on_a_symbol_is_not_known() {
    let text = "graph @g() {
        %shape = dims() {value = [N]} : i64[1]
        %one = constant() {value = i64[1] [1]} : i64[1]
        %y = eq(%shape, %one) : bool[1]
        return %y
      }";
    let graph = parse(text).unwrap();
    assert!(graph.value(graph.outputs()[0]).content.is_none());
}
