//! Scales and zero points.

use crate::canonicalize::splat;
use ic_ir::{Graph, ValueId};
use ic_types::{Data, Tensor};

/// How integers become floats.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) scale: ValueId,
    pub(super) zero: Option<ValueId>,
    /// The axis along which there is one of each for each position; `None` if there is one for all.
    pub(super) axis: Option<usize>,
}

impl Parameters {
    /// Whether scale and zero point are one number each.
    pub(super) fn is_one_number(&self, graph: &Graph) -> bool {
        let one = |value: ValueId| graph.ty(value).as_tensor().is_some_and(|ty| ty.elements().is(1));
        one(self.scale) && self.zero.is_none_or(one)
    }

    /// The zero point, if it is one known number.
    pub(super) fn zero_number(&self, graph: &Graph) -> Option<f64> {
        self.zero.map_or(Some(0.0), |zero| number(graph, zero))
    }

    /// Whether the scale is one known positive number.
    pub(super) fn has_positive_scale(&self, graph: &Graph) -> bool {
        number(graph, self.scale).is_some_and(|scale| scale > 0.0)
    }

    /// Whether both turn any integer into the same float: one number each, and the same.
    pub(super) fn equals(&self, other: &Parameters, graph: &Graph) -> bool {
        let same_scale = self.scale == other.scale
            || matches!((number(graph, self.scale), number(graph, other.scale)), (Some(a), Some(b)) if a == b);
        let same_zero = self.zero == other.zero
            || matches!((self.zero_number(graph), other.zero_number(graph)), (Some(a), Some(b)) if a == b);
        same_scale && same_zero && [self, other].iter().all(|by| by.is_one_number(graph))
    }
}

/// The number that a constant of one element is.
fn number(graph: &Graph, value: ValueId) -> Option<f64> {
    graph.ty(value).as_tensor().filter(|ty| ty.elements().is(1))?;
    if let Some(number) = splat(graph, value) {
        return Some(number);
    }
    let tensor = graph.constant(value)?.tensor().ok()?;
    match tensor.data() {
        Data::F32(v) => v.first().map(|&x| f64::from(x)),
        Data::U8(v) => v.first().map(|&x| f64::from(x)),
        Data::I8(v) => v.first().map(|&x| f64::from(x)),
        _ => None,
    }
}

/// An i8 zero point of one number as u8, 128 greater; that of an absent one is 128.
pub(super) fn shifted_zero(graph: &Graph, zero: Option<ValueId>) -> Option<Tensor> {
    let zero = zero.map_or(Some(0.0), |zero| number(graph, zero))?;
    Some(Tensor::new(vec![], Data::U8(vec![(zero as i32 + 128) as u8])))
}
