//! Ops of single elements.

use super::{ANY, Builder, F, INTS, NUMBERS, Rounds, attr, one};
use ic_ir::eval::{ints, reals};
use ic_types::{DType, Tensor};

const SMOOTH: &[&str] = &[
    "Exp",
    "Tanh",
    "Sigmoid",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Softplus",
    "Softsign",
    "Erf",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Sin",
    "Cos",
    "Gelu",
    "Celu",
    "Relu",
    "Abs",
    "Neg",
    "Atan",
    "Asinh",
    "Identity",
];

pub(super) fn unary(b: &mut Builder) -> Option<()> {
    let x = b.any(F, 0..=5, false);
    let op = b.random.pick(SMOOTH);
    let attributes = match op {
        "LeakyRelu" | "Elu" | "Celu" if b.random.flag() => vec![attr("alpha", 0.25f32)],
        "Gelu" if b.random.flag() => vec![attr("approximate", "tanh")],
        _ => vec![],
    };
    let rounds = if matches!(op, "Relu" | "Abs" | "Neg" | "Identity") { Rounds::Never } else { Rounds::Floats };
    one(b, op, &[x], attributes, rounds)
}

/// What jumps: only on values that no rounding has touched.
pub(super) fn step(b: &mut Builder) -> Option<()> {
    let x = b.any(F, 0..=5, true);
    let op = b.random.pick(&["Floor", "Ceil", "Round", "Sign", "IsNaN", "ThresholdedRelu", "Shrink"]);
    one(b, op, &[x], vec![], Rounds::Never)
}

pub(super) fn binary(b: &mut Builder) -> Option<()> {
    let x = b.any(NUMBERS, 0..=5, false);
    let dtype = b.dtype(x);
    let y = if b.random.below(8) == 0 { x } else { b.partner(x, dtype, false) };
    let op = b.random.pick(&["Add", "Sub", "Mul", "Add", "Mul", "PRelu"]);
    let pair = if b.random.flag() && op != "PRelu" { [y, x] } else { [x, y] };
    one(b, op, &pair, vec![], Rounds::Floats)
}

pub(super) fn divide(b: &mut Builder) -> Option<()> {
    let dtype = b.random.pick(NUMBERS);
    let y = b.any(&[dtype], 0..=4, dtype.is_int());
    let is_small = match dtype.is_int() {
        true => ints(b.tensor(y)).ok()?.contains(&0),
        false => reals(b.tensor(y)).ok()?.iter().any(|y| y.abs() < 0.1),
    };
    if is_small {
        return None;
    }
    let op = b.random.pick(&["Div", "Div", "Mod", "Reciprocal", "Sqrt", "Log", "Pow"]);
    if matches!(op, "Reciprocal" | "Sqrt" | "Log") {
        return if dtype.is_int() { None } else { one(b, op, &[y], vec![], Rounds::Floats) };
    }
    let x = b.partner(y, dtype, op == "Mod");
    match op {
        "Pow" => {
            let two = b.fresh(dtype, &[]);
            one(b, op, &[y, two], vec![], Rounds::Floats)
        }
        "Mod" if !dtype.is_int() => None,
        "Mod" => {
            let fmod = attr("fmod", b.random.flag());
            one(b, op, &[x, y], vec![fmod], Rounds::Never)
        }
        _ => one(b, op, &[x, y], vec![], Rounds::Floats),
    }
}

pub(super) fn compare(b: &mut Builder) -> Option<()> {
    let x = b.any(NUMBERS, 0..=5, true);
    let dtype = b.dtype(x);
    let y = b.partner(x, dtype, true);
    let op = b.random.pick(&["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]);
    one(b, op, &[x, y], vec![], Rounds::Never)
}

pub(super) fn logic(b: &mut Builder) -> Option<()> {
    let x = b.any(&[DType::Bool], 0..=5, true);
    if b.random.below(4) == 0 {
        return one(b, "Not", &[x], vec![], Rounds::Never);
    }
    let y = b.partner(x, DType::Bool, true);
    let op = b.random.pick(&["And", "Or", "Xor", "Equal"]);
    one(b, op, &[x, y], vec![], Rounds::Never)
}

pub(super) fn bits(b: &mut Builder) -> Option<()> {
    let x = b.any(INTS, 0..=4, true);
    let dtype = b.dtype(x);
    let op = b.random.pick(&["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "Min", "Max", "Sub", "Mul"]);
    if op == "BitwiseNot" {
        return one(b, op, &[x], vec![], Rounds::Never);
    }
    let y = b.partner(x, dtype, true);
    one(b, op, &[x, y], vec![], Rounds::Never)
}

pub(super) fn select(b: &mut Builder) -> Option<()> {
    let condition = b.any(&[DType::Bool], 0..=4, true);
    let dtype = b.random.pick(ANY);
    let (x, y) = (b.partner(condition, dtype, false), b.partner(condition, dtype, false));
    one(b, "Where", &[condition, x, y], vec![], Rounds::Never)
}

pub(super) fn clip(b: &mut Builder) -> Option<()> {
    let x = b.any(NUMBERS, 0..=5, false);
    let dtype = b.dtype(x);
    let (low, high) = (b.fresh(dtype, &[]), b.fresh(dtype, &[]));
    let operands = match b.random.below(3) {
        0 => vec![Some(x), None, Some(high)],
        1 => vec![Some(x), Some(low)],
        _ => vec![Some(x), Some(low), Some(high)],
    };
    b.push("Clip", &operands, vec![], 1, Rounds::Never).map(|_| ())
}

/// Between any types where nothing is out of range.
pub(super) fn cast(b: &mut Builder) -> Option<()> {
    let to = b.random.pick(ANY);
    let x = b.any(ANY, 0..=5, !to.is_float());
    let fits = |t: &Tensor| match (t.dtype().is_float(), to.is_float()) {
        (true, false) => reals(t).is_ok_and(|v| v.iter().all(|&x| (0.0..=100.0).contains(&x))),
        _ => true,
    };
    if !fits(b.tensor(x)) && to != DType::Bool {
        return None;
    }
    one(b, "Cast", &[x], vec![attr("to", to as i64)], Rounds::Floats)
}

pub(super) fn variadic(b: &mut Builder) -> Option<()> {
    let x = b.any(F, 0..=4, false);
    let dtype = b.dtype(x);
    let n = b.random.between(1, 4);
    let mut operands = vec![x];
    for _ in 1..n {
        operands.push(b.partner(x, dtype, false));
    }
    let op = b.random.pick(&["Sum", "Mean", "Max", "Min"]);
    let rounds = if matches!(op, "Max" | "Min") { Rounds::Never } else { Rounds::Floats };
    one(b, op, &operands, vec![], rounds)
}
