//! One random valid instance of each op.

use super::random::{ANY, FLOATS, NUMBERS, Random, dims};
use super::{Sample, experts, handles, trees};
use crate::graph::Graph;
use crate::literal::Literal;
use crate::ops::*;
use crate::scalar::ScalarOp;
use crate::{F32, TensorType};
use ic_types::{DType, Dim, Tensor};

/// Makes a sample.
pub type Make = fn(&mut Random) -> Sample;

/// For every op but the pointwise ones, what makes a random instance of it.
pub const SAMPLES: &[(&str, Make)] = &[
    ("constant", constant),
    ("dims", |r| {
        Sample::new(Dims { value: r.any_shape().iter().map(|&d| Dim::constant(d as i64 - 2)).collect() }, vec![])
    }),
    ("iota", |r| Sample::new(Iota { extent: Dim::constant(r.extent() as i64), dtype: r.pick(NUMBERS) }, vec![])),
    ("cast", cast),
    ("bit_cast", bit_cast),
    ("reshape", reshape),
    ("transpose", transpose),
    ("expand", expand),
    ("slice", slice),
    ("concat", concat),
    ("update", update),
    ("pad", pad),
    ("gather", gather),
    ("gather_elements", gather_elements),
    ("gather_nd", gather_nd),
    ("scatter_elements", scatter_elements),
    ("scatter_nd", scatter_nd),
    ("reduce", reduce),
    ("arg_reduce", arg_reduce),
    ("cumulative", cumulative),
    ("top_k", top_k),
    ("matmul", matmul),
    ("convolution", convolution),
    ("integer_matmul", integer_matmul),
    ("integer_convolution", integer_convolution),
    ("conv_transpose", conv_transpose),
    ("pool", pool),
    ("max_pool_indices", max_pool_indices),
    ("max_unpool", max_unpool),
    ("resize", resize),
    ("grid_sample", grid_sample),
    ("roi_align", roi_align),
    ("softmax", softmax),
    ("attention", attention),
    ("expert_matmul", experts::expert_matmul),
    ("experts", experts::experts),
    ("gated_matmul", experts::gated_matmul),
    ("layer_normalization", layer_normalization),
    ("rms_normalization", rms_normalization),
    ("lstm", lstm),
    ("dynamic_quantize_lstm", dynamic_quantize_lstm),
    ("gru", gru),
    ("rnn", rnn),
    ("quantize", quantize),
    ("dequantize", dequantize),
    ("if", if_),
    ("loop", loop_),
    ("call", handles::call),
    ("non_zero", non_zero),
    ("non_max_suppression", non_max_suppression),
    ("unique", unique),
    ("det", det),
    ("reverse_sequence", reverse_sequence),
    ("dft", dft),
    ("col2im", col2im),
    ("sequence_of", handles::sequence_of),
    ("sequence_insert", handles::sequence_insert),
    ("sequence_erase", handles::sequence_erase),
    ("sequence_length", handles::sequence_length),
    ("sequence_shape", handles::sequence_shape),
    ("sequence_at", handles::sequence_at),
    ("sequence_split", handles::sequence_split),
    ("sequence_concat", handles::sequence_concat),
    ("find", handles::find),
    ("tf_idf", handles::tf_idf),
    ("tree_ensemble", trees::tree_ensemble),
    ("random", handles::random),
    ("intern", handles::intern),
    ("string_concat", handles::string_concat),
    ("string_case", handles::string_case),
    ("string_pieces", handles::string_pieces),
    ("string_split", handles::string_split),
    ("regex_match", handles::regex_match),
    ("image_decode", handles::image_decode),
];

/// A random instance of a pointwise op.
pub fn pointwise(function: ScalarOp, r: &mut Random) -> Sample {
    let dtype = loop {
        let dtype = r.pick(ANY);
        let bool_first = function == ScalarOp::Select;
        let types: Vec<DType> =
            (0..function.arity()).map(|i| if bool_first && i == 0 { DType::Bool } else { dtype }).collect();
        if function.result_dtype(&types).is_ok() && !matches!(dtype, DType::String) {
            break types;
        }
    };
    let shape = r.any_shape();
    let operands = dtype.iter().map(|&dtype| {
        let shape = r.broadcastable(&shape);
        r.tensor(dtype, &shape)
    });
    let operands = operands.collect();
    Sample::new(function, operands)
}

fn constant(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(ANY), r.any_shape());
    Sample::new(Constant { value: Literal::inline(r.tensor(dtype, &shape)) }, vec![])
}

fn cast(r: &mut Random) -> Sample {
    let (from, to, shape) = (r.pick(ANY), r.pick(DType::ALL), r.any_shape());
    let to = if matches!(to, DType::C64 | DType::C128 | DType::Object) { from } else { to };
    // The strings of a sample are numbers that a bool cannot be read from.
    let to = if from == DType::String && to == DType::Bool { DType::F32 } else { to };
    Sample::new(Cast { to, saturate: r.flag() }, vec![r.tensor(from, &shape)])
}

