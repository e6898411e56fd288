//! `expand_trees`: tree ensembles as gathers and comparisons, for targets that have no kernel for them.
//!
//! All trees go down one level at a time for all rows; leaves lead to themselves. Ranges of keys become ranges of numbers.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::eval::indices;
use ic_ir::ops::{Expand, Gather, GatherElements, Iota, Op, Reduce, ReduceFn, Reshape, TreeEnsemble, TreeFn};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, Graph, GraphError, Node, ValueId};
use ic_types::{DType, Dim};

/// See the file's header. Trees whose tables are not constant stay.
///
/// # Errors
/// If a node of the expansion does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn expand_trees(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let expanded = match &node.op {
            Op::TreeEnsemble(op) if !options.native_compounds => expand(&mut rebuild, node, op)?,
            _ => None,
        };
        if let Some(result) = expanded {
            rebuild.set(node.results[0], result);
        } else {
            let regions = map_regions(node, |region| expand_trees(region, options, report))?;
            rebuild.copy(node, regions)?;
        }
    }
    Ok(rebuild.finish())
}

/// Where a node leads and for which numbers: those from `low` to `high`, or all others if `outside`; NaN if `nan`.
struct Range {
    lead: i64,
    feature: i64,
    low: f64,
    high: f64,
    outside: bool,
    nan: bool,
}

impl Range {
    fn of(&[lead, feature, from, span]: &[i64; 4], dtype: DType) -> Range {
        let is_wide = dtype == DType::F64;
        let infinite = if is_wide { f64::INFINITY.to_bits() as i64 } else { f32::INFINITY.to_bits().into() };
        let largest = if is_wide { i64::MAX } else { i32::MAX.into() };
        let number = |key: i64| {
            let magnitude = key.unsigned_abs();
            let number = if is_wide { f64::from_bits(magnitude) } else { f32::from_bits(magnitude as u32).into() };
            if key < 0 { -number } else { number }
        };
        let to = from.wrapping_add(span);
        let to = if is_wide { to } else { i64::from(to as i32) };
        let numbers =
            |first: i64, last: i64| [number(first.clamp(-infinite, infinite)), number(last.clamp(-infinite, infinite))];
        let (outside, [low, high]) = match (from <= to, from > infinite) {
            // No number, but perhaps NaN.
            (true, true) => (false, [f64::INFINITY, f64::NEG_INFINITY]),
            (true, false) => (false, numbers(from, to)),
            (false, true) => (false, numbers(-infinite, to)),
            // All but what is between, which may be nothing.
            (false, false) if from - 1 == to => (true, [f64::INFINITY, f64::NEG_INFINITY]),
            (false, false) => (true, numbers(to + 1, from - 1)),
        };
        Range { lead, feature, low, high, outside, nan: from > to || to == largest }
    }
}

