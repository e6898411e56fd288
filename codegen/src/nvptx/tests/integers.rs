//! Products with constant weights of 4 and 8 bits, which kernels widen in registers.

use super::kernels::{check, check_warpgroups, weight_bytes};
use crate::target::NvptxTarget;

/// How a weight is stored.
#[derive(Clone, Copy)]
struct Weight {
    bits: u32,
    /// Elements of a column that share a scale; all if 0.
    group: usize,
    /// The type of the factors.
    half: &'static str,
    /// The type of the scales, from which the weight is rounded.
    scale: &'static str,
}

const W4: Weight = Weight { bits: 4, group: 128, half: "f16", scale: "f16" };

/// A product of `m` rows with a weight whose integers take all values and whose scales differ by up to 2^12.
fn product(weight: Weight, [m, k, n]: [usize; 3]) -> String {
    let Weight { bits, group, half, scale } = weight;
    let mut state = 3u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as i64
    };
    let range = 1i64 << bits;
    let integers: Vec<String> = (0..k * n).map(|_| (random() % range - range / 2).to_string()).collect();
    let n_groups = if group == 0 { 1 } else { k.div_ceil(group) };
    let (one, step) = match scale {
        "f16" => (0x3c00, 1 << 10),
        "bf16" => (0x3f80, 1 << 7),
        _ => (0x3f80_0000, 1 << 23),
    };
    // Between 2^-14 and 2^-3 with random digits.
    let scales: Vec<String> =
        (0..n_groups * n).map(|_| (one - (3 + random() % 11) * step + random() % step).to_string()).collect();
    let (shape, attributes) = match group {
        0 => (format!("[{n}]"), "axis = 1".to_string()),
        _ => (format!("[{n_groups}, {n}]"), format!("axis = 0, block_size = {group}")),
    };
    let scales = match scale {
        // Floats are written as numbers.
        "f32" => scales.iter().map(|bits| f32::from_bits(bits.parse().unwrap()).to_string()).collect(),
        _ => scales,
    };
    let (integers, scales) = (integers.join(", "), scales.join(", "));
    let narrowed =
        if scale == half { String::new() } else { format!("  %h = cast(%d) {{to = {half}}} : {half}[{k}, {n}]\n") };
    let (w, to) = if scale == half { ("%d", half) } else { ("%h", "f32") };
    format!(
        "graph @product(%a: {half}[{m}, {k}]) {{
  %q = constant() {{value = i{bits}[{k}, {n}] [{integers}]}} : i{bits}[{k}, {n}]
  %s = constant() {{value = {scale}{shape} [{scales}]}} : {scale}{shape}
  %d = dequantize(%q, %s) {{{attributes}, to = {to}}} : {to}[{k}, {n}]
{narrowed}  %y = matmul(%a, {w}) : {half}[{m}, {n}]
  return \"y\" = %y
}}
"
    )
}

/// The product is right, reads integers, and has no bank conflicts.
fn check_widened(weight: Weight, shape: [usize; 3], tolerance: f64) {
    let text = product(weight, shape);
    let counts = check(&text, &[], tolerance);
    assert_eq!(counts.bank_conflicts, 0, "{shape:?}");
    assert_ne!(weight_bytes(NvptxTarget::Sm80, &text), shape[1] * shape[2] * 2, "{shape:?}");
}

/// Tiles of each size that are not full, steps of K that are no whole stages or groups.
#[test]
fn products_with_4_bits() {
    for shape in [[1, 640, 72], [16, 320, 136], [9, 256, 4160], [17, 264, 200], [70, 384, 104], [264, 136, 328]] {
        check_widened(W4, shape, 2e-3);
        check_widened(Weight { scale: "f32", ..W4 }, shape, 3e-3);
    }
    for group in [0, 32, 64, 256, 1024] {
        for shape in [[5, 1160, 72], [40, 520, 72]] {
            check_widened(Weight { group, ..W4 }, shape, 2e-3);
        }
    }
}

#[test]
fn products_with_4_bits_of_brain_floats() {
    let weight = Weight { half: "bf16", scale: "bf16", ..W4 };
    for shape in [[3, 640, 72], [16, 256, 4160], [70, 392, 104], [264, 136, 328]] {
        check_widened(weight, shape, 1.6e-2);
        check_widened(Weight { scale: "f32", group: 0, ..weight }, shape, 1.6e-2);
        check_widened(Weight { group: 64, ..weight }, shape, 1.6e-2);
    }
}

#[test]
fn products_with_8_bits() {
    for shape in [[3, 640, 72], [16, 256, 4160], [70, 392, 104], [264, 136, 328]] {
        for group in [0, 32, 128] {
            check_widened(Weight { bits: 8, group, ..W4 }, shape, 2e-3);
        }
        check_widened(Weight { bits: 8, group: 0, scale: "f32", ..W4 }, shape, 2e-3);
    }
}

/// Where warpgroups multiply many rows, weights are 16 bits; few rows read integers there too.
#[test]
fn warpgroups_multiply_many_rows() {
    for (rows, bits) in [(72, 4), (136, 16)] {
        let text = product(W4, [rows, 320, 264]);
        check_warpgroups(&text, &[], 2e-3);
        let bytes = weight_bytes(NvptxTarget::Sm90a, &text);
        assert_eq!(bytes * 8 / (320 * 264) / 4 * 4, bits, "{rows}: {bytes}");
    }
}

/// Groups that are no whole steps of tensor cores, and zero points, leave floats.
#[test]
fn other_weights_are_floats() {
    let text = product(Weight { group: 24, ..W4 }, [4, 480, 96]);
    check(&text, &[], 2e-3);
    assert_eq!(weight_bytes(NvptxTarget::Sm80, &text), 480 * 96 * 2);
}
