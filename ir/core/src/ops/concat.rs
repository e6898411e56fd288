//! `concat`: tensors one after the other along an axis. ONNX `Concat`.

use crate::eval::checked_len;
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Data, Dim, Tensor};

crate::attrs! {
    /// Tensors one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize
    }
}

impl OpDef for Concat {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::variadic("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let first = x.ty(0)?;
        let mut shape = first.shape.clone();
        ensure!(self.axis < shape.len(), "`axis` must be below the rank {}, found {}", shape.len(), self.axis);
        for i in 1..x.len() {
            let ty = x.ty(i)?;
            ensure!(ty.dtype == first.dtype, "operands must have one type, found {} and {}", first.dtype, ty.dtype);
            ensure!(ty.rank() == first.rank(), "operands must have one rank, found {first} and {ty}");
            for (axis, (extent, other)) in shape.iter_mut().zip(&ty.shape).enumerate() {
                *extent = if axis == self.axis {
                    extent.clone() + other.clone()
                } else {
                    x.equal(extent, other, &format!("extents of axis {axis}"))?
                };
            }
        }
        Ok(vec![TensorType::new(first.dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        let operands: Vec<usize> = (0..x.len()).collect();
        super::rearranged_content(self, x, &operands)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let parts = (0..x.operands.len()).map(|i| x.get(i)).collect::<Result<Vec<_>, _>>()?;
        let first = x.get(0)?;
        let mut shape = first.shape().to_vec();
        ensure!(self.axis < shape.len(), "`axis` must be below the rank {}", shape.len());
        shape[self.axis] = parts.iter().map(|p| p.shape().get(self.axis).copied().unwrap_or(0)).sum();
        for part in &parts {
            let mut expected = shape.clone();
            expected[self.axis] = part.shape().get(self.axis).copied().unwrap_or(0);
            let fits = part.shape() == expected && part.dtype() == first.dtype();
            ensure!(fits, "operands of shapes {:?} and {:?} do not fit", first.shape(), part.shape());
        }
        if checked_len(&shape)? == 0 {
            return Ok(vec![Tensor::zeros(first.dtype(), shape)]);
        }
        let outer: usize = shape[..self.axis].iter().product();
        let mut data = Data::zeros(first.dtype(), 0);
        for o in 0..outer {
            for part in &parts {
                let run = part.len() / outer;
                data.append(&part.data().gather(o * run..(o + 1) * run));
            }
        }
        Ok(vec![Tensor::new(shape, data)])
    }
}
