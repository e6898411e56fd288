//! Where weights come from: 8-bit integers of the model, whichever way it spells their scaling.

use super::Site;
use ic_ir::{Op, ValueId};
use ic_types::DType;

/// Nodes that are looked at: far more than any spelling of a dequantization has.
const MAX_NODES: usize = 24;

impl Site<'_, '_> {
    /// Whether floats are computed from constants alone, among them a tensor of 8-bit integers.
    pub(super) fn is_of_bytes(&self, value: ValueId) -> bool {
        let (mut open, mut bytes, mut visited) = (vec![value], false, 0);
        while let Some(value) = open.pop() {
            let Some(node) = self.graph().def(value) else { return false };
            visited += 1;
            match &node.op {
                Op::Constant(constant) => {
                    let narrow = matches!(constant.value.dtype, DType::U8 | DType::I8);
                    bytes |= narrow && constant.value.len() > 1;
                }
                Op::Cast(_)
                | Op::Pointwise(_)
                | Op::Dequantize(_)
                | Op::Transpose(_)
                | Op::Reshape(_)
                | Op::Slice(_)
                    if visited < MAX_NODES =>
                {
                    open.extend(node.operands.iter().flatten());
                }
                _ => return false,
            }
        }
        bytes
    }
}
