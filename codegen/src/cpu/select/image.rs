//! Convolution, pooling and resampling of images.
//!
//! The channels-last kernels work on two spatial axes: an image of one spatial axis gets a height of 1.

use super::{Attr, CallOperand, LibraryCall, Packing, Site, View, plain, require};
use ic_ir::ops::{
    ConvAlgorithm, ConvTranspose, Convolution, CoordinateMode, IntegerConvolution, Layout, MaxPoolIndices, NearestMode,
    Pool, PoolFn, Resize, ResizeMode,
};
use ic_kernels::library::codes;
use ic_kernels::pack::{ConvTransposeShape, ConvWeightShape, Int8ConvShape};
use ic_types::{DType, Dim};

/// Spatial attributes on two axes.
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Top, left, bottom, right.
    pads: [Dim; 4],
}

impl Window {
    /// Widens attributes of one or two axes to two.
    fn new(kernel: &[usize], strides: &[usize], dilations: &[usize], pads: &[Dim]) -> Result<Window, String> {
        let pair = |list: &[usize]| match *list {
            [w] => Some([1, w]),
            [h, w] => Some([h, w]),
            _ => None,
        };
        let zero = Dim::constant(0);
        let pads = match pads {
            [left, right] => Some([zero.clone(), left.clone(), zero, right.clone()]),
            [top, left, bottom, right] => Some([top.clone(), left.clone(), bottom.clone(), right.clone()]),
            _ => None,
        };
        match (pair(kernel), pair(strides), pair(dilations), pads) {
            (Some(kernel), Some(strides), Some(dilations), Some(pads)) => {
                Ok(Window { kernel, strides, dilations, pads })
            }
            _ => Err(format!("{} spatial axes have no kernel", kernel.len())),
        }
    }

    /// The attributes that all convolutions have.
    fn attrs(&self, groups: usize) -> Vec<Attr> {
        let ([kh, kw], [sh, sw], [dh, dw]) = (self.kernel, self.strides, self.dilations);
        let [top, left, ..] = self.pads.clone().map(Attr::Int);
        vec![kh.into(), kw.into(), sh.into(), sw.into(), top, left, dh.into(), dw.into(), groups.into()]
    }
}

/// The shape of a channels-last image with two spatial axes.
fn image_shape(shape: &[Dim]) -> Vec<Dim> {
    match shape {
        [n, w, c] => vec![n.clone(), Dim::constant(1), w.clone(), c.clone()],
        _ => shape.to_vec(),
    }
}

/// The strides of a channels-last image with two spatial axes.
fn image_strides(strides: &[Dim]) -> Vec<Dim> {
    match strides {
        [n, w, c] => vec![n.clone(), n.clone(), w.clone(), c.clone()],
        _ => strides.to_vec(),
    }
}

fn image_operand(index: usize, view: &View) -> CallOperand {
    let strides = view.strides.as_deref().map(image_strides);
    CallOperand::Input { index, shape: image_shape(&view.shape), strides }
}

fn image_result(view: &View) -> CallOperand {
    let strides = view.strides.as_deref().map(image_strides);
    CallOperand::Result { index: 0, shape: image_shape(&view.shape), strides }
}

/// Constant extents of weights `[O, I, k…]` with two spatial axes.
fn weight_extents(w: &View) -> Result<[usize; 4], String> {
    let extents =
        w.shape.iter().map(|d| d.as_const().and_then(|d| usize::try_from(d).ok())).collect::<Option<Vec<_>>>();
    match extents.as_deref() {
        Some(&[o, i, w]) => Ok([o, i, 1, w]),
        Some(&[o, i, h, w]) => Ok([o, i, h, w]),
        Some(_) => Err(format!("{} spatial axes have no kernel", w.shape.len().saturating_sub(2))),
        None => Err("weights of unknown extents have no kernel".into()),
    }
}

/// The weights of a channels-last convolution and the layout of the kernel: packed, their elements stored as `dtype`, if
/// they are constant, else as they are.
fn weights(w: &View, extents: [usize; 4], packing: Packing, dtype: DType) -> (CallOperand, u32) {
    match w.is_constant {
        true => (CallOperand::Packed { index: 1, shape: dims(extents), packing, dtype }, super::panel_layout(dtype)),
        false => (CallOperand::Input { index: 1, shape: dims(extents), strides: None }, 0),
    }
}

fn dims(extents: [usize; 4]) -> Vec<Dim> {
    extents.iter().map(|&d| Dim::constant(d as i64)).collect()
}