fn bit_cast(r: &mut Random) -> Sample {
    let pairs = [
        (DType::F32, DType::I32),
        (DType::I64, DType::F64),
        (DType::F16, DType::BF16),
        (DType::U8, DType::I8),
        (DType::Bool, DType::U8),
        (DType::F32, DType::F32),
    ];
    let ((from, to), shape) = (r.pick(&pairs), r.any_shape());
    Sample::new(BitCast { to }, vec![r.tensor(from, &shape)])
}

fn reshape(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(ANY), r.any_shape());
    let mut target: Vec<usize> = r.permutation(shape.len()).into_iter().map(|axis| shape[axis]).collect();
    if target.len() > 1 && r.flag() {
        let last = target.pop().unwrap_or(1);
        target[0] *= last;
    }
    if r.flag() {
        target.insert(r.below(target.len() + 1), 1);
    }
    Sample::new(Reshape { shape: dims(&target) }, vec![r.tensor(dtype, &shape)])
}

fn transpose(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(ANY), r.any_shape());
    Sample::new(Transpose { perm: r.permutation(shape.len()) }, vec![r.tensor(dtype, &shape)])
}

fn expand(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(ANY), r.any_shape());
    let (from, to) = (r.broadcastable(&shape), r.broadcastable(&shape));
    Sample::new(Expand { shape: dims(&to) }, vec![r.tensor(dtype, &from)])
}

fn slice(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(ANY), r.any_shape());
    let axes = r.subset(shape.len());
    let (mut starts, mut extents, mut steps) = (vec![], vec![], vec![]);
    for &axis in &axes {
        let (extent, step) = (shape[axis], r.pick(&[1i64, 1, 2, -1, -3]));
        let most = extent.div_ceil(step.unsigned_abs() as usize);
        let count = r.between(0, most);
        let span = count.saturating_sub(1) * step.unsigned_abs() as usize;
        let first = r.between(0, extent.saturating_sub(span + 1));
        starts.push(Dim::constant(if step > 0 { first } else { first + span } as i64));
        extents.push(Dim::constant(count as i64));
        steps.push(step);
    }
    Sample::new(Slice { axes, starts, extents, steps }, vec![r.tensor(dtype, &shape)])
}

fn concat(r: &mut Random) -> Sample {
    let (dtype, (mut shape, axis)) = (r.pick(ANY), r.shape_and_axis());
    let parts = (0..r.between(1, 3)).map(|_| {
        shape[axis] = r.extent();
        r.tensor(dtype, &shape)
    });
    Sample::new(Concat { axis }, parts.collect())
}

fn update(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(ANY), r.shape_and_axis());
    let part: Vec<usize> = shape.iter().map(|&extent| r.between(0, extent)).collect();
    let start = r.between(0, shape[axis] - part[axis]);
    let operands = vec![r.tensor(dtype, &shape), r.tensor(dtype, &part)];
    Sample::new(Update { axis, start: Dim::constant(start as i64) }, operands)
}

fn pad(r: &mut Random) -> Sample {
    let mode = r.pick(&[PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
    let (dtype, rank) = (r.pick(ANY), r.below(4));
    let shape = if mode == PadMode::Constant { r.shape(rank) } else { r.full_shape(rank) };
    let pads = dims(&r.list(2 * rank, 0, 3));
    let mut sample = Sample::new(Pad { mode, pads }, vec![r.tensor(dtype, &shape)]);
    if r.flag() {
        sample.operands.push(Some(r.tensor(dtype, &[])));
    }
    sample
}

fn gather(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(ANY), r.shape_and_axis());
    let rank = r.below(3);
    let index_shape = if shape[axis] == 0 { vec![0] } else { r.shape(rank) };
    let indices = r.indices(&index_shape, shape[axis]);
    Sample::new(Gather { axis }, vec![r.tensor(dtype, &shape), indices])
}

fn gather_elements(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(ANY), r.shape_and_axis());
    let index_shape = element_indices_shape(r, &shape, axis);
    let indices = r.indices(&index_shape, shape[axis]);
    Sample::new(GatherElements { axis }, vec![r.tensor(dtype, &shape), indices])
}

/// A shape of indices for gathering or scattering single elements along `axis`.
fn element_indices_shape(r: &mut Random, shape: &[usize], axis: usize) -> Vec<usize> {
    let extent = |(i, &extent): (usize, &usize)| match i == axis {
        true if extent == 0 => 0,
        true => r.extent(),
        false => r.between(0, extent),
    };
    shape.iter().enumerate().map(extent).collect()
}

