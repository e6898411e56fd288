//! ONNX `ConvTranspose`.

use super::conv::groups;
use super::prelude::*;
use super::sliding::{Window, spatial};
use ic_ir::ops::{ConvTranspose, Layout};

/// `ConvTranspose`: pads are given, or follow from `output_shape` or `auto_pad`.
pub(super) fn conv_transpose(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w) = (node.input(0)?, node.input(1)?);
    let (space, weights) = (spatial(cx, x)?, spatial(cx, w)?);
    let mut window = Window::new(node, &space, Some(&weights))?;
    let mut output_padding = output_padding(node, space.len())?;
    let auto = node.text("auto_pad").unwrap_or("NOTSET");
    let output_shape = match node.ints("output_shape").filter(|shape| !shape.is_empty()) {
        // Older models list the batch and the channels too.
        Some(shape) if shape.len() >= space.len() => {
            Some(shape[shape.len() - space.len()..].iter().map(|&d| Dim::constant(d)).collect())
        }
        Some(shape) => {
            return Err(invalid!("`output_shape` must have {} elements, found {}", space.len(), shape.len()));
        }
        None if auto.starts_with("SAME") => Some(scaled(&window, &space)),
        None => None,
    };
    if let Some(shape) = output_shape {
        window.pads = pads_for(&window, &space, &mut output_padding, &shape, auto == "SAME_UPPER");
    }
    let op = ConvTranspose {
        strides: window.strides,
        pads: window.pads,
        output_padding,
        dilations: window.dilations,
        groups: groups(node)?,
        layout: Layout::ChannelsFirst,
    };
    cx.push_all(op, &[Some(x), Some(w), node.opt(2)])
}

fn output_padding(node: &NodeView, n: usize) -> Result<Vec<usize>> {
    let Some(ints) = node.ints("output_padding").filter(|ints| !ints.is_empty()) else { return Ok(vec![0; n]) };
    let numbers: Option<Vec<usize>> = ints.iter().map(|&i| usize::try_from(i).ok()).collect();
    let fits = numbers.filter(|numbers| numbers.len() == n);
    fits.ok_or_else(|| invalid!("attribute `output_padding` must be {n} numbers, found {ints:?}"))
}

/// Extents that are the image's times the strides.
fn scaled(window: &Window, space: &[Dim]) -> Vec<Dim> {
    space.iter().zip(&window.strides).map(|(extent, &stride)| extent.clone() * Dim::constant(stride as i64)).collect()
}

/// The pads with which the result has this shape; the odd one goes to the end if `upper`. Where the result would be too
/// small without any, the output padding grows, or the pads at the end are negative where only a run knows.
fn pads_for(window: &Window, space: &[Dim], output_padding: &mut [usize], shape: &[Dim], upper: bool) -> Vec<Dim> {
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for (axis, extent) in space.iter().enumerate() {
        let steps = (extent.clone() - Dim::constant(1)) * Dim::constant(window.strides[axis] as i64);
        let full = steps + window.reach(axis) + Dim::constant(output_padding[axis] as i64);
        let total = full - shape[axis].clone();
        let missing = total.as_const().map_or(0, |total| total.saturating_neg().max(0));
        output_padding[axis] += missing as usize;
        let zero = Dim::constant(0);
        let added = if total.as_const().is_some() { zero.clone() } else { total.minimum(&zero) };
        let total = total.maximum(&zero);
        let half = total.floor_div(&Dim::constant(2));
        let rest = total - half.clone();
        begins.push(if upper { half.clone() } else { rest.clone() });
        ends.push(added + if upper { rest } else { half });
    }
    begins.append(&mut ends);
    begins
}
