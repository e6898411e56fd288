//! ONNX sequences and optionals.
//!
//! A sequence whose number of elements is known is a list of values that a placeholder stands for, and an optional with an
//! element is that element: no value of the graph is one. Any other is an object.

use super::prelude::*;
use crate::import::onnx::objects::Kind;
use crate::import::onnx::walk::inline_with;
use ic_ir::ops::{SequenceConcat, SequenceErase, SequenceInsert, SequenceLength, SequenceOf, SequenceSplit};

/// Ops that take sequences. A sequence as an input of any other is refused.
pub(crate) const TAKERS: &[&str] = &[
    "ConcatFromSequence",
    "Identity",
    "If",
    "Loop",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
];

/// The elements of an input, if their number is known.
fn elements(cx: &Context, node: &NodeView, index: usize) -> Result<Option<Vec<ValueId>>> {
    let value = node.input(index)?;
    match cx.sequence_of(value) {
        None if !matches!(cx.kind(value)?, Kind::Sequence(_)) => Err(invalid!("input {index} is not a sequence")),
        elements => Ok(elements),
    }
}

/// The place that input `index` names among `n`, or the last if it is left out; `None` if only a run knows.
fn place(cx: &mut Context, node: &NodeView, index: usize, n: usize) -> Result<Option<usize>> {
    let Some(position) = node.opt(index) else { return Ok(Some(n.saturating_sub(1))) };
    let Some(position) = cx.try_ints(position).and_then(|p| p.first().and_then(Dim::as_const)) else { return Ok(None) };
    let from_front = if position < 0 { position + n as i64 } else { position };
    let place = usize::try_from(from_front).ok().filter(|&place| place < n);
    place.map(Some).ok_or_else(|| invalid!("position {position} is outside of a sequence of {n} elements"))
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
    if let Some(elements) = elements(cx, node, 0)?
        && let Some(place) = place(cx, node, 1, elements.len())?
    {
        return Ok(vec![elements[place]]);
    }
    let object = cx.boxed(node.input(0)?)?;
    Ok(vec![cx.element_at(object, node.opt(1))?])
}

/// `SequenceInsert`: before a position, at the end by default.
pub(super) fn insert(cx: &mut Context, node: &NodeView) -> Results {
    if let Some(mut elements) = elements(cx, node, 0)? {
        let n = elements.len();
        let given = node.opt(2).map(|position| cx.try_ints(position).and_then(|p| p.first().and_then(Dim::as_const)));
        let at = match given {
            None => Some(n),
            Some(Some(position)) if position == n as i64 => Some(n),
            Some(_) => place(cx, node, 2, n)?,
        };
        if let Some(at) = at {
            elements.insert(at, node.input(1)?);
            return Ok(vec![cx.sequence(elements)?]);
        }
    }
    let kind = Kind::Sequence(Box::new(cx.kind(node.input(1)?)?));
    let kind = cx.kind(node.input(0)?)?.and(kind);
    let (object, element) = (cx.boxed(node.input(0)?)?, cx.boxed(node.input(1)?)?);
    let longer = cx.push_all(SequenceInsert {}, &[Some(object), Some(element), node.opt(2)])?[0];
    Ok(vec![cx.with_kind(longer, kind)])
}

/// `SequenceErase`: at a position, the last by default.
pub(super) fn erase(cx: &mut Context, node: &NodeView) -> Results {
    if let Some(mut elements) = elements(cx, node, 0)? {
        if elements.is_empty() {
            return Err(invalid!("the sequence is empty"));
        }
        if let Some(place) = place(cx, node, 1, elements.len())? {
            elements.remove(place);
            return Ok(vec![cx.sequence(elements)?]);
        }
    }
    let kind = cx.kind(node.input(0)?)?;
    let object = cx.boxed(node.input(0)?)?;
    let shorter = cx.push_all(SequenceErase {}, &[Some(object), node.opt(1)])?[0];
    Ok(vec![cx.with_kind(shorter, kind)])
}

/// `SequenceLength`.
pub(super) fn length(cx: &mut Context, node: &NodeView) -> Results {
    match elements(cx, node, 0)? {
        Some(elements) => Ok(vec![cx.constant(Tensor::scalar(elements.len() as i64))?]),
        None => Ok(vec![cx.push(SequenceLength {}, &[node.input(0)?])?]),
    }
}

