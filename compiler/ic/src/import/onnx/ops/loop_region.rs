//! Loops as regions: what iterations pass on, and what they collect.
//!
//! A carried value keeps its type, and elements of one shape are collected in memory for the most iterations there can be.
//! A tensor that grows is carried in a sequence of its own; elements whose shape only a run knows are collected in a
//! sequence and joined in the end. The first attempt finds out what must be boxed so, the second does it.

use super::loops::{Arguments, Given, Iteration, arguments, body_of, within};
use super::prelude::*;
use crate::import::onnx::context::Frame;
use crate::import::onnx::objects::Kind;
use crate::import::onnx::regions::{callable, depends_on_data};
use crate::import::prune::{keep_inputs, prune, used_inputs};
use ic_ir::ops::{Loop, SequenceConcat, SequenceInsert, SequenceOf};
use ic_ir::{TensorType, Type};

/// What is carried in sequences.
#[derive(Clone, Default)]
struct Boxing {
    /// For each carried value, whether it is a tensor that is.
    carried: Vec<bool>,
    /// For each scan, whether it is collected so.
    scans: Vec<bool>,
}

/// A loop, or what must be boxed for it to be one.
enum Attempt {
    Done(Given),
    Again(Boxing),
}

/// The loop as a region.
///
/// # Errors
/// If a carried value changes its element type or rank, or the body is refused.
pub(super) fn as_region(cx: &mut Context, of: &Iteration) -> Result<Given> {
    let skipped = of.carried.len() + usize::from(matches!(of.arguments, Arguments::Loop));
    let n_scans = of.body.output.len().saturating_sub(skipped);
    let all = matches!(of.arguments, Arguments::Map(_));
    let mut boxing = Boxing { carried: vec![false; of.carried.len()], scans: vec![all; n_scans] };
    loop {
        match attempt(cx, of, &boxing)? {
            Attempt::Done(given) => return Ok(given),
            Attempt::Again(more) => boxing = more,
        }
    }
}

/// A carried value: what it is outside, and of which kind if it is an object.
struct Carried {
    initial: ValueId,
    kind: Option<Kind>,
    is_boxed: bool,
}

fn carried_values(cx: &mut Context, of: &Iteration, boxing: &Boxing) -> Result<Vec<Carried>> {
    let mut list = Vec::new();
    for (&value, &is_boxed) in of.carried.iter().zip(&boxing.carried) {
        let value = cx.boxed(value)?;
        let is_boxed = is_boxed && !cx.is_object(value);
        let initial = match is_boxed {
            true => {
                let kind = Kind::Sequence(Box::new(cx.kind(value)?));
                let object = cx.push(SequenceOf { optional: false }, &[value])?;
                cx.with_kind(object, kind)
            }
            false => value,
        };
        list.push(Carried { initial, kind: cx.object_kind(initial), is_boxed });
    }
    for _ in boxing.scans.iter().filter(|is_boxed| **is_boxed) {
        let initial = cx.push(SequenceOf { optional: false }, &[])?;
        let kind = Kind::Sequence(Box::new(Kind::Tensor(None, None)));
        list.push(Carried { initial, kind: Some(kind), is_boxed: false });
    }
    Ok(list)
}

/// What the body gives.
struct Body {
    goes_on: ValueId,
    next: Vec<ValueId>,
    /// What the collected sequences hold.
    collected: Vec<Kind>,
    /// The scans that are not boxed.
    scans: Vec<ValueId>,
    /// What the model's carried values are after an iteration.
    kinds: Vec<Kind>,
}

