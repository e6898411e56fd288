//! `integer_convolution`: cross-correlation of 8-bit integers with zero points. ONNX `ConvInteger`.

use super::convolution::{ConvAlgorithm, Convolution};
use super::integer_matmul::{INTEGER_OPERANDS, centred, check_integers};
use super::spatial::Layout;
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// The convolution of `x - x_zero_point` and `w - w_zero_point[o]` in i32, which wraps, plus `bias[o]`.
    ///
    /// Around the image is the zero point. Types and zero points are as for `integer_matmul`, with output channels for
    /// columns; attributes and shapes are those of `convolution`.
    IntegerConvolution {
        /// Distance of the windows along each spatial axis.
        strides: Vec<usize>,
        /// Zero points around the image: before along each spatial axis, then after.
        pads: Vec<Dim>,
        /// Distance of the kernel's elements along each spatial axis.
        dilations: Vec<usize>,
        /// Into how many parts the channels are divided, each with kernels of its own.
        groups: usize = 1,
        /// Layout of the image and the result.
        layout: Layout = Layout::ChannelsFirst
    }
}

impl IntegerConvolution {
    /// The convolution with these attributes on numbers.
    pub fn window(&self) -> Convolution {
        let IntegerConvolution { strides, pads, dilations, groups, layout } = self.clone();
        Convolution { strides, pads, dilations, groups, layout, algorithm: ConvAlgorithm::Direct }
    }
}

impl From<Convolution> for IntegerConvolution {
    fn from(op: Convolution) -> IntegerConvolution {
        let Convolution { strides, pads, dilations, groups, layout, .. } = op;
        IntegerConvolution { strides, pads, dilations, groups, layout }
    }
}

impl OpDef for IntegerConvolution {
    const OPERANDS: &'static [OperandSpec] = INTEGER_OPERANDS;

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (shape, channels) = self.window().output_shape(x, x.ty(0)?, x.ty(1)?)?;
        check_integers(x, &channels)?;
        Ok(vec![TensorType::new(DType::I32, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let w = x.get(1)?;
        let filter = w.shape().iter().skip(1).product();
        let (image, w) = (centred(x.get(0)?, x.opt(2), 1)?, centred(w, x.opt(3), filter)?);
        let factors = Tensors { operands: vec![Some(&image), Some(&w), x.opt(4)], ..*x };
        self.window().eval(&factors)
    }
}