fn gather_nd(r: &mut Random) -> Sample {
    let dtype = r.pick(ANY);
    let rank = r.between(1, 4);
    let shape = r.full_shape(rank);
    let batch_dims = r.below(rank);
    let width = r.between(0, rank - batch_dims);
    let n_outer = r.below(3);
    let outer = [&shape[..batch_dims], &r.shape(n_outer)].concat();
    let indices = tuples(r, &outer, &shape[batch_dims..][..width]);
    Sample::new(GatherNd { batch_dims }, vec![r.tensor(dtype, &shape), indices])
}

/// Tuples of indices into axes of `extents`.
fn tuples(r: &mut Random, outer: &[usize], extents: &[usize]) -> Tensor {
    let n: usize = outer.iter().product();
    let index = |r: &mut Random, extent: usize| r.below(2 * extent) as i64 - extent as i64;
    let elements = (0..n).flat_map(|_| extents.iter().map(|&e| index(r, e)).collect::<Vec<_>>()).collect();
    Tensor::from_elements([outer, &[extents.len()]].concat(), elements)
}

fn reduction(r: &mut Random, dtype: DType) -> Reduction {
    let number = dtype.is_float() || dtype.is_int();
    let all = [Reduction::None, Reduction::Add, Reduction::Mul, Reduction::Max, Reduction::Min];
    if number { r.pick(&all) } else { Reduction::None }
}

fn scatter_elements(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(ANY), r.shape_and_axis());
    let index_shape = element_indices_shape(r, &shape, axis);
    let indices = r.indices(&index_shape, shape[axis]);
    let op = ScatterElements { axis, reduction: reduction(r, dtype) };
    Sample::new(op, vec![r.tensor(dtype, &shape), indices, r.tensor(dtype, &index_shape)])
}

fn scatter_nd(r: &mut Random) -> Sample {
    let dtype = r.pick(ANY);
    let rank = r.between(1, 3);
    let shape = r.full_shape(rank);
    let width = r.between(0, rank);
    let n_outer = r.below(3);
    let outer = r.shape(n_outer);
    let indices = tuples(r, &outer, &shape[..width]);
    let updates = r.tensor(dtype, &[&outer, &shape[width..]].concat());
    Sample::new(ScatterNd { reduction: reduction(r, dtype) }, vec![r.tensor(dtype, &shape), indices, updates])
}

fn reduce(r: &mut Random) -> Sample {
    use ReduceFn::{All, Any, Max, Mean, Min, Prod, Sum};
    let function = r.pick(&[Sum, Prod, Max, Min, Mean, Any, All]);
    let dtype = if matches!(function, Any | All) { DType::Bool } else { r.pick(NUMBERS) };
    let shape = r.any_shape();
    let op = Reduce { function, axes: r.subset(shape.len()), keep_dims: r.flag() };
    Sample::new(op, vec![r.tensor(dtype, &shape)])
}

fn arg_reduce(r: &mut Random) -> Sample {
    let (dtype, (mut shape, axis)) = (r.pick(NUMBERS), r.shape_and_axis());
    shape[axis] = shape[axis].max(1);
    let op = ArgReduce { function: r.pick(&[ArgFn::Argmax, ArgFn::Argmin]), axis, select_last: r.flag() };
    Sample::new(op, vec![r.tensor(dtype, &shape)])
}

fn cumulative(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(NUMBERS), r.shape_and_axis());
    let function = r.pick(&[CumulativeFn::Sum, CumulativeFn::Prod]);
    let op = Cumulative { function, axis, exclusive: r.flag(), reverse: r.flag() };
    Sample::new(op, vec![r.tensor(dtype, &shape)])
}

fn top_k(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(NUMBERS), r.shape_and_axis());
    let k = Dim::constant(r.between(0, shape[axis]) as i64);
    Sample::new(TopK { k, axis, largest: r.flag(), sorted: true }, vec![r.tensor(dtype, &shape)])
}

fn matmul(r: &mut Random) -> Sample {
    let dtype = r.pick(NUMBERS);
    let rank = r.below(3);
    let batch = r.shape(rank);
    let (m, k, n) = (r.extent(), r.extent(), r.extent());
    let a = [r.broadcastable(&batch), vec![m, k]].concat();
    let b = [r.broadcastable(&batch), vec![k, n]].concat();
    Sample::new(Matmul {}, vec![r.tensor(dtype, &a), r.tensor(dtype, &b)])
}

/// A window and an image on which it fits.
struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<Dim>,
    dilations: Vec<usize>,
    spatial: Vec<usize>,
}

fn window(r: &mut Random) -> Window {
    let rank = r.between(1, 3);
    let (kernel, strides, dilations) = (r.list(rank, 1, 3), r.list(rank, 1, 3), r.list(rank, 1, 2));
    let pads: Vec<usize> = (0..2 * rank).map(|i| r.below(kernel[i % rank])).collect();
    let spatial = (0..rank).map(|i| (kernel[i] - 1) * dilations[i] + 1 + r.below(4)).collect();
    Window { kernel, strides, pads: dims(&pads), dilations, spatial }
}

