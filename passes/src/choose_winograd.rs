//! `choose_winograd`: 3 by 3 convolutions of stride 1 computed by transformed tiles.
//!
//! A tile of 4 by 4 results takes 36 multiplications for each pair of channels instead of 144, but the transformed filters
//! take four times the memory of the plain ones. So the convolutions that save most for a byte that they add come first,
//! until the weights of the graph have grown by half. Results round differently, as sums in another order do.

use crate::cost::assumed_at;
use crate::known::known_values;
use crate::rebuild::{Rebuild, map_regions};
use crate::{FpMode, Options, PassError, Report};
use ic_ir::ops::{ConvAlgorithm, Convolution, Layout};
use ic_ir::{Graph, Node, NodeId, Op};
use ic_types::{DType, Dim};
use std::collections::BTreeSet;

/// Results of a tile along each axis.
const TILE: u64 = 4;

/// Fewest tiles of an image that are worth it. Each transformed filter element is read from memory once and used once for
/// each tile; machines do 10 to 50 multiply-adds in the time of such a read.
const MIN_TILES: u64 = 24;

/// Fewest channels, in and out: with fewer, the transforms are.
const MIN_CHANNELS: u64 = 8;

/// The extent that a symbol is taken to have: images are larger than other things.
const IMAGE_EXTENT: i64 = 256;

