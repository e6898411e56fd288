//! Ops that become stages or matrix products, on the emulator against the evaluator: odd shapes, both layouts.

use super::kernels::{check, check_warpgroups, check_with};
use crate::backend::Products;
use ic_passes::Options;

/// Pseudo-random numbers as the text of a constant.
fn constant(dtype: &str, shape: &[usize]) -> String {
    let n: usize = shape.iter().product();
    let mut state = 99u64;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match dtype {
            "f16" => ic_types::f32_to_f16(x / 4.0).to_string(),
            "bf16" => ic_types::f32_to_bf16(x / 4.0).to_string(),
            _ => (x / 4.0).to_string(),
        }
    };
    let list: Vec<String> = (0..n).map(|_| number()).collect();
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("constant() {{value = {dtype}[{0}] [{1}]}} : {dtype}[{0}]", shape.join(", "), list.join(", "))
}

/// A convolution of a square image with a bias and an activation.
struct Conv {
    dtype: &'static str,
    image: [usize; 4],
    filter: [usize; 4],
    stride: usize,
    pad: usize,
    dilation: usize,
    last: bool,
}

impl Conv {
    fn text(&self) -> String {
        let Conv { dtype, image: [n, c, h, w], filter: filter @ [o, i, kh, kw], stride, pad, dilation, last } = *self;
        let after = |extent: usize, k: usize| (extent + 2 * pad - ((k - 1) * dilation + 1)) / stride + 1;
        let (oh, ow) = (after(h, kh), after(w, kw));
        let (x, y, layout) = match last {
            true => (format!("{n}, {h}, {w}, {c}"), format!("{n}, {oh}, {ow}, {o}"), "channels_last"),
            false => (format!("{n}, {c}, {h}, {w}"), format!("{n}, {o}, {oh}, {ow}"), "channels_first"),
        };
        format!(
            "graph @conv(%x: {dtype}[{x}]) {{\n  %w = {}\n  %b = {}\n  \
             %0 = convolution(%x, %w, %b) {{strides = [{stride}, {stride}], pads = [{pad}, {pad}, {pad}, {pad}], \
             dilations = [{dilation}, {dilation}], groups = {}, layout = {layout}}} : {dtype}[{y}]\n  \
             %1 = relu(%0) : {dtype}[{y}]\n  return \"y\" = %1\n}}\n",
            constant(dtype, &filter),
            constant(dtype, &[o]),
            c / i
        )
    }
}

#[test]
fn convolutions() {
    let cases = [
        ([1, 3, 9, 7], [8, 3, 3, 3], 2, 1, 1),
        ([2, 8, 6, 5], [12, 8, 3, 3], 1, 1, 1),
        ([1, 16, 7, 7], [24, 16, 1, 1], 1, 0, 1),
        ([1, 16, 7, 7], [24, 16, 1, 1], 2, 0, 1),
        ([1, 8, 9, 9], [9, 8, 3, 3], 1, 2, 2),
        ([1, 16, 5, 5], [8, 8, 3, 3], 1, 1, 1),
    ];
    for (image, filter, stride, pad, dilation) in cases {
        for (dtype, tolerance) in [("f32", 2e-6), ("f16", 4e-3), ("bf16", 3e-2)] {
            for last in [true, false] {
                let conv = Conv { dtype, image, filter, stride, pad, dilation, last };
                let counts = check(&conv.text(), &[], tolerance);
                assert_eq!(counts.tensor_flops > 0, dtype != "f32", "{dtype} {image:?} {filter:?}");
            }
        }
    }
}

#[test]
fn convolutions_of_tf32() {
    let options = Options { native_halves: true, native_compounds: false, ..Default::default() };
    let conv = |image, filter| Conv { dtype: "f32", image, filter, stride: 1, pad: 1, dilation: 1, last: true };
    for (image, filter) in [([1, 3, 6, 5], [8, 3, 3, 3]), ([1, 8, 6, 5], [12, 8, 3, 3])] {
        let counts = check_with(&conv(image, filter).text(), &[], 1e-3, &options, Products::Tf32);
        assert!(counts.tensor_flops > 0);
    }
}