/// The shape of an image.
fn image(layout: Layout, batch: usize, channels: usize, spatial: &[usize]) -> Vec<usize> {
    match layout {
        Layout::ChannelsFirst => [&[batch, channels], spatial].concat(),
        Layout::ChannelsLast => [&[batch], spatial, &[channels]].concat(),
    }
}

fn layout(r: &mut Random) -> Layout {
    r.pick(&[Layout::ChannelsFirst, Layout::ChannelsLast])
}

fn convolution(r: &mut Random) -> Sample {
    let (w, dtype, layout, groups) = (window(r), r.pick(NUMBERS), layout(r), r.between(1, 2));
    let (n, n_in, n_out) = (r.below(3), r.between(1, 2), groups * r.between(1, 2));
    let x = r.tensor(dtype, &image(layout, n, n_in * groups, &w.spatial));
    let weight = r.tensor(dtype, &[&[n_out, n_in], w.kernel.as_slice()].concat());
    let op = Convolution {
        strides: w.strides,
        pads: w.pads,
        dilations: w.dilations,
        groups,
        layout,
        algorithm: ConvAlgorithm::Direct,
    };
    let mut sample = Sample::new(op, vec![x, weight]);
    if r.flag() {
        sample.operands.push(Some(r.tensor(dtype, &[n_out])));
    }
    sample
}

/// Zero points and perhaps a bias for factors of these types and a result of `channels`.
fn integer_parameters(r: &mut Random, [a, b]: [DType; 2], channels: usize) -> Vec<Option<Tensor>> {
    let a_zero = r.flag().then(|| r.tensor(a, &[]));
    let b_shape = if r.flag() { vec![channels] } else { vec![1] };
    let b_zero = r.flag().then(|| r.tensor(b, &b_shape));
    vec![a_zero, b_zero, r.flag().then(|| r.tensor(DType::I32, &[channels]))]
}

fn integer_matmul(r: &mut Random) -> Sample {
    let types = [r.pick(&[DType::U8, DType::I8]), r.pick(&[DType::U8, DType::I8])];
    let rank = r.below(3);
    let batch = r.shape(rank);
    let (m, k, n) = (r.extent(), r.extent(), r.extent());
    let a = [r.broadcastable(&batch), vec![m, k]].concat();
    let b = [r.broadcastable(&batch), vec![k, n]].concat();
    let (a, b) = (r.tensor(types[0], &a), r.tensor(types[1], &b));
    let mut sample = Sample::new(IntegerMatmul {}, vec![a, b]);
    sample.operands.extend(integer_parameters(r, types, n));
    sample
}

fn integer_convolution(r: &mut Random) -> Sample {
    let types = [r.pick(&[DType::U8, DType::I8]), r.pick(&[DType::U8, DType::I8])];
    let (w, layout, groups) = (window(r), layout(r), r.between(1, 2));
    let (n, n_in, n_out) = (r.below(3), r.between(1, 2), groups * r.between(1, 2));
    let x = r.tensor(types[0], &image(layout, n, n_in * groups, &w.spatial));
    let weight = r.tensor(types[1], &[&[n_out, n_in], w.kernel.as_slice()].concat());
    let op = IntegerConvolution { strides: w.strides, pads: w.pads, dilations: w.dilations, groups, layout };
    let mut sample = Sample::new(op, vec![x, weight]);
    sample.operands.extend(integer_parameters(r, types, n_out));
    sample
}

fn conv_transpose(r: &mut Random) -> Sample {
    let (w, dtype, layout, groups) = (window(r), r.pick(NUMBERS), layout(r), r.between(1, 2));
    let (n, n_in, n_out) = (r.below(3), groups * r.between(1, 2), r.between(1, 2));
    // One element more than the window, so that what the pads cut off is there.
    let spatial: Vec<usize> = w.spatial.iter().map(|d| d + 1).collect();
    let x = r.tensor(dtype, &image(layout, n, n_in, &spatial));
    let weight = r.tensor(dtype, &[&[n_in, n_out], w.kernel.as_slice()].concat());
    let output_padding = w.strides.iter().map(|&s| r.below(s)).collect();
    let op = ConvTranspose { strides: w.strides, pads: w.pads, output_padding, dilations: w.dilations, groups, layout };
    let mut sample = Sample::new(op, vec![x, weight]);
    if r.flag() {
        sample.operands.push(Some(r.tensor(dtype, &[n_out * groups])));
    }
    sample
}

fn pool(r: &mut Random) -> Sample {
    let (w, layout) = (window(r), layout(r));
    let function = r.pick(&[PoolFn::Max, PoolFn::Average, PoolFn::Lp]);
    let dtype = if function == PoolFn::Max { r.pick(NUMBERS) } else { r.pick(FLOATS) };
    let (n, channels) = (r.below(3), r.extent());
    let x = r.tensor(dtype, &image(layout, n, channels, &w.spatial));
    let op = Pool {
        function,
        kernel: w.kernel,
        strides: w.strides,
        pads: w.pads,
        dilations: w.dilations,
        ceil: r.flag(),
        count_include_pad: r.flag(),
        p: r.between(1, 3),
        layout,
    };
    Sample::new(op, vec![x])
}