/// A convolution of a channels-first image of any rank, with weights of any kind.
fn channels_first(
    name: &'static str,
    (strides, dilations, pads, groups): (&[usize], &[usize], &[Dim], usize),
    site: &Site,
) -> Result<LibraryCall, String> {
    if strides.len() > 3 {
        return Err(format!("{} spatial axes have no kernel", strides.len()));
    }
    let lists = std::iter::once(groups).chain(strides.iter().copied()).chain(dilations.iter().copied());
    let before = pads[..strides.len()].iter().cloned().map(Attr::Int);
    let attrs = lists.map(Attr::from).chain(before).collect();
    Ok(plain(name, vec![site.pass(0), site.pass(1), site.pass(2), site.give(0)], attrs))
}

pub(super) fn convolution(op: &Convolution, site: &Site) -> Result<LibraryCall, String> {
    let (x, w, y) = (site.operand(0)?, site.operand(1)?, site.result(0)?);
    require(x, DType::F32, "convolution")?;
    if op.layout == Layout::ChannelsFirst {
        return channels_first("f32_conv", (&op.strides, &op.dilations, &op.pads, op.groups), site);
    }
    let extents @ [outputs, inputs, kernel_h, kernel_w] = weight_extents(w)?;
    let kernel = [kernel_h, kernel_w];
    let window = Window::new(&kernel[4 - w.shape.len()..], &op.strides, &op.dilations, &op.pads)?;
    let depthwise = inputs == 1 && op.groups == outputs && outputs > 1 && w.is_constant;
    let transformed = op.algorithm == ConvAlgorithm::Winograd && w.is_constant && w.storage == DType::F32;
    let (name, packing, dtype) = if depthwise {
        ("f32_depthwise_conv_nhwc", Packing::Depthwise { channels: outputs, kernel }, DType::F32)
    } else if transformed {
        ("f32_winograd_conv_nhwc", Packing::Winograd { outputs, inputs }, DType::F32)
    } else {
        let shape = ConvWeightShape { outputs, inputs, kernel_h, kernel_w, groups: op.groups };
        ("f32_conv_nhwc", Packing::Conv(shape), w.storage)
    };
    let (weights, layout) = weights(w, extents, packing, dtype);
    let operands = vec![Some(image_operand(0, x)), Some(weights), Some(image_result(y))];
    let bias = site.operands.get(2).and_then(Option::as_ref).map(|_| 2);
    Ok(LibraryCall { layout, bias, takes_epilogue: true, ..plain(name, operands, window.attrs(op.groups)) })
}

/// `int8_conv_nhwc`, or `int8_depthwise_conv_nhwc` where every channel has a filter of its own.
pub(super) fn integer_convolution(op: &IntegerConvolution, site: &Site) -> Result<LibraryCall, String> {
    let (x, w, y) = (site.operand(0)?, site.operand(1)?, site.result(0)?);
    if op.layout == Layout::ChannelsFirst {
        let attrs = channels_first("integer_conv", (&op.strides, &op.dilations, &op.pads, op.groups), site)?.attrs;
        let parameters = [site.dense(2)?, site.dense(3)?, site.dense(4)?];
        let operands = [site.dense(0)?, site.dense(1)?].into_iter().chain(parameters).chain([site.give(0)]).collect();
        return Ok(plain("integer_conv", operands, attrs));
    }
    if !w.is_constant {
        return Err("a channels-last integer convolution with computed weights has no kernel".into());
    }
    let [outputs, inputs, kernel_h, kernel_w] = weight_extents(w)?;
    let kernel = [kernel_h, kernel_w];
    let window = Window::new(&kernel[4 - w.shape.len()..], &op.strides, &op.dilations, &op.pads)?;
    let (name, packing) = if inputs == 1 && op.groups == outputs && outputs > 1 {
        ("int8_depthwise_conv_nhwc", Packing::Int8Depthwise { channels: outputs, kernel })
    } else {
        let weights = ConvWeightShape { outputs, inputs, kernel_h, kernel_w, groups: op.groups };
        ("int8_conv_nhwc", Packing::Int8Conv(Int8ConvShape { weights, dilation_w: window.dilations[1] }))
    };
    let packed =
        CallOperand::Packed { index: 1, shape: dims([outputs, inputs, kernel_h, kernel_w]), packing, dtype: w.dtype };
    let parameters = [site.dense(2)?, site.dense(3)?, site.dense(4)?];
    let operands = [Some(image_operand(0, x)), Some(packed)].into_iter().chain(parameters);
    let operands = operands.chain([Some(image_result(y))]).collect();
    Ok(LibraryCall { layout: 1, takes_epilogue: true, ..plain(name, operands, window.attrs(op.groups)) })
}

