//! Attention in one kernel, by products of warps and of warpgroups: tiles that are not full, shared keys, every mask.

use super::kernels::{check, check_warpgroups, check_with, options};
use crate::backend::Products;
use ic_passes::{Options, Precision};
use ic_ptx_emulator::{Class, Counts};

/// A graph of attention.
struct Case {
    ty: &'static str,
    /// Batches, heads of queries, and heads of keys.
    heads: [i64; 3],
    /// Queries, and keys.
    extents: [&'static str; 2],
    /// Columns of queries and keys, and of values.
    widths: [i64; 2],
    attributes: &'static str,
    /// The type of a further input, and what makes a mask of it.
    mask: Option<(&'static str, &'static str)>,
}

const PLAIN: Case =
    Case { ty: "f16", heads: [1, 2, 2], extents: ["70", "130"], widths: [64, 64], attributes: "", mask: None };

impl Case {
    fn text(&self) -> String {
        let Case { ty, heads: [batch, heads, of_keys], extents: [m, n], widths: [width, columns], attributes, mask } =
            self;
        let (input, making, operand) = match mask {
            None => (String::new(), String::new(), ""),
            Some((input, making)) => (format!(", %x: {input}"), format!("  {making}\n"), ", %m"),
        };
        format!(
            "graph @attention(%q: {ty}[{batch}, {heads}, {m}, {width}], %k: {ty}[{batch}, {of_keys}, {n}, {width}], \
             %v: {ty}[{batch}, {of_keys}, {n}, {columns}]{input}) {{\n{making}  \
             %0 = attention(%q, %k, %v{operand}) {{scale = 0.5{attributes}}} : {ty}[{batch}, {heads}, {m}, {columns}]\n  \
             return \"y\" = %0\n}}\n"
        )
    }

