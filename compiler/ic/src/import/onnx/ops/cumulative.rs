//! ONNX `CumSum` and `CumProd`.

use super::prelude::*;
use ic_ir::ops::{Cumulative, CumulativeFn};

/// `CumSum`, `CumProd`. An axis that only a run knows chooses between the results along each.
pub(super) fn cumulative(cx: &mut Context, node: &NodeView, function: CumulativeFn) -> Results {
    let x = node.input(0)?;
    let (exclusive, reverse) = (node.flag("exclusive", false), node.flag("reverse", false));
    let along = |cx: &mut Context, axis| cx.push(Cumulative { function, axis, exclusive, reverse }, &[x]);
    if cx.try_ints(node.input(1)?).is_none() {
        return Ok(vec![super::by_axis(cx, x, node.input(1)?, along)?]);
    }
    let axis = cx.constant_ints(node.input(1)?, "axis")?;
    let axis = cx.axis(x, *axis.first().ok_or_else(|| invalid!("`axis` is empty"))?)?;
    Ok(vec![along(cx, axis)?])
}