fn max_pool_indices(r: &mut Random) -> Sample {
    let (w, dtype) = (window(r), r.pick(NUMBERS));
    let (n, channels) = (r.below(3), r.extent());
    let x = r.tensor(dtype, &image(Layout::ChannelsFirst, n, channels, &w.spatial));
    let op = MaxPoolIndices {
        kernel: w.kernel,
        strides: w.strides,
        pads: w.pads,
        dilations: w.dilations,
        ceil: r.flag(),
        storage_order: r.below(2),
    };
    Sample::new(op, vec![x])
}

fn max_unpool(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(NUMBERS), r.full_shape(3));
    let larger: Vec<usize> = shape.iter().map(|d| d + 1).collect();
    let len = larger.iter().product();
    let indices = r.indices(&shape, len);
    Sample::new(MaxUnpool { shape: dims(&larger) }, vec![r.tensor(dtype, &shape), indices])
}

fn resize(r: &mut Random) -> Sample {
    let rank = r.between(1, 3);
    let (before, after) = (r.full_shape(rank), r.shape(rank));
    let scale = |(&b, &a): (&usize, &usize)| F32((a as f32 + 0.25) / b as f32);
    let coordinates = [
        CoordinateMode::HalfPixel,
        CoordinateMode::HalfPixelSymmetric,
        CoordinateMode::PytorchHalfPixel,
        CoordinateMode::AlignCorners,
        CoordinateMode::Asymmetric,
        CoordinateMode::TfHalfPixelForNn,
        CoordinateMode::TfCropAndResize,
    ];
    let nearest = [NearestMode::RoundPreferFloor, NearestMode::RoundPreferCeil, NearestMode::Floor, NearestMode::Ceil];
    let coordinates = r.pick(&coordinates);
    let op = Resize {
        shape: dims(&after),
        scales: r.flag().then(|| before.iter().zip(&after).map(scale).collect()),
        scale_bits: None,
        mode: r.pick(&[ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic]),
        coordinates,
        nearest: r.pick(&nearest),
        cubic_coeff_a: F32(r.pick(&[-0.75, -0.5])),
        exclude_outside: r.flag(),
        antialias: r.flag(),
        extrapolation: F32(7.0),
    };
    let dtype = r.pick(NUMBERS);
    let mut sample = Sample::new(op, vec![r.tensor(dtype, &before)]);
    if coordinates == CoordinateMode::TfCropAndResize {
        let roi = (0..2 * rank).map(|i| if i < rank { 0.2f32 } else { 1.1 }).collect();
        sample.operands.push(Some(Tensor::from_elements(vec![2 * rank], roi)));
    }
    sample
}

fn grid_sample(r: &mut Random) -> Sample {
    let (dtype, rank) = (r.pick(FLOATS), r.between(1, 3));
    let (n, spatial, out) = (r.below(3), r.full_shape(rank), r.shape(rank));
    let x = r.tensor(dtype, &[&[n, 2], spatial.as_slice()].concat());
    let grid = r.tensor(dtype, &[&[n], out.as_slice(), &[rank]].concat());
    let op = GridSample {
        mode: r.pick(&[ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic]),
        padding: r.pick(&[GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection]),
        align_corners: r.flag(),
    };
    Sample::new(op, vec![x, grid])
}

fn roi_align(r: &mut Random) -> Sample {
    let dtype = r.pick(FLOATS);
    let (n_rois, shape) = (r.extent(), r.full_shape(4));
    let operands = vec![r.tensor(dtype, &shape), r.tensor(dtype, &[n_rois, 4]), r.indices(&[n_rois], shape[0])];
    let op = RoiAlign {
        mode: r.pick(&[RoiMode::Avg, RoiMode::Max]),
        output_height: r.between(1, 3),
        output_width: r.between(1, 3),
        sampling_ratio: r.below(3),
        spatial_scale: F32(r.pick(&[1.0, 0.5])),
        half_pixel: r.flag(),
    };
    Sample::new(op, operands)
}

/// `axis` as it is, or counted from the end.
fn signed(r: &mut Random, axis: usize, rank: usize) -> i64 {
    axis as i64 - if r.flag() { rank as i64 } else { 0 }
}

fn softmax(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(FLOATS), r.shape_and_axis());
    Sample::new(Softmax { axis: signed(r, axis, shape.len()) }, vec![r.tensor(dtype, &shape)])
}

