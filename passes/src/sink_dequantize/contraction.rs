//! Contractions on integers.

use super::{Quantized, Site};
use crate::Report;
use ic_ir::ops::{Cast, Convolution, IntegerConvolution, IntegerMatmul, Layout, Reshape};
use ic_ir::{GraphError, Op, ScalarOp, ValueId};
use ic_types::{DType, Dim};

impl Site<'_, '_> {
    /// `dequantize(a) × dequantize(b) = integers × scales`.
    pub(super) fn matmul(
        &mut self,
        operands: &[Option<ValueId>],
        report: &mut Report,
    ) -> Result<Option<ValueId>, GraphError> {
        let [Some(a), Some(b)] = *operands else { return Ok(None) };
        let factors = [self.quantized(a), self.quantized(b)];
        let rank = self.graph().tensor_ty(b).rank();
        let columns = |b: &Quantized| b.by.axis.is_none_or(|axis| rank == 2 && axis == 1);
        let (a, b) = match factors {
            [None, None] if self.is_of_bytes(b) => return self.refuse("its left operand is not quantized", report),
            [None, None] => return Ok(None),
            [Some(a), Some(b)] if a.by.axis.is_none() && columns(&b) => (a, b),
            [None, Some(_)] => return self.refuse("its left operand is not quantized", report),
            [Some(_), None] => return self.refuse("its right operand is not quantized", report),
            _ => return self.refuse("a scale is not of the whole left operand or of a column of the right", report),
        };
        let (left, zero) = self.unsigned_of(&a)?;
        let sum = self.push(IntegerMatmul {}, vec![Some(left), Some(b.x), zero, b.by.zero])?;
        self.scaled(sum, a.by.scale, b.by.scale).map(Some)
    }

    /// The convolution of dequantized image and weights is that of their integers times both scales.
    pub(super) fn convolution(
        &mut self,
        op: &Convolution,
        operands: &[Option<ValueId>],
        report: &mut Report,
    ) -> Result<Option<ValueId>, GraphError> {
        let [Some(x), Some(w), ..] = *operands else { return Ok(None) };
        let (x, w) = match [self.quantized(x), self.quantized(w)] {
            [None, None] if self.is_of_bytes(w) => return self.refuse("its image is not quantized", report),
            [None, None] => return Ok(None),
            [Some(x), Some(w)] if x.by.axis.is_none() && w.by.axis.is_none_or(|axis| axis == 0) => (x, w),
            [None, Some(_)] => return self.refuse("its image is not quantized", report),
            [Some(_), None] => return self.refuse("its weights are not quantized", report),
            _ => return self.refuse("a scale is not of the whole image or of an output channel", report),
        };
        let (image, zero) = self.unsigned_of(&x)?;
        let factors = vec![Some(image), Some(w.x), zero, w.by.zero];
        let sum = self.push(IntegerConvolution::from(op.clone()), factors)?;
        let rank = self.graph().tensor_ty(sum).rank();
        let mut scale_w = w.by.scale;
        if w.by.axis.is_some() {
            scale_w = self.along_channels(scale_w, op.layout, rank)?;
        }
        let mut result = self.scaled(sum, x.by.scale, scale_w)?;
        if let Some(bias) = operands.get(2).copied().flatten() {
            let bias = self.along_channels(bias, op.layout, rank)?;
            result = self.push(ScalarOp::Add, vec![Some(result), Some(bias)])?;
        }
        Ok(Some(result))
    }

    /// Notes a layer whose weights are quantized and that has no kernel for integers.
    pub(super) fn note_float(&mut self, operands: &[Option<ValueId>], report: &mut Report) {
        if operands.iter().skip(1).take(2).flatten().any(|&weights| self.is_of_bytes(weights)) {
            let reason = "there is no integer kernel for this op".to_string();
            report.float_contractions.push((self.location.to_string(), reason));
        }
    }

    /// Notes that a contraction that the model quantizes runs on floats.
    fn refuse(&mut self, reason: &str, report: &mut Report) -> Result<Option<ValueId>, GraphError> {
        report.float_contractions.push((self.location.to_string(), reason.to_string()));
        Ok(None)
    }

    /// The integers as u8, where they are i8 from a quantization, and their zero point.
    fn unsigned_of(&mut self, x: &Quantized) -> Result<(ValueId, Option<ValueId>), GraphError> {
        Ok(match self.twin(x.x, x.by.zero)? {
            Some((twin, zero)) => (twin, Some(zero)),
            None => (x.x, x.by.zero),
        })
    }

    /// An integer contraction whose left factor is i8 from a quantization, on u8.
    pub(super) fn unsigned_factor(
        &mut self,
        op: &Op,
        operands: &[Option<ValueId>],
    ) -> Result<Option<ValueId>, GraphError> {
        let Some(x) = operands.first().copied().flatten() else { return Ok(None) };
        let Some((twin, zero)) = self.twin(x, operands.get(2).copied().flatten())? else { return Ok(None) };
        let mut operands = operands.to_vec();
        operands.resize(operands.len().max(3), None);
        (operands[0], operands[2]) = (Some(twin), Some(zero));
        self.push(op.clone(), operands).map(Some)
    }

    /// `sum` as floats, times both scales.
    fn scaled(&mut self, sum: ValueId, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        // A scale of one element may have rank 1; as rank 0 it leaves the other's shape alone.
        let mut scales = [a, b];
        for scale in &mut scales {
            let ty = self.graph().tensor_ty(*scale);
            if ty.rank() > 0 && ty.elements().is(1) {
                *scale = self.push(Reshape { shape: vec![] }, vec![Some(*scale)])?;
            }
        }
        let scale = self.push(ScalarOp::Mul, vec![Some(scales[0]), Some(scales[1])])?;
        let floats = self.push(Cast { to: DType::F32, saturate: true }, vec![Some(sum)])?;
        self.push(ScalarOp::Mul, vec![Some(floats), Some(scale)])
    }

    /// A vector along the channels of an image of `rank`.
    fn along_channels(&mut self, vector: ValueId, layout: Layout, rank: usize) -> Result<ValueId, GraphError> {
        let extent = self.graph().tensor_ty(vector).elements();
        let after = if layout == Layout::ChannelsFirst { rank - 2 } else { 0 };
        let shape = std::iter::once(extent).chain(std::iter::repeat_n(Dim::constant(1), after)).collect();
        self.push(Reshape { shape }, vec![Some(vector)])
    }
}
