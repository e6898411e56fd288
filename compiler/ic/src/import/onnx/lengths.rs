//! Extents that a model leaves open although its ops fix them.
//!
//! `Reshape` takes one number per axis of its result, `TopK` one number, `Resize` one per axis of its operand: where the
//! model declares such an input with an unknown extent, the ranks that it declares elsewhere say what the extent must be. A
//! run refuses any other.

use super::symbols::rank_of;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto};
use std::collections::BTreeMap;

/// The extents of inputs that the graph's nodes fix, by name and axis.
pub(super) fn fixed(graph: &GraphProto) -> BTreeMap<(String, usize), i64> {
    let ranks = Ranks::of(graph);
    let mut fixed = BTreeMap::new();
    for node in &graph.node {
        let view = View { node, ranks: &ranks };
        for (index, axis, extent) in view.fixed().unwrap_or_default() {
            if let (Some(name), Ok(extent)) = (view.input(index), i64::try_from(extent))
                && extent > 0
            {
                fixed.entry((name.to_string(), axis)).or_insert(extent);
            }
        }
    }
    fixed
}

/// Ranks of values by name, as far as they are declared or follow from elementwise ops.
struct Ranks<'a>(BTreeMap<&'a str, usize>);

impl<'a> Ranks<'a> {
    fn of(graph: &'a GraphProto) -> Ranks<'a> {
        let declared = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
        let declared = declared.filter_map(|value| Some((value.name.as_str(), rank_of(value.type_.as_ref()?)?)));
        let constants = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor.dims.len()));
        let mut ranks = Ranks(declared.chain(constants).collect());
        for node in graph.node.iter().filter(|node| is_elementwise(&node.op_type)) {
            let operands = node.input.iter().map(|name| ranks.get(name)).collect::<Option<Vec<_>>>();
            if let (Some(operands), [result]) = (operands, node.output.as_slice()) {
                ranks.add(result, operands.into_iter().max());
            }
        }
        for node in graph.node.iter().rev().filter(|node| is_elementwise(&node.op_type)) {
            if let ([operand], [result]) = (node.input.as_slice(), node.output.as_slice()) {
                ranks.add(operand, ranks.get(result));
            }
        }
        ranks
    }

    fn get(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }

    fn add(&mut self, name: &'a str, rank: Option<usize>) {
        if let Some(rank) = rank {
            self.0.entry(name).or_insert(rank);
        }
    }
}

/// Ops of the default domain whose result has the rank of the operand, or the largest of the operands.
fn is_elementwise(op: &str) -> bool {
    matches!(
        op,
        "Abs"
            | "Add"
            | "Cast"
            | "Div"
            | "Exp"
            | "Identity"
            | "Log"
            | "Mul"
            | "Neg"
            | "Not"
            | "Pow"
            | "Relu"
            | "Sqrt"
            | "Sub"
    )
}

/// A node with what is known of the ranks around it.
struct View<'a> {
    node: &'a NodeProto,
    ranks: &'a Ranks<'a>,
}

impl View<'_> {
    fn input(&self, index: usize) -> Option<&str> {
        self.node.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The rank of an input.
    fn rank(&self, index: usize) -> Option<usize> {
        self.ranks.get(self.input(index)?)
    }

    /// The rank of the result.
    fn result(&self) -> Option<usize> {
        self.ranks.get(self.node.output.first()?)
    }

    fn attr(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attr| attr.name == name)
    }

    /// Number of axes that a list of axes names; all of the first operand without one.
    fn n_axes(&self) -> Option<usize> {
        match self.attr("axes") {
            Some(axes) => Some(axes.ints.len()),
            None => self.rank(0),
        }
    }

    /// The extents that the op fixes: of which input, of which axis, and what they are.
    fn fixed(&self) -> Option<Vec<(usize, usize, usize)>> {
        let first = |index: usize, extent: Option<usize>| Some(vec![(index, 0, extent?)]);
        let difference = |a: Option<usize>, b: Option<usize>| a?.checked_sub(b?);
        match self.node.op_type.as_str() {
            "Reshape" | "Expand" => first(1, self.result()),
            "AffineGrid" => {
                let rank = self.result()?;
                let n_spatial = rank.checked_sub(2)?;
                Some(vec![(0, 1, n_spatial), (0, 2, n_spatial + 1), (1, 0, rank)])
            }
            "ConstantOfShape" => first(0, self.result()),
            "Tile" | "Upsample" => first(1, self.rank(0)),
            "CenterCropPad" => first(1, self.n_axes()),
            "Split" => first(1, Some(self.node.output.len())),
            "TopK" => first(1, Some(1)),
            "Unsqueeze" => first(1, difference(self.result(), self.rank(0))),
            "Squeeze" => first(1, difference(self.rank(0), self.result())),
            "Pad" if self.input(3).is_none() => first(1, self.rank(0).map(|rank| 2 * rank)),
            "Resize" => self.resize(),
            "Slice" => self.slice(),
            "Col2Im" => {
                let n_spatial = difference(self.result(), Some(2))?;
                Some(vec![(1, 0, n_spatial), (2, 0, n_spatial)])
            }
            "ScatterND" => {
                let (indices, updates) = (self.rank(1)?, self.rank(2)?);
                Some(vec![(1, indices.checked_sub(1)?, (self.rank(0)? + indices).checked_sub(1 + updates)?)])
            }
            "GatherND" => {
                let batch = self.attr("batch_dims").map_or(0, |attr| attr.i.max(0) as usize);
                let (indices, result) = (self.rank(1)?, self.result()?);
                Some(vec![(1, indices.checked_sub(1)?, (self.rank(0)? + indices).checked_sub(1 + batch + result)?)])
            }
            "StringNormalizer" if self.rank(0) == Some(2) => first(0, Some(1)),
            "DequantizeLinear" | "QuantizeLinear" if self.rank(1) == Some(0) && self.rank(2) == Some(1) => {
                first(2, Some(1))
            }
            "QLinearMatMul" => {
                Some([6, 7].into_iter().filter(|&i| self.rank(i) == Some(1)).map(|i| (i, 0, 1)).collect())
            }
            "Conv" | "ConvTranspose" | "ConvInteger" | "DeformConv" => self.window(1),
            "QLinearConv" => self.window(3),
            op if op.starts_with("Reduce") && self.attr("keepdims").is_some_and(|attr| attr.i == 0) => {
                first(1, difference(self.rank(0), self.result()))
            }
            _ => None,
        }
    }

    /// Regions have two numbers per axis, scales and sizes one. Before opset 11 scales are the only other input.
    fn resize(&self) -> Option<Vec<(usize, usize, usize)>> {
        let n = self.n_axes()?;
        let others =
            if self.node.input.len() == 2 { vec![(1, 0, n)] } else { vec![(1, 0, 2 * n), (2, 0, n), (3, 0, n)] };
        Some(others)
    }

    /// Without axes, bounds are given for all.
    fn slice(&self) -> Option<Vec<(usize, usize, usize)>> {
        let rank = self.rank(0)?;
        let n = if self.input(3).is_none() || rank == 1 { rank } else { return None };
        Some((1..5).map(|index| (index, 0, n)).collect())
    }

    /// The spatial extents of weights, which an attribute may repeat.
    fn window(&self, index: usize) -> Option<Vec<(usize, usize, usize)>> {
        let kernel = self.attr("kernel_shape")?.ints.iter();
        kernel.enumerate().map(|(i, &extent)| Some((index, i + 2, usize::try_from(extent).ok()?))).collect()
    }
}
