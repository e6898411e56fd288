//! Algebra of scalar functions and reductions.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::Op;
use ic_ir::ops::{Reduce, ReduceFn};
use ic_ir::scalar::ScalarOp;

rules! {
    /// x · 1 = x.
    Exact "mul-one": "(mul ?x 1.0)" => "?x";
    /// x / 1 = x.
    Exact "div-one": "(div ?x 1.0)" => "?x";
    /// x + 0 = x, the sign of zero aside.
    Exact "add-zero": "(add ?x 0.0)" => "?x";
    /// x + 0 · n = x for an integer n, the sign of zero aside.
    Exact "add-no-integer": "(add ?x (mul (cast:c ?index) 0.0))" => "?x", if is_integer;
    /// x + 0 · (n - c) = x for an integer n and a finite c, the sign of zero aside.
    Exact "add-no-integer-less": "(add ?x (mul (sub (cast:c ?index) ?factor) 0.0))" => "?x", if |m| is_integer(m) && m.splat("factor").is_some_and(f64::is_finite);
    /// x + 0 · cos(y) = x, infinite y aside.
    Reassociating "add-no-cosine": "(add ?x (mul (cos ?y) 0.0))" => "?x";
    /// x - 0 = x.
    Exact "sub-zero": "(sub ?x 0.0)" => "?x";
    /// 0 - x = -x, the sign of zero aside.
    Exact "zero-sub": "(sub 0.0 ?x)" => "(neg ?x)";
    /// x · -1 = -x.
    Exact "mul-minus-one": "(mul ?x -1.0)" => "(neg ?x)";
    /// -(-x) = x.
    Exact "neg-neg": "(neg (neg ?x))" => "?x";
    /// x + (-y) = x - y.
    Exact "add-neg": "(add ?x (neg ?y))" => "(sub ?x ?y)", if |m| !m.known("y");
    /// x - (-y) = x + y.
    Exact "sub-neg": "(sub ?x (neg ?y))" => "(add ?x ?y)";
    /// x - c = x + (-c).
    Exact "sub-constant": "(sub ?x ?c)" => "(add ?x (neg ?c))", if |m| m.known("c") && !m.known("x");
    /// max(x, 0) = relu(x).
    Exact "max-zero": "(max ?x 0.0)" => "(relu ?x)";
    /// max(x, -∞) = x.
    Exact "max-infinity": "(max ?x -inf)" => "?x";
    /// min(x, ∞) = x.
    Exact "min-infinity": "(min ?x inf)" => "?x";
    /// relu(relu(x)) = relu(x).
    Exact "relu-relu": "(relu (relu ?x))" => "(relu ?x)";
    /// relu(min(x, c)) = min(relu(x), c) for c ≥ 0.
    Exact "relu-min": "(relu (min ?x ?c))" => "(min (relu ?x) ?c)", if |m| m.splat("c").is_some_and(|c| c >= 0.0);
    /// Not not a = a.
    Exact "not-not": "(not (not ?a))" => "?a";
    /// Where not c, a, else b: where c, b, else a.
    Exact "select-not": "(select (not ?c) ?a ?b)" => "(select ?c ?b ?a)";
    /// Where c, a, else a: a.
    Exact "select-same": "(select ?c ?a ?a)" => "?a";
    /// a < b or a = b: a ≤ b.
    Exact "or-lt-eq": "(or (lt ?a ?b) (eq ?a ?b))" => "(le ?a ?b)";
    /// Where x < bound, the bound, else x: max(x, bound), bounds that are NaN aside.
    Reassociating "select-lower": "(select (lt ?x ?bound) ?bound ?x)" => "(max ?x ?bound)", if is_bound;
    /// Where bound < x, the bound, else x: min(x, bound), bounds that are NaN aside.
    Reassociating "select-upper": "(select (lt ?bound ?x) ?bound ?x)" => "(min ?x ?bound)", if is_bound;
    /// select(true, a, b) = a.
    Exact "select-true": "(select 1 ?a ?b)" => "?a";
    /// select(false, a, b) = b.
    Exact "select-false": "(select 0 ?a ?b)" => "?b";
    /// 1 / x is the reciprocal.
    Exact "one-div": "(div 1.0 ?x)" => "(reciprocal ?x)";
    /// x / 2ⁿ = x · 2⁻ⁿ.
    Exact "div-power-of-two": "(div ?x ?c)" => build(div_power_of_two);
    /// x / c = x · (1 / c).
    Reassociating "div-constant": "(div ?x ?c)" => "(mul ?x (reciprocal ?c))", if |m| m.known("c") && !m.known("x") && is_float(m, "x");
    /// x · (1 / y) = x / y.
    Reassociating "mul-reciprocal": "(mul ?x (reciprocal ?y))" => "(div ?x ?y)", if |m| !m.known("y");
    /// x · (1 / y · c) = x / y · c.
    Reassociating "mul-mul-reciprocal": "(mul ?x (mul (reciprocal ?y) ?c))" => "(mul (div ?x ?y) ?c)", if |m| !m.known("y") && m.known("c");
    /// x¹ = x.
    Exact "pow-one": "(pow ?x 1.0)" => "?x", if |m| is_float(m, "x");
    /// x² = x · x.
    Reassociating "pow-two": "(pow ?x 2.0)" => "(mul ?x ?x)", if |m| is_float(m, "x");
    /// x³ = x · x · x.
    Reassociating "pow-three": "(pow ?x 3.0)" => "(mul (mul ?x ?x) ?x)", if |m| is_float(m, "x");
    /// √x = x^½, infinities aside.
    Reassociating "pow-half": "(pow ?x 0.5)" => "(sqrt ?x)";
    /// x⁻¹ = 1 / x.
    Reassociating "pow-minus-one": "(pow ?x -1.0)" => "(reciprocal ?x)", if |m| is_float(m, "x");
    /// x^-½ = 1 / √x, infinities aside.
    Reassociating "pow-minus-half": "(pow ?x -0.5)" => "(reciprocal (sqrt ?x))";
    /// (x · c) · d = x · (c · d).
    Reassociating "mul-mul": "(mul (mul ?x ?c) ?d)" => "(mul ?x (mul ?c ?d))", if |m| m.known("c") && m.known("d") && !m.known("x");
    /// (x + c) + d = x + (c + d).
    Reassociating "add-add": "(add (add ?x ?c) ?d)" => "(add ?x (add ?c ?d))", if |m| m.known("c") && m.known("d") && !m.known("x");
    /// The mean is the sum divided by the number of elements.
    Reassociating "mean-of-sum": "(mul (reduce[function=sum]:r ?x) ?c)" => build(mean_of_sum);
    /// mean x² - (mean x)² = mean (x - mean x)², cancellation aside.
    Reassociating "variance-of-moments":
        "(sub (reduce[function=mean]:r (mul ?x ?x)) (mul (reduce[function=mean]:r ?x) (reduce[function=mean]:r ?x)))"
        => "(reduce:r (mul (sub ?x (reduce:r ?x)) (sub ?x (reduce:r ?x))))",
        if |m| is_float(m, "x") && matches!(m.op("r"), Op::Reduce(op) if op.keep_dims);
    /// relu(mean x²) = mean x².
    Exact "relu-mean-square": "(relu (reduce[function=mean]:r (mul ?x ?x)))" => "(reduce:r (mul ?x ?x))", if |m| is_float(m, "x");
    /// A fold of a fold is one fold over the axes of both.
    Reassociating "reduce-reduce": "(reduce:outer (reduce:inner ?x))" => build(reduce_reduce);
}

