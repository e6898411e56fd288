//! Row kernels.

use crate::harness::{check, n_kernels};
use ic_ir::kernel::BufferKind;

const SIZES: &[usize] = &[0, 1, 2, 5];

#[test]
fn attention_scores_are_one_kernel() {
    let program = check(
        "graph @g(%x: f32[N, 2, S, S], %m: f32[N, 1, 1, S]) {
           %k = constant() {value = f32[] [0.125]}
           %a = mul(%x, %k)
           %b = add(%a, %m)
           %y = softmax(%b)
           return \"y\" = %y
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn softmax_over_other_axes() {
    for axis in 0..3 {
        check(
            &format!("graph @g(%x: f32[2, N, 3]) {{ %y = softmax(%x) {{axis = {axis}}} return \"y\" = %y }}"),
            &[1, 3],
        );
    }
}

#[test]
fn layer_norm_with_residual() {
    let program = check(
        "graph @g(%x: f32[N, S, 8], %r: f32[N, S, 8], %w: f32[8], %b: f32[8]) {
           %s = add(%x, %r)
           %y = layer_normalization(%s, %w, %b)
           %z = relu(%y)
           return \"z\" = %z
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn decomposed_layer_norm_is_one_kernel() {
    let program = check(
        "graph @g(%x: f32[N, S, 8], %w: f32[8]) {
           %e = constant() {value = f32[] [0.01]}
           %m = reduce(%x) {function = mean, axes = [2]}
           %d = sub(%x, %m)
           %q = mul(%d, %d)
           %v = reduce(%q) {function = mean, axes = [2]}
           %ve = add(%v, %e)
           %r = sqrt(%ve)
           %n = div(%d, %r)
           %y = mul(%n, %w)
           return \"y\" = %y
         }",
        &[1, 2, 5],
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn rms_norm_in_f16() {
    check(
        "graph @g(%x: f16[N, 8], %w: f16[8]) {
           %y = rms_normalization(%x, %w)
           %s = softmax(%y)
           return \"y\" = %s
         }",
        SIZES,
    );
}

#[test]
fn reductions() {
    for function in ["sum", "prod", "max", "min", "mean"] {
        for (dtype, axes) in [("f32", "[0]"), ("f32", "[1, 2]"), ("i64", "[0, 2]"), ("i32", "[1]"), ("i8", "[2]")] {
            for keep in ["true", "false"] {
                check(
                    &format!(
                        "graph @g(%x: {dtype}[3, N, 2]) {{
                           %y = reduce(%x) {{function = {function}, axes = {axes}, keep_dims = {keep}}}
                           %z = neg(%y)
                           return \"z\" = %z
                         }}"
                    ),
                    &[1, 2, 5],
                );
            }
        }
    }
}

#[test]
fn boolean_reductions() {
    for function in ["any", "all", "max", "min"] {
        check(
            &format!(
                "graph @g(%x: bool[3, N]) {{
                   %y = reduce(%x) {{function = {function}, axes = [1]}}
                   return \"y\" = %y
                 }}"
            ),
            SIZES,
        );
    }
}

#[test]
fn squeeze_and_excite_reads_the_mean_again() {
    check(
        "graph @g(%x: f32[N, 4, 3, 3], %w: f32[4, 4]) {
           %m = reduce(%x) {function = mean, axes = [2, 3], keep_dims = false}
           %f = matmul(%m, %w)
           %s = sigmoid(%f)
           %r = reshape(%s) {shape = [N, 4, 1, 1]}
           %y = mul(%x, %r)
           return \"y\" = %y
         }",
        SIZES,
    );
}

#[test]
fn group_norm_keeps_rows_through_reshapes() {
    check(
        "graph @g(%x: f32[N, 6, 4], %w: f32[6, 1]) {
           %g = reshape(%x) {shape = [N, 2, 12]}
           %m = reduce(%g) {function = mean, axes = [2]}
           %d = sub(%g, %m)
           %q = mul(%d, %d)
           %v = reduce(%q) {function = mean, axes = [2]}
           %r = sqrt(%v)
           %n = div(%d, %r)
           %b = reshape(%n) {shape = [N, 6, 4]}
           %y = mul(%b, %w)
           return \"y\" = %y
         }",
        &[1, 2],
    );
}

#[test]
fn concat_of_rows() {
    check(
        "graph @g(%x: f32[N, 4], %y: f32[N, 1024]) {
           %a = softmax(%x)
           %b = softmax(%y)
           %c = concat(%a, %b, %x) {axis = 1}
           %d = concat(%a, %x) {axis = 0}
           return \"c\" = %c, \"d\" = %d
         }",
        &[1, 3],
    );
}

#[test]
fn reductions_of_one_value_are_one_kernel() {
    let program = check(
        "graph @g(%x: f32[N, 6]) {
           %low = reduce(%x) {function = min, axes = [0, 1]}
           %high = reduce(%x) {function = max, axes = [0, 1]}
           %range = sub(%high, %low)
           %y = div(%x, %range)
           return \"y\" = %y, \"low\" = %low
         }",
        &[1, 2, 5],
    );
    assert_eq!(n_kernels(&program), 1);
    // Of columns, and of a value that nothing else needs.
    let program = check(
        "graph @g(%a: f32[N, 3, 4], %b: f32[N, 3, 4]) {
           %x = add(%a, %b)
           %mean = reduce(%x) {function = mean, axes = [1]}
           %high = reduce(%x) {function = max, axes = [1]}
           return \"mean\" = %mean, \"high\" = %high
         }",
        &[1, 2, 5],
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn reductions_of_which_one_waits_for_the_other_are_apart() {
    check(
        "graph @g(%x: f32[N, 6], %w: f32[1, 1]) {
           %high = reduce(%x) {function = max, axes = [1]}
           %p = matmul(%high, %w)
           %low = reduce(%x) {function = min, axes = [1]}
           %y = add(%low, %p)
           return \"y\" = %y
         }",
        &[1, 2, 5],
    );
}

#[test]
fn what_is_evaluated_again_keeps_its_operands() {
    // The mean is stored before the last stage evaluates the difference from the sum again.
    let source = "graph @log_softmax(%v: f32[5], %x: f32[80]) {
  %0 = reduce(%v) {function = sum, axes = [0], keep_dims = true} : f32[1]
  %1 = sub(%0, %x) : f32[80]
  %2 = reduce(%1) {function = max, axes = [0], keep_dims = true} : f32[1]
  %3 = sub(%1, %2) : f32[80]
  %4 = exp(%3) : f32[80]
  %5 = reduce(%4) {function = sum, axes = [0], keep_dims = true} : f32[1]
  %6 = log(%5) : f32[1]
  %7 = sub(%3, %6) : f32[80]
  %8 = reduce(%1) {function = mean, axes = [0], keep_dims = true} : f32[1]
  return \"y\" = %7, \"m\" = %8
}
";
    let program = check(source, &[1]);
    assert!(program.buffers.iter().all(|buffer| !matches!(buffer.kind, BufferKind::View { .. })), "{program}");
}
