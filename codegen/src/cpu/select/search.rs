//! Sorting, searching, running sums, whole-tensor reductions, and what finds out how many results it has.

use super::{Attr, LibraryCall, Site, plain};
use ic_ir::ops::{ArgFn, ArgReduce, Cumulative, CumulativeFn, NonMaxSuppression, Reduce, ReduceFn, TopK};
use ic_ir::ops::{TreeEnsemble, TreeFn, Unique};
use ic_kernels::library::codes;
use ic_types::DType;

/// The library's arithmetic kernels take f32, f64 and integers of at least 8 bits.
fn require_number(site: &Site, what: &str) -> Result<(), String> {
    let dtype = site.operand(0)?.dtype;
    let fits = matches!(dtype, DType::F32 | DType::F64) || (dtype.is_int() && dtype.bits() >= 8);
    if fits { Ok(()) } else { Err(format!("{what} of {dtype} has no kernel")) }
}

pub(super) fn top_k(op: &TopK, site: &Site) -> Result<LibraryCall, String> {
    require_number(site, "top_k")?;
    let attrs = vec![op.axis.into(), op.largest.into(), op.sorted.into()];
    Ok(plain("top_k", vec![site.pass(0), site.give(0), site.give(1)], attrs))
}

pub(super) fn arg_reduce(op: &ArgReduce, site: &Site) -> Result<LibraryCall, String> {
    require_number(site, "arg_reduce")?;
    let function = match op.function {
        ArgFn::Argmax => codes::ArgReduction::Max,
        ArgFn::Argmin => codes::ArgReduction::Min,
    };
    let attrs = vec![function.code().into(), op.axis.into(), op.select_last.into()];
    Ok(plain("arg_reduce", vec![site.pass(0), site.give(0)], attrs))
}

pub(super) fn cumulative(op: &Cumulative, site: &Site) -> Result<LibraryCall, String> {
    require_number(site, "cumulative")?;
    let function = match op.function {
        CumulativeFn::Sum => codes::Cumulation::Sum,
        CumulativeFn::Prod => codes::Cumulation::Prod,
    };
    let attrs = vec![function.code().into(), op.axis.into(), op.exclusive.into(), op.reverse.into()];
    Ok(plain("cumulative", vec![site.pass(0), site.give(0)], attrs))
}

pub(super) fn reduce(op: &Reduce, site: &Site) -> Result<LibraryCall, String> {
    require_number(site, "reduce")?;
    let function = match op.function {
        ReduceFn::Sum => codes::Reduction::Sum,
        ReduceFn::Mean => codes::Reduction::Mean,
        ReduceFn::Prod => codes::Reduction::Prod,
        ReduceFn::Max => codes::Reduction::Max,
        ReduceFn::Min => codes::Reduction::Min,
        ReduceFn::Any | ReduceFn::All => return Err(format!("reduction `{}` has no kernel", op.function.name())),
    };
    let attrs: Vec<Attr> = std::iter::once(function.code().into()).chain(op.axes.iter().map(|&a| a.into())).collect();
    Ok(plain("reduce", vec![site.pass(0), site.give(0)], attrs))
}

pub(super) fn tree_ensemble(op: &TreeEnsemble, site: &Site) -> Result<LibraryCall, String> {
    let function = match op.function {
        TreeFn::Sum => codes::TreeFunction::Sum,
        TreeFn::Min => codes::TreeFunction::Min,
        TreeFn::Max => codes::TreeFunction::Max,
    };
    let operands = (0..5).map(|i| site.dense(i)).chain([Ok(site.give(0))]).collect::<Result<Vec<_>, _>>()?;
    Ok(plain("tree_ensemble", operands, vec![function.code().into(), op.column_bits.into(), op.depth.into()]))
}

pub(super) fn non_zero(site: &Site) -> Result<LibraryCall, String> {
    if site.operand(0)?.dtype != DType::Bool {
        require_number(site, "non_zero")?;
    }
    Ok(plain("non_zero", vec![site.pass(0), site.give(0), site.give(1)], vec![]))
}

pub(super) fn non_max_suppression(op: &NonMaxSuppression, site: &Site) -> Result<LibraryCall, String> {
    for operand in 0..2 {
        let dtype = site.operand(operand)?.dtype;
        if dtype != DType::F32 {
            return Err(format!("non_max_suppression of {dtype} has no kernel"));
        }
    }
    let operands = (0..5).map(|i| site.pass(i)).chain((0..2).map(|i| site.give(i))).collect();
    Ok(plain("non_max_suppression", operands, vec![op.center_point_box.into()]))
}

pub(super) fn unique(op: &Unique, site: &Site) -> Result<LibraryCall, String> {
    require_number(site, "unique")?;
    let operands = std::iter::once(site.pass(0)).chain((0..5).map(|i| site.give(i))).collect();
    let attrs = vec![op.axis.is_none().into(), op.axis.unwrap_or(0).into(), op.sorted.into()];
    Ok(plain("unique", operands, attrs))
}