fn expand(rebuild: &mut Rebuild, node: &Node, op: &TreeEnsemble) -> Result<Option<ValueId>, GraphError> {
    let table = |i: usize| node.operands[i].and_then(|value| rebuild.old.constant(value)?.tensor().ok());
    let (Some(nodes), Some(roots)) = (table(1), table(2)) else { return Ok(None) };
    let operands = rebuild.operands(node);
    let (Some(x), Some(weights)) = (operands[0], operands[3]) else { return Ok(None) };
    let (Ok(nodes), Ok(roots)) = (indices(&nodes), indices(&roots)) else { return Ok(None) };
    let dtype = rebuild.new.tensor_ty(x).dtype;
    let nodes = nodes.as_chunks::<4>().0;
    let mut build = Builder { graph: &mut rebuild.new, location: node.location.clone() };
    let tables = Tables::new(&mut build, nodes, dtype)?;
    let rows = build.ty(x).shape[0].clone();
    let n_trees = Dim::constant(roots.len() as i64);
    let roots = build.vector(roots)?;
    let mut at = build.push(Expand { shape: vec![rows.clone(), n_trees.clone()] }, &[roots])?;
    for _ in 0..op.depth {
        at = tables.descend(&mut build, x, at)?;
    }
    let numbers = build.vector(nodes.iter().map(|node| node[2]).collect::<Vec<i64>>())?;
    let leaf = build.push(Gather { axis: 0 }, &[numbers, at])?;
    let weights = build.push(Gather { axis: 0 }, &[weights, leaf])?;
    let function = match op.function {
        TreeFn::Sum => ReduceFn::Sum,
        TreeFn::Min => ReduceFn::Min,
        TreeFn::Max => ReduceFn::Max,
    };
    let absent = build.scalar(dtype, op.function.start())?;
    let y = match operands.get(4).copied().flatten() {
        None => build.push(Reduce { function, axes: vec![1], keep_dims: false }, &[weights])?,
        Some(targets) => {
            let k = build.ty(weights).shape[2].clone();
            let apart = Reshape { shape: vec![rows, n_trees, k, Dim::constant(1)] };
            let targets = build.push(Gather { axis: 0 }, &[targets, leaf])?;
            let (targets, weights) = (build.push(apart.clone(), &[targets])?, build.push(apart, &[weights])?);
            let all = Iota { extent: Dim::constant(op.targets as i64), dtype: build.ty(targets).dtype };
            let all = build.push(all, &[])?;
            let is_for = build.push(ScalarOp::Eq, &[targets, all])?;
            let weights = build.push(ScalarOp::Select, &[is_for, weights, absent])?;
            build.push(Reduce { function, axes: vec![1, 2], keep_dims: false }, &[weights])?
        }
    };
    if op.function == TreeFn::Sum {
        return Ok(Some(y));
    }
    let is_absent = build.push(ScalarOp::Eq, &[y, absent])?;
    let zero = build.scalar(dtype, 0.0)?;
    Ok(Some(build.push(ScalarOp::Select, &[is_absent, zero, y])?))
}

/// The fields of nodes, a table each.
struct Tables {
    lead: ValueId,
    feature: ValueId,
    low: ValueId,
    high: ValueId,
    outside: ValueId,
    nan: ValueId,
}

impl Tables {
    fn new(build: &mut Builder, nodes: &[[i64; 4]], dtype: DType) -> Result<Tables, GraphError> {
        let ranges: Vec<Range> = nodes.iter().map(|node| Range::of(node, dtype)).collect();
        let numbers = |build: &mut Builder, of: fn(&Range) -> f64| {
            let numbers = ranges.iter().map(of);
            match dtype {
                DType::F64 => build.vector(numbers.collect::<Vec<f64>>()),
                _ => build.vector(numbers.map(|x| x as f32).collect::<Vec<f32>>()),
            }
        };
        let (low, high) = (numbers(build, |range| range.low)?, numbers(build, |range| range.high)?);
        let integers = |of: fn(&Range) -> i64| ranges.iter().map(of).collect::<Vec<i64>>();
        let flags = |of: fn(&Range) -> bool| ranges.iter().map(of).collect::<Vec<bool>>();
        Ok(Tables {
            lead: build.vector(integers(|range| range.lead))?,
            feature: build.vector(integers(|range| range.feature))?,
            low,
            high,
            outside: build.vector(flags(|range| range.outside))?,
            nan: build.vector(flags(|range| range.nan))?,
        })
    }

    /// The places one level below `at`, `[rows, trees]`.
    fn descend(&self, build: &mut Builder, x: ValueId, at: ValueId) -> Result<ValueId, GraphError> {
        let field = |build: &mut Builder, table| build.push(Gather { axis: 0 }, &[table, at]);
        let feature = field(build, self.feature)?;
        let value = build.push(GatherElements { axis: 1 }, &[x, feature])?;
        let (low, high) = (field(build, self.low)?, field(build, self.high)?);
        let (above, below) = (build.push(ScalarOp::Le, &[low, value])?, build.push(ScalarOp::Le, &[value, high])?);
        let within = build.push(ScalarOp::And, &[above, below])?;
        let outside = field(build, self.outside)?;
        let holds = build.push(ScalarOp::Xor, &[within, outside])?;
        let (is_nan, nan) = (build.push(ScalarOp::IsNan, &[value])?, field(build, self.nan)?);
        let holds = build.push(ScalarOp::Select, &[is_nan, nan, holds])?;
        let lead = field(build, self.lead)?;
        let one = build.scalar(DType::I64, 1.0)?;
        let next = build.push(ScalarOp::Add, &[lead, one])?;
        build.push(ScalarOp::Select, &[holds, lead, next])
    }
}
