//! `pad`: elements added around a tensor. ONNX `Pad`.

use crate::eval::{offset, strides, zeros};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// What the added elements are.
    PadMode {
        /// A given value.
        Constant = "constant",
        /// The tensor mirrored at its first and last elements, which are not repeated.
        Reflect = "reflect",
        /// The nearest element.
        Edge = "edge",
        /// The tensor repeated.
        Wrap = "wrap",
    }
}

crate::attrs! {
    /// Elements added before and after along every axis.
    Pad {
        /// What the added elements are.
        mode: PadMode = PadMode::Constant,
        /// How many are added: before along every axis, then after along every axis; not negative.
        pads: Vec<Dim>
    }
}

impl OpDef for Pad {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::optional("value")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let rank = ty.rank();
        ensure!(self.pads.len() == 2 * rank, "`pads` must have {} elements, found {}", 2 * rank, self.pads.len());
        let negative = self.pads.iter().find(|p| p.as_const().is_some_and(|p| p < 0));
        ensure!(negative.is_none(), "`pads` must not be negative, found {}", negative.unwrap_or(&self.pads[0]));
        if let Some(value) = x.opt(1) {
            ensure!(value.dtype == ty.dtype, "`value` must be of type {}, found {}", ty.dtype, value.dtype);
            ensure!(value.elements().is(1), "`value` must be one element, found {value}");
        }
        let shape = (0..rank).map(|i| ty.shape[i].clone() + self.pads[i].clone() + self.pads[rank + i].clone());
        Ok(vec![TensorType::new(ty.dtype, shape.collect()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let (rank, pads) = (input.rank(), x.extents(&self.pads)?);
        ensure!(pads.len() == 2 * rank, "`pads` must have {} elements", 2 * rank);
        let extents = (0..rank).map(|i| input.shape()[i].checked_add(pads[i])?.checked_add(pads[rank + i]));
        let shape = extents.collect::<Option<Vec<_>>>().ok_or_else(|| OpError::new("`pads` are too large"))?;
        let mut result = zeros(input.dtype(), shape.clone())?;
        let steps = strides(input.shape());
        let mut flat = 0;
        crate::eval::for_each_coordinate(&shape, |at| {
            let source = (0..rank).map(|i| {
                let position = at[i] as i64 - pads[i] as i64;
                self.source(position, input.shape()[i] as i64)
            });
            match (source.collect::<Option<Vec<usize>>>(), x.opt(1)) {
                (Some(source), _) => result.data_mut().set(flat, input.data(), offset(&source, &steps)),
                (None, _) if self.mode != PadMode::Constant => {
                    return Err(OpError::new("an axis without elements cannot be padded with its own"));
                }
                (None, Some(value)) => result.data_mut().set(flat, value.data(), 0),
                (None, None) => {}
            }
            flat += 1;
            Ok(())
        })?;
        Ok(vec![result])
    }
}

impl Pad {
    /// The element of an axis that the element at `position` of the padded axis copies; `None` for the value.
    fn source(&self, position: i64, extent: i64) -> Option<usize> {
        if (0..extent).contains(&position) {
            return Some(position as usize);
        }
        if extent == 0 {
            return None;
        }
        match self.mode {
            PadMode::Constant => None,
            PadMode::Edge => Some(position.clamp(0, extent - 1) as usize),
            PadMode::Wrap => Some(position.rem_euclid(extent) as usize),
            PadMode::Reflect => {
                let period = (2 * (extent - 1)).max(1);
                let folded = position.rem_euclid(period);
                Some(folded.min(period - folded).min(extent - 1) as usize)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pad(mode: PadMode, before: i64, after: i64) -> Vec<i64> {
        let input = Tensor::from_elements(vec![3], vec![1i64, 2, 3]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let op = Pad { mode, pads: vec![before.into(), after.into()] };
        op.eval(&x).unwrap()[0].elements().unwrap().to_vec()
    }

    #[test]
    fn modes() {
        assert_eq!(pad(PadMode::Constant, 1, 2), [0, 1, 2, 3, 0, 0]);
        assert_eq!(pad(PadMode::Reflect, 2, 3), [3, 2, 1, 2, 3, 2, 1, 2]);
        assert_eq!(pad(PadMode::Edge, 2, 1), [1, 1, 1, 2, 3, 3]);
        assert_eq!(pad(PadMode::Wrap, 1, 4), [3, 1, 2, 3, 1, 2, 3, 1]);
    }
}
