//! `sink_dequantize`: dequantization moved behind what works on integers as well.
//!
//! `op(dequantize(x)) = dequantize(op(x))` for movement, maxima and relu; a contraction of two dequantized factors is
//! the contraction of their integers times both scales; and quantizing what has just been dequantized alike is nothing.
//! What is left between two quantizations is floats computed from 8-bit operands, in one kernel. i8 activations become
//! u8, which machines multiply faster: `x + 128` with a zero point that is 128 greater.
//!
//! Sums of integers are exact, where sums of their floats were rounded; everything else keeps every bit.

mod contraction;
mod movement;
mod origin;
mod parameters;

use crate::rebuild::{OperandList, Rebuild, map_regions, prune};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Dequantize, Quantize};
use ic_ir::{Graph, GraphError, Node, Op, ValueId};
use ic_types::DType;
use parameters::{Parameters, shifted_zero};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// If a rewritten node does not fit its operands.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn sink_dequantize(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let operands = rebuild.operands(node);
        let site = Site { rebuild: &mut rebuild, location: node.location.clone() };
        match site.rewrite(node, &operands, report)? {
            Some(value) => rebuild.set(node.results[0], value),
            None => {
                let regions = map_regions(node, |region| sink_dequantize(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(prune(&rebuild.finish())?)
}

/// A dequantization: what it reads, and how integers become floats.
#[derive(Clone, Debug)]
struct Quantized {
    /// The 8-bit integers.
    x: ValueId,
    /// Scale and zero point.
    by: Parameters,
}

/// A place in the new graph where nodes are added.
struct Site<'r, 'g> {
    rebuild: &'r mut Rebuild<'g>,
    location: Arc<str>,
}

impl Site<'_, '_> {
    /// What `node` becomes, if a rule applies.
    fn rewrite(
        mut self,
        node: &Node,
        operands: &[Option<ValueId>],
        report: &mut Report,
    ) -> Result<Option<ValueId>, GraphError> {
        let is_layer = matches!(node.op, Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_));
        if (node.results.len() != 1 && !is_layer) || !node.regions.is_empty() {
            return Ok(None);
        }
        let (rule, value) = match &node.op {
            Op::Quantize(op) => ("quantize-dequantize", self.quantize(op, operands)?),
            Op::Dequantize(op) => ("dequantize-unsigned", self.unsigned(op, operands)?),
            Op::Matmul(_) => ("integer-matmul", self.matmul(operands, report)?),
            Op::Convolution(op) => ("integer-convolution", self.convolution(op, operands, report)?),
            Op::IntegerMatmul(_) | Op::IntegerConvolution(_) => {
                ("integer-unsigned", self.unsigned_factor(&node.op, operands)?)
            }
            Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_) | Op::ConvTranspose(_) => {
                self.note_float(operands, report);
                return Ok(None);
            }
            op => ("sink-dequantize", self.sink(op, operands)?),
        };
        if value.is_some() {
            *report.rules.entry(rule).or_default() += 1;
        }
        Ok(value)
    }

    fn graph(&self) -> &Graph {
        &self.rebuild.new
    }

    fn push(&mut self, op: impl Into<Op>, operands: OperandList) -> Result<ValueId, GraphError> {
        Ok(self.rebuild.push(op.into(), operands, &self.location)?[0])
    }

    fn dtype(&self, value: ValueId) -> Option<DType> {
        Some(self.graph().ty(value).as_tensor()?.dtype)
    }

    /// The dequantization of 8-bit integers to f32 that defines `value`, if one does.
    fn quantized(&self, value: ValueId) -> Option<Quantized> {
        let node = self.graph().def(value)?;
        let Op::Dequantize(op) = &node.op else { return None };
        let [Some(x), Some(scale), ..] = node.operands[..] else { return None };
        let ty = self.graph().ty(x).as_tensor()?;
        let fits = op.block_size == 0 && op.to == DType::F32 && matches!(ty.dtype, DType::U8 | DType::I8);
        let zero = node.operands.get(2).copied().flatten();
        let scale_ty = self.graph().ty(scale).as_tensor()?;
        if !fits || scale_ty.dtype != DType::F32 {
            return None;
        }
        let axis = if scale_ty.elements().is(1) { None } else { Some(ic_ir::ops::axis_of(op.axis, ty.rank()).ok()?) };
        Some(Quantized { x, by: Parameters { scale, zero, axis } })
    }

    /// Floats from the integers `x`.
    fn dequantize(&mut self, x: ValueId, by: &Parameters) -> Result<ValueId, GraphError> {
        let op = Dequantize { axis: by.axis.unwrap_or(0) as i64, block_size: 0, to: DType::F32 };
        self.push(op, vec![Some(x), Some(by.scale), by.zero])
    }

    /// Integers from floats that were just made of integers: those. A relu below the least integer does nothing.
    fn quantize(&mut self, op: &Quantize, operands: &[Option<ValueId>]) -> Result<Option<ValueId>, GraphError> {
        let [Some(x), Some(scale), ..] = *operands else { return Ok(None) };
        let zero = operands.get(2).copied().flatten();
        let by = Parameters { scale, zero, axis: None };
        if op.block_size != 0 || !by.is_one_number(self.graph()) || self.dtype(scale) != Some(DType::F32) {
            return Ok(None);
        }
        if let Some(quantized) = self.quantized(x)
            && self.dtype(quantized.x) == Some(op.to)
            && quantized.by.equals(&by, self.graph())
        {
            return Ok(Some(quantized.x));
        }
        let least = match op.to {
            DType::U8 => 0.0,
            DType::I8 => -128.0,
            _ => return Ok(None),
        };
        let Some(node) = self.graph().def(x) else { return Ok(None) };
        let is_relu = matches!(&node.op, Op::Pointwise(p) if p.function == ic_ir::ScalarOp::Relu);
        if !is_relu || by.zero_number(self.graph()) != Some(least) || !by.has_positive_scale(self.graph()) {
            return Ok(None);
        }
        let positive = node.operands.clone();
        let operands = [&positive[..1], &operands[1..]].concat();
        if let Some(value) = self.quantize(op, &operands)? {
            return Ok(Some(value));
        }
        self.push(op.clone(), operands).map(Some)
    }

    /// The u8 twin of i8 integers that a quantization makes, with its zero point.
    fn twin(&mut self, x: ValueId, zero: Option<ValueId>) -> Result<Option<(ValueId, ValueId)>, GraphError> {
        let Some(node) = self.graph().def(x) else { return Ok(None) };
        let (Op::Quantize(op), Some(DType::I8)) = (node.op.clone(), self.dtype(x)) else { return Ok(None) };
        let operands = node.operands.clone();
        let own = operands.get(2).copied().flatten();
        let [Some(shifted), Some(own_shifted)] = [zero, own].map(|zero| shifted_zero(self.graph(), zero)) else {
            return Ok(None);
        };
        let mut zeros = Vec::new();
        for tensor in [shifted, own_shifted] {
            let value = ic_ir::Literal::inline(tensor);
            zeros.push(self.push(ic_ir::ops::Constant { value }, vec![])?);
        }
        let operands = vec![operands[0], operands[1], Some(zeros[1])];
        let op = Quantize { to: DType::U8, ..op };
        let scale_is_one = operands[1].is_some_and(|s| self.graph().tensor_ty(s).elements().is(1));
        if op.block_size != 0 || !scale_is_one {
            return Ok(None);
        }
        let twin = match self.quantize(&op, &operands)? {
            Some(value) => value,
            None => self.push(op, operands)?,
        };
        Ok(Some((twin, zeros[0])))
    }

    /// A dequantization of i8 integers as one of their twins.
    fn unsigned(&mut self, op: &Dequantize, operands: &[Option<ValueId>]) -> Result<Option<ValueId>, GraphError> {
        let [Some(x), Some(scale), ..] = *operands else { return Ok(None) };
        let single = self.graph().ty(scale).as_tensor().is_some_and(|ty| ty.elements().is(1));
        if op.block_size != 0 || !single {
            return Ok(None);
        }
        let Some((twin, zero)) = self.twin(x, operands.get(2).copied().flatten())? else { return Ok(None) };
        self.push(op.clone(), vec![Some(twin), Some(scale), Some(zero)]).map(Some)
    }
}