fn attempt(cx: &mut Context, of: &Iteration, boxing: &Boxing) -> Result<Attempt> {
    let carried = carried_values(cx, of, boxing)?;
    let types = carried.iter().map(|c| cx.ty(c.initial)).collect::<Result<Vec<_>>>()?;
    cx.open_frame(&of.body.name, &[]);
    let counter = cx.frame().graph.add_input("iteration", TensorType::fixed(DType::I64, &[]));
    let mut inner = Vec::new();
    for (i, (ty, carried)) in types.iter().zip(&carried).enumerate() {
        let value = cx.frame().graph.add_input(format!("carried_{i}"), ty.clone());
        inner.push(match &carried.kind {
            Some(kind) => cx.with_kind(value, kind.clone()),
            None => value,
        });
    }
    let given = body(cx, of, boxing, counter, &carried, &inner);
    let given = given.and_then(|given| Ok(Body { goes_on: within(cx, of, given.goes_on, counter)?, ..given }));
    let is_endless = given.as_ref().is_ok_and(|given| cx.truth(given.goes_on) == Some(true));
    let mut frame = cx.close_frame();
    let given = given?;
    if let Some(more) = to_box(of, boxing, &types, &given, &frame)? {
        return Ok(Attempt::Again(more));
    }
    let all = std::iter::once(&given.goes_on).chain(&given.next).chain(&given.scans);
    for (i, &value) in all.enumerate() {
        frame.graph.add_output(format!("output_{i}"), value);
    }
    finish(cx, of, boxing, &carried, &given, &frame, is_endless).map(Attempt::Done)
}

/// Imports the body. `inner` are the carried values in the region.
fn body(
    cx: &mut Context,
    of: &Iteration,
    boxing: &Boxing,
    counter: ValueId,
    carried: &[Carried],
    inner: &[ValueId],
) -> Result<Body> {
    let n = of.carried.len();
    let mut values = Vec::new();
    for (carried, &inner) in carried[..n].iter().zip(inner) {
        values.push(if carried.is_boxed { cx.element_at(inner, None)? } else { inner });
    }
    let inputs = arguments(cx, of, counter, &values)?;
    let (goes_on, after, elements) = body_of(cx, of, &inputs)?;
    let (mut next, mut kinds) = (Vec::new(), Vec::new());
    for (carried, value) in carried[..n].iter().zip(after) {
        kinds.push(cx.kind(value)?);
        next.push(match &carried.kind {
            Some(_) if carried.is_boxed => cx.push(SequenceOf { optional: false }, &[value])?,
            Some(kind) => cx.as_declared(value, kind)?,
            None => value,
        });
    }
    let (mut collected, mut scans, mut lists) = (Vec::new(), Vec::new(), inner[n..].iter());
    for (&element, &is_boxed) in elements.iter().zip(&boxing.scans) {
        match if is_boxed { lists.next() } else { None } {
            Some(&list) => {
                collected.push(cx.kind(element)?);
                let element = cx.boxed(element)?;
                next.push(cx.push(SequenceInsert {}, &[list, element])?);
            }
            None => {
                cx.refuse_sequences(&[element], "what iterations collect")?;
                scans.push(element);
            }
        }
    }
    Ok(Body { goes_on, next, collected, scans, kinds })
}

/// What must be boxed besides; `None` if nothing must.
fn to_box(
    of: &Iteration,
    boxing: &Boxing,
    types: &[TensorType],
    given: &Body,
    frame: &Frame,
) -> Result<Option<Boxing>> {
    let graph = &frame.graph;
    let mut more = boxing.clone();
    for (i, before) in types[..of.carried.len()].iter().enumerate() {
        let after = graph.ty(given.next[i]);
        let Type::Tensor(ty) = after else { continue };
        if ty.dtype != before.dtype || ty.rank() != before.rank() {
            return Err(unsupported!("carried value {i} is {before} before an iteration and {after} after it"));
        }
        let grows = before.shape.iter().zip(&ty.shape).any(|(a, b)| differs(a, b)) || depends_on_data(graph, ty);
        more.carried[i] |= grows;
    }
    let mut scans = given.scans.iter();
    for is_boxed in more.scans.iter_mut().filter(|is_boxed| !**is_boxed) {
        let Some(&scan) = scans.next() else { continue };
        let of_run = graph.ty(scan).as_tensor().is_some_and(|ty| depends_on_data(graph, ty));
        *is_boxed = of_run || of.trips.is_none();
    }
    let is_more = more.carried != boxing.carried || more.scans != boxing.scans;
    Ok(is_more.then_some(more))
}

/// Whether an extent grows or shrinks: what it changes by has terms of one sign. Where terms cancel, the run checks that
/// it does not.
fn differs(before: &Dim, after: &Dim) -> bool {
    let change = after.clone() - before.clone();
    let mut signs = change.terms().map(|(_, coefficient)| coefficient.signum());
    signs.next().is_some_and(|first| signs.all(|sign| sign == first))
}

