//! Data movement and pointwise kernels.

use crate::harness::{check, n_kernels};

const SIZES: &[usize] = &[0, 1, 2, 5];

#[test]
fn pointwise_chains_are_one_kernel() {
    let program = check(
        "graph @g(%x: f32[N, 3], %y: f32[3]) {
           %a = add(%x, %y)
           %b = relu(%a)
           %c = mul(%b, %b)
           return \"o\" = %c
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn reshape_and_transpose_are_indices() {
    let program = check(
        "graph @g(%x: f32[N, 6, 4]) {
           %a = reshape(%x) {shape = [N, 6, 2, 2]}
           %b = transpose(%a) {perm = [0, 2, 1, 3]}
           %c = reshape(%b) {shape = [N, 2, 12]}
           %d = neg(%c)
           return \"o\" = %d
         }",
        SIZES,
    );
    assert_eq!(n_kernels(&program), 1);
}

#[test]
fn symbolic_reshapes() {
    check(
        "graph @g(%x: f32[N, M, 4]) {
           %a = reshape(%x) {shape = [N * M, 4]}
           %b = transpose(%a) {perm = [1, 0]}
           %c = exp(%b)
           %d = reshape(%c) {shape = [2, 2, M * N]}
           %e = neg(%d)
           return \"o\" = %e, \"p\" = %a
         }",
        SIZES,
    );
}

#[test]
fn slices_pads_and_concats() {
    check(
        "graph @g(%x: f32[N, 5], %y: f32[N, 2]) {
           %a = slice(%x) {axes = [1], starts = [4], extents = [3], steps = [-2]}
           %b = pad(%a) {pads = [1, 0, 0, 2]}
           %c = slice(%b) {axes = [0], starts = [1], extents = [N], steps = [1]}
           %d = concat(%c, %y, %x) {axis = 1}
           %e = relu(%d)
           %f = concat(%x, %x) {axis = 0}
           return \"o\" = %e, \"d\" = %d, \"f\" = %f
         }",
        SIZES,
    );
}

#[test]
fn pad_modes() {
    for mode in ["reflect", "edge", "wrap"] {
        check(
            &format!(
                "graph @g(%x: f32[2, 5]) {{
                   %n = neg(%x)
                   %b = pad(%n) {{mode = {mode}, pads = [0, 3, 0, 2]}}
                   %c = relu(%b)
                   return \"o\" = %c
                 }}"
            ),
            &[1],
        );
    }
}

#[test]
fn pad_of_computed_values_selects() {
    check(
        "graph @g(%x: f32[N, 3], %v: f32[]) {
           %a = exp(%x)
           %b = pad(%a, %v) {pads = [1, 1, 1, 0]}
           %c = pad(%b) {pads = [0, 2, 0, 0]}
           return \"o\" = %c
         }",
        SIZES,
    );
}

#[test]
fn extents_that_may_be_1_broadcast() {
    for (a, b) in [("N", "N"), ("One", "N"), ("N", "One")] {
        check(
            &format!(
                "graph @g(%x: f32[{a}, 3], %y: f32[{b}, 3]) {{
                   %s = add(%x, %y)
                   return \"o\" = %s
                 }}"
            ),
            &[1, 2, 4],
        );
    }
}

#[test]
fn gathers() {
    check(
        "graph @g(%x: f32[4, N, 3], %i: i64[2, 2]) {
           %n = iota() {extent = 4}
           %a = gather(%x, %i) {axis = 0}
           %b = relu(%a)
           %k = constant() {value = i64[] [-1]}
           %c = gather(%x, %k) {axis = 0}
           %d = gather(%b, %k) {axis = 3}
           %j = dims() {value = [N, 2, N + 1]}
           return \"b\" = %b, \"c\" = %c, \"d\" = %d, \"j\" = %j, \"n\" = %n
         }",
        &[1, 2, 3],
    );
}

