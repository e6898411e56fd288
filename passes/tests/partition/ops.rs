//! Kernels of whole ops: operands as views, epilogues.

use crate::harness::{check, n_kernels};
use ic_ir::Op;
use ic_ir::kernel::{Anchor, Program, Step};

const SIZES: &[usize] = &[0, 1, 2, 3];

#[test]
fn projections_take_bias_and_activation() {
    let program = check(
        "graph @g(%x: f32[N, S, 4], %w: f32[4, 6], %b: f32[6], %r: f32[N, S, 6]) {
           %m = matmul(%x, %w)
           %a = add(%m, %b)
           %g = gelu(%a)
           %s = sigmoid(%g)
           %u = mul(%g, %s)
           %y = add(%u, %r)
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn attention_by_products_is_four_kernels() {
    let program = check(
        "graph @g(%x: f32[N, S, 8], %w: f32[8, 24], %b: f32[24]) {
           %m = matmul(%x, %w)
           %a = add(%m, %b)
           %r = reshape(%a) {shape = [N, S, 3, 2, 4]}
           %t = transpose(%r) {perm = [2, 0, 3, 1, 4]}
           %i0 = constant() {value = i64[] [0]}
           %i1 = constant() {value = i64[] [1]}
           %i2 = constant() {value = i64[] [2]}
           %q = gather(%t, %i0) {axis = 0}
           %k = gather(%t, %i1) {axis = 0}
           %v = gather(%t, %i2) {axis = 0}
           %kt = transpose(%k) {perm = [0, 1, 3, 2]}
           %s = matmul(%q, %kt)
           %c = constant() {value = f32[] [0.5]}
           %sc = mul(%s, %c)
           %p = softmax(%sc)
           %o = matmul(%p, %v)
           %ot = transpose(%o) {perm = [0, 2, 1, 3]}
           %y = reshape(%ot) {shape = [N, S, 8]}
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 4, "{program}");
}

#[test]
fn attention_reads_heads_where_they_are_and_joins_them() {
    let program = check(
        "graph @g(%x: f32[N, S, 24], %past: f32[N, 2, P, 4], %b: bool[N, 1, S, P]) {
           %r = reshape(%x) {shape = [N, S, 3, 2, 4]}
           %t = transpose(%r) {perm = [2, 0, 3, 1, 4]}
           %i0 = constant() {value = i64[] [0]}
           %q = gather(%t, %i0) {axis = 0}
           %a = attention(%q, %past, %past, %b) {scale = 0.5, fill = -2.0}
           %at = transpose(%a) {perm = [0, 2, 1, 3]}
           %y = reshape(%at) {shape = [N, S, 8]}
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1, "{program}");
}

#[test]
fn attention_on_rows_first_and_shared_keys_is_one_kernel() {
    let program = check(
        "graph @g(%x: f32[S, 4, 3], %k: f32[S, 2, 3], %v: f32[2, S, 5], %m: f32[S]) {
           %q = transpose(%x) {perm = [1, 0, 2]}
           %r = reshape(%q) {shape = [2, 2, S, 3]}
           %t = transpose(%k) {perm = [1, 0, 2]}
           %u = reshape(%t) {shape = [2, 1, S, 3]}
           %w = reshape(%v) {shape = [2, 1, S, 5]}
           %a = attention(%r, %u, %w, %m) {causal = 0, nan_is_zero = true}
           %j = reshape(%a) {shape = [4, S, 5]}
           %s = transpose(%j) {perm = [1, 0, 2]}
           %y = reshape(%s) {shape = [S, 20]}
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1, "{program}");
}

#[test]
fn columns_of_attention_stay_contiguous() {
    let program = check(
        "graph @g(%q: f32[N, 3], %k: f32[N, 3], %v: f32[N, 4]) {
           %a = attention(%q, %k, %v)
           %y = transpose(%a) {perm = [1, 0]}
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 2, "{program}");
}

#[test]
fn convolutions_take_epilogues() {
    let program = check(
        "graph @g(%x: f32[N, 5, 5, 2], %w: f32[3, 2, 3, 3], %b: f32[3]) {
           %c = convolution(%x, %w, %b) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], layout = channels_last}
           %r = relu(%c)
           %d = convolution(%r, %v) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], layout = channels_last}
           %s = add(%d, %r)
           %y = relu(%s)
           return \"y\" = %y
         }"
        .replace("%b: f32[3])", "%b: f32[3], %v: f32[3, 3, 1, 1])")
        .as_str(),
        &[1, 2],
    );
    assert_eq!(n_kernels(&program), 2);
}