/// `SplitToSequence`: by one size for all, by sizes, or into slices of extent 1.
pub(super) fn split(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(0))?;
    let Some(sizes) = part_sizes(cx, node, axis)? else {
        let keep = node.flag("keepdims", true);
        let parts = cx.push_all(SequenceSplit { axis, keep }, &[Some(x), node.opt(1)])?[0];
        let rank = cx.rank(x)? - usize::from(!keep && node.opt(1).is_none());
        let element = Kind::Tensor(Some(cx.dtype(x)?), Some(rank));
        return Ok(vec![cx.with_kind(parts, Kind::Sequence(Box::new(element)))]);
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

/// The extents of the parts of `SplitToSequence`; `None` if only a run knows how many there are.
fn part_sizes(cx: &mut Context, node: &NodeView, axis: usize) -> Result<Option<Vec<Dim>>> {
    let whole = cx.shape(node.input(0)?)?[axis].as_const();
    match node.opt(1) {
        None => Ok(whole.map(|whole| vec![Dim::constant(1); whole as usize])),
        Some(split) if cx.rank(split)? == 0 => {
            let size = cx.try_ints(split).and_then(|size| size.first().and_then(Dim::as_const));
            let (Some(size), Some(whole)) = (size, whole) else { return Ok(None) };
            if size < 1 {
                return Err(invalid!("`split` is {size}"));
            }
            let parts = (0..whole).step_by(size as usize).map(|first| Dim::constant(size.min(whole - first)));
            Ok(Some(parts.collect()))
        }
        Some(split) if cx.ty(split)?.elements().as_const().is_none() => Ok(None),
        Some(split) => cx.ints(split, "split").map(Some),
    }
}

/// `ConcatFromSequence`: along an axis of the elements, or along a new one.
pub(super) fn concat(cx: &mut Context, node: &NodeView) -> Results {
    let is_new = node.flag("new_axis", false);
    let axis = node.int("axis").ok_or_else(|| invalid!("attribute `axis` is missing"))?;
    let Some(mut elements) = elements(cx, node, 0)? else {
        let Kind::Tensor(dtype, rank) = cx.kind(node.input(0)?)?.element() else {
            return Err(invalid!("the elements of the sequence are no tensors"));
        };
        let joined = cx.push(SequenceConcat { axis, new_axis: is_new }, &[node.input(0)?])?;
        let element = Kind::Tensor(dtype, rank.map(|rank| rank + usize::from(is_new)));
        let joined = cx.with_kind(joined, Kind::Sequence(Box::new(element)));
        return Ok(vec![cx.element_at(joined, None)?]);
    };
    let first = *elements.first().ok_or_else(|| unsupported!("an empty sequence has no element type"))?;
    let rank = cx.rank(first)? + usize::from(is_new);
    let axis = ic_ir::ops::axis_of(axis, rank)?;
    if is_new {
        for element in &mut elements {
            *element = cx.unsqueeze(*element, &[axis as i64])?;
        }
    }
    Ok(vec![cx.concat(&elements, axis)?])
}

/// `SequenceMap`: the body in place once for each element, or a loop over an object.
pub(super) fn map(cx: &mut Context, node: &NodeView) -> Results {
    let body = node.graph("body")?;
    let inputs = node.all_inputs()?;
    if body.input.len() != inputs.len() {
        return Err(invalid!("the body takes {} inputs, found {}", body.input.len(), inputs.len()));
    }
    let Some(first) = elements(cx, node, 0)? else { return super::loops::map(cx, body, &inputs) };
    if inputs.iter().any(|&input| matches!(cx.object_kind(input), Some(Kind::Sequence(_)))) {
        return super::loops::map(cx, body, &inputs);
    }
    let mut results = vec![Vec::new(); body.output.len()];
    let (location, prefix) = (cx.location.clone(), cx.prefix.clone());
    for i in 0..first.len() {
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

/// `Optional`: its element, or an object without one.
pub(super) fn optional(cx: &mut Context, node: &NodeView) -> Results {
    if let Some(element) = node.opt(0) {
        return Ok(vec![element]);
    }
    let ty = node.attr("type").and_then(|a| a.tp.as_ref());
    let element = ty.map_or(Ok(Kind::Tensor(None, None)), Kind::of)?;
    let nothing = cx.push(SequenceOf { optional: true }, &[])?;
    Ok(vec![cx.with_kind(nothing, Kind::Optional(Box::new(element)))])
}

/// `OptionalGetElement`: what is no optional is its own element.
pub(super) fn get_element(cx: &mut Context, node: &NodeView) -> Results {
    let value = node.input(0)?;
    match cx.object_kind(value) {
        Some(Kind::Optional(_)) => Ok(vec![cx.element_at(value, None)?]),
        _ => Ok(vec![value]),
    }
}

/// `OptionalHasElement`.
pub(super) fn has_element(cx: &mut Context, node: &NodeView) -> Results {
    match node.opt(0).map(|value| (value, cx.object_kind(value))) {
        Some((value, Some(Kind::Optional(_)))) => {
            let length = cx.push(SequenceLength {}, &[value])?;
            Ok(vec![cx.with_scalar(ScalarOp::Gt, length, 0.0)?])
        }
        found => Ok(vec![cx.constant(Tensor::scalar(found.is_some()))?]),
    }
}