fn attention(r: &mut Random) -> Sample {
    let dtype = r.pick(FLOATS);
    let rank = r.below(3);
    let batch = r.shape(rank);
    let [m, n, d, e] = [0; 4].map(|_| r.extent());
    let mut matrix = |extents: [usize; 2]| {
        let shape = [r.broadcastable(&batch), extents.to_vec()].concat();
        r.tensor(dtype, &shape)
    };
    let (q, k, v) = (matrix([m, d]), matrix([n, d]), matrix([n, e]));
    let shape = r.broadcastable(&[batch.as_slice(), &[m, n]].concat());
    let mask = match r.below(3) {
        0 => None,
        1 => Some(r.tensor(dtype, &shape)),
        _ => Some(r.tensor(DType::Bool, &shape)),
    };
    let op = Attention {
        scale: F32(r.pick(&[1.0, 0.25])),
        softcap: F32(r.pick(&[0.0, 0.0, 1.5])),
        causal: r.flag().then(|| Dim::constant(r.extent() as i64 - 1)),
        fill: F32(r.pick(&[f32::NEG_INFINITY, f32::MIN, -1.0])),
        nan_is_zero: r.flag(),
    };
    Sample { op: op.into(), operands: vec![Some(q), Some(k), Some(v), mask], regions: vec![] }
}

fn layer_normalization(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(FLOATS), r.shape_and_axis());
    let (scale, bias) = (r.broadcastable(&shape[axis..]), r.broadcastable(&shape[axis..]));
    let op = LayerNormalization { axis: signed(r, axis, shape.len()), epsilon: F32(1e-3) };
    let operands = vec![
        Some(r.tensor(dtype, &shape)),
        r.flag().then(|| r.tensor(dtype, &scale)),
        r.flag().then(|| r.tensor(dtype, &bias)),
    ];
    Sample { op: op.into(), operands, regions: vec![] }
}

fn rms_normalization(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(FLOATS), r.shape_and_axis());
    let scale = r.broadcastable(&shape[axis..]);
    let op = RmsNormalization { axis: signed(r, axis, shape.len()), epsilon: F32(1e-3) };
    Sample::new(op, vec![r.tensor(dtype, &shape), r.tensor(dtype, &scale)])
}

/// What recurrent samples have in common.
struct Recurrent {
    hidden_size: usize,
    direction: Direction,
    layout: usize,
    activations: Vec<RnnActivation>,
    clip: Option<F32>,
    operands: Vec<Option<Tensor>>,
}

/// A sequence with `n_gates` gates and, for each direction, `n_activations` activations.
fn recurrent(r: &mut Random, n_gates: usize, n_activations: usize, n_states: usize) -> Recurrent {
    use RnnActivation::{Affine, Elu, HardSigmoid, LeakyRelu, Relu, ScaledTanh, Sigmoid, Softplus, Softsign, Tanh};
    let (dtype, layout) = (r.pick(FLOATS), r.below(2));
    let direction = r.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]);
    let directions = if direction == Direction::Bidirectional { 2 } else { 1 };
    let (time, batch, input, hidden) = (r.extent(), r.extent(), r.extent(), r.extent());
    let by_layout = |time: usize, batch: usize| if layout == 0 { [time, batch] } else { [batch, time] };
    let [a, b] = by_layout(time, batch);
    let rows = n_gates * hidden;
    let lens =
        |r: &mut Random| Tensor::from_elements(vec![batch], (0..batch).map(|_| r.between(0, time) as i32).collect());
    let mut operands = vec![
        Some(r.tensor(dtype, &[a, b, input])),
        Some(r.tensor(dtype, &[directions, rows, input])),
        Some(r.tensor(dtype, &[directions, rows, hidden])),
        r.flag().then(|| r.tensor(dtype, &[directions, 2 * rows])),
        r.flag().then(|| lens(r)),
    ];
    let [c, d] = by_layout(directions, batch);
    for _ in 0..n_states {
        operands.push(r.flag().then(|| r.tensor(dtype, &[c, d, hidden])));
    }
    if n_states == 2 {
        operands.push(r.flag().then(|| r.tensor(dtype, &[directions, 3 * hidden])));
    }
    let all = [Relu, Tanh, Sigmoid, Affine, LeakyRelu, ScaledTanh, HardSigmoid, Elu, Softsign, Softplus];
    let activations = (0..directions * n_activations).map(|_| r.pick(&all)).collect();
    let clip = r.flag().then_some(F32(1.5));
    Recurrent { hidden_size: hidden, direction, layout, activations, clip, operands }
}

fn lstm(r: &mut Random) -> Sample {
    let s = recurrent(r, 4, 3, 2);
    let op = Lstm {
        hidden_size: s.hidden_size,
        direction: s.direction,
        activations: s.activations,
        alpha: vec![],
        beta: vec![],
        clip: s.clip,
        input_forget: r.flag(),
        layout: s.layout,
    };
    Sample { op: op.into(), operands: s.operands, regions: vec![] }
}

