//! `expand_trees`: tree ensembles as gathers and comparisons, for targets that have no kernel for them.
//!
//! All trees go down one level at a time for all rows; leaves lead to themselves. Keys become numbers.

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

/// A node: it leads to `lead` from numbers up to `split`, and from NaN if `nan`, else to the node after that.
struct Split {
    lead: i64,
    feature: i64,
    split: f64,
    nan: bool,
}

impl Split {
    fn of(at: usize, &[split, step]: &[i64; 2], column_bits: usize, dtype: DType) -> Split {
        let is_wide = dtype == DType::F64;
        let infinite = if is_wide { f64::INFINITY.to_bits() as i64 } else { f32::INFINITY.to_bits().into() };
        let largest = if is_wide { i64::MAX } else { i32::MAX.into() };
        let magnitude = split.unsigned_abs().min(infinite.unsigned_abs());
        let number = if is_wide { f64::from_bits(magnitude) } else { f32::from_bits(magnitude as u32).into() };
        let column = step & ((1 << column_bits) - 1);
        let number = match split {
            _ if column == 0 => f64::INFINITY,
            // No number is at most that.
            split if split < -infinite => f64::NAN,
            split if split < 0 => -number,
            _ => number,
        };
        let nan = column % 2 == 0 || split == largest;
        Split { lead: at as i64 + (step >> column_bits), feature: (column - 1).max(0) / 2, split: number, nan }
    }
}

fn expand(rebuild: &mut Rebuild, node: &Node, op: &TreeEnsemble) -> Result<Option<ValueId>, GraphError> {
    let table = |i: usize| node.operands[i].and_then(|value| rebuild.old.constant(value)?.tensor().ok());
    let (Some(nodes), Some(roots)) = (table(1), table(2)) else { return Ok(None) };
    let operands = rebuild.operands(node);
    let (Some(x), Some(weights)) = (operands[0], operands[3]) else { return Ok(None) };
    let (Ok(nodes), Ok(roots)) = (indices(&nodes), indices(&roots)) else { return Ok(None) };
    let dtype = rebuild.new.tensor_ty(x).dtype;
    let nodes = nodes.as_chunks::<2>().0;
    let mut build = Builder { graph: &mut rebuild.new, location: node.location.clone() };
    let tables = Tables::new(&mut build, nodes, op.column_bits, dtype)?;
    let rows = build.ty(x).shape[0].clone();
    let n_trees = Dim::constant(roots.len() as i64);
    let roots = build.vector(roots)?;
    let mut at = build.push(Expand { shape: vec![rows.clone(), n_trees.clone()] }, &[roots])?;
    for _ in 0..op.depth {
        at = tables.descend(&mut build, x, at)?;
    }
    let numbers = build.vector(nodes.iter().map(|node| node[0]).collect::<Vec<i64>>())?;
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
    split: ValueId,
    nan: ValueId,
}

impl Tables {
    fn new(build: &mut Builder, nodes: &[[i64; 2]], column_bits: usize, dtype: DType) -> Result<Tables, GraphError> {
        let splits: Vec<Split> =
            nodes.iter().enumerate().map(|(at, node)| Split::of(at, node, column_bits, dtype)).collect();
        let numbers = splits.iter().map(|node| node.split);
        let split = match dtype {
            DType::F64 => build.vector(numbers.collect::<Vec<f64>>())?,
            _ => build.vector(numbers.map(|x| x as f32).collect::<Vec<f32>>())?,
        };
        Ok(Tables {
            lead: build.vector(splits.iter().map(|node| node.lead).collect::<Vec<i64>>())?,
            feature: build.vector(splits.iter().map(|node| node.feature).collect::<Vec<i64>>())?,
            split,
            nan: build.vector(splits.iter().map(|node| node.nan).collect::<Vec<bool>>())?,
        })
    }

    /// The places one level below `at`, `[rows, trees]`.
    fn descend(&self, build: &mut Builder, x: ValueId, at: ValueId) -> Result<ValueId, GraphError> {
        let field = |build: &mut Builder, table| build.push(Gather { axis: 0 }, &[table, at]);
        let feature = field(build, self.feature)?;
        let value = build.push(GatherElements { axis: 1 }, &[x, feature])?;
        let split = field(build, self.split)?;
        let holds = build.push(ScalarOp::Le, &[value, split])?;
        let (is_nan, nan) = (build.push(ScalarOp::IsNan, &[value])?, field(build, self.nan)?);
        let holds = build.push(ScalarOp::Select, &[is_nan, nan, holds])?;
        let lead = field(build, self.lead)?;
        let one = build.scalar(DType::I64, 1.0)?;
        let next = build.push(ScalarOp::Add, &[lead, one])?;
        build.push(ScalarOp::Select, &[holds, lead, next])
    }
}
