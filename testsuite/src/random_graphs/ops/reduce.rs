//! Reductions, searches and normalizations.

use super::{Builder, DType, F, NUMBERS, Rounds, all, attr, one, signed};
use ic_ir::eval::reals;
use ic_types::Tensor;

pub(super) fn reduce(b: &mut Builder) -> Option<()> {
    let op = b.random.pick(&[
        "ReduceSum",
        "ReduceMean",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "ReduceSum",
        "ReduceMean",
    ]);
    let x = b.any(F, 0..=5, false);
    // The order of factors decides whether a product overflows on the way.
    let magnitude = |x: &f64| x.abs().max(1.0).log2();
    if op == "ReduceProd" && reals(b.tensor(x)).ok()?.iter().map(magnitude).sum::<f64>() > 14.0 {
        return None;
    }
    of_axes(b, op, x, Rounds::Floats)
}

pub(super) fn extreme(b: &mut Builder) -> Option<()> {
    let op = b.random.pick(&["ReduceMax", "ReduceMin"]);
    let x = b.any(NUMBERS, 0..=5, false);
    if b.tensor(x).is_empty() {
        return None;
    }
    of_axes(b, op, x, Rounds::Never)
}

fn of_axes(b: &mut Builder, op: &str, x: usize, rounds: Rounds) -> Option<()> {
    let rank = b.rank(x);
    let axes = b.random.subset(rank);
    let mut attributes = vec![attr("keepdims", b.random.flag())];
    if axes.is_empty() {
        attributes.push(attr("noop_with_empty_axes", b.random.flag()));
        return one(b, op, &[x], attributes, rounds);
    }
    let axes: Vec<i64> = axes.into_iter().map(|axis| signed(b, axis, rank)).collect();
    let axes = b.ints(&axes);
    one(b, op, &[x, axes], attributes, rounds)
}

pub(super) fn arg(b: &mut Builder) -> Option<()> {
    let x = b.any(NUMBERS, 1..=4, true);
    let shape = b.shape(x);
    let axis = b.random.below(shape.len());
    if shape[axis] == 0 {
        return None;
    }
    let op = b.random.pick(&["ArgMax", "ArgMin"]);
    let axis = attr("axis", signed(b, axis, shape.len()));
    let attributes = vec![axis, attr("keepdims", b.random.flag()), attr("select_last_index", b.random.flag())];
    one(b, op, &[x], attributes, Rounds::Never)
}

pub(super) fn top_k(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::F32, DType::F32, DType::I64, DType::I32, DType::F64], 1..=4, true);
    let shape = b.shape(x);
    let axis = b.random.below(shape.len());
    let k = b.random.between(0, shape[axis]) as i64;
    let k = b.ints(&[k]);
    let axis = attr("axis", signed(b, axis, shape.len()));
    let attributes = vec![axis, attr("largest", b.random.flag())];
    b.push("TopK", &all(&[x, k]), attributes, 2, Rounds::Never).map(|_| ())
}

pub(super) fn cumulative(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::F32, DType::F32, DType::F64, DType::I64, DType::I32], 1..=4, false);
    let rank = b.rank(x);
    let axis = b.random.below(rank);
    let axis = signed(b, axis, rank);
    let axis = b.constant(Tensor::scalar(axis));
    let attributes = vec![attr("exclusive", b.random.flag()), attr("reverse", b.random.flag())];
    one(b, "CumSum", &[x, axis], attributes, Rounds::Floats)
}

pub(super) fn softmax(b: &mut Builder) -> Option<()> {
    let x = b.any(F, 1..=4, false);
    let rank = b.rank(x);
    let axis = b.random.below(rank);
    let axis = attr("axis", signed(b, axis, rank));
    let op = b.random.pick(&["Softmax", "Softmax", "LogSoftmax"]);
    one(b, op, &[x], vec![axis], Rounds::Floats)
}

pub(super) fn layer_normalization(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::F32, DType::F32, DType::F16], 1..=4, false);
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let axis = b.random.below(shape.len());
    let scale = b.fresh(dtype, &shape[axis..]);
    let mut operands = vec![x, scale];
    if b.random.flag() {
        operands.push(b.fresh(dtype, &shape[axis..]));
    }
    let attributes = vec![attr("axis", signed(b, axis, shape.len())), attr("epsilon", 0.01f32)];
    one(b, "LayerNormalization", &operands, attributes, Rounds::Floats)
}

pub(super) fn channel_normalization(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::F32, DType::F32, DType::F16], 3..=4, false);
    let (dtype, channels) = (b.dtype(x), b.shape(x)[1]);
    let one_each = |b: &mut Builder| b.fresh(dtype, &[channels]);
    let (scale, bias) = (one_each(b), one_each(b));
    let epsilon = attr("epsilon", 0.01f32);
    if b.random.flag() {
        return one(b, "InstanceNormalization", &[x, scale, bias], vec![epsilon], Rounds::Floats);
    }
    let mean = one_each(b);
    let variance = (0..channels).map(|i| 0.5 + i as f32 / 8.0).collect::<Vec<f32>>();
    let variance = b.leaf(Tensor::from_elements(vec![channels], variance));
    if dtype != DType::F32 {
        return None;
    }
    one(b, "BatchNormalization", &[x, scale, bias, mean, variance], vec![epsilon], Rounds::Floats)
}
