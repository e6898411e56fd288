//! `crop_windows`: convolutions compute no more windows than are read.
//!
//! Where every user of a convolution takes a part of it along a spatial axis, as frames at the ends of a signal are left
//! out of a spectrogram, the windows that none takes are not computed: the image is cut to what the others cover, and its
//! padding to what is left of it. Each window is what it was.

use crate::canonicalize::canonicalize;
use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Convolution, Layout, Slice};
use ic_ir::{Graph, GraphError, Node, NodeId, Op, ValueId};
use ic_types::Dim;
use rustc_hash::FxHashMap;

/// The windows of an axis that are read.
#[derive(Clone, Copy)]
struct Crop {
    axis: usize,
    start: i64,
    extent: i64,
}

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn crop_windows(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let crops = crops(graph);
    let mut rebuild = Rebuild::new(graph);
    let mut has_regions = false;
    for (id, node) in rebuild.live_nodes() {
        match (&node.op, crops.get(&id)) {
            (Op::Convolution(op), Some(crops)) => {
                crop(&mut rebuild, node, op, crops)?;
                *report.rules.entry("crop-windows").or_default() += 1;
            }
            (Op::Slice(op), _) if cropped(graph, node, &crops).is_some() => {
                let crops = cropped(graph, node, &crops).unwrap_or_default();
                let operands = rebuild.operands(node);
                let result = rebuild.push(shift(op, crops).into(), operands, &node.location)?[0];
                rebuild.set(node.results[0], result);
            }
            _ => {
                has_regions |= !node.regions.is_empty();
                let regions = map_regions(node, |region| crop_windows(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    if crops.is_empty() && !has_regions {
        return Ok(graph.clone());
    }
    // Once more for parts that have come through a reshape and meet what was before it.
    let moved = canonicalize(&rebuild.finish(), options, report)?;
    canonicalize(&moved, options, report)
}

/// The convolutions of which not all windows are read.
fn crops(graph: &Graph) -> FxHashMap<NodeId, Vec<Crop>> {
    let users = graph.users();
    let mut is_root = vec![false; graph.values().len()];
    graph.roots().for_each(|v| is_root[v.index()] = true);
    let mut found = FxHashMap::default();
    for (id, node) in graph.nodes() {
        let Op::Convolution(op) = &node.op else { continue };
        let result = node.results[0];
        if is_root[result.index()] {
            continue;
        }
        let crops = spatial_axes(graph, node, op).filter_map(|axis| read(graph, result, &users[result.index()], axis));
        let crops: Vec<Crop> = crops.filter(|crop| fits(graph, node, op, crop)).collect();
        if !crops.is_empty() {
            found.insert(id, crops);
        }
    }
    found
}

fn spatial_axes(graph: &Graph, node: &Node, op: &Convolution) -> std::ops::Range<usize> {
    let rank = graph.tensor_ty(node.results[0]).rank();
    match op.layout {
        Layout::ChannelsFirst => 2..rank,
        Layout::ChannelsLast => 1..rank - 1,
    }
}

/// The smallest range that holds what all users take along `axis`, if it is not all there is.
fn read(graph: &Graph, value: ValueId, users: &[NodeId], axis: usize) -> Option<Crop> {
    let all = graph.tensor_ty(value).shape[axis].as_const()?;
    let (mut first, mut end) = (all, 0);
    for &user in users {
        let node = graph.node(user);
        let Op::Slice(slice) = &node.op else { return None };
        let i = slice.axes.iter().position(|&a| a == axis)?;
        let (start, extent) = (slice.starts[i].as_const()?, slice.extents[i].as_const()?);
        if slice.steps[i] != 1 || extent == 0 {
            return None;
        }
        (first, end) = (first.min(start), end.max(start + extent));
    }
    (first < end && end - first < all).then_some(Crop { axis, start: first, extent: end - first })
}

/// How an axis of a convolution's image is cut: the part of the image, and the padding before and after it.
struct Cut {
    start: i64,
    extent: i64,
    pads: [i64; 2],
}

fn cut(graph: &Graph, node: &Node, op: &Convolution, crop: &Crop) -> Option<Cut> {
    let spatial = spatial_axes(graph, node, op);
    let (i, n) = (crop.axis - spatial.start, spatial.len());
    let image = graph.tensor_ty(node.operands[0]?).shape[crop.axis].as_const()?;
    let kernel = graph.tensor_ty(node.operands[1]?).shape[2 + i].as_const()?;
    let before = op.pads[i].as_const()?;
    op.pads[n + i].as_const()?;
    let (stride, dilation) = (op.strides[i] as i64, op.dilations[i] as i64);
    let first = crop.start * stride - before;
    let end = first + (crop.extent - 1) * stride + (kernel - 1) * dilation + 1;
    let (start, stop) = (first.max(0), end.min(image));
    (start < stop).then(|| Cut { start, extent: stop - start, pads: [start - first, end - stop] })
}

fn fits(graph: &Graph, node: &Node, op: &Convolution, crop: &Crop) -> bool {
    cut(graph, node, op, crop).is_some()
}

/// Builds a convolution with fewer windows.
fn crop(rebuild: &mut Rebuild, node: &Node, op: &Convolution, crops: &[Crop]) -> Result<(), GraphError> {
    let mut op = op.clone();
    let mut slice = Slice { axes: vec![], starts: vec![], extents: vec![], steps: vec![] };
    let spatial = spatial_axes(rebuild.old, node, &op);
    for crop in crops {
        let Some(cut) = cut(rebuild.old, node, &op, crop) else { continue };
        let i = crop.axis - spatial.start;
        op.pads[i] = Dim::constant(cut.pads[0]);
        op.pads[spatial.len() + i] = Dim::constant(cut.pads[1]);
        slice.axes.push(crop.axis);
        slice.starts.push(Dim::constant(cut.start));
        slice.extents.push(Dim::constant(cut.extent));
        slice.steps.push(1);
    }
    let mut operands = rebuild.operands(node);
    if let Some(image) = operands[0] {
        operands[0] = Some(rebuild.push_one(slice, &[image], &node.location)?);
    }
    let result = rebuild.push(op.into(), operands, &node.location)?[0];
    rebuild.set(node.results[0], result);
    Ok(())
}

/// The crops of a slice's operand.
fn cropped<'a>(graph: &Graph, node: &Node, crops: &'a FxHashMap<NodeId, Vec<Crop>>) -> Option<&'a [Crop]> {
    let ic_ir::ValueDef::Result(id, _) = graph.value(node.operands[0]?).def else { return None };
    crops.get(&id).map(Vec::as_slice)
}

/// The same part of what is left.
fn shift(op: &Slice, crops: &[Crop]) -> Slice {
    let mut slice = op.clone();
    for crop in crops {
        if let Some(i) = slice.axes.iter().position(|&axis| axis == crop.axis) {
            slice.starts[i] = slice.starts[i].clone() - Dim::constant(crop.start);
        }
    }
    slice
}