pub(super) fn conv_transpose(op: &ConvTranspose, site: &Site) -> Result<LibraryCall, String> {
    let (x, w, y) = (site.operand(0)?, site.operand(1)?, site.result(0)?);
    require(x, DType::F32, "conv_transpose")?;
    if op.layout == Layout::ChannelsFirst {
        return channels_first("f32_conv_transpose", (&op.strides, &op.dilations, &op.pads, op.groups), site);
    }
    let extents @ [inputs, outputs, kernel_h, kernel_w] = weight_extents(w)?;
    let kernel = [kernel_h, kernel_w];
    let window = Window::new(&kernel[4 - w.shape.len()..], &op.strides, &op.dilations, &op.pads)?;
    let (stride, dilation) = (window.strides, window.dilations);
    let packing =
        Packing::ConvTranspose(ConvTransposeShape { inputs, outputs, kernel, stride, dilation, groups: op.groups });
    let (weights, layout) = weights(w, extents, packing, DType::F32);
    let operands = vec![Some(image_operand(0, x)), Some(weights), Some(image_result(y))];
    let bias = site.operands.get(2).and_then(Option::as_ref).map(|_| 2);
    let attrs = window.attrs(op.groups);
    Ok(LibraryCall { layout, bias, takes_epilogue: true, ..plain("f32_conv_transpose_nhwc", operands, attrs) })
}

pub(super) fn pool(op: &Pool, site: &Site) -> Result<LibraryCall, String> {
    let (x, y) = (site.operand(0)?, site.result(0)?);
    if op.layout == Layout::ChannelsFirst {
        return pool_channels_first(op, site);
    }
    let bytes = matches!(x.dtype, DType::U8 | DType::I8) && op.function == PoolFn::Max;
    if !bytes {
        require(x, DType::F32, "channels-last pool")?;
    }
    let window = Window::new(&op.kernel, &op.strides, &op.dilations, &op.pads)?;
    let operands = vec![Some(image_operand(0, x)), Some(image_result(y))];
    let ([kh, kw], [sh, sw], [dh, dw]) = (window.kernel, window.strides, window.dilations);
    let [top, left, bottom, right] = window.pads.map(Attr::Int);
    let mut attrs: Vec<Attr> = [kh, kw, sh, sw, dh, dw].map(Attr::from).into();
    match op.function {
        PoolFn::Max => {
            attrs.extend([top, left]);
            Ok(plain(if bytes { "int8_max_pool_nhwc" } else { "f32_max_pool_nhwc" }, operands, attrs))
        }
        PoolFn::Average => {
            attrs.extend([top, left, bottom, right, op.count_include_pad.into()]);
            Ok(plain("f32_average_pool_nhwc", operands, attrs))
        }
        PoolFn::Lp => Err("`lp` pooling has no channels-last kernel".into()),
    }
}

/// Kernel, strides, dilations, pads: a list each.
fn window_list(kernel: &[usize], strides: &[usize], dilations: &[usize], pads: &[Dim]) -> Vec<Attr> {
    let lists = [kernel, strides, dilations].concat();
    lists.into_iter().map(Attr::from).chain(pads.iter().cloned().map(Attr::Int)).collect()
}

fn pool_channels_first(op: &Pool, site: &Site) -> Result<LibraryCall, String> {
    let window = window_list(&op.kernel, &op.strides, &op.dilations, &op.pads);
    let (name, first, outputs) = match op.function {
        PoolFn::Max => ("max_pool", Attr::from(0usize), vec![site.give(0), None]),
        PoolFn::Average => ("average_pool", Attr::from(op.count_include_pad), vec![site.give(0)]),
        PoolFn::Lp => ("lp_pool", Attr::from(op.p), vec![site.give(0)]),
    };
    let dtype = site.operand(0)?.dtype;
    let has_kernel = matches!(dtype, DType::F32 | DType::F64) || (op.function == PoolFn::Max && dtype.is_int());
    if !has_kernel {
        return Err(format!("`{}` pooling of {dtype} has no kernel", op.function.name()));
    }
    let operands = std::iter::once(site.pass(0)).chain(outputs).collect();
    Ok(plain(name, operands, std::iter::once(first).chain(window).collect()))
}