/// A tile of many channels: whole sectors, no bank conflicts, every product on tensor cores.
#[test]
fn a_wide_convolution_of_halves() {
    let conv = Conv {
        dtype: "f16",
        image: [1, 32, 16, 16],
        filter: [64, 32, 3, 3],
        stride: 1,
        pad: 1,
        dilation: 1,
        last: true,
    };
    let counts = check(&conv.text(), &[], 4e-3);
    assert_eq!((counts.tensor_flops, counts.bank_conflicts), (2 * 256 * 64 * 288, 0));
    let counts = check_warpgroups(&conv.text(), &[], 4e-3);
    assert_eq!((counts.tensor_flops, counts.bank_conflicts), (2 * 256 * 64 * 320, 0));
}

#[test]
fn depthwise_convolutions() {
    for (dtype, tolerance) in [("f32", 2e-6), ("f16", 4e-3)] {
        for (stride, pad, dilation) in [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 0, 1)] {
            for last in [true, false] {
                let filter = [6, 1, 3, 3];
                let conv = Conv { dtype, image: [2, 6, 9, 7], filter, stride, pad, dilation, last };
                check(&conv.text(), &[], tolerance);
            }
        }
    }
}

#[test]
fn one_spatial_axis() {
    let text = format!(
        "graph @line(%x: f32[N, 11, 5]) {{\n  %w = {}\n  \
         %0 = convolution(%x, %w) {{strides = [2], pads = [1, 1], dilations = [1], layout = channels_last}} : f32[N, 6, 7]\n  \
         return \"y\" = %0\n}}\n",
        constant("f32", &[7, 5, 3])
    );
    check(&text, &[("N", 3)], 2e-6);
}

#[test]
fn transposed_convolutions() {
    for (stride, groups) in [(1, 1), (2, 1), (3, 2)] {
        let (extent, per_group) = ((4 - 1) * stride + 3 - 2, 6 / groups);
        let text = format!(
            "graph @up(%x: f32[2, 4, 4, 4]) {{\n  %w = {}\n  %b = {}\n  \
             %0 = conv_transpose(%x, %w, %b) {{strides = [{stride}, {stride}], pads = [1, 1, 1, 1], \
             output_padding = [0, 0], dilations = [1, 1], groups = {groups}}} : f32[2, 6, {extent}, {extent}]\n  \
             return \"y\" = %0\n}}\n",
            constant("f32", &[4, per_group, 3, 3]),
            constant("f32", &[6])
        );
        check(&text, &[], 2e-6);
    }
}

#[test]
fn pools() {
    for function in ["max", "average"] {
        for (layout, x, y) in
            [("channels_last", "N, 9, 8, 5", "N, 5, 4, 5"), ("channels_first", "N, 5, 9, 8", "N, 5, 5, 4")]
        {
            for extra in ["", ", count_include_pad = true", ", ceil = true"] {
                for (dtype, tolerance) in [("f32", 1e-6), ("f16", 2e-3)] {
                    let y = if extra.contains("ceil") { y.replacen("4", "5", 1) } else { y.to_string() };
                    let text = format!(
                        "graph @pool(%x: {dtype}[{x}]) {{\n  %0 = pool(%x) {{function = {function}, kernel = [3, 3], \
                         strides = [2, 2], pads = [1, 1, 1, 1], dilations = [1, 1]{extra}, layout = {layout}}} : \
                         {dtype}[{y}]\n  return \"y\" = %0\n}}\n"
                    );
                    check(&text, &[("N", 2)], tolerance);
                }
            }
        }
    }
}

#[test]
fn rows_across_memory() {
    for function in ["sum", "mean", "max"] {
        let text = format!(
            "graph @columns(%x: f32[N, 49, 33]) {{\n  %0 = reduce(%x) {{function = {function}, axes = [1]}} : f32[N, 1, 33]\n  \
             %1 = exp(%0) : f32[N, 1, 33]\n  return \"y\" = %1\n}}\n"
        );
        check(&text, &[("N", 9)], 1e-5);
    }
    for extent in [5, 40] {
        let text = format!(
            "graph @across(%x: f32[N, {extent}, 33]) {{\n  %0 = softmax(%x) {{axis = 1}} : f32[N, {extent}, 33]\n  \
             return \"y\" = %0\n}}\n"
        );
        check(&text, &[("N", 3)], 1e-6);
    }
}