fn is_integer(site: &Site) -> bool {
    site.ty(site.var("index")).is_some_and(|ty| ty.dtype.is_int())
}

fn is_float(site: &Site, name: &str) -> bool {
    site.ty(site.var(name)).is_some_and(|ty| ty.dtype.is_float())
}

/// Whether the bound of the match is one number, or an integer, so that what is NaN is x.
fn is_bound(site: &Site) -> bool {
    site.ty(site.var("bound")).is_some_and(|ty| ty.dtype.is_int() || ty.elements().is(1))
}

fn div_power_of_two(site: &mut Site) -> Option<Id> {
    let (x, c) = (site.var("x"), site.splat("c")?);
    let dtype = site.ty(x)?.dtype;
    let exact = c.is_normal() && c.abs().log2().fract() == 0.0 && c.abs().log2().abs() <= 8.0;
    if !exact || !dtype.is_float() {
        return None;
    }
    let inverse = site.add(ScalarOp::Reciprocal, &[site.var("c")])?;
    site.add(ScalarOp::Mul, &[x, inverse])
}

fn mean_of_sum(site: &mut Site) -> Option<Id> {
    let Op::Reduce(reduce) = site.op("r").clone() else { return None };
    let x = site.var("x");
    let ty = site.ty(x)?;
    let extents = reduce.axes.iter().map(|&axis| ty.shape[axis].as_const());
    let count = extents.map(|n| n.map(|n| n as f64)).product::<Option<f64>>()?;
    let is_mean = ty.dtype.is_float() && (site.splat("c")? * count - 1.0).abs() < 1e-6;
    is_mean.then(|| site.add(Reduce { function: ReduceFn::Mean, ..reduce }, &[x]))?
}

fn reduce_reduce(site: &mut Site) -> Option<Id> {
    let (Op::Reduce(outer), Op::Reduce(inner)) = (site.op("outer").clone(), site.op("inner").clone()) else {
        return None;
    };
    let x = site.var("x");
    if outer.function != inner.function || outer.keep_dims != inner.keep_dims || site.ty(x)?.dtype.is_int() {
        return None;
    }
    let rank = site.ty(x)?.rank();
    let kept: Vec<usize> = (0..rank).filter(|axis| inner.keep_dims || !inner.axes.contains(axis)).collect();
    let mut axes: Vec<usize> = inner.axes.iter().copied().chain(outer.axes.iter().map(|&axis| kept[axis])).collect();
    axes.sort_unstable();
    axes.dedup();
    site.add(Reduce { axes, ..inner }, &[x])
}
