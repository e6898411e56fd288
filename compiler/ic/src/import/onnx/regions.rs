//! Nested graphs whose extents depend on data: they become calls, and what they give is boxed where its extents would.

use super::error::Result;
use ic_ir::ops::{Call, SequenceOf};
use ic_ir::{Graph, TensorType, ValueId};
use std::sync::Arc;

/// The region as a call, if it binds symbols: regions of `if` and `loop` cannot.
///
/// # Errors
/// If an output has an extent that depends on data.
pub(crate) fn callable(region: Graph, location: &Arc<str>) -> Result<Graph> {
    if region.bindings().is_empty() {
        return Ok(region);
    }
    let mut outer = Graph::new(region.name.clone());
    let mut operands = Vec::new();
    for &input in region.inputs() {
        let name = region.value(input).name.clone().unwrap_or_default();
        operands.push(Some(outer.add_input(name, region.ty(input).clone())));
    }
    let names = region.output_names().to_vec();
    let call = Call { entry: None, symbols: Vec::new() };
    let results = outer.push_node(call.into(), operands, vec![region], location)?;
    names.into_iter().zip(results).for_each(|(name, result)| outer.add_output(name, result));
    Ok(outer)
}

/// Whether an extent of the type depends on data of the graph.
pub(crate) fn depends_on_data(graph: &Graph, ty: &TensorType) -> bool {
    let symbols = ic_types::symbols_of(&ty.shape);
    graph.bindings().iter().any(|binding| symbols.contains(&binding.symbol))
}

/// Makes an output a sequence of what it was.
///
/// # Errors
/// Never for a tensor.
pub(crate) fn box_output(graph: &mut Graph, index: usize, location: &Arc<str>) -> Result<()> {
    let value: ValueId = graph.outputs()[index];
    let boxed = graph.push(SequenceOf { optional: false }.into(), &[value], location)?;
    graph.replace_output(index, boxed);
    Ok(())
}