/// Adds the loop, and takes what it gives out of sequences.
fn finish(
    cx: &mut Context,
    of: &Iteration,
    boxing: &Boxing,
    carried: &[Carried],
    given: &Body,
    frame: &Frame,
    is_endless: bool,
) -> Result<Given> {
    let body = prune(&frame.graph)?;
    let n_own = 1 + carried.len();
    let used = used_inputs(&body);
    let keep: Vec<bool> = used.iter().enumerate().map(|(i, used)| i < n_own || *used).collect();
    let captures = frame.captures.iter().zip(&keep[n_own..]).filter(|(_, keep)| **keep).map(|(&v, _)| v);
    let location = cx.location.clone();
    let region = callable(keep_inputs(&body, &keep)?, &location)?;
    let condition = begins(cx, of)?;
    let operands: Vec<Option<ValueId>> =
        std::iter::once(condition).chain(carried.iter().map(|c| c.initial).chain(captures).map(Some)).collect();
    let op = Loop { carried: carried.len(), trips: of.trips.clone() };
    let mut results = cx.push_with_regions(op, operands, vec![region])?;
    let count = results.pop().ok_or_else(|| invalid!("a loop without results"))?;
    let mut plain = results.split_off(carried.len());
    let runs_all = is_endless && condition.is_none();
    if !runs_all && !plain.is_empty() {
        let count = cx.ints(count, "count")?.pop().ok_or_else(|| invalid!("a loop without results"))?;
        for scan in &mut plain {
            *scan = cx.slice(*scan, 0, Dim::constant(0), count.clone())?;
        }
    }
    let lists = results.split_off(of.carried.len());
    let mut after = Vec::new();
    for ((result, carried), kind) in results.into_iter().zip(carried).zip(&given.kinds) {
        after.push(match &carried.kind {
            None => result,
            Some(before) => {
                cx.with_kind(result, before.clone());
                let is_inside =
                    carried.is_boxed || (matches!(before, Kind::Optional(_)) && !matches!(kind, Kind::Optional(_)));
                if is_inside {
                    cx.element_at(result, None)?
                } else {
                    cx.with_kind(result, before.clone().and(kind.clone()))
                }
            }
        });
    }
    let (mut plain, mut lists) = (plain.into_iter(), lists.into_iter().zip(&given.collected));
    let mut scans = Vec::new();
    for is_boxed in &boxing.scans {
        let scan = match is_boxed {
            true => lists.next().map(|(list, kind)| collected(cx, of, list, kind)).transpose()?,
            false => plain.next(),
        };
        scans.push(scan.ok_or_else(|| invalid!("the body gives too few values"))?);
    }
    Ok(Given { carried: after, scans })
}

/// A collected sequence, its elements joined along a new axis unless the sequence is what is wanted.
fn collected(cx: &mut Context, of: &Iteration, list: ValueId, kind: &Kind) -> Result<ValueId> {
    cx.with_kind(list, Kind::Sequence(Box::new(kind.clone())));
    if matches!(of.arguments, Arguments::Map(_)) {
        return Ok(list);
    }
    let Kind::Tensor(dtype, rank) = kind else { return Err(unsupported!("iterations collect sequences")) };
    let joined = cx.push(SequenceConcat { axis: 0, new_axis: true }, &[list])?;
    let element = Kind::Tensor(*dtype, rank.map(|rank| rank + 1));
    cx.with_kind(joined, Kind::Sequence(Box::new(element)));
    cx.element_at(joined, None)
}

/// Whether to begin, where that is not known.
fn begins(cx: &mut Context, of: &Iteration) -> Result<Option<ValueId>> {
    let condition = of.condition.filter(|&condition| cx.truth(condition) != Some(true));
    let condition = condition.map(|condition| cx.reshape(condition, vec![])).transpose()?;
    let Some(limit) = of.limit else { return Ok(condition) };
    let limit = cx.reshape(limit, vec![])?;
    let any = cx.with_scalar(ScalarOp::Gt, limit, 0.0)?;
    Ok(Some(match condition {
        Some(condition) => cx.binary(ScalarOp::And, condition, any)?,
        None => any,
    }))
}
