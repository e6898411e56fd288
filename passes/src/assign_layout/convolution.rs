//! What a convolution costs on plain and on channels-last values: the images of the former are packed at every run, the
//! latter have no room for groups of few channels.

use crate::cost::{MULTIPLY_ADDS, assumed};
use ic_ir::ops::Convolution;
use ic_ir::{Graph, Node, Op};

/// Columns of a panel of weights.
const PANEL: u64 = 16;

/// Most filters of a channel, and longest stride, of which sums run along lines.
const MOST_FILTERS: u64 = 32;
const MOST_STRIDE: u64 = 4;

/// Bytes that move while a line of a plane is begun.
const LINE: u64 = 100;

/// More than any graph costs.
const FAR_MORE: i64 = 1 << 40;

/// Extents of a convolution.
struct Extents {
    /// Pixels of all results.
    pixels: u64,
    groups: u64,
    /// Channels of a group, in and out.
    inputs: u64,
    outputs: u64,
    kernel: Vec<u64>,
    /// Pixels of a line of the result.
    width: u64,
    /// Distance of windows along the last axis.
    step: u64,
}

/// How many bytes could move in the time that `node`, a channels-first convolution of fixed weights, takes longer on plain
/// values than on channels-last ones; negative if it is faster there.
pub(super) fn plain_excess(graph: &Graph, node: &Node, op: &Convolution) -> i64 {
    let Some(extents) = extents(graph, node, op) else { return FAR_MORE };
    let transformed = has_transformed_form(op, &extents);
    let (plain, last) = (plain(&extents), channels_last(&extents, transformed));
    // A user that computes in registers on channels-last values has a kernel of its own on plain ones.
    let follows = graph
        .nodes()
        .any(|(_, user)| matches!(user.op, Op::Pointwise(_)) && user.operands.contains(&node.results.first().copied()));
    let results = extents.pixels.saturating_mul(extents.groups * extents.outputs);
    let apart = if follows { results.saturating_mul(4) } else { 0 };
    let bounded = |cost: u64| i64::try_from(cost).unwrap_or(FAR_MORE).min(FAR_MORE);
    bounded(plain.saturating_add(apart)) - bounded(last)
}

fn extents(graph: &Graph, node: &Node, op: &Convolution) -> Option<Extents> {
    let (w, y) = (graph.tensor_ty(node.operands.get(1).copied()??), graph.tensor_ty(*node.results.first()?));
    let weights = w.constant_shape()?;
    let [outputs, inputs, kernel @ ..] = weights.as_slice() else { return None };
    // Symbols count as they do for transposes.
    let pixels = y.shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, dim)| assumed(dim));
    let pixels = pixels.fold(1, u64::saturating_mul);
    Some(Extents {
        pixels,
        groups: op.groups as u64,
        inputs: *inputs as u64,
        outputs: (*outputs / op.groups.max(1)) as u64,
        kernel: kernel.iter().map(|&extent| extent as u64).collect(),
        width: y.shape.last().map_or(1, assumed),
        step: op.strides.last().copied().unwrap_or(1) as u64,
    })
}

/// Whether `choose_winograd` may take it.
fn has_transformed_form(op: &Convolution, of: &Extents) -> bool {
    let is_unit = |list: &[usize]| list.iter().all(|&n| n == 1);
    of.kernel == [3, 3]
        && is_unit(&op.strides)
        && is_unit(&op.dilations)
        && of.groups == 1
        && of.inputs.min(of.outputs) >= 8
        && of.pixels >= 16 * 24
}