/// What a convolution gains and costs.
struct Candidate {
    node: NodeId,
    /// Multiplications saved for each filter element.
    saved: u64,
    /// Elements of the filters.
    elements: u64,
}

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn choose_winograd(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let chosen = if options.fp >= FpMode::Default { chosen(graph) } else { BTreeSet::new() };
    let mut rebuild = Rebuild::new(graph);
    for (id, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Convolution(op) if chosen.contains(&id) => {
                let op = Convolution { algorithm: ConvAlgorithm::Winograd, ..op.clone() };
                let operands = rebuild.operands(node);
                let result = rebuild.push(op.into(), operands, &node.location)?[0];
                rebuild.set(node.results[0], result);
                *report.rules.entry("choose-winograd").or_default() += 1;
            }
            _ => {
                let regions = map_regions(node, |region| choose_winograd(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// The convolutions that save most, within the bound on memory.
fn chosen(graph: &Graph) -> BTreeSet<NodeId> {
    let known = known_values(graph);
    let is_known = |node: &Node| node.operands[1].is_some_and(|w| known[w.index()]);
    let live = Rebuild::new(graph).live_nodes();
    let of = |(id, node): &(NodeId, &Node)| candidate(graph, *id, node).filter(|_| is_known(node));
    let mut candidates: Vec<Candidate> = live.iter().filter_map(of).collect();
    candidates.sort_by_key(|c| (std::cmp::Reverse(c.saved), c.node));
    let constants = live.iter().filter_map(|(_, node)| match &node.op {
        Op::Constant(constant) => Some(constant.value.bytes() as u64),
        _ => None,
    });
    let mut room = constants.sum::<u64>() / 2;
    let mut chosen = BTreeSet::new();
    for candidate in candidates {
        let added = candidate.elements.saturating_mul(4 * (36 - 9) / 9);
        if added <= room {
            room -= added;
            chosen.insert(candidate.node);
        }
    }
    chosen
}

/// The convolution of a node, if it has a transformed form that saves at least half of the multiplications.
fn candidate(graph: &Graph, id: NodeId, node: &Node) -> Option<Candidate> {
    let Op::Convolution(op) = &node.op else { return None };
    let (w, y) = (graph.tensor_ty(node.operands[1]?), graph.tensor_ty(node.results[0]));
    let plain = op.strides == [1, 1] && op.dilations == [1, 1] && op.groups == 1;
    if !plain || op.layout != Layout::ChannelsLast || w.dtype != DType::F32 {
        return None;
    }
    let [outputs, inputs, ..] = *w.constant_shape()?.as_slice() else { return None };
    if w.shape[2..] != [Dim::constant(3), Dim::constant(3)] || (outputs.min(inputs) as u64) < MIN_CHANNELS {
        return None;
    }
    let [height, width] = [1, 2].map(|axis| assumed_at(&y.shape[axis], IMAGE_EXTENT));
    let tiles = height.div_ceil(TILE).saturating_mul(width.div_ceil(TILE));
    let (direct, transformed) = (height.saturating_mul(width).saturating_mul(9), tiles.saturating_mul(36));
    let elements = (outputs * inputs * 9) as u64;
    let worth = tiles >= MIN_TILES && direct >= transformed.saturating_mul(2);
    worth.then(|| Candidate { node: id, saved: direct - transformed, elements })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two convolutions of 8 channels, the second on a smaller image, beside a weight of `others` elements.
    fn text(others: usize) -> String {
        format!(
            "graph @chain(%x: f32[1, 32, 32, 8]) {{
  %0 = constant() {{value = f32[8, 8, 3, 3] splat 0.5}} : f32[8, 8, 3, 3]
  %1 = convolution(%x, %0) {{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], layout = channels_last}} : f32[1, 32, 32, 8]
  %2 = pool(%1) {{function = max, kernel = [2, 1], strides = [2, 1], pads = [0, 0, 0, 0], dilations = [1, 1], layout = channels_last}} : f32[1, 16, 32, 8]
  %3 = constant() {{value = f32[8, 8, 3, 3] splat 0.25}} : f32[8, 8, 3, 3]
  %4 = convolution(%2, %3) {{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1], layout = channels_last}} : f32[1, 16, 32, 8]
  %5 = constant() {{value = f32[{others}] splat 1.0}} : f32[{others}]
  return \"y\" = %4, \"z\" = %5
}}
"
        )
    }

    /// The heights of the images whose convolutions are chosen.
    fn chosen_heights(others: usize, fp: FpMode) -> Vec<i64> {
        let graph = ic_ir::text::parse(&text(others)).unwrap();
        let graph = choose_winograd(&graph, &Options { fp, ..Options::default() }, &mut Report::default()).unwrap();
        assert_eq!(ic_ir::verify(&graph), []);
        let is_chosen = |op: &Op| matches!(op, Op::Convolution(op) if op.algorithm == ConvAlgorithm::Winograd);
        let nodes = graph.nodes().filter(|(_, node)| is_chosen(&node.op));
        nodes.filter_map(|(_, node)| graph.tensor_ty(node.results[0]).shape[1].as_const()).collect()
    }

    #[test]
    fn weights_grow_by_half_at_most_and_large_images_come_first() {
        // Each convolution adds 3 * 576 elements; the filters alone are 1152.
        assert_eq!(chosen_heights(1, FpMode::Default), []);
        assert_eq!(chosen_heights(2 * 1728 - 1152, FpMode::Default), [32]);
        assert_eq!(chosen_heights(4 * 1728 - 1152 - 1, FpMode::Default), [32]);
        assert_eq!(chosen_heights(4 * 1728 - 1152, FpMode::Default), [32, 16]);
        assert_eq!(chosen_heights(1 << 20, FpMode::Strict), []);
    }

    #[test]
    fn other_convolutions_stay() {
        let chosen_of = |x: &str, w: &str, attrs: &str, y: &str| {
            let text = format!(
                "graph @one(%x: f32[{x}]) {{
  %0 = constant() {{value = f32[{w}] splat 0.5}} : f32[{w}]
  %1 = convolution(%x, %0) {{{attrs}, pads = [1, 1, 1, 1], layout = channels_last}} : f32[{y}]
  %2 = constant() {{value = f32[99999] splat 1.0}} : f32[99999]
  return \"y\" = %1, \"z\" = %2
}}
"
            );
            chosen(&ic_ir::text::parse(&text).unwrap()).len()
        };
        let plain = "strides = [1, 1], dilations = [1, 1]";
        assert_eq!(chosen_of("N, 32, 32, 8", "8, 8, 3, 3", plain, "N, 32, 32, 8"), 1);
        assert_eq!(chosen_of("N, H, W, 8", "8, 8, 3, 3", plain, "N, H, W, 8"), 1);
        assert_eq!(chosen_of("N, 16, 16, 8", "8, 8, 3, 3", plain, "N, 16, 16, 8"), 0, "few tiles");
        assert_eq!(chosen_of("N, 1, 99, 8", "8, 8, 3, 3", plain, "N, 1, 99, 8"), 0, "a quarter of each tile");
        assert_eq!(chosen_of("N, 32, 32, 7", "8, 7, 3, 3", plain, "N, 32, 32, 8"), 0, "few channels");
        assert_eq!(chosen_of("N, 32, 32, 8", "8, 8, 5, 3", plain, "N, 30, 32, 8"), 0, "a filter of 5 by 3");
        let strided = "strides = [2, 1], dilations = [1, 1]";
        assert_eq!(chosen_of("N, 63, 32, 8", "8, 8, 3, 3", strided, "N, 32, 32, 8"), 0, "a stride");
        let dilated = "strides = [1, 1], dilations = [1, 2]";
        assert_eq!(chosen_of("N, 32, 34, 8", "8, 8, 3, 3", dilated, "N, 32, 32, 8"), 0, "a dilation");
        let grouped = "strides = [1, 1], dilations = [1, 1], groups = 2";
        assert_eq!(chosen_of("N, 32, 32, 16", "16, 8, 3, 3", grouped, "N, 32, 32, 16"), 0, "groups");
    }
}