fn dynamic_quantize_lstm(r: &mut Random) -> Sample {
    let Sample { op: Op::Lstm(op), mut operands, .. } = lstm(r) else { unreachable!("that is what it makes") };
    for operand in operands.iter_mut().flatten().filter(|operand| operand.dtype().is_float()) {
        *operand = r.tensor(DType::F32, operand.shape());
    }
    let dtype = r.pick(&[DType::U8, DType::I8]);
    operands.resize(8, None);
    for i in [1, 2] {
        let [directions, rows, k] = operands[i].as_ref().map_or([0; 3], |w| [0, 1, 2].map(|axis| w.shape()[axis]));
        operands[i] = Some(r.tensor(dtype, &[directions, k, rows]));
        let shape = if r.flag() { vec![directions] } else { vec![directions, rows] };
        operands.push(Some(r.tensor(DType::F32, &shape)));
        operands.push(r.flag().then(|| r.tensor(dtype, &shape)));
    }
    let Lstm { hidden_size, direction, activations, alpha, beta, clip, input_forget, layout } = op;
    let op = DynamicQuantizeLstm { hidden_size, direction, activations, alpha, beta, clip, input_forget, layout };
    Sample { op: op.into(), operands, regions: vec![] }
}

fn gru(r: &mut Random) -> Sample {
    let s = recurrent(r, 3, 2, 1);
    let op = Gru {
        hidden_size: s.hidden_size,
        direction: s.direction,
        activations: s.activations,
        alpha: vec![F32(0.5)],
        beta: vec![],
        clip: s.clip,
        linear_before_reset: r.flag(),
        layout: s.layout,
    };
    Sample { op: op.into(), operands: s.operands, regions: vec![] }
}

fn rnn(r: &mut Random) -> Sample {
    let s = recurrent(r, 1, 1, 1);
    let op = Rnn {
        hidden_size: s.hidden_size,
        direction: s.direction,
        activations: s.activations,
        alpha: vec![],
        beta: vec![F32(0.25)],
        clip: s.clip,
        layout: s.layout,
    };
    Sample { op: op.into(), operands: s.operands, regions: vec![] }
}

/// The shape of a scale, its axis and its block size.
fn scale_shape(r: &mut Random, shape: &[usize]) -> (Vec<usize>, usize, usize) {
    let axis = r.below(shape.len());
    match r.below(3) {
        0 => (vec![], axis, 0),
        1 => (vec![shape[axis]], axis, 0),
        _ => {
            let (mut blocks, block_size) = (shape.to_vec(), r.between(1, 3));
            blocks[axis] = blocks[axis].div_ceil(block_size);
            (blocks, axis, block_size)
        }
    }
}

fn positive(r: &mut Random, dtype: DType, shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    let elements = (0..len).map(|_| r.between(1, 8) as f64 / 8.0).collect();
    crate::eval::from_reals(dtype, shape.to_vec(), elements).expect("the type is a float type")
}

fn quantize(r: &mut Random) -> Sample {
    let (from, to) = (r.pick(&[DType::F32, DType::F16]), r.pick(&[DType::U8, DType::I8, DType::I4, DType::F8E5M2]));
    let (shape, _) = r.shape_and_axis();
    let (scale, axis, block_size) = scale_shape(r, &shape);
    let op = Quantize { axis: signed(r, axis, shape.len()), block_size, to, saturate: r.flag() };
    let mut operands = vec![Some(r.tensor(from, &shape)), Some(positive(r, from, &scale))];
    operands.push(r.flag().then(|| r.tensor(to, &scale)));
    Sample { op: op.into(), operands, regions: vec![] }
}

fn dequantize(r: &mut Random) -> Sample {
    let from = r.pick(&[DType::U8, DType::I8, DType::I4, DType::I32, DType::F8E4M3FN]);
    let to = r.pick(&[DType::F32, DType::F16]);
    let (shape, _) = r.shape_and_axis();
    let (scale, axis, block_size) = scale_shape(r, &shape);
    let op = Dequantize { axis: signed(r, axis, shape.len()), block_size, to };
    let mut operands = vec![Some(r.tensor(from, &shape)), Some(positive(r, to, &scale))];
    operands.push(r.flag().then(|| r.tensor(from, &scale)));
    Sample { op: op.into(), operands, regions: vec![] }
}

fn if_(r: &mut Random) -> Sample {
    let shape = r.any_shape();
    let x = r.tensor(DType::F32, &shape);
    let region = |function: ScalarOp| {
        let mut graph = Graph::new(function.name());
        let ty = TensorType::new(DType::F32, dims(&shape));
        let input = graph.add_input("x", ty);
        let output = graph.push(function.into(), &[input], &"".into()).expect("the function takes floats");
        graph.add_output("y", output);
        graph
    };
    let regions = vec![region(ScalarOp::Neg), region(ScalarOp::Exp)];
    Sample { op: If {}.into(), operands: vec![Some(Tensor::scalar(r.flag())), Some(x)], regions }
}