/// The product of filters with packed panels of pixels, or sums along the lines of planes.
fn plain(of: &Extents) -> u64 {
    let taps: u64 = of.kernel.iter().product();
    if of.inputs == 1 && of.outputs <= MOST_FILTERS && of.step <= MOST_STRIDE {
        // Lines are copied with their padding, and to begin one takes as long as some bytes move.
        let copied = of.step.pow(of.kernel.len().min(2) as u32) * 4 + LINE * of.step / of.width.max(1);
        let filled = of.width.next_multiple_of(PANEL);
        let summed = of.outputs * 2 * taps * filled / of.width.max(1) / MULTIPLY_ADDS;
        return of.pixels.saturating_mul(of.groups * (copied + summed));
    }
    // Bytes that move while two elements are packed: whole panels are copied by vectors, others element by element.
    let is_whole = of.step == 1 && (taps == 1 || of.width >= 2 * PANEL);
    let pair = if is_whole { 3 } else { 12 };
    let packed = of.groups * of.inputs * taps * pair / 2;
    // A tile of few rows waits for its loads.
    let rows = of.outputs.max(3);
    of.pixels.saturating_mul(packed + of.groups * rows * of.inputs * taps / MULTIPLY_ADDS)
}

fn channels_last(of: &Extents, transformed: bool) -> u64 {
    let taps: u64 = of.kernel.iter().product();
    // A filter for each channel has a kernel of its own.
    if of.inputs == 1 && of.outputs == 1 && of.groups > 1 {
        return of.pixels.saturating_mul(of.groups * 2 * taps / MULTIPLY_ADDS);
    }
    let columns = of.outputs.next_multiple_of(PANEL);
    // Where an image has few channels, a row of the kernel is one run of elements; to begin one takes as long as a few of them.
    let joins = of.groups == 1 && of.inputs < PANEL;
    let runs = if joins { of.kernel.iter().rev().skip(1).product() } else { taps };
    let k = of.inputs * taps + 4 * runs;
    let direct = of.pixels.saturating_mul(of.groups * columns * k / MULTIPLY_ADDS);
    if transformed { direct / 2 } else { direct }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excess(weights: [i64; 4], size: i64, stride: usize, groups: usize) -> i64 {
        let [o, i, h, w] = weights;
        let (x, y) = (i * groups as i64, size / stride as i64);
        let text = format!(
            "graph @conv(%x: f32[1, {x}, {size}, {size}]) {{
  %0 = constant() {{value = f32[{o}, {i}, {h}, {w}] splat 0.5}} : f32[{o}, {i}, {h}, {w}]
  %1 = convolution(%x, %0) {{strides = [{stride}, {stride}], pads = [{top}, {top}, {top}, {top}], dilations = [1, 1], groups = {groups}}} : f32[1, {o}, {y}, {y}]
  return \"y\" = %1
}}
",
            top = h / 2,
        );
        excess_of(&text)
    }

    fn excess_of(text: &str) -> i64 {
        let graph = ic_ir::text::parse(text).unwrap();
        let (_, node) = graph.nodes().find(|(_, node)| matches!(node.op, Op::Convolution(_))).unwrap();
        let Op::Convolution(op) = &node.op else { unreachable!("the node is a convolution") };
        plain_excess(&graph, node, op)
    }

    #[test]
    fn large_kernels_cost_more_on_plain_values_and_small_groups_less() {
        assert!(excess([64, 64, 3, 3], 64, 1, 1) > 0, "it has a transformed form");
        assert!(excess([64, 3, 7, 7], 224, 2, 1) > 0, "packing costs more than products");
        assert!(excess([32, 2, 1, 1], 64, 1, 16) < 0, "groups of two channels fill no panel");
        assert!(excess([32, 1, 3, 3], 64, 1, 32) > 0, "its lines are copied");
        assert!(excess([32, 1, 3, 3], 64, 1, 32) < 32 * 64 * 64 * 8, "less than a transpose moves");
    }

    #[test]
    fn windows_of_one_line_are_one_run() {
        let text = "graph @frames(%x: f32[100, 1, 704]) {
  %0 = constant() {value = f32[258, 1, 256] splat 0.5} : f32[258, 1, 256]
  %1 = convolution(%x, %0) {strides = [128], pads = [0, 0], dilations = [1]} : f32[100, 258, 4]
  return \"y\" = %1
}
";
        assert!(excess_of(text) > 0, "packing costs more than products");
    }
}
