//! `lower_strings`: strings as a run holds them.
//!
//! A run knows a string by a handle of 8 bytes, and equal strings by the same one. Constant strings become bytes that
//! `intern` makes handles of; whether strings are equal, and which of two to take, is asked of the handles.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{BitCast, Constant, Intern, Op};
use ic_ir::{Graph, GraphError, Literal, Node, ValueId};
use ic_types::{DType, Data, Dim, Tensor};

/// See the file's header.
///
/// # Errors
/// If a lowered node does not fit together, which is a defect.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn lower_strings(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let regions = map_regions(node, |region| lower_strings(region, options, report))?;
        let has_strings = node.operands.iter().flatten().any(|&v| is_string(graph, v));
        match &node.op {
            Op::Constant(constant) if constant.value.dtype == DType::String => {
                let interned = intern(&mut rebuild, node, &constant.value)?;
                rebuild.set(node.results[0], interned);
            }
            Op::Pointwise(_) if has_strings => on_handles(&mut rebuild, node)?,
            _ => rebuild.copy(node, regions)?,
        }
    }
    Ok(rebuild.finish())
}

fn is_string(graph: &Graph, value: ValueId) -> bool {
    graph.ty(value).as_tensor().is_some_and(|ty| ty.dtype == DType::String)
}

fn intern(rebuild: &mut Rebuild, node: &Node, literal: &Literal) -> Result<ValueId, GraphError> {
    let texts: &[String] = match literal.as_inline() {
        Some(Data::String(texts)) => texts,
        // Strings have no form in a model's file.
        _ => &[],
    };
    let bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes()).collect();
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as i64;
        Some(*end)
    });
    let ends: Vec<i64> = ends.collect();
    let mut constant = |tensor: Tensor| {
        let value = Literal::inline(tensor);
        rebuild.push_one(Constant { value }, &[], &node.location)
    };
    let bytes = constant(Tensor::from_elements(vec![bytes.len()], bytes))?;
    let ends = constant(Tensor::from_elements(vec![ends.len()], ends))?;
    let shape = literal.shape.iter().map(|&extent| Dim::constant(extent as i64)).collect();
    rebuild.push_one(Intern { shape }, &[bytes, ends], &node.location)
}

/// A scalar function of strings as one of their handles.
fn on_handles(rebuild: &mut Rebuild, node: &Node) -> Result<(), GraphError> {
    let cast = |rebuild: &mut Rebuild, value, to| rebuild.push_one(BitCast { to }, &[value], &node.location);
    let mut operands = rebuild.operands(node);
    for operand in operands.iter_mut().flatten() {
        if is_string(&rebuild.new, *operand) {
            *operand = cast(rebuild, *operand, DType::U64)?;
        }
    }
    let mut result = rebuild.push(node.op.clone(), operands, &node.location)?[0];
    if is_string(rebuild.old, node.results[0]) {
        result = cast(rebuild, result, DType::String)?;
    }
    rebuild.set(node.results[0], result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::{ScalarOp, TensorType};

    #[test]
    fn constants_become_bytes_and_comparisons_ask_handles() {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", TensorType::fixed(DType::String, &[2]));
        let texts = Tensor::from_elements(vec![2], vec![String::from("ab"), String::from("ü")]);
        let keys = graph.push(Constant { value: Literal::inline(texts) }.into(), &[], &"".into()).unwrap();
        let equal = graph.push(ScalarOp::Eq.into(), &[x, keys], &"".into()).unwrap();
        graph.add_output("y", equal);
        let lowered = lower_strings(&graph, &Options::default(), &mut Report::default()).unwrap();
        assert!(ic_ir::verify(&lowered).is_empty());
        let ops: Vec<&str> = lowered.nodes().map(|(_, node)| node.op.name()).collect();
        assert_eq!(ops, ["constant", "constant", "intern", "bit_cast", "bit_cast", "eq"]);
    }
}
