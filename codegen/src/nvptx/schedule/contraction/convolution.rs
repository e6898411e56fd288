//! Convolutions as matrix products: rows are places of windows, K is the elements of a window, columns are channels of
//! the result. Groups are batches.

use super::window::{Along, Window};
use super::{Bias, Channels, Contraction, Side, epilogue};
use crate::shared::form::dense_strides;
use crate::shared::weights::Packing;
use ic_ir::kernel::{Kernel, Operand as View};
use ic_ir::ops::{Convolution, Layout};
use ic_types::{DType, Dim};

/// Channels of a group from which on a matrix product pays.
const FEWEST_CHANNELS: i64 = 4;

/// Whether a convolution is worth a matrix product, and can be one: its filters are known, and there are several.
pub(crate) fn is_product(
    op: &Convolution,
    kernel: &Kernel,
    operands: &[Option<View>],
    is_constant: &dyn Fn(usize) -> bool,
) -> bool {
    let Some([Some(x), Some(w)]) = operands.get(..2) else { return false };
    let (x_param, w_param) = (&kernel.params[x.param as usize], &kernel.params[w.param as usize]);
    let is_dense = x_param.shape == x.shape && w_param.shape == w.shape && x.offset.is(0) && w.offset.is(0);
    let Some(filter) = constants(&w.shape) else { return false };
    let per_group = filter[0] / op.groups as i64;
    let is_float = matches!(x_param.dtype, DType::F32 | DType::F16 | DType::BF16);
    is_float
        && is_dense
        && is_constant(w.param as usize)
        && filter.iter().all(|extent| *extent > 0)
        && (op.groups == 1 || (per_group % FEWEST_CHANNELS == 0 && filter[1] >= FEWEST_CHANNELS))
}

/// The product that a convolution is, whose kernel it begins.
///
/// # Errors
/// What there is no code for.
pub(crate) fn new(
    op: &Convolution,
    kernel: &Kernel,
    operands: &[Option<View>],
    results: &[Option<u32>],
) -> Result<Contraction, String> {
    let Some([Some(x), Some(w)]) = operands.get(..2) else { return Err("a convolution without operands".into()) };
    let filter = constants(&w.shape).ok_or("filters of unknown extents")?;
    let (outputs, inputs) = (filter[0] / op.groups as i64, filter[1]);
    let taps: i64 = filter[2..].iter().product();
    let shape: Vec<Dim> = match (kernel.stages.len(), results.first().copied().flatten()) {
        (1, Some(result)) => kernel.params[result as usize].shape.clone(),
        _ => kernel.outer.iter().map(|axis| axis.extent.clone()).collect(),
    };
    let rank = shape.len();
    let (channel_axis, spatial) = match op.layout {
        Layout::ChannelsFirst => (1, 2..rank),
        Layout::ChannelsLast => (rank - 1, 1..rank - 1),
    };
    let strides = dense_strides(&x.shape);
    let rows: Vec<Dim> = std::iter::once(0).chain(spatial.clone()).map(|axis| shape[axis].clone()).collect();
    let axes = spatial.enumerate().map(|(i, axis)| Along {
        stride: op.strides[i] as i64,
        dilation: op.dilations[i] as i64,
        pad: op.pads[i].clone(),
        kernel: filter[2 + i],
        extent: x.shape[axis].clone(),
        step: strides[axis].clone(),
    });
    let window = Window {
        places: rows.clone(),
        batch_stride: strides[0].clone(),
        axes: axes.collect(),
        channels: inputs,
        channel_stride: strides[channel_axis].clone(),
        is_padded: !op.pads.iter().all(|pad| pad.is(0)),
    };
    // One element per window at every place: the image is the matrix.
    let is_matrix = op.layout == Layout::ChannelsLast
        && taps == 1
        && !window.is_padded
        && window.axes.iter().all(|along| along.stride == 1);
    let is_grouped = op.groups > 1;
    let per_group = |stride: Dim| if is_grouped { vec![stride] } else { Vec::new() };
    let k = Dim::constant(taps * inputs);
    let channel_stride = strides[channel_axis].clone();
    let a = Side {
        param: x.param as usize,
        offset: Dim::constant(0),
        batch: per_group(channel_stride.clone() * Dim::constant(inputs)),
        stride: if is_matrix { strides[rank - 2].clone() } else { Dim::constant(0) },
        k_stride: channel_stride,
        extent: rows.iter().cloned().product(),
        window: (!is_matrix).then_some(window),
    };
    let b = Side {
        param: w.param as usize,
        offset: Dim::constant(0),
        batch: per_group(k.clone() * Dim::constant(outputs)),
        stride: k.clone(),
        k_stride: Dim::constant(1),
        extent: Dim::constant(outputs),
        window: None,
    };
    let dtype = kernel.params[x.param as usize].dtype;
    let bias = operands.get(2).and_then(Option::as_ref).map(|bias| Bias { param: bias.param, axis: channel_axis });
    let epilogue = epilogue(kernel, results, &shape, dtype, bias)?;
    // Channels last, as K runs over them last.
    let perm = std::iter::once(0).chain(2..filter.len()).chain([1]).collect();
    let packing = Packing::Permuted { shape: filter.iter().map(|&extent| extent as usize).collect(), perm };
    let problem = Contraction {
        dtype,
        a,
        b,
        batch: per_group(Dim::constant(op.groups as i64)),
        rows,
        k,
        epilogue,
        accumulator: kernel.params.len(),
        params: kernel.params.iter().map(|param| param.dtype).collect(),
        channels: Some(Channels { axis: channel_axis, per_group: outputs }),
        packings: vec![(w.param as usize, packing)],
        integers: None,
    };
    Ok(problem.with_merged_rows())
}

fn constants(shape: &[Dim]) -> Option<Vec<i64>> {
    shape.iter().map(Dim::as_const).collect()
}
