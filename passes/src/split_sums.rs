//! `split_sums`: sums over all pixels of a channels-last image as sums of some stretches of it, then of those.
//!
//! Threads share the pixels of an image, and never a sum. A sum over all pixels, as squeeze-and-excitation has for each
//! channel, would be shared by channels: every thread would read what the others have computed, from their caches. Stretches
//! of pixels are summed where they were computed, and what is left is small. Sums are in another order, so `--fp strict`
//! keeps all as they are.

use crate::rebuild::{Rebuild, map_regions};
use crate::{FpMode, Options, PassError, Report};
use ic_ir::ops::{Reduce, Reshape};
use ic_ir::scalar::ReduceFn;
use ic_ir::{Graph, GraphError, Node, Op, TensorType, ValueId};
use ic_types::{DType, Dim};

/// How many stretches there may be: enough for threads to have nearly equal shares, few enough to be summed in no time.
const STRETCHES: std::ops::RangeInclusive<usize> = 8..=32;

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn split_sums(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let is_wanted = options.fp >= FpMode::Default && options.native_compounds;
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Reduce(op) if is_wanted && let Some(shape) = stretches(graph, op, node) => {
                let result = sum_of_sums(&mut rebuild, op, node, shape)?;
                rebuild.set(node.results[0], result);
                *report.rules.entry("split-sum").or_default() += 1;
            }
            _ => {
                let regions = map_regions(node, |region| split_sums(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// Whether a reduction is one that this pass may split.
pub(crate) fn is_over_pixels(op: &Reduce, x: &TensorType) -> bool {
    let is_sum = matches!(op.function, ReduceFn::Sum | ReduceFn::Mean) && x.dtype == DType::F32;
    is_sum && matches!(op.axes[..], [height, width] if height + 1 == width && width + 1 < x.rank())
}

/// The operand's shape with its pixels cut into stretches, if there are several of several pixels.
fn stretches(graph: &Graph, op: &Reduce, node: &Node) -> Option<Vec<Dim>> {
    let x = graph.tensor_ty(node.operands[0]?);
    if !is_over_pixels(op, x) {
        return None;
    }
    let height = op.axes[0];
    let extent = |axis: usize| usize::try_from(x.shape[axis].as_const()?).ok();
    let pixels = extent(height)?.checked_mul(extent(height + 1)?)?;
    let n = STRETCHES.rev().find(|&n| pixels.is_multiple_of(n) && pixels / n >= *STRETCHES.start())?;
    let mut shape = x.shape.clone();
    shape[height] = Dim::constant(n as i64);
    shape[height + 1] = Dim::constant((pixels / n) as i64);
    Some(shape)
}

/// The sum or mean over stretches of `shape`, of those of each.
fn sum_of_sums(rebuild: &mut Rebuild, op: &Reduce, node: &Node, shape: Vec<Dim>) -> Result<ValueId, GraphError> {
    let x = rebuild.value(node.operands[0].expect("a required operand"));
    let each = Reduce { function: op.function, axes: vec![op.axes[1]], keep_dims: true };
    let x = rebuild.push_one(Reshape { shape }, &[x], &node.location)?;
    let sums = rebuild.push_one(each, &[x], &node.location)?;
    rebuild.push_one(op.clone(), &[sums], &node.location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    fn graph(image: &str, result: &str, op: &str) -> Graph {
        let text = format!(
            "graph @one(%x: f32[{image}]) {{
  %0 = reduce(%x) {{{op}}} : f32[{result}]
  return \"y\" = %0
}}
"
        );
        ic_ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn split(graph: &Graph, fp: FpMode) -> (Graph, usize) {
        let found = split_sums(graph, &Options { fp, ..Options::default() }, &mut Report::default()).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        let n = found.nodes().filter(|(_, node)| matches!(node.op, Op::Reduce(_))).count();
        (found, n)
    }

    const MEAN: &str = "function = mean, axes = [1, 2], keep_dims = true";

    #[test]
    fn a_mean_over_pixels_is_one_of_means() {
        for (result, keep) in [("2, 1, 1, 3", "true"), ("2, 3", "false")] {
            for function in ["mean", "sum"] {
                let op = format!("function = {function}, axes = [1, 2], keep_dims = {keep}");
                let graph = graph("2, 12, 10, 3", result, &op);
                let (found, n) = split(&graph, FpMode::Default);
                assert_eq!(n, 2);
                let x = Tensor::from_elements(vec![2, 12, 10, 3], (0..720).map(|i| (i % 29) as f32 * 0.125).collect());
                let run =
                    |graph: &Graph| eval_graph(graph, std::slice::from_ref(&x), &Default::default()).unwrap().remove(0);
                let (want, got) = (run(&graph), run(&found));
                assert_eq!(want.shape(), got.shape());
                let pairs = want.elements::<f32>().unwrap().iter().zip(got.elements::<f32>().unwrap());
                pairs.for_each(|(want, got)| assert!((want - got).abs() <= want.abs() * 1e-6, "{want}, {got}"));
            }
        }
    }

    #[test]
    fn others_stay() {
        assert_eq!(split(&graph("2, 12, 10, 3", "2, 1, 1, 3", MEAN), FpMode::Strict).1, 1);
        assert_eq!(split(&graph("2, 7, 7, 3", "2, 1, 1, 3", MEAN), FpMode::Default).1, 1, "few pixels");
        assert_eq!(split(&graph("2, N, 8, 3", "2, 1, 1, 3", MEAN), FpMode::Default).1, 1, "any number of pixels");
        let last = "function = mean, axes = [2, 3], keep_dims = true";
        assert_eq!(split(&graph("2, 3, 16, 16", "2, 3, 1, 1", last), FpMode::Default).1, 1, "rows are not shared");
        let greatest = "function = max, axes = [1, 2], keep_dims = true";
        assert_eq!(split(&graph("2, 16, 16, 3", "2, 1, 1, 3", greatest), FpMode::Default).1, 1);
    }
}
