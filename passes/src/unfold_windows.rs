//! `unfold_windows`: convolutions of which one window covers the whole image as matrix products.
//!
//! Models that cut an image into patches before they come, as the vision part of Qwen2-VL does, embed each patch by a
//! convolution with a single result per channel: `[N, C, D, H, W]` with kernels of D by H by W. That is the product of
//! `[N, C·D·H·W]` with `[C·D·H·W, O]`, for which there are faster kernels, also with three spatial axes. Kernels of one
//! element stay, as do convolutions of groups. Sums are in another order, so `--fp strict` keeps all as they are.

use crate::known::known_values;
use crate::rebuild::{Rebuild, map_regions};
use crate::{FpMode, Options, PassError, Report};
use ic_ir::ops::{Convolution, Layout, Matmul, Reshape, Transpose};
use ic_ir::{Graph, GraphError, Node, Op, ScalarOp, ValueId};
use ic_types::{DType, Dim};

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn unfold_windows(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let known = known_values(graph);
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Convolution(op) if options.fp >= FpMode::Default && is_whole(graph, op, node, &known) => {
                let result = product(&mut rebuild, node)?;
                rebuild.set(node.results[0], result);
                *report.rules.entry("unfold-window").or_default() += 1;
            }
            _ => {
                let regions = map_regions(node, |region| unfold_windows(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// Whether a convolution with known weights has one window, which is the image, of more than one element.
fn is_whole(graph: &Graph, op: &Convolution, node: &Node, known: &[bool]) -> bool {
    let [Some(x), Some(w)] = [node.operands[0], node.operands[1]] else { return false };
    let (image, weight) = (graph.tensor_ty(x), graph.tensor_ty(w));
    let Some(kernel) = weight.constant_shape() else { return false };
    let is_padded = op.pads.iter().any(|pad| *pad != Dim::constant(0));
    let plain =
        op.groups == 1 && op.layout == Layout::ChannelsFirst && !is_padded && op.dilations.iter().all(|&d| d == 1);
    plain
        && known[w.index()]
        && weight.dtype == DType::F32
        && kernel[2..].iter().product::<usize>() > 1
        && image.shape[2..] == weight.shape[2..]
}

/// The product that a convolution with one window is, in the convolution's shape.
fn product(rebuild: &mut Rebuild, node: &Node) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let shape = |rebuild: &Rebuild, value: ValueId| rebuild.new.tensor_ty(value).shape.clone();
    let operands: Vec<Option<ValueId>> = rebuild.operands(node);
    let (Some(x), Some(w)) = (operands[0], operands[1]) else { unreachable!("required operands are present") };
    let (image, weight) = (shape(rebuild, x), shape(rebuild, w));
    let n_inner = weight[1..].iter().fold(Dim::constant(1), |product, extent| product * extent.clone());
    let rows = Reshape { shape: vec![image[0].clone(), n_inner.clone()] };
    let rows = rebuild.push_one(rows, &[x], at)?;
    let columns = Reshape { shape: vec![weight[0].clone(), n_inner] };
    let columns = rebuild.push_one(columns, &[w], at)?;
    let columns = rebuild.push_one(Transpose { perm: vec![1, 0] }, &[columns], at)?;
    let mut result = rebuild.push_one(Matmul {}, &[rows, columns], at)?;
    if let Some(bias) = operands.get(2).copied().flatten() {
        result = rebuild.push_one(ScalarOp::Add, &[result, bias], at)?;
    }
    let shape = rebuild.old.tensor_ty(node.results[0]).shape.clone();
    rebuild.push_one(Reshape { shape }, &[result], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    const PLAIN: &str = "strides = [2, 3], dilations = [1, 1]";

    /// A convolution of an image with kernels of 2 by 3.
    fn graph(image: &str, attrs: &str, pads: &str, result: &str) -> Graph {
        let text = format!(
            "graph @one(%x: f32[{image}], %b: f32[5]) {{
  %0 = constant() {{value = f32[5, 2, 2, 3] splat 0.5}} : f32[5, 2, 2, 3]
  %1 = constant() {{value = f32[5, 1, 1, 1] [1.0, 2.0, -3.0, 4.0, 5.0]}} : f32[5, 1, 1, 1]
  %2 = mul(%0, %1) : f32[5, 2, 2, 3]
  %3 = convolution(%x, %2, %b) {{{attrs}, pads = [{pads}]}} : f32[{result}]
  return \"y\" = %3
}}
"
        );
        ic_ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn has_convolution(graph: &Graph, fp: FpMode) -> bool {
        let found = unfold_windows(graph, &Options { fp, ..Options::default() }, &mut Report::default()).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        found.nodes().any(|(_, node)| matches!(node.op, Op::Convolution(_)))
    }

    #[test]
    fn a_window_that_is_the_image_is_a_product() {
        let graph = graph("N, 2, 2, 3", PLAIN, "0, 0, 0, 0", "N, 5, 1, 1");
        let found = unfold_windows(&graph, &Options::default(), &mut Report::default()).unwrap();
        assert!(!has_convolution(&graph, FpMode::Default));
        let x = Tensor::from_elements(vec![3, 2, 2, 3], (0..36).map(|i| ((i * 7) % 11) as f32 - 4.0).collect());
        let bias = Tensor::from_elements(vec![5], vec![0.5f32, -1.0, 2.0, 0.0, 8.0]);
        let run = |graph: &Graph| eval_graph(graph, &[x.clone(), bias.clone()], &Default::default()).unwrap().remove(0);
        assert_eq!(run(&graph), run(&found));
    }

    #[test]
    fn other_convolutions_stay() {
        assert!(has_convolution(&graph("N, 2, 2, 3", PLAIN, "0, 0, 0, 0", "N, 5, 1, 1"), FpMode::Strict));
        assert!(has_convolution(&graph("N, 2, 4, 3", PLAIN, "0, 0, 0, 0", "N, 5, 2, 1"), FpMode::Default));
        let strided = "strides = [2, 4], dilations = [1, 1]";
        assert!(has_convolution(&graph("N, 2, 2, 3", strided, "0, 0, 1, 1", "N, 5, 1, 1"), FpMode::Default));
    }
}
