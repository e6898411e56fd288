//! Second moments of what products multiply: by them, roundings of a weight are judged.

use crate::PassError;
use crate::rebuild::{Rebuild, prune};
use ic_ir::ops::{Matmul, Reshape, Transpose};
use ic_ir::{Graph, ValueId};
use ic_types::Dim;

/// The graph with the sum of `xᵀ · x` over all rows `x` of each of these values `[.., K]` as an output `[K, K]`, called by
/// its index; other outputs go.
///
/// # Errors
/// Never for a sound graph.
pub fn with_moments(graph: &Graph, values: &[ValueId]) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        rebuild.copy(node, node.regions.clone())?;
    }
    let mut outputs = Vec::new();
    for &value in values {
        let (x, at) = (rebuild.value(value), "moments".into());
        let shape = rebuild.new.tensor_ty(x).shape.clone();
        let (channels, outer) =
            shape.split_last().map_or((Dim::constant(1), &[][..]), |(last, outer)| (last.clone(), outer));
        let rows = outer.iter().fold(Dim::constant(1), |rows, dim| rows * dim.clone());
        let x = rebuild.push_one(Reshape { shape: vec![rows, channels] }, &[x], &at)?;
        let columns = rebuild.push_one(Transpose { perm: vec![1, 0] }, &[x], &at)?;
        outputs.push(rebuild.push_one(Matmul {}, &[columns, x], &at)?);
    }
    let mut found = rebuild.finish_with(&vec![false; graph.outputs().len()]);
    for (i, output) in outputs.into_iter().enumerate() {
        found.add_output(format!("{i}"), output);
    }
    Ok(prune(&found)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    #[test]
    fn moments_are_sums_over_all_rows() {
        let text = "graph @g(%x: f32[B, 2, 2]) {
  %y = mul(%x, %x)
  return \"y\" = %y
}
";
        let graph = ic_ir::text::parse(text).unwrap();
        let y = graph.outputs()[0];
        let found = with_moments(&graph, &[y, graph.inputs()[0]]).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        let x = Tensor::from_elements(vec![1, 2, 2], vec![1.0f32, 2.0, 3.0, -1.0]);
        let moments = eval_graph(&found, &[x], &Default::default()).unwrap();
        assert_eq!(moments[0].elements::<f32>().unwrap(), [82.0, 13.0, 13.0, 17.0]);
        assert_eq!(moments[1].elements::<f32>().unwrap(), [10.0, -1.0, -1.0, 5.0]);
    }
}
