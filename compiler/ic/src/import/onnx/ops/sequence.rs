//! ONNX sequences and optionals whose number of elements is known: they are resolved, and no value of the graph is one.
//!
//! A sequence is a list of values that a placeholder stands for; an optional with an element is that element.

use super::prelude::*;
use crate::import::onnx::walk::inline_with;

/// Ops that take sequences. A sequence as an input of any other is refused.
pub(crate) const TAKERS: &[&str] = &[
    "ConcatFromSequence",
    "Identity",
    "Loop",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
];

/// The elements of an input.
fn elements(cx: &Context, node: &NodeView, index: usize) -> Result<Vec<ValueId>> {
    let value = node.input(index)?;
    cx.sequence_of(value).ok_or_else(|| invalid!("input {index} is not a sequence"))
}

/// The place that input `index` names among `n`, or the last if it is left out.
fn place(cx: &mut Context, node: &NodeView, index: usize, n: usize) -> Result<usize> {
    let Some(position) = node.opt(index) else { return Ok(n.saturating_sub(1)) };
    let position = *cx.constant_ints(position, "position")?.first().ok_or_else(|| invalid!("`position` is empty"))?;
    let from_front = if position < 0 { position + n as i64 } else { position };
    let place = usize::try_from(from_front).ok().filter(|&place| place < n);
    place.ok_or_else(|| invalid!("position {position} is outside of a sequence of {n} elements"))
}

/// `SequenceEmpty`.
pub(super) fn empty(cx: &mut Context, _node: &NodeView) -> Results {
    Ok(vec![cx.sequence(Vec::new())?])
}

/// `SequenceConstruct`.
pub(super) fn construct(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![cx.sequence(node.all_inputs()?)?])
}

/// `SequenceAt`.
pub(super) fn at(cx: &mut Context, node: &NodeView) -> Results {
    let elements = elements(cx, node, 0)?;
    let place = place(cx, node, 1, elements.len())?;
    Ok(vec![elements[place]])
}

/// `SequenceInsert`: before a position, at the end by default.
pub(super) fn insert(cx: &mut Context, node: &NodeView) -> Results {
    let mut elements = elements(cx, node, 0)?;
    // One more place than there are elements.
    let place = place(cx, node, 2, elements.len() + 1)?;
    let from_end = node.opt(2).is_some_and(|p| cx.constant_ints(p, "position").is_ok_and(|p| p.first() < Some(&0)));
    elements.insert(if from_end { place.saturating_sub(1) } else { place }, node.input(1)?);
    Ok(vec![cx.sequence(elements)?])
}

/// `SequenceErase`: at a position, the last by default.
pub(super) fn erase(cx: &mut Context, node: &NodeView) -> Results {
    let mut elements = elements(cx, node, 0)?;
    if elements.is_empty() {
        return Err(invalid!("the sequence is empty"));
    }
    let place = place(cx, node, 1, elements.len())?;
    elements.remove(place);
    Ok(vec![cx.sequence(elements)?])
}

/// `SequenceLength`.
pub(super) fn length(cx: &mut Context, node: &NodeView) -> Results {
    let n = elements(cx, node, 0)?.len();
    Ok(vec![cx.constant(Tensor::scalar(n as i64))?])
}

/// `SplitToSequence`: by one size for all, by sizes, or into slices of extent 1.
pub(super) fn split(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(0))?;
    let extent = cx.shape(x)?[axis].as_const();
    let whole = || extent.ok_or_else(|| unsupported!("the number of parts depends on symbolic dims"));
    let sizes = match node.opt(1) {
        None => vec![Dim::constant(1); whole()? as usize],
        Some(split) if cx.rank(split)? == 0 => {
            let size = *cx.constant_ints(split, "split")?.first().ok_or_else(|| invalid!("`split` is empty"))?;
            if size < 1 {
                return Err(invalid!("`split` is {size}"));
            }
            let whole = whole()?;
            (0..whole).step_by(size as usize).map(|first| Dim::constant(size.min(whole - first))).collect()
        }
        Some(split) => cx.ints(split, "split")?,
    };
    let total: Dim = sizes.iter().cloned().sum();
    let mut shape = cx.shape(x)?;
    shape[axis] = total;
    let x = cx.reshape(x, shape)?;
    let (mut start, mut parts) = (Dim::constant(0), Vec::new());
    for size in sizes {
        let part = cx.slice(x, axis, start.clone(), size.clone())?;
        let drops = node.opt(1).is_none() && !node.flag("keepdims", true);
        parts.push(if drops { cx.squeeze(part, &[axis])? } else { part });
        start = start + size;
    }
    Ok(vec![cx.sequence(parts)?])
}

/// `ConcatFromSequence`: along an axis of the elements, or along a new one.
pub(super) fn concat(cx: &mut Context, node: &NodeView) -> Results {
    let mut elements = elements(cx, node, 0)?;
    let first = *elements.first().ok_or_else(|| unsupported!("an empty sequence has no element type"))?;
    let is_new = node.flag("new_axis", false);
    let rank = cx.rank(first)? + usize::from(is_new);
    let axis = ic_ir::ops::axis_of(node.int("axis").ok_or_else(|| invalid!("attribute `axis` is missing"))?, rank)?;
    if is_new {
        for element in &mut elements {
            *element = cx.unsqueeze(*element, &[axis as i64])?;
        }
    }
    Ok(vec![cx.concat(&elements, axis)?])
}

/// `SequenceMap`: the body in place once for each element.
pub(super) fn map(cx: &mut Context, node: &NodeView) -> Results {
    let body = node.graph("body")?;
    let n = elements(cx, node, 0)?.len();
    let inputs = node.all_inputs()?;
    if body.input.len() != inputs.len() {
        return Err(invalid!("the body takes {} inputs, found {}", body.input.len(), inputs.len()));
    }
    let mut results = vec![Vec::new(); body.output.len()];
    let (location, prefix) = (cx.location.clone(), cx.prefix.clone());
    for i in 0..n {
        let mut arguments = Vec::new();
        for (&input, port) in inputs.iter().zip(&body.input) {
            let element = match cx.sequence_of(input) {
                Some(list) => *list.get(i).ok_or_else(|| invalid!("the sequences have different lengths"))?,
                None => input,
            };
            arguments.push((port.name.as_str(), element));
        }
        cx.prefix = format!("{location}/{i}/");
        let given = inline_with(cx, body, &arguments);
        (cx.location, cx.prefix) = (location.clone(), prefix.clone());
        results.iter_mut().zip(given?).for_each(|(list, value)| list.push(value));
    }
    results.into_iter().map(|list| cx.sequence(list)).collect()
}

/// `Optional` with an element, and `OptionalGetElement`.
pub(super) fn optional(_cx: &mut Context, node: &NodeView) -> Results {
    let element = node.opt(0).ok_or_else(|| unsupported!("an optional without an element is not supported"))?;
    Ok(vec![element])
}

/// `OptionalHasElement`.
pub(super) fn has_element(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![cx.constant(Tensor::scalar(node.opt(0).is_some()))?])
}
