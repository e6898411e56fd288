//! ONNX-ML models that are linear in kernels of their features: `SVMRegressor`, `SVMClassifier`.

use super::labels::{Labels, largest};
use super::linear_models::matrix;
use super::prelude::*;
use super::tree_walk::transformed;
use ic_ir::TensorType;
use ic_ir::ops::{Loop, ReduceFn};

pub(super) const OPS: &[super::Row] =
    &[("ai.onnx.ml", "SVMRegressor", svm_regressor), ("ai.onnx.ml", "SVMClassifier", svm_classifier)];

/// `SVMRegressor`: a sum of kernels of each row with the support vectors; without those, of its features.
fn svm_regressor(cx: &mut Context, node: &NodeView) -> Results {
    let (x, features) = matrix(cx, node)?;
    let list = |name: &str| node.floats(name).unwrap_or_default().to_vec();
    let (vectors, coefficients, rho) = (list("support_vectors"), list("coefficients"), list("rho"));
    let n = usize::try_from(node.int("n_supports").unwrap_or(0)).map_err(|_| invalid!("`n_supports` is negative"))?;
    let kernels = match n {
        0 => x,
        n if vectors.len() == n * features as usize => {
            let vectors = cx.constant(Tensor::from_elements(vec![n, features as usize], vectors))?;
            kernel(cx, node, x, vectors)?
        }
        _ => return Err(invalid!("{} elements are not {n} support vectors", vectors.len())),
    };
    let width = if n == 0 { features as usize } else { n };
    if coefficients.len() != width {
        return Err(invalid!("{} coefficients for {width} terms", coefficients.len()));
    }
    let weight = cx.constant(Tensor::from_elements(vec![width, 1], coefficients))?;
    let sum = cx.matmul(kernels, weight)?;
    let mut y = cx.with_scalar(ScalarOp::Add, sum, rho.first().map_or(0.0, |&rho| f64::from(rho)))?;
    if node.int("one_class").unwrap_or(0) != 0 {
        let is_inside = cx.with_scalar(ScalarOp::Gt, y, 0.0)?;
        let (one, minus_one) = (cx.scalar_like(y, 1.0)?, cx.scalar_like(y, -1.0)?);
        y = cx.select(is_inside, one, minus_one)?;
    }
    Ok(vec![transformed(cx, y, node.text("post_transform").unwrap_or("NONE"))?])
}

/// The kernel function of rows `x` and `vectors`, `[rows, vectors]`.
fn kernel(cx: &mut Context, node: &NodeView, x: ValueId, vectors: ValueId) -> Result<ValueId> {
    let params = node.floats("kernel_params").unwrap_or_default();
    let param = |i: usize| params.get(i).map_or(0.0, |&p| f64::from(p));
    let (gamma, offset, degree) = (param(0), param(1), param(2));
    let affine = |cx: &mut Context| -> Result<ValueId> {
        let columns = cx.transpose_last(vectors)?;
        let products = cx.matmul(x, columns)?;
        let scaled = cx.with_scalar(ScalarOp::Mul, products, gamma)?;
        cx.with_scalar(ScalarOp::Add, scaled, offset)
    };
    match node.text("kernel_type").unwrap_or("LINEAR") {
        "LINEAR" => {
            let columns = cx.transpose_last(vectors)?;
            cx.matmul(x, columns)
        }
        "POLY" => {
            let affine = affine(cx)?;
            cx.with_scalar(ScalarOp::Pow, affine, degree)
        }
        "SIGMOID" => {
            let affine = affine(cx)?;
            cx.unary(ScalarOp::Tanh, affine)
        }
        "RBF" => {
            let rows = cx.unsqueeze(x, &[1])?;
            let difference = cx.binary(ScalarOp::Sub, rows, vectors)?;
            let squares = cx.binary(ScalarOp::Mul, difference, difference)?;
            let distance = cx.reduce(ReduceFn::Sum, squares, vec![2])?;
            let distance = cx.squeeze(distance, &[2])?;
            let scaled = cx.with_scalar(ScalarOp::Mul, distance, -gamma)?;
            cx.unary(ScalarOp::Exp, scaled)
        }
        other => Err(unsupported!("the kernel `{other}`")),
    }
}

/// Labels beyond which probabilities are refused: each is a part of the code.
const MAX_SHARES: usize = 256;

/// Classes of an `SVMClassifier`, and the support vectors of each.
struct Machine<'a> {
    coefficients: &'a [f32],
    rho: &'a [f32],
    /// For each class the first of its vectors and one past the last.
    vectors: Vec<std::ops::Range<usize>>,
}

