//! `shuffle_conv_transpose`: transposed convolutions to few channels as convolutions of one tap whose results are shuffled.
//!
//! Where the kernel is as large as its stride, each result comes from one pixel of the image: `y[n, o, p · s + k] =
//! Σ x[n, i, p] w[i, o, k]`. That is a product whose columns are the pairs of a tap and a channel. A kernel that takes
//! tap for tap fills its vectors with the channels alone, and reads the image for every tap.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{ConvAlgorithm, ConvTranspose, Convolution, Expand, Layout, Reshape, Transpose};
use ic_ir::{Graph, GraphError, Node, Op, ValueId};
use ic_types::Dim;
use std::sync::Arc;

/// Lanes of the widest vectors of any CPU, in f32.
const LANES: usize = 16;

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn shuffle_conv_transpose(
    graph: &Graph,
    options: &Options,
    report: &mut Report,
) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::ConvTranspose(op) if is_worth_it(graph, node, op) => {
                let result = shuffled(&mut rebuild, node, op)?;
                rebuild.set(node.results[0], result);
                *report.rules.entry("shuffle-conv-transpose").or_default() += 1;
            }
            _ => {
                let regions = map_regions(node, |region| shuffle_conv_transpose(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// Whether the results of different pixels are apart, next to each other, and half the vectors of all taps are saved.
fn is_worth_it(graph: &Graph, node: &Node, op: &ConvTranspose) -> bool {
    let Some(w) = node.operands[1].and_then(|w| graph.tensor_ty(w).constant_shape()) else { return false };
    let (channels, kernel) = (w[1], &w[2..]);
    let apart = *kernel == *op.strides && op.pads.iter().all(|pad| pad.is(0));
    let plain = op.groups == 1 && op.layout == Layout::ChannelsFirst;
    let next = op.output_padding.iter().all(|&n| n == 0) && op.dilations.iter().all(|&n| n == 1);
    let Some(taps) = kernel.iter().try_fold(1_usize, |taps, &extent| taps.checked_mul(extent)) else { return false };
    let vectors = |columns: usize| columns.div_ceil(LANES);
    let all = taps.checked_mul(channels).filter(|&columns| columns > 0).map(vectors);
    apart && plain && next && all.is_some_and(|all| 2 * all <= taps * vectors(channels))
}

/// The product of all taps, and its columns where they belong.
fn shuffled(rebuild: &mut Rebuild, node: &Node, op: &ConvTranspose) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let operands = rebuild.operands(node);
    let [x, w] = [0, 1].map(|i| operands[i].expect("the verifier has checked required operands"));
    let (image, filter) = (rebuild.new.tensor_ty(x).shape.clone(), rebuild.new.tensor_ty(w).shape.clone());
    let (spatial, kernel) = (&image[2..], &filter[2..]);
    let n = kernel.len();
    let taps = kernel.iter().fold(Dim::constant(1), |taps, extent| taps * extent.clone());
    let columns = taps * filter[1].clone();
    // `w` is `[inputs, channels, kernel…]`, the filters are `[kernel… channels, inputs, 1…]`.
    let perm = (2..n + 2).chain([1, 0]).collect();
    let filters = rebuild.push_one(Transpose { perm }, &[w], at)?;
    let mut shape = vec![columns.clone(), filter[0].clone()];
    shape.resize(n + 2, Dim::constant(1));
    let filters = rebuild.push_one(Reshape { shape }, &[filters], at)?;
    let bias = operands.get(2).copied().flatten().map(|bias| repeated(rebuild, bias, kernel, at)).transpose()?;
    let product = Convolution {
        strides: vec![1; n],
        pads: vec![Dim::constant(0); 2 * n],
        dilations: vec![1; n],
        groups: 1,
        layout: Layout::ChannelsFirst,
        algorithm: ConvAlgorithm::Direct,
    };
    let product = rebuild.push(product.into(), [Some(x), Some(filters), bias].into_iter().collect(), at)?[0];
    // `[n, kernel…, channels, spatial…]` becomes `[n, channels, spatial and kernel in turns]`.
    let apart = [&image[..1], kernel, &filter[1..2], spatial].concat();
    let apart = rebuild.push_one(Reshape { shape: apart }, &[product], at)?;
    let perm = [0, n + 1].into_iter().chain((0..n).flat_map(|axis| [n + 2 + axis, 1 + axis])).collect();
    let shuffled = rebuild.push_one(Transpose { perm }, &[apart], at)?;
    let extents = (0..n).map(|axis| spatial[axis].clone() * Dim::constant(op.strides[axis] as i64));
    let shape = [image[0].clone(), filter[1].clone()].into_iter().chain(extents).collect();
    rebuild.push_one(Reshape { shape }, &[shuffled], at)
}

/// A bias once for each tap.
fn repeated(rebuild: &mut Rebuild, bias: ValueId, kernel: &[Dim], at: &Arc<str>) -> Result<ValueId, GraphError> {
    let channels = rebuild.new.tensor_ty(bias).shape[0].clone();
    let taps = kernel.iter().fold(Dim::constant(1), |taps, extent| taps * extent.clone());
    let expanded = rebuild.push_one(Expand { shape: vec![taps.clone(), channels.clone()] }, &[bias], at)?;
    rebuild.push_one(Reshape { shape: vec![taps * channels] }, &[expanded], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    fn text(x: &str, w: &str, attrs: &str, y: &str) -> String {
        let channels = w.split(", ").nth(1).unwrap_or_default();
        format!(
            "graph @one(%x: f32[{x}], %w: f32[{w}], %b: f32[{channels}]) {{
  %0 = conv_transpose(%x, %w, %b) {{{attrs}}} : f32[{y}]
  return \"y\" = %0
}}
"
        )
    }

    fn rewritten(text: &str) -> Graph {
        let graph = ic_ir::text::parse(text).unwrap();
        let graph = shuffle_conv_transpose(&graph, &Options::default(), &mut Report::default()).unwrap();
        assert_eq!(ic_ir::verify(&graph), []);
        graph
    }

    fn counted(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::from_elements(shape.to_vec(), (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<f32>>())
    }

    #[test]
    fn results_are_the_same() {
        let attrs = |s: &str, p: &str, d: &str| {
            format!("strides = [{s}], pads = [{p}], output_padding = [{d}], dilations = [{}]", d.replace('0', "1"))
        };
        for (x, w, attrs, y) in [
            ([2, 3, 4, 5].as_slice(), [3, 1, 2, 2].as_slice(), attrs("2, 2", "0, 0, 0, 0", "0, 0"), "2, 1, 8, 10"),
            (&[1, 2, 1, 3], &[2, 5, 3, 1], attrs("3, 1", "0, 0, 0, 0", "0, 0"), "1, 5, 3, 3"),
            (&[2, 3, 7], &[3, 2, 4], attrs("4", "0, 0", "0"), "2, 2, 28"),
        ] {
            let join = |shape: &[usize]| shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let text = text(&join(x), &join(w), &attrs, y);
            let graph = rewritten(&text);
            assert!(graph.nodes().all(|(_, node)| !matches!(node.op, Op::ConvTranspose(_))), "{text}");
            let inputs = [counted(x), counted(w), counted(&w[1..2])];
            let none = ic_ir::eval::Symbols::default();
            let expected = eval_graph(&ic_ir::text::parse(&text).unwrap(), &inputs, &none).unwrap();
            assert_eq!(eval_graph(&graph, &inputs, &none).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn others_stay() {
        let stays = |text: &str| rewritten(text).nodes().any(|(_, node)| matches!(node.op, Op::ConvTranspose(_)));
        let attrs = |pads: &str, padding: &str| {
            format!("strides = [2, 2], pads = [{pads}], output_padding = [{padding}], dilations = [1, 1]")
        };
        let none = attrs("0, 0, 0, 0", "0, 0");
        assert!(!stays(&text("N, 3, H, W", "3, 1, 2, 2", &none, "N, 1, 2*H, 2*W")));
        assert!(stays(&text("N, 3, H, W", "3, 16, 2, 2", &none, "N, 16, 2*H, 2*W")), "vectors are full");
        assert!(stays(&text("1, 3, 4, 4", "3, 1, 3, 3", &none, "1, 1, 9, 9")), "kernels overlap");
        assert!(stays(&text("1, 3, 4, 4", "3, 1, 2, 2", &attrs("1, 0, 0, 0", "0, 0"), "1, 1, 7, 8")), "padding");
        assert!(stays(&text("1, 3, 4, 4", "3, 1, 2, 2", &attrs("0, 0, 0, 0", "1, 0"), "1, 1, 9, 8")), "a gap");
    }
}
