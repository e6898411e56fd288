//! ONNX `Einsum`: any equation as transposes, reductions, products and matrix products.
//!
//! Operands are contracted from left to right. An axis is known by its label; the axes that an ellipsis stands for get
//! labels of their own, the same for every operand, counted from the right.

use super::prelude::*;
use ic_ir::ops::{Reduce, ReduceFn, Slice};
use std::collections::BTreeSet;

/// A letter, or a number beyond all letters for an axis of the ellipsis.
type Label = u32;

/// The label of the ellipsis axis at `distance` from the last one of them.
fn ellipsis_label(distance: usize) -> Label {
    0x11_0000 + distance as u32
}

/// A tensor whose axes have labels, none of them twice.
#[derive(Clone)]
struct Labelled {
    value: ValueId,
    labels: Vec<Label>,
}

/// `Einsum`.
pub(super) fn einsum(cx: &mut Context, node: &NodeView) -> Results {
    let text: String = node.text("equation").unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (text.as_str(), None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    let inputs = node.all_inputs()?;
    if terms.len() != inputs.len() {
        return Err(invalid!("`equation` has {} terms for {} inputs", terms.len(), inputs.len()));
    }
    let mut operands = Vec::new();
    let mut n_ellipsis = 0;
    for (term, &value) in terms.iter().zip(&inputs) {
        let (labels, n) = term_labels(term, cx.rank(value)?)?;
        n_ellipsis = n_ellipsis.max(n);
        operands.push((value, labels));
    }
    let output = match right {
        Some(term) => term_labels(term, term.replace("...", "").chars().count() + n_ellipsis)?.0,
        None => implicit_output(&operands, n_ellipsis),
    };
    let operands =
        operands.into_iter().map(|(value, labels)| diagonal(cx, value, labels)).collect::<Result<Vec<_>>>()?;
    let all: BTreeSet<Label> = operands.iter().flat_map(|operand| operand.labels.iter().copied()).collect();
    let distinct: BTreeSet<Label> = output.iter().copied().collect();
    if distinct.len() != output.len() || !distinct.is_subset(&all) {
        return Err(invalid!("`equation` repeats an output label or has one that no input has: {text}"));
    }
    let result = contract(cx, &operands, &output)?;
    Ok(vec![ordered(cx, &result, &output)?])
}

/// The labels of a term for a tensor of this rank, and how many of them are of the ellipsis.
fn term_labels(term: &str, rank: usize) -> Result<(Vec<Label>, usize)> {
    let letters = |text: &str| -> Result<Vec<Label>> {
        let letter = |c: char| c.is_alphabetic().then_some(c as Label);
        text.chars().map(|c| letter(c).ok_or_else(|| invalid!("`equation` has the term `{term}`"))).collect()
    };
    let Some((before, after)) = term.split_once("...") else {
        let labels = letters(term)?;
        return if labels.len() == rank {
            Ok((labels, 0))
        } else {
            Err(invalid!("the term `{term}` does not fit a tensor of rank {rank}"))
        };
    };
    let (mut labels, after) = (letters(before)?, letters(after)?);
    let n = rank.checked_sub(labels.len() + after.len());
    let n = n.ok_or_else(|| invalid!("the term `{term}` does not fit a tensor of rank {rank}"))?;
    labels.extend((0..n).rev().map(ellipsis_label));
    labels.extend(after);
    Ok((labels, n))
}

/// The ellipsis, then the letters that occur once, in order.
fn implicit_output(operands: &[(ValueId, Vec<Label>)], n_ellipsis: usize) -> Vec<Label> {
    let all: Vec<Label> = operands.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
    let once = |label: &Label| *label < ellipsis_label(0) && all.iter().filter(|l| *l == label).count() == 1;
    let letters: BTreeSet<Label> = all.iter().copied().filter(once).collect();
    (0..n_ellipsis).rev().map(ellipsis_label).chain(letters).collect()
}

/// Takes the diagonal of axes with the same label.
fn diagonal(cx: &mut Context, mut value: ValueId, mut labels: Vec<Label>) -> Result<Labelled> {
    let repeated = |labels: &[Label]| {
        (0..labels.len()).find_map(|j| labels[..j].iter().position(|l| *l == labels[j]).map(|i| (i, j)))
    };
    while let Some((i, j)) = repeated(&labels) {
        let rank = labels.len();
        let rest: Vec<usize> = (0..rank).filter(|axis| *axis != i && *axis != j).collect();
        let shape = cx.shape(value)?;
        let n = shape[i].as_const().filter(|n| shape[j].is(*n));
        let n = n.ok_or_else(|| unsupported!("a diagonal of the extents {} and {}", shape[i], shape[j]))?;
        value = cx.transpose(value, rest.iter().copied().chain([i, j]).collect())?;
        let mut flat: Vec<Dim> = rest.iter().map(|&axis| shape[axis].clone()).collect();
        flat.push(Dim::constant(n.saturating_mul(n)));
        value = cx.reshape(value, flat)?;
        let (starts, extents) = (vec![Dim::constant(0)], vec![Dim::constant(n)]);
        value = cx.push(Slice { axes: vec![rank - 2], starts, extents, steps: vec![n + 1] }, &[value])?;
        labels = rest.iter().map(|&axis| labels[axis]).chain([labels[i]]).collect();
    }
    Ok(Labelled { value, labels })
}

/// The product of all operands, summed over the labels that are not in `output`.
fn contract(cx: &mut Context, operands: &[Labelled], output: &[Label]) -> Result<Labelled> {
    let (first, rest) = operands.split_first().ok_or_else(|| invalid!("has no inputs"))?;
    let needed_after = |i: usize| -> BTreeSet<Label> {
        let later = rest[i..].iter().flat_map(|operand| operand.labels.iter().copied());
        later.chain(output.iter().copied()).collect()
    };
    let mut result = summed(cx, first, &needed_after(0))?;
    for (i, operand) in rest.iter().enumerate() {
        let needed = needed_after(i + 1);
        let others: BTreeSet<Label> = needed.iter().chain(&result.labels).copied().collect();
        let operand = summed(cx, operand, &others)?;
        result = product(cx, &result, &operand, &needed)?;
        result = summed(cx, &result, &needed)?;
    }
    Ok(result)
}

/// The operand summed over the labels that are not needed.
fn summed(cx: &mut Context, operand: &Labelled, needed: &BTreeSet<Label>) -> Result<Labelled> {
    let axes: Vec<usize> = (0..operand.labels.len()).filter(|&i| !needed.contains(&operand.labels[i])).collect();
    if axes.is_empty() {
        return Ok(operand.clone());
    }
    let labels = operand.labels.iter().copied().filter(|l| needed.contains(l)).collect();
    let value = cx.push(Reduce { function: ReduceFn::Sum, axes, keep_dims: false }, &[operand.value])?;
    Ok(Labelled { value, labels })
}

/// The product of two operands: a matrix product over the labels that both have and nothing needs.
fn product(cx: &mut Context, a: &Labelled, b: &Labelled, needed: &BTreeSet<Label>) -> Result<Labelled> {
    let common = |label: &&Label| b.labels.contains(label);
    let shared: Vec<Label> = a.labels.iter().filter(common).copied().collect();
    let (batch, mut inner): (Vec<Label>, Vec<Label>) = shared.iter().partition(|label| needed.contains(label));
    // An axis of extent 1 on one side only broadcasts; it cannot be an inner axis of a matrix product.
    let mut broadcast = Vec::new();
    for label in std::mem::take(&mut inner) {
        let (m, n) = (extent(cx, a, label)?, extent(cx, b, label)?);
        if m != n && (m.is(1) || n.is(1)) { broadcast.push(label) } else { inner.push(label) }
    }
    if inner.is_empty() {
        return elementwise(cx, a, b);
    }
    let batch: Vec<Label> = batch.into_iter().chain(broadcast).collect();
    let rows: Vec<Label> = a.labels.iter().filter(|l| !b.labels.contains(l)).copied().collect();
    let columns: Vec<Label> = b.labels.iter().filter(|l| !a.labels.contains(l)).copied().collect();
    let left = matrix(cx, a, &batch, &rows, &inner)?;
    let right = matrix(cx, b, &batch, &inner, &columns)?;
    let result = cx.matmul(left, right)?;
    let mut shape: Vec<Dim> = cx.shape(result)?[..batch.len()].to_vec();
    for (operand, labels) in [(a, &rows), (b, &columns)] {
        for &label in labels {
            shape.push(extent(cx, operand, label)?);
        }
    }
    let value = cx.reshape(result, shape)?;
    Ok(Labelled { value, labels: [batch, rows, columns].concat() })
}

/// The operand as `[batch…, rows, columns]`.
fn matrix(cx: &mut Context, operand: &Labelled, batch: &[Label], rows: &[Label], columns: &[Label]) -> Result<ValueId> {
    let value = ordered(cx, operand, &[batch, rows, columns].concat())?;
    let shape = cx.shape(value)?;
    let (outer, matrix) = shape.split_at(batch.len());
    let (rows, columns) = matrix.split_at(rows.len());
    let flat = [rows.iter().cloned().product(), columns.iter().cloned().product()];
    cx.reshape(value, outer.iter().cloned().chain(flat).collect())
}

/// The product of the operands with axes of the same label broadcast.
fn elementwise(cx: &mut Context, a: &Labelled, b: &Labelled) -> Result<Labelled> {
    let added = b.labels.iter().filter(|l| !a.labels.contains(l)).copied();
    let labels: Vec<Label> = a.labels.iter().copied().chain(added).collect();
    let (left, right) = (aligned(cx, a, &labels)?, aligned(cx, b, &labels)?);
    Ok(Labelled { value: cx.binary(ScalarOp::Mul, left, right)?, labels })
}

/// The operand with an axis for each of `labels`, of extent 1 where it has none.
fn aligned(cx: &mut Context, operand: &Labelled, labels: &[Label]) -> Result<ValueId> {
    let own: Vec<Label> = labels.iter().filter(|l| operand.labels.contains(l)).copied().collect();
    let value = ordered(cx, operand, &own)?;
    let missing: Vec<i64> = (0..).zip(labels).filter(|(_, l)| !own.contains(l)).map(|(i, _)| i).collect();
    cx.unsqueeze(value, &missing)
}

/// The operand's value with its axes in the order of `labels`, which are its own.
fn ordered(cx: &mut Context, operand: &Labelled, labels: &[Label]) -> Result<ValueId> {
    let position = |label: &Label| operand.labels.iter().position(|l| l == label);
    let perm = labels.iter().map(position).collect::<Option<Vec<usize>>>();
    cx.transpose(operand.value, perm.ok_or_else(|| invalid!("`equation` has an output label that no input has"))?)
}

/// The extent of the axis with this label.
fn extent(cx: &Context, operand: &Labelled, label: Label) -> Result<Dim> {
    let axis = operand.labels.iter().position(|l| *l == label);
    let shape = cx.shape(operand.value)?;
    axis.map(|axis| shape[axis].clone()).ok_or_else(|| invalid!("`equation` has an unknown label"))
}