pub(super) fn max_pool_indices(op: &MaxPoolIndices, site: &Site) -> Result<LibraryCall, String> {
    let dtype = site.operand(0)?.dtype;
    if !matches!(dtype, DType::F32 | DType::F64) && !dtype.is_int() {
        return Err(format!("pooling of {dtype} has no kernel"));
    }
    let window = window_list(&op.kernel, &op.strides, &op.dilations, &op.pads);
    let attrs = std::iter::once(Attr::from(op.storage_order)).chain(window).collect();
    Ok(plain("max_pool", vec![site.pass(0), site.give(0), site.give(1)], attrs))
}

fn resize_mode(mode: ResizeMode) -> i64 {
    match mode {
        ResizeMode::Nearest => codes::ResizeMode::Nearest,
        ResizeMode::Linear => codes::ResizeMode::Linear,
        ResizeMode::Cubic => codes::ResizeMode::Cubic,
    }
    .code()
}

fn coordinate_mode(mode: CoordinateMode) -> i64 {
    match mode {
        CoordinateMode::HalfPixel => codes::CoordinateMode::HalfPixel,
        CoordinateMode::HalfPixelSymmetric => codes::CoordinateMode::HalfPixelSymmetric,
        CoordinateMode::PytorchHalfPixel => codes::CoordinateMode::PytorchHalfPixel,
        CoordinateMode::AlignCorners => codes::CoordinateMode::AlignCorners,
        CoordinateMode::Asymmetric => codes::CoordinateMode::Asymmetric,
        CoordinateMode::TfHalfPixelForNn => codes::CoordinateMode::TfHalfPixelForNn,
        CoordinateMode::TfCropAndResize => codes::CoordinateMode::TfCropAndResize,
    }
    .code()
}

fn nearest_mode(mode: NearestMode) -> i64 {
    match mode {
        NearestMode::RoundPreferFloor => codes::NearestMode::RoundPreferFloor,
        NearestMode::RoundPreferCeil => codes::NearestMode::RoundPreferCeil,
        NearestMode::Floor => codes::NearestMode::Floor,
        NearestMode::Ceil => codes::NearestMode::Ceil,
    }
    .code()
}

/// Channels-last images with untouched batch and channels have a kernel of their own.
pub(super) fn resize(op: &Resize, site: &Site) -> Result<LibraryCall, String> {
    let (x, y) = (site.operand(0)?, site.result(0)?);
    let crops = op.coordinates == CoordinateMode::TfCropAndResize;
    if !matches!(x.dtype, DType::F32 | DType::F64) && op.mode != ResizeMode::Nearest {
        return Err(format!("`{}` resizing of {} has no kernel", op.mode.name(), x.dtype));
    }
    let modes = [resize_mode(op.mode), coordinate_mode(op.coordinates), nearest_mode(op.nearest)];
    // A scale of 0 stands for the ratio of the extents.
    let scale = |axis: usize| match (&op.scale_bits, &op.scales) {
        (Some(bits), _) => Attr::Int(bits[axis].clone()),
        (None, scales) => Attr::F64(scales.as_ref().map_or(0.0, |scales| f64::from(scales[axis].0))),
    };
    let image = x.dtype == DType::F32
        && x.shape.len() == 4
        && x.shape[0] == y.shape[0]
        && x.shape[3] == y.shape[3]
        && op.mode != ResizeMode::Cubic
        && !op.antialias
        && !crops;
    let mut attrs: Vec<Attr> = modes.map(Attr::from).into();
    if image {
        attrs.extend([scale(1), scale(2)]);
        return Ok(plain("f32_resize_nhwc", vec![site.pass(0), site.give(0)], attrs));
    }
    attrs.extend([op.antialias.into(), op.exclude_outside.into()]);
    attrs.extend([Attr::F32(op.cubic_coeff_a.0), Attr::F32(op.extrapolation.0)]);
    attrs.extend((0..x.shape.len()).map(scale));
    let roi = site.pass(1).filter(|_| crops);
    if let (Some(_), Some(Some(view))) = (&roi, site.operands.get(1))
        && !matches!(view.dtype, DType::F32 | DType::F64)
    {
        return Err(format!("a region of interest of {} has no kernel", view.dtype));
    }
    Ok(plain("resize", vec![site.pass(0), roi, site.give(0)], attrs))
}