    /// Runs it in one kernel by products of warps and of warpgroups.
    fn check(&self, dims: &[(&str, i64)]) -> [Counts; 2] {
        let tolerance = if self.ty == "bf16" { 1.6e-2 } else { 4e-3 };
        [check, check_warpgroups].map(|check| {
            let counts = check(&self.text(), dims, tolerance);
            assert_eq!(counts.bank_conflicts, 0, "{}", self.text());
            counts
        })
    }
}

/// Tiles that are not full, several batches, shared keys, causal masks.
#[test]
fn attention_in_one_kernel() {
    let cases = [
        Case { heads: [2, 2, 2], extents: ["130", "70"], ..PLAIN },
        Case { heads: [1, 2, 1], extents: ["200", "264"], attributes: ", causal = 64", ..PLAIN },
        Case { ty: "bf16", heads: [1, 1, 1], extents: ["64", "256"], widths: [128, 128], ..PLAIN },
        Case { heads: [1, 2, 2], extents: ["300", "300"], widths: [128, 128], attributes: ", causal = 0", ..PLAIN },
    ];
    for case in cases {
        let [of_warps, of_warpgroups] = case.check(&[]);
        let tiles = |n: i64, tile: i64| (n + tile - 1) / tile * tile;
        let [batch, heads, _] = case.heads;
        if case.attributes.is_empty() {
            let [m, n] = case.extents.map(|extent| extent.parse::<i64>().unwrap());
            let flops = |tile: i64| 4 * tiles(m, tile) * tiles(n, tile) * case.widths[0] * batch * heads;
            let found = [&of_warps, &of_warpgroups].map(|counts| counts.tensor_flops as i64);
            assert_eq!(found, [flops(64), flops(128)], "{}", case.text());
        }
        assert!(of_warps.of(Class::Special) > 0 && of_warpgroups.of(Class::Special) > 0);
    }
}

/// Enough blocks for 32 queries a warp, and for eight warps.
#[test]
fn attention_of_many_queries() {
    let many = Case { heads: [10, 5, 1], extents: ["260", "70"], ..PLAIN };
    many.check(&[]);
    Case { attributes: ", causal = 3", widths: [32, 96], ..many }.check(&[]);
    Case { attributes: ", causal = 3", widths: [128, 112], ..many }.check(&[]);
}

/// Widths that are no steps of tensor cores, that no 16 bytes divide, and that differ.
#[test]
fn attention_of_every_width() {
    for widths in [[8, 8], [16, 16], [20, 12], [32, 32], [40, 40], [48, 80], [80, 80], [96, 96], [128, 64], [112, 128]]
    {
        Case { extents: ["33", "67"], widths, ..PLAIN }.check(&[]);
    }
    Case { ty: "bf16", extents: ["33", "67"], widths: [72, 33], ..PLAIN }.check(&[]);
}

/// Masks of bools and of numbers, shared by rows, by keys and by heads, with what other attributes do.
#[test]
fn attention_with_masks() {
    let bools = "%c = constant() {value = i32[] [20]} : i32[]\n  %m = lt(%x, %c)";
    let masks = [
        ("i32[2, 2, 70, 130]", bools),
        ("i32[2, 1, 1, 130]", bools),
        ("i32[70, 1]", bools),
        ("i32[130]", bools),
        ("f16[2, 1, 70, 130]", "%m = neg(%x) : f16[2, 1, 70, 130]"),
        ("f16[70, 130]", "%p = relu(%x) : f16[70, 130]\n  %m = log(%p) : f16[70, 130]"),
    ];
    for (input, making) in masks {
        let shape = &input[3..];
        let making = making.replace("lt(%x, %c)", &format!("lt(%x, %c) : bool{shape}")).leak();
        for attributes in ["", ", fill = -1e9", ", softcap = 2.0", ", causal = 60, nan_is_zero = true"] {
            Case { heads: [2, 2, 1], attributes, mask: Some((input, making)), ..PLAIN }.check(&[]);
        }
    }
    let rounded = "%p = relu(%x) : bf16[70, 131]\n  %m = log(%p) : bf16[70, 131]";
    let mask = Some(("bf16[70, 131]", rounded));
    Case { ty: "bf16", extents: ["70", "131"], mask, ..PLAIN }.check(&[]);
    Case { attributes: ", softcap = 3.0", ..PLAIN }.check(&[]);
}

/// Rows of which a mask hides all keys: 0 or the mean, as the attributes say.
#[test]
fn attention_that_sees_nothing() {
    let making = "%c = constant() {value = i32[] [1]} : i32[]\n  %m = lt(%x, %c) : bool[70, 1]";
    for attributes in [", nan_is_zero = true", ", fill = -1e9", ", fill = -3.4e38"] {
        Case { attributes, mask: Some(("i32[70, 1]", making)), ..PLAIN }.check(&[]);
    }
}

/// Extents that a run decides, none among them.
#[test]
fn attention_of_symbolic_extents() {
    let bools = "%c = constant() {value = i32[] [20]} : i32[]\n  %m = lt(%x, %c) : bool[1, 1, 1, N]";
    for (m, n) in [(1, 1), (65, 129), (130, 64), (3, 0)] {
        let dims = [("M", m), ("N", n)];
        let symbolic = Case { extents: ["M", "N"], ..PLAIN };
        symbolic.check(&dims);
        Case { attributes: ", causal = M", ..symbolic }.check(&dims);
        let mask = Some(("i32[1, 1, 1, N]", bools));
        Case { extents: ["M", "N"], mask, attributes: ", fill = -1e9", ..PLAIN }.check(&dims);
    }
}

/// Heads that are columns of a projection, symbolic numbers of queries, keys that are stored by columns.
#[test]
fn attention_of_moved_operands() {
    let text = "graph @heads(%q: f16[S, 128], %k: f16[2, 64, 96], %v: f16[96, 128]) {
  %0 = reshape(%q) {shape = [S, 2, 64]} : f16[S, 2, 64]
  %1 = transpose(%0) {perm = [1, 0, 2]} : f16[2, S, 64]
  %2 = transpose(%k) {perm = [0, 2, 1]} : f16[2, 96, 64]
  %3 = reshape(%v) {shape = [96, 2, 64]} : f16[96, 2, 64]
  %4 = transpose(%3) {perm = [1, 0, 2]} : f16[2, 96, 64]
  %5 = attention(%1, %2, %4) {scale = 0.125} : f16[2, S, 64]
  %6 = transpose(%5) {perm = [1, 0, 2]} : f16[S, 2, 64]
  %7 = reshape(%6) {shape = [S, 128]} : f16[S, 128]
  return \"y\" = %7
}
";
    for s in [1, 129] {
        for check in [check, check_warpgroups] {
            assert!(check(text, &[("S", s)], 4e-3).tensor_flops > 0);
        }
    }
}

/// `--precision` rounds what attention of f32 reads.
#[test]
fn attention_of_rounded_operands() {
    let making = "%c = constant() {value = i32[] [20]} : i32[]\n  %m = lt(%x, %c) : bool[70, 130]";
    let case = Case { ty: "f32", mask: Some(("i32[70, 130]", making)), attributes: ", fill = -1e9", ..PLAIN };
    let options = Options { precision: Precision::F16, ..options() };
    let counts = check_with(&case.text(), &[], 4e-3, &options, Products::F32);
    assert!(counts.tensor_flops > 0);
}
