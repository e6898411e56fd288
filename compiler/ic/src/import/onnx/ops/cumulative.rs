//! ONNX `CumSum` and `CumProd`.

use super::prelude::*;
use ic_ir::ops::{Cumulative, CumulativeFn};

/// `CumSum`, `CumProd`.
pub(super) fn cumulative(cx: &mut Context, node: &NodeView, function: CumulativeFn) -> Results {
    let x = node.input(0)?;
    let axis = cx.constant_ints(node.input(1)?, "axis")?;
    let axis = cx.axis(x, *axis.first().ok_or_else(|| invalid!("`axis` is empty"))?)?;
    let (exclusive, reverse) = (node.flag("exclusive", false), node.flag("reverse", false));
    Ok(vec![cx.push(Cumulative { function, axis, exclusive, reverse }, &[x])?])
}