fn loop_(r: &mut Random) -> Sample {
    let shape = r.any_shape();
    let (x, limit) = (r.tensor(DType::F32, &shape), Tensor::scalar(r.below(4) as i64));
    let mut body = Graph::new("body");
    let scalar = TensorType::fixed(DType::I64, &[]);
    let counter = body.add_input("i", scalar.clone());
    let state = body.add_input("x", TensorType::new(DType::F32, dims(&shape)));
    let bound = body.add_input("limit", scalar);
    let mut push = |function: ScalarOp, operands: &[crate::ValueId]| {
        body.push(function.into(), operands, &"".into()).expect("the function takes the operands")
    };
    let (goes_on, next) = (push(ScalarOp::Lt, &[counter, bound]), push(ScalarOp::Add, &[state, state]));
    body.add_output("go", goes_on);
    body.add_output("x", next);
    let op = Loop { carried: 1, trips: r.flag().then(|| 3.into()) };
    let condition = r.flag().then(|| Tensor::scalar(r.flag()));
    Sample { op: op.into(), operands: vec![condition, Some(x), Some(limit)], regions: vec![body] }
}

fn non_zero(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(&[DType::F32, DType::I64, DType::Bool, DType::U8]), r.any_shape());
    Sample::new(NonZero {}, vec![r.tensor(dtype, &shape)])
}

fn non_max_suppression(r: &mut Random) -> Sample {
    let (batch, classes, n) = (r.extent(), r.extent(), r.extent());
    let op = NonMaxSuppression { center_point_box: r.flag() };
    let (boxes, scores) = (r.tensor(DType::F32, &[batch, n, 4]), r.tensor(DType::F32, &[batch, classes, n]));
    let most = Tensor::scalar(r.below(4) as i64);
    let limits = vec![Some(boxes), Some(scores), Some(most), Some(Tensor::scalar(0.25f32))];
    let score = r.flag().then(|| Some(Tensor::scalar(0.0f32)));
    Sample { op: op.into(), operands: limits.into_iter().chain(score).collect(), regions: Vec::new() }
}

fn unique(r: &mut Random) -> Sample {
    let (dtype, shape) = (r.pick(&[DType::F32, DType::I64, DType::U8]), r.any_shape());
    let axis = (!shape.is_empty() && r.flag()).then(|| r.below(shape.len()));
    Sample::new(Unique { axis, sorted: r.flag() }, vec![r.tensor(dtype, &shape)])
}

fn det(r: &mut Random) -> Sample {
    let (dtype, n, rank) = (r.pick(FLOATS), r.extent(), r.below(3));
    let shape = [r.shape(rank), vec![n, n]].concat();
    Sample::new(Det {}, vec![r.tensor(dtype, &shape)])
}

fn reverse_sequence(r: &mut Random) -> Sample {
    let dtype = r.pick(ANY);
    let rank = r.between(2, 4);
    let (shape, order) = (r.shape(rank), r.permutation(rank));
    let (batch_axis, time_axis) = (order[0], order[1]);
    let lengths = (0..shape[batch_axis]).map(|_| r.between(0, shape[time_axis]) as i64).collect();
    let lengths = Tensor::from_elements(vec![shape[batch_axis]], lengths);
    Sample::new(ReverseSequence { batch_axis, time_axis }, vec![r.tensor(dtype, &shape), lengths])
}

fn dft(r: &mut Random) -> Sample {
    let (dtype, (shape, axis)) = (r.pick(&[DType::F32, DType::F64]), r.shape_and_axis());
    let parts = r.between(1, 2);
    let op = Dft { axis, length: Dim::constant(r.between(1, 6) as i64), inverse: r.flag(), onesided: r.flag() };
    Sample::new(op, vec![r.tensor(dtype, &[shape, vec![parts]].concat())])
}

fn col2im(r: &mut Random) -> Sample {
    let w = window(r);
    let n = w.kernel.len();
    let blocks = |axis: usize| {
        let pads: usize = [axis, n + axis].iter().map(|&i| w.pads[i].as_const().unwrap_or(0) as usize).sum();
        let reach = (w.kernel[axis] - 1) * w.dilations[axis] + 1;
        (w.spatial[axis] + pads).checked_sub(reach).map_or(0, |room| room / w.strides[axis] + 1)
    };
    let (total, area): (usize, usize) = ((0..n).map(blocks).product(), w.kernel.iter().product());
    let shape = [r.below(3), area * r.between(1, 2), total];
    let pads = w.pads.iter().map(|pad| pad.as_const().unwrap_or(0) as usize).collect();
    let op =
        Col2Im { image: dims(&w.spatial), block: dims(&w.kernel), dilations: w.dilations, pads, strides: w.strides };
    let dtype = r.pick(NUMBERS);
    Sample::new(op, vec![r.tensor(dtype, &shape)])
}