#[test]
fn resampling() {
    let modes = [
        ("mode = nearest, coordinates = asymmetric, nearest = floor", 14),
        ("mode = nearest, coordinates = half_pixel, nearest = round_prefer_floor", 14),
        ("mode = nearest, coordinates = half_pixel, nearest = round_prefer_ceil", 11),
        ("mode = nearest, coordinates = align_corners, nearest = ceil", 5),
        ("mode = linear, coordinates = half_pixel", 14),
        ("mode = linear, coordinates = pytorch_half_pixel", 3),
        ("mode = linear, coordinates = align_corners", 10),
        ("mode = linear, coordinates = half_pixel_symmetric", 9),
    ];
    for (mode, extent) in modes {
        let text = format!(
            "graph @resize(%x: f32[N, 7, 7, 3]) {{\n  %0 = resize(%x) {{shape = [N, {extent}, {extent}, 3], {mode}}} : \
             f32[N, {extent}, {extent}, 3]\n  return \"y\" = %0\n}}\n"
        );
        check(&text, &[("N", 2)], 1e-6);
    }
}

#[test]
fn extremes_sums_and_gathers() {
    for function in ["argmax", "argmin"] {
        for axis in [1, 2] {
            let y = if axis == 1 { "N, 1, 37" } else { "N, 5, 1" };
            let text = format!(
                "graph @arg(%x: f32[N, 5, 37]) {{\n  %0 = arg_reduce(%x) {{function = {function}, axis = {axis}}} : i64[{y}]\n  \
                 return \"y\" = %0\n}}\n"
            );
            check(&text, &[("N", 3)], 0.0);
        }
    }
    for extra in ["", ", exclusive = true", ", reverse = true", ", exclusive = true, reverse = true"] {
        let text = format!(
            "graph @running(%x: i64[N, S]) {{\n  %0 = cumulative(%x) {{function = sum, axis = 1{extra}}} : i64[N, S]\n  \
             return \"y\" = %0\n}}\n"
        );
        check(&text, &[("N", 3), ("S", 37)], 0.0);
    }
    check(
        "graph @elements(%x: f32[N, 64], %i: i64[N, 3]) {\n  %0 = gather_elements(%x, %i) {axis = 1} : f32[N, 3]\n  return \"y\" = %0\n}\n",
        &[("N", 5)],
        0.0,
    );
    check(
        "graph @tuples(%x: f32[64, 50, 3], %i: i64[N, 2]) {\n  %0 = gather_nd(%x, %i) : f32[N, 3]\n  return \"y\" = %0\n}\n",
        &[("N", 5)],
        0.0,
    );
}

/// An embedding with positions and a mask, as encoders begin.
#[test]
fn an_embedding() {
    check(
        "graph @embed(%ids: i64[B, S], %table: f32[60, 24], %mask: i64[B, S]) {
  %0 = gather(%table, %ids) {axis = 0} : f32[B, S, 24]
  %1 = cast(%mask) {to = f32} : f32[B, S]
  %2 = reshape(%1) {shape = [B, S, 1]} : f32[B, S, 1]
  %3 = mul(%0, %2) : f32[B, S, 24]
  %4 = concat(%3, %0) {axis = 1} : f32[B, 2 * S, 24]
  return \"y\" = %4
}
",
        &[("B", 2), ("S", 7)],
        1e-6,
    );
}

#[test]
fn scattered_elements() {
    for reduction in ["none", "add", "mul", "max", "min"] {
        let attrs = format!("reduction = {reduction}");
        let cases = [
            ("f32[N, 41]", "i64[N, 70]", "f32[N, 70]", format!("scatter_elements(%x, %i, %u) {{axis = 1, {attrs}}}")),
            ("i32[45, 6]", "i32[9, 4]", "i32[9, 4]", format!("scatter_elements(%x, %i, %u) {{axis = 0, {attrs}}}")),
            ("f32[41, 42, N]", "i64[5, 4, 2]", "f32[5, 4, N]", format!("scatter_nd(%x, %i, %u) {{{attrs}}}")),
            ("f32[41, 5]", "i64[1]", "f32[5]", format!("scatter_nd(%x, %i, %u) {{{attrs}}}")),
        ];
        for (x, i, u, op) in cases {
            let text =
                format!("graph @scatter(%x: {x}, %i: {i}, %u: {u}) {{\n  %0 = {op} : {x}\n  return \"y\" = %0\n}}\n");
            check(&text, &[("N", 3)], 1e-6);
        }
    }
}

