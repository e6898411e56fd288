//! Products, convolutions, pools and their quantized kin.

use super::{Builder, DType, F, Rounds, all, attr, one};
use ic_types::Tensor;

pub(super) fn matmul(b: &mut Builder) -> Option<()> {
    let x = b.any(F, 1..=4, false);
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let k = *shape.last()?;
    let n = b.extent();
    let batch: Vec<usize> = shape[..shape.len().max(2) - 2].to_vec();
    let mut other = if b.random.flag() { b.random.broadcastable(&batch) } else { vec![] };
    other.extend([k, n]);
    if b.random.below(8) == 0 {
        other = vec![k];
    }
    let fits = |t: &Tensor| t.dtype() == dtype && t.shape() == other;
    let y = b.existing(fits, false).filter(|_| shape.len() > 1);
    let y = y.unwrap_or_else(|| b.fresh(dtype, &other));
    one(b, "MatMul", &[x, y], vec![], Rounds::Floats)
}

pub(super) fn gemm(b: &mut Builder) -> Option<()> {
    let a = b.any(F, 2..=2, false);
    let (shape, dtype) = (b.shape(a), b.dtype(a));
    let (left, right) = (b.random.flag(), b.random.flag());
    let (m, k) = if left { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
    let n = b.extent();
    let y = b.fresh(dtype, &if right { [n, k] } else { [k, n] });
    let mut operands = vec![a, y];
    if b.random.flag() {
        let c = b.random.broadcastable(&[m, n]);
        operands.push(b.fresh(dtype, &c));
    }
    let mut attributes = vec![attr("transA", left), attr("transB", right)];
    if b.random.flag() {
        attributes.extend([attr("alpha", 0.5f32), attr("beta", b.random.pick(&[0.0f32, 0.5, 2.0]))]);
    }
    one(b, "Gemm", &operands, attributes, Rounds::Floats)
}

/// Window attributes of `n` spatial axes, with the kernel's extents.
fn window(b: &mut Builder, kernel: &[usize], dilates: bool) -> Vec<onnx_protobuf::AttributeProto> {
    let n = kernel.len();
    let mut attributes = vec![attr("strides", b.random.list(n, 1, 3))];
    if dilates && b.random.flag() {
        attributes.push(attr("dilations", b.random.list(n, 1, 2)));
    }
    match b.random.below(5) {
        0 => attributes.push(attr("auto_pad", b.random.pick(&["SAME_UPPER", "SAME_LOWER", "VALID"]))),
        1 => {}
        _ => {
            let pads: Vec<usize> = kernel.iter().chain(kernel).map(|&k| b.random.below(k)).collect();
            attributes.push(attr("pads", pads));
        }
    }
    attributes
}

/// An image that there is, or a new one, of at least one pixel.
fn image(b: &mut Builder, dtypes: &[DType]) -> Option<usize> {
    let found = if b.random.flag() {
        b.existing(|t| dtypes.contains(&t.dtype()) && (3..=4).contains(&t.rank()) && !t.is_empty(), false)
    } else {
        None
    };
    Some(found.unwrap_or_else(|| {
        let spatial = b.random.pick(&[1, 2, 2, 2, 3]);
        let channels = b.random.pick(&[1, 2, 3, 4, 6, 8, 16]);
        let mut shape = vec![b.random.between(1, 2), channels];
        shape.extend((0..spatial).map(|_| b.random.between(1, 9)));
        let dtype = b.random.pick(dtypes);
        b.fresh(dtype, &shape)
    }))
}

const IMAGES: &[DType] = &[DType::F32, DType::F32, DType::F32, DType::F16];

pub(super) fn conv(b: &mut Builder) -> Option<()> {
    let x = image(b, IMAGES)?;
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let channels = shape[1];
    let groups = match b.random.below(4) {
        0 => channels,
        1 if channels.is_multiple_of(2) => 2,
        _ => 1,
    };
    let kernel: Vec<usize> = shape[2..].iter().map(|&d| b.random.pick(&[1, 2, 3, 3, 5]).min(d + 1)).collect();
    let filters = groups * b.random.between(1, 5);
    let weight: Vec<usize> = [filters, channels / groups].into_iter().chain(kernel.iter().copied()).collect();
    let mut operands = vec![x, b.fresh(dtype, &weight)];
    if b.random.flag() {
        operands.push(b.fresh(dtype, &[filters]));
    }
    let mut attributes = window(b, &kernel, true);
    attributes.push(attr("group", groups));
    one(b, "Conv", &operands, attributes, Rounds::Floats)
}

pub(super) fn conv_transpose(b: &mut Builder) -> Option<()> {
    let x = image(b, IMAGES)?;
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let channels = shape[1];
    let groups = if channels.is_multiple_of(2) && b.random.flag() { 2 } else { 1 };
    let kernel: Vec<usize> = shape[2..].iter().map(|_| b.random.pick(&[1, 2, 3, 4])).collect();
    let each = b.random.between(1, 4);
    let weight: Vec<usize> = [channels, each].into_iter().chain(kernel.iter().copied()).collect();
    let mut operands = vec![x, b.fresh(dtype, &weight)];
    if b.random.flag() {
        operands.push(b.fresh(dtype, &[each * groups]));
    }
    let pads: Vec<usize> = kernel.iter().chain(&kernel).map(|&k| b.random.below(k.div_ceil(2))).collect();
    let attributes =
        vec![attr("strides", b.random.list(kernel.len(), 1, 3)), attr("pads", pads), attr("group", groups)];
    one(b, "ConvTranspose", &operands, attributes, Rounds::Floats)
}

pub(super) fn pool(b: &mut Builder) -> Option<()> {
    let x = image(b, IMAGES)?;
    let shape = b.shape(x);
    let kernel: Vec<usize> = shape[2..].iter().map(|&d| b.random.between(1, 3).min(d)).collect();
    let op = b.random.pick(&["MaxPool", "AveragePool", "AveragePool", "LpPool"]);
    let mut attributes = window(b, &kernel, true);
    attributes.push(attr("kernel_shape", kernel));
    attributes.push(attr("ceil_mode", b.random.flag()));
    if op == "AveragePool" {
        attributes.push(attr("count_include_pad", b.random.flag()));
    }
    one(b, op, &[x], attributes, if op == "MaxPool" { Rounds::Never } else { Rounds::Floats })
}

pub(super) fn global_pool(b: &mut Builder) -> Option<()> {
    let x = image(b, IMAGES)?;
    let op = b.random.pick(&["GlobalAveragePool", "GlobalMaxPool"]);
    one(b, op, &[x], vec![], Rounds::Floats)
}

pub(super) fn einsum(b: &mut Builder) -> Option<()> {
    let [i, j, k, n] = [b.extent(), b.extent(), b.extent(), b.random.between(1, 3)];
    let dtype = b.random.pick(&[DType::F32, DType::F32, DType::F64]);
    let cases: [(&str, Vec<usize>, Vec<usize>); 5] = [
        ("nij,njk->nik", vec![n, i, j], vec![n, j, k]),
        ("ij,kj->ki", vec![i, j], vec![k, j]),
        ("nij,nij->n", vec![n, i, j], vec![n, i, j]),
        ("ij,k->ikj", vec![i, j], vec![k]),
        ("nijk,nk->nji", vec![n, i, j, k], vec![n, k]),
    ];
    let (equation, x, y) = b.random.pick(&cases);
    let (x, y) = (b.fresh(dtype, &x), b.fresh(dtype, &y));
    one(b, "Einsum", &[x, y], vec![attr("equation", equation)], Rounds::Floats)
}

/// Quantizes what no rounding has touched, and back.
pub(super) fn quantize(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::F32], 1..=4, true);
    let to = b.random.pick(&[DType::U8, DType::I8]);
    let scale = b.random.pick(&[0.125f32, 0.0625, 0.03]);
    let scale = b.constant(Tensor::scalar(scale));
    let zero = b.fresh(to, &[]);
    let q = b.push("QuantizeLinear", &all(&[x, scale, zero]), vec![], 1, Rounds::Never)?[0];
    if b.random.flag() {
        b.push("DequantizeLinear", &all(&[q, scale, zero]), vec![], 1, Rounds::Floats)?;
    }
    Some(())
}

pub(super) fn matmul_integer(b: &mut Builder) -> Option<()> {
    let types = [DType::U8, DType::I8];
    let x = b.any(&types, 2..=3, true);
    let k = *b.shape(x).last()?;
    let to = b.random.pick(&types);
    let n = b.extent();
    let y = b.fresh(to, &[k, n]);
    let mut operands = vec![x, y];
    if b.random.flag() {
        operands.push(b.fresh(b.dtype(x), &[]));
    }
    one(b, "MatMulInteger", &operands, vec![], Rounds::Never)
}
