//! Where the extreme of an axis is: the extreme, then the first index that has it.

use super::body::Body;
use super::{Site, reduce};
use ic_ir::kernel::{Expr, Index, Stage};
use ic_ir::ops::{ArgFn, ArgReduce};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::DType;

pub(super) fn stages(op: &ArgReduce, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    if op.select_last && dtype.is_float() {
        return Err("the last of several equal floats has no code".into());
    }
    let inner = vec![site.shape_of(0)?[op.axis].clone()];
    let along = Index::axis(site.shape.len());
    let mut indices = site.axes();
    indices[op.axis] = along.clone();
    let mut extreme = Body::default();
    extreme.push(site.load(0, indices.clone())?);
    let function = match op.function {
        ArgFn::Argmax => ReduceFn::Max,
        ArgFn::Argmin => ReduceFn::Min,
    };
    let mut place = Body::default();
    let x = place.push(site.load(0, indices)?);
    let wanted = place.push(Expr::Stage(0));
    let mut found = place.apply(ScalarOp::Eq, &[x, wanted]);
    if dtype.is_float() {
        // If there is one, the extreme is NaN, which equals nothing.
        let is_nan = place.apply(ScalarOp::IsNan, &[x]);
        found = place.apply(ScalarOp::Or, &[found, is_nan]);
    }
    let at = place.push(Expr::Index(along));
    let (none, pick) = match op.select_last {
        false => (i64::MAX, ReduceFn::Min),
        true => (-1, ReduceFn::Max),
    };
    let none = place.int(DType::I64, none);
    place.apply(ScalarOp::Select, &[found, at, none]);
    Ok(vec![reduce(function, inner.clone(), extreme), reduce(pick, inner, place)])
}