#[test]
fn outputs_of_every_kind() {
    check(
        "graph @g(%x: f32[N, 4]) {
           %c = constant() {value = f32[2] [1.0, 2.0]}
           %r = reshape(%x) {shape = [4 * N]}
           %e = exp(%x)
           %f = reshape(%e) {shape = [N, 2, 2]}
           %t = transpose(%e) {perm = [1, 0]}
           return \"x\" = %x, \"c\" = %c, \"r\" = %r, \"f\" = %f, \"e\" = %e, \"e2\" = %e, \"t\" = %t
         }",
        SIZES,
    );
}

#[test]
fn casts_and_masks() {
    check(
        "graph @g(%m: i64[N, S]) {
           %f = cast(%m) {to = f32}
           %one = constant() {value = f32[] [1.0]}
           %s = sub(%one, %f)
           %r = reshape(%s) {shape = [N, 1, 1, S]}
           %w = expand(%r) {shape = [N, 2, S, S]}
           %i = iota() {extent = S, dtype = f32}
           %t = mul(%w, %i)
           %b = cast(%t) {to = bool}
           return \"t\" = %t, \"b\" = %b
         }",
        SIZES,
    );
}

#[test]
fn branches() {
    check(
        "graph @g(%c: bool[], %x: f32[N, 3]) {
           %y = if(%c, %x) regions {
             graph @then(%a: f32[N, 3]) {
               %k = constant() {value = f32[3] [1.0, 2.0, 3.0]}
               %o = constant() {value = f32[1] [0.5]}
               %w = constant() {value = f32[1, 1] [2.0]}
               %s = add(%a, %k)
               %t = add(%s, %o)
               %c = slice(%t) {axes = [1], starts = [0], extents = [1], steps = [1]}
               %m = matmul(%c, %w)
               %u = add(%t, %m)
               return \"u\" = %u
             }
             graph @else(%a: f32[N, 3]) {
               return \"a\" = %a
             }
           }
           %z = relu(%y)
           return \"z\" = %z, \"y\" = %y
         }",
        SIZES,
    );
}

#[test]
fn what_branches_compute_of_constants_leaves_them() {
    let source = "graph @g(%c: bool[], %x: f32[2, 3]) {
           %y = if(%c, %x) regions {
             graph @then(%a: f32[2, 3]) {
               %k = constant() {value = f32[3, 2] [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
               %h = constant() {value = f32[] [0.5]}
               %l = slice(%k) {axes = [0], starts = [0], extents = [1], steps = [1]}
               %r = slice(%k) {axes = [0], starts = [1], extents = [2], steps = [1]}
               %w = concat(%r, %l) {axis = 0}
               %v = mul(%w, %h)
               %m = matmul(%a, %v)
               %p = reshape(%m) {shape = [4]}
               %s = mul(%p, %h)
               return \"s\" = %s
             }
             graph @else(%a: f32[2, 3]) {
               %k = constant() {value = f32[2, 2] [1.0, 2.0, 3.0, 4.0]}
               %t = transpose(%k) {perm = [1, 0]}
               %u = reshape(%t) {shape = [4]}
               return \"u\" = %u
             }
           }
           return \"y\" = %y
         }";
    check(source, &[1]);
    let graph = ic_ir::text::parse(source).unwrap();
    let hoisted = ic_passes::hoist_branch_constants(&graph).unwrap();
    assert_eq!(ic_ir::verify(&hoisted), []);
    let inside: Vec<&str> = hoisted.nodes().flat_map(|(_, node)| &node.regions).flat_map(names).collect();
    assert_eq!(inside, ["constant", "matmul", "reshape", "mul"], "{}", ic_ir::text::print(&hoisted));
    let x = ic_types::Tensor::from_elements(vec![2, 3], vec![1.0f32, -2.0, 0.5, 3.0, 0.0, -1.0]);
    for condition in [true, false] {
        let inputs = [ic_types::Tensor::scalar(condition), x.clone()];
        let of = |graph: &ic_ir::Graph| ic_ir::eval::eval_graph(graph, &inputs, &Default::default()).unwrap();
        assert_eq!(of(&hoisted), of(&graph));
    }
}

fn names(region: &ic_ir::Graph) -> impl Iterator<Item = &'static str> {
    region.nodes().map(|(_, node)| node.op.name())
}
