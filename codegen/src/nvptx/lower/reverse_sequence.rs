//! The first elements of each sequence in reverse: elements at places that the lengths say.

use super::body::Body;
use super::{Site, pointwise};
use ic_ir::kernel::{Expr, Index, Stage};
use ic_ir::ops::ReverseSequence;
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

pub(super) fn stages(op: &ReverseSequence, site: &Site) -> Result<Vec<Stage>, String> {
    let mut body = Body::default();
    let length = body.push(site.load(1, vec![Index::axis(op.batch_axis)])?);
    let length = body.cast(length, site.dtype(1)?, DType::I64);
    let time = body.push(Expr::Index(Index::axis(op.time_axis)));
    let one = body.int(DType::I64, 1);
    let last = body.apply(ScalarOp::Sub, &[length, one]);
    let mirrored = body.apply(ScalarOp::Sub, &[last, time]);
    let is_within = body.apply(ScalarOp::Lt, &[time, length]);
    let at = body.apply(ScalarOp::Select, &[is_within, mirrored, time]);
    let mut indices = site.axes();
    indices[op.time_axis] = Index::default();
    body.push(site.gathered(0, indices, vec![(op.time_axis as u32, at)])?);
    Ok(vec![pointwise(body)])
}