impl<'a> Machine<'a> {
    /// # Errors
    /// If the lists do not describe `classes` classes.
    fn of(node: &NodeView<'a>, classes: usize) -> Result<Machine<'a>> {
        let mut n = 0usize;
        let mut vectors = Vec::new();
        for &own in node.ints("vectors_per_class").unwrap_or_default() {
            let past = usize::try_from(own).ok().and_then(|own| n.checked_add(own));
            let past = past.ok_or_else(|| invalid!("`vectors_per_class` has {own}"))?;
            vectors.push(n..past);
            n = past;
        }
        let machine = Machine {
            coefficients: node.floats("coefficients").unwrap_or_default(),
            rho: node.floats("rho").unwrap_or_default(),
            vectors,
        };
        let pairs = classes * classes.saturating_sub(1) / 2;
        let fits = machine.vectors.len() == classes
            && classes >= 2
            && machine.rho.len() == pairs
            && n.checked_mul(classes - 1) == Some(machine.coefficients.len());
        if fits { Ok(machine) } else { Err(invalid!("the lists do not describe machines for {classes} labels")) }
    }

    /// All pairs of classes.
    fn pairs(&self) -> Vec<[usize; 2]> {
        let n = self.vectors.len();
        (0..n).flat_map(|i| (i + 1..n).map(move |j| [i, j])).collect()
    }

    /// What kernels of all vectors count for in each pair, `[vectors, pairs]`.
    fn weights(&self) -> Tensor {
        let (pairs, n) = (self.pairs(), self.vectors.last().map_or(0, |last| last.end));
        let mut weights = vec![0.0; n * pairs.len()];
        for (pair, &[i, j]) in pairs.iter().enumerate() {
            // A class has a row of coefficients for each other class.
            for (own, other) in [(i, j - 1), (j, i)] {
                for at in self.vectors[own].clone() {
                    weights[at * pairs.len() + pair] = self.coefficients[other * n + at];
                }
            }
        }
        Tensor::from_elements(vec![n, pairs.len()], weights)
    }
}

/// `SVMClassifier`: the label of each row, and scores: of pairs of labels, or with `prob_a` and `prob_b` the probability of
/// each label. Without support vectors it is linear, with a score for each label.
fn svm_classifier(cx: &mut Context, node: &NodeView) -> Results {
    let labels = Labels::of(cx, node)?;
    let transform = node.text("post_transform").unwrap_or("NONE");
    let is_positive = node.floats("coefficients").unwrap_or_default().iter().all(|&weight| weight >= 0.0);
    if node.ints("vectors_per_class").is_none_or(|list| list.iter().all(|&n| n == 0)) {
        return linear(cx, node, &labels, transform, is_positive);
    }
    let machine = Machine::of(node, labels.n)?;
    let (x, features) = matrix(cx, node)?;
    let vectors = node.floats("support_vectors").unwrap_or_default();
    let n = machine.vectors.last().map_or(0, |last| last.end);
    if n.checked_mul(features as usize) != Some(vectors.len()) {
        return Err(invalid!("{} elements are not {n} support vectors", vectors.len()));
    }
    let vectors = cx.constant(Tensor::from_elements(vec![n, features as usize], vectors.to_vec()))?;
    let kernels = kernel(cx, node, x, vectors)?;
    let (weights, rho) = (cx.constant(machine.weights())?, cx.vector(machine.rho.to_vec())?);
    let sums = cx.matmul(kernels, weights)?;
    let scores = cx.binary(ScalarOp::Add, sums, rho)?;
    let best = elected(cx, &machine, scores)?;
    let (prob_a, prob_b) = (node.floats("prob_a").unwrap_or_default(), node.floats("prob_b").unwrap_or_default());
    if !prob_a.is_empty() {
        if [prob_a.len(), prob_b.len()] != [machine.rho.len(); 2] {
            return Err(invalid!("`prob_a` and `prob_b` must have a number for each pair of labels"));
        }
        if labels.n > MAX_SHARES {
            return Err(unsupported!("probabilities of {} labels, more than {MAX_SHARES}", labels.n));
        }
        let shares = probabilities(cx, &machine, scores, [prob_a, prob_b])?;
        let label = labels.at(cx, best)?;
        return Ok(vec![label, transformed(cx, shares, transform)?]);
    }
    if labels.n > 2 {
        let label = labels.at(cx, best)?;
        return Ok(vec![label, transformed(cx, scores, transform)?]);
    }
    let rows = cx.shape(x)?[0].clone();
    let best = if is_positive {
        let second = cx.scalar(DType::I64, 1.0)?;
        cx.expand(second, vec![rows])?
    } else {
        best
    };
    let label = labels.at(cx, best)?;
    let first = cx.unary(ScalarOp::Neg, scores)?;
    let both = cx.concat(&[first, scores], 1)?;
    Ok(vec![label, transformed(cx, both, transform)?])
}

/// Without support vectors: `x · coefficientsᵀ + rho`.
fn linear(cx: &mut Context, node: &NodeView, labels: &Labels, transform: &str, is_positive: bool) -> Results {
    let (x, features) = matrix(cx, node)?;
    let coefficients = node.floats("coefficients").unwrap_or_default();
    let rho = node.floats("rho").unwrap_or_default();
    if labels.n < 2 || labels.n.checked_mul(features as usize) != Some(coefficients.len()) || rho.is_empty() {
        let n = labels.n;
        return Err(invalid!("{} coefficients for {n} labels of {features} features", coefficients.len()));
    }
    let weight = cx.constant(Tensor::from_elements(vec![labels.n, features as usize], coefficients.to_vec()))?;
    let weight = cx.transpose_last(weight)?;
    let product = cx.matmul(x, weight)?;
    let scores = cx.with_scalar(ScalarOp::Add, product, rho[0].into())?;
    let mut best = largest(cx, scores)?;
    if labels.n == 2 && is_positive {
        let most = cx.reduce(ReduceFn::Max, scores, vec![1])?;
        let most = cx.squeeze(most, &[1])?;
        let is_second = cx.with_scalar(ScalarOp::Ge, most, 0.5)?;
        let second = cx.scalar(DType::I64, 1.0)?;
        best = cx.select(is_second, second, best)?;
    }
    let label = labels.at(cx, best)?;
    Ok(vec![label, transformed(cx, scores, transform)?])
}

/// The class for which most pairs decide by the sign of their scores, `[rows]`.
fn elected(cx: &mut Context, machine: &Machine, scores: ValueId) -> Result<ValueId> {
    let (pairs, n) = (machine.pairs(), machine.vectors.len());
    // Each pair counts for its second class, unless its score is positive.
    let (mut changes, mut votes) = (vec![0.0f32; pairs.len() * n], vec![0.0f32; n]);
    for (pair, &[i, j]) in pairs.iter().enumerate() {
        changes[pair * n + i] = 1.0;
        changes[pair * n + j] = -1.0;
        votes[j] += 1.0;
    }
    let is_first = cx.with_scalar(ScalarOp::Gt, scores, 0.0)?;
    let is_first = cx.cast(is_first, DType::F32)?;
    let changes = cx.constant(Tensor::from_elements(vec![pairs.len(), n], changes))?;
    let changes = cx.matmul(is_first, changes)?;
    let votes = cx.vector(votes)?;
    let votes = cx.binary(ScalarOp::Add, votes, changes)?;
    largest(cx, votes)
}

/// The probabilities of all classes from the scores of pairs, `[rows, classes]`: Wu, Lin and Weng, "Probability estimates
/// for multi-class classification by pairwise coupling" (2004), with the iteration and its end of LIBSVM.
fn probabilities(cx: &mut Context, machine: &Machine, scores: ValueId, sigmoid: [&[f32]; 2]) -> Result<ValueId> {
    let (pairs, n) = (machine.pairs(), machine.vectors.len());
    let [slope, offset] = [cx.vector(sigmoid[0].to_vec())?, cx.vector(sigmoid[1].to_vec())?];
    let scaled = cx.binary(ScalarOp::Mul, scores, slope)?;
    let shifted = cx.binary(ScalarOp::Add, scaled, offset)?;
    let against = cx.unary(ScalarOp::Neg, shifted)?;
    let share = cx.unary(ScalarOp::Sigmoid, against)?;
    let share = cx.with_scalar(ScalarOp::Max, share, 1e-7)?;
    let share = cx.with_scalar(ScalarOp::Min, share, 1.0 - 1e-7)?;
    let one = cx.scalar_like(share, 1.0)?;
    let rest = cx.binary(ScalarOp::Sub, one, share)?;
    let none = cx.with_scalar(ScalarOp::Mul, share, 0.0)?;
    // r[row, i, j]: that a row is of class i rather than j; 0 on the diagonal.
    let all = cx.concat(&[share, rest, none], 1)?;
    let place = |i: usize, j: usize| match pairs.iter().position(|&pair| pair == [i.min(j), i.max(j)]) {
        Some(pair) if i < j => pair,
        Some(pair) => pairs.len() + pair,
        None => 2 * pairs.len(),
    };
    let places = (0..n).flat_map(|i| (0..n).map(move |j| [i, j])).map(|[i, j]| place(i, j) as i64);
    let places = cx.vector(places.collect::<Vec<i64>>())?;
    let rows = cx.shape(scores)?[0].clone();
    let cube = vec![rows.clone(), Dim::constant(n as i64), Dim::constant(n as i64)];
    let r = cx.gather(all, places, 1)?;
    let r = cx.reshape(r, cube)?;
    let turned = cx.transpose(r, vec![0, 2, 1])?;
    let products = cx.binary(ScalarOp::Mul, r, turned)?;
    let products = cx.unary(ScalarOp::Neg, products)?;
    let squares = cx.binary(ScalarOp::Mul, turned, turned)?;
    let squares = cx.reduce(ReduceFn::Sum, squares, vec![2])?;
    let diagonal = (0..n * n).map(|at| at / n == at % n).collect::<Vec<bool>>();
    let diagonal = cx.constant(Tensor::from_elements(vec![n, n], diagonal))?;
    let q = cx.select(diagonal, squares, products)?;
    let start = cx.scalar(DType::F32, 1.0 / n as f64)?;
    let start = cx.expand(start, vec![rows, Dim::constant(n as i64)])?;
    coupled(cx, q, start, n)
}

/// From shares `p [rows, classes]` on the ones that make `pᵀ q p` least, `q [rows, classes, classes]`: at most 100 times,
/// or as often as there are classes, each row until it is near enough.
fn coupled(cx: &mut Context, q: ValueId, p: ValueId, n: usize) -> Result<ValueId> {
    let (q_ty, p_ty) = (cx.ty(q)?, cx.ty(p)?);
    cx.open_frame("coupling", &[]);
    let graph = &mut cx.frame().graph;
    graph.add_input("iteration", TensorType::fixed(DType::I64, &[]));
    let (inner_p, inner_q) = (graph.add_input("p", p_ty), graph.add_input("q", q_ty));
    let body = coupling_step(cx, inner_q, inner_p, n);
    let mut frame = cx.close_frame();
    let [goes_on, next] = body?;
    frame.graph.add_output("goes_on", goes_on);
    frame.graph.add_output("next", next);
    let op = Loop { carried: 1, trips: Some(Dim::constant(n.max(100) as i64)) };
    let results = cx.push_with_regions(op, vec![None, Some(p), Some(q)], vec![frame.graph])?;
    results.first().copied().ok_or_else(|| invalid!("a loop without results"))
}

/// Whether a row is not near enough, and the shares after one more iteration, which moves each in turn.
fn coupling_step(cx: &mut Context, q: ValueId, p: ValueId, n: usize) -> Result<[ValueId; 2]> {
    let one = Dim::constant(1);
    let beside = cx.unsqueeze(p, &[1])?;
    let products = cx.binary(ScalarOp::Mul, q, beside)?;
    let qp = cx.reduce(ReduceFn::Sum, products, vec![2])?;
    let mut qp = cx.squeeze(qp, &[2])?;
    let products = cx.binary(ScalarOp::Mul, p, qp)?;
    let mut pqp = cx.reduce(ReduceFn::Sum, products, vec![1])?;
    let error = cx.binary(ScalarOp::Sub, qp, pqp)?;
    let error = cx.unary(ScalarOp::Abs, error)?;
    let error = cx.reduce(ReduceFn::Max, error, vec![1])?;
    let is_far = cx.with_scalar(ScalarOp::Ge, error, 0.005 / n as f64)?;
    let mut next = p;
    for t in 0..n {
        let at = Dim::constant(t as i64);
        let row = cx.slice(q, 1, at.clone(), one.clone())?;
        let row = cx.squeeze(row, &[1])?;
        let (own, qp_own) = (cx.slice(row, 1, at.clone(), one.clone())?, cx.slice(qp, 1, at, one.clone())?);
        let gap = cx.binary(ScalarOp::Sub, pqp, qp_own)?;
        let step = cx.binary(ScalarOp::Div, gap, own)?;
        let total = cx.with_scalar(ScalarOp::Add, step, 1.0)?;
        let unit = (0..n).map(|i| if i == t { 1.0f32 } else { 0.0 }).collect::<Vec<f32>>();
        let unit = cx.vector(unit)?;
        let added = cx.binary(ScalarOp::Mul, step, unit)?;
        let sum = cx.binary(ScalarOp::Add, next, added)?;
        next = cx.binary(ScalarOp::Div, sum, total)?;
        // (pqp + step (step own + 2 qp_own)) / total²
        let scaled = cx.binary(ScalarOp::Mul, step, own)?;
        let twice = cx.with_scalar(ScalarOp::Mul, qp_own, 2.0)?;
        let slope = cx.binary(ScalarOp::Add, scaled, twice)?;
        let change = cx.binary(ScalarOp::Mul, step, slope)?;
        let sum = cx.binary(ScalarOp::Add, pqp, change)?;
        let once = cx.binary(ScalarOp::Div, sum, total)?;
        pqp = cx.binary(ScalarOp::Div, once, total)?;
        let added = cx.binary(ScalarOp::Mul, step, row)?;
        let sum = cx.binary(ScalarOp::Add, qp, added)?;
        qp = cx.binary(ScalarOp::Div, sum, total)?;
    }
    let next = cx.select(is_far, next, p)?;
    let goes_on = cx.reduce(ReduceFn::Any, is_far, vec![0, 1])?;
    Ok([cx.reshape(goes_on, vec![])?, next])
}