#[test]
fn matmul_of_expanded_and_sliced_operands() {
    check(
        "graph @g(%x: f32[N, 2, 6], %w: f32[1, 3, 4]) {
           %s = slice(%x) {axes = [2], starts = [1], extents = [3], steps = [2]}
           %e = expand(%w) {shape = [N, 3, 4]}
           %m = matmul(%s, %e)
           %f = reshape(%m) {shape = [2 * N, 4]}
           %g = relu(%f)
           return \"y\" = %g
         }",
        SIZES,
    );
}

#[test]
fn several_results() {
    check(
        "graph @g(%x: f32[N, 6]) {
           %n = neg(%x)
           %v, %i = top_k(%n) {k = 2, axis = 1}
           %s = reduce(%v) {function = sum, axes = [1]}
           return \"i\" = %i, \"s\" = %s
         }",
        &[1, 3],
    );
}

#[test]
fn quantized_values_are_pointwise() {
    let program = check(
        "graph @g(%x: f32[N, 3, 2], %s: f32[3], %z: i8[3], %t: f32[]) {
           %q = quantize(%x, %s, %z) {axis = 1, to = i8}
           %d = dequantize(%q, %s, %z) {axis = 1}
           %r = relu(%d)
           %u = quantize(%r, %t) {to = u8}
           %b = dequantize(%q, %c) {axis = 2, block_size = 2}
           return \"q\" = %q, \"d\" = %u, \"b\" = %b
         }"
        .replace("%t: f32[])", "%t: f32[], %c: f32[N, 3, 1])")
        .as_str(),
        SIZES,
    );
    assert!(n_kernels(&program) <= 3, "{program}");
}

#[test]
fn integer_convolutions_requantize_and_add_residuals() {
    let program = check(
        "graph @g(%x: u8[N, 5, 5, 3], %w: i8[4, 3, 3, 3], %z: u8[], %s: f32[4], %b: f32[4], %r: i8[N, 5, 5, 4]) {
           %q = constant() {value = f32[] [0.25]}
           %o = constant() {value = u8[] [3]}
           %t = constant() {value = f32[] [0.5]}
           %p = constant() {value = i8[] [-2]}
           %c = integer_convolution(%x, %w, %z) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], layout = channels_last}
           %f = cast(%c) {to = f32}
           %m = mul(%f, %s)
           %a = add(%m, %b)
           %i = quantize(%a, %q, %o) {axis = 0, to = u8}
           %d = dequantize(%i, %q, %o) {axis = 0}
           %e = dequantize(%r, %t, %p) {axis = 0}
           %u = add(%d, %e)
           %v = relu(%u)
           %y = quantize(%v, %t, %p) {axis = 0, to = i8}
           return \"y\" = %y
         }",
        &[1, 2],
    );
    assert_eq!(n_kernels(&program), 1, "{program}");
}

#[test]
fn integer_matmuls_leave_other_functions_to_the_next_kernel() {
    let program = check(
        "graph @g(%x: u8[N, 3], %w: i8[3, 4], %s: f32[]) {
           %c = integer_matmul(%x, %w)
           %f = cast(%c) {to = f32}
           %m = mul(%f, %s)
           %y = exp(%m)
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 2, "{program}");
}

/// The strides of the second operand of the program's matrix product.
fn factor_strides(program: &Program) -> Vec<i64> {
    let factor = program.steps.iter().find_map(|step| match step {
        Step::Kernel { kernel, .. } => match &kernel.stages[0].anchor {
            Anchor::Op { op: Op::Matmul(_), operands, .. } => operands[1].clone(),
            _ => None,
        },
        _ => None,
    });
    let factor = factor.expect("the program has a matrix product");
    factor.strides.iter().map(|stride| stride.as_const().expect("the factor's extents are known")).collect()
}

#[test]
fn a_matrix_of_its_own_is_moved_when_it_is_packed_and_a_shared_one_is_viewed() {
    let source = "graph @g(%x: f32[N, 2], %i: i64[N]) {
           %k = constant() {value = f32[3, 2] [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
           %t = transpose(%k) {perm = [1, 0]}
           %y = matmul(%x, %t)
           return \"y\" = %y
         }";
    assert_eq!(factor_strides(&check(source, SIZES)), [3, 1]);
    let shared = source
        .replace("return", "%e = gather(%k, %j) {axis = 0}\n return \"e\" = %e,")
        .replace("%y = matmul", "%c = constant() {value = i64[] [3]}\n %j = mod(%i, %c)\n %y = matmul");
    assert_eq!(factor_strides(&check(&shared, SIZES)), [1, 2]);
}
