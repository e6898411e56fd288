//! Running sums and products: at each element, a reduction of the axis in which those that do not count are neutral.
//! The work grows with the square of the axis.

use super::body::Body;
use super::{Site, pointwise, reduce, sum_dtype};
use ic_ir::kernel::{Expr, Index, Stage};
use ic_ir::ops::{Cumulative, CumulativeFn};
use ic_ir::scalar::{ReduceFn, ScalarOp};

pub(super) fn stages(op: &Cumulative, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let sum = sum_dtype(dtype);
    let inner = vec![site.shape[op.axis].clone()];
    let (along, here) = (Index::axis(site.shape.len()), Index::axis(op.axis));
    let mut indices = site.axes();
    indices[op.axis] = along.clone();
    let mut body = Body::default();
    let load = body.push(site.load(0, indices)?);
    let x = body.cast(load, dtype, sum);
    let (at, end) = (body.push(Expr::Index(along)), body.push(Expr::Index(here)));
    let counts = match (op.reverse, op.exclusive) {
        (false, false) => ScalarOp::Le,
        (false, true) => ScalarOp::Lt,
        (true, false) => ScalarOp::Ge,
        (true, true) => ScalarOp::Gt,
    };
    let counts = body.apply(counts, &[at, end]);
    let (neutral, function) = match op.function {
        CumulativeFn::Sum => (0, ReduceFn::Sum),
        CumulativeFn::Prod => (1, ReduceFn::Prod),
    };
    let neutral = if sum.is_float() { body.float(sum, neutral as f64) } else { body.int(sum, neutral) };
    body.apply(ScalarOp::Select, &[counts, x, neutral]);
    let mut result = Body::default();
    let value = result.push(Expr::Stage(0));
    result.cast(value, sum, dtype);
    Ok(vec![reduce(function, inner, body), pointwise(result)])
}