#[test]
fn products_of_integers() {
    check(
        "graph @product(%a: u8[2, N, 33], %b: i8[33, 5], %z: u8[], %y: i8[5], %c: i32[5]) {
  %0 = integer_matmul(%a, %b, %z, %y, %c) : i32[2, N, 5]
  return \"y\" = %0
}
",
        &[("N", 7)],
        0.0,
    );
    check(
        "graph @conv(%x: u8[1, 4, 7, 6], %w: i8[6, 2, 3, 3], %z: u8[1]) {
  %0 = integer_convolution(%x, %w, %z) {strides = [2, 1], pads = [1, 1, 1, 1], dilations = [1, 1], groups = 2} : i32[1, 6, 4, 6]
  return \"y\" = %0
}
",
        &[],
        0.0,
    );
}

#[test]
fn angles_of_many_turns() {
    check(
        "graph @turns(%x: f32[N]) {
  %k = constant() {value = f32[] [3000]} : f32[]
  %0 = mul(%x, %k) : f32[N]
  %1 = sin(%0) : f32[N]
  %2 = cos(%0) : f32[N]
  %3 = tan(%x) : f32[N]
  return \"s\" = %1, \"c\" = %2, \"t\" = %3
}
",
        &[("N", 500)],
        1e-7,
    );
}

#[test]
fn powers_and_hyperbolic_functions() {
    for (dtype, tolerance) in [("f32", 3e-7), ("f64", 1e-13)] {
        let text = format!(
            "graph @powers(%x: {dtype}[N], %y: {dtype}[N], %k: i64[N]) {{
  %c = constant() {{value = {dtype}[] [4]}} : {dtype}[]
  %one = constant() {{value = {dtype}[] [1]}} : {dtype}[]
  %0 = mul(%y, %c) : {dtype}[N]
  %1 = abs(%x) : {dtype}[N]
  %2 = pow(%1, %0) : {dtype}[N]
  %3 = cast(%k) {{to = {dtype}}} : {dtype}[N]
  %4 = pow(%x, %3) : {dtype}[N]
  %5 = sinh(%0) : {dtype}[N]
  %6 = cosh(%0) : {dtype}[N]
  %7 = asinh(%0) : {dtype}[N]
  %8 = atanh(%x) : {dtype}[N]
  %9 = add(%1, %one) : {dtype}[N]
  %10 = acosh(%9) : {dtype}[N]
  %11 = log(%1) : {dtype}[N]
  %12 = exp(%0) : {dtype}[N]
  %13 = pow(%x, %0) : {dtype}[N]
  %n = is_nan(%13) : bool[N]
  %14 = cast(%n) {{to = i32}} : i32[N]
  return \"a\" = %2, \"b\" = %4, \"c\" = %5, \"d\" = %6, \"e\" = %7, \"f\" = %8, \"g\" = %10, \"h\" = %11, \"i\" = %12, \"j\" = %14
}}
"
        );
        check(&text, &[("N", 300)], tolerance);
    }
}

#[test]
fn searches_and_reversed_sequences() {
    for dtype in ["f32", "f16", "i32"] {
        let text = format!(
            "graph @search(%x: {dtype}[3, N, 2], %k: i64[3]) {{
  %0, %1 = top_k(%x) {{k = 5, axis = 1}}
  %2, %3 = top_k(%x) {{k = 2, axis = 0, largest = false}}
  %c = constant() {{value = i64[] [20]}} : i64[]
  %l = min(%k, %c) : i64[3]
  %4 = reverse_sequence(%x, %l) {{batch_axis = 0, time_axis = 1}} : {dtype}[3, N, 2]
  return \"a\" = %0, \"b\" = %1, \"c\" = %2, \"d\" = %3, \"e\" = %4
}}
"
        );
        check(&text, &[("N", 37)], 0.0);
    }
}
