//! Scalar expressions on demand: the element of a value at an index, in terms of the elements of buffers.
//!
//! Data movement becomes index arithmetic; everything pointwise becomes one expression. An [`Emitter`] collects the
//! stages and parameters of one kernel.

use super::access;
use super::body::prune;
use ic_ir::kernel::{Anchor, Axis, Bound, Expr, ExprId, Index, Load, Stage, Store};
use ic_ir::ops::{Op, PadMode, Update};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Graph, LiteralData, Node, TensorType, ValueId};
use ic_types::{DType, Data, Dim};
use std::collections::{BTreeMap, HashMap};

/// A value is needed at another index than the one at which an earlier stage has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Misaligned;

/// How a kernel sees a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum View {
    /// As a tensor of the value's shape.
    Axes,
    /// As one axis of all elements.
    Linear,
}

/// A buffer, before buffers have numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// That of a value.
    Value(ValueId),
    /// That of an output of the graph, where it is a copy of a value.
    Output(u32),
}

/// A parameter of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    /// The buffer.
    pub(crate) place: Place,
    /// How the kernel sees it.
    pub(crate) view: View,
    /// Whether the kernel writes it.
    pub(crate) is_output: bool,
}

/// How a value's element follows from the results of earlier stages.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Staged {
    /// It is one, in the stage's type.
    Result(u32),
    /// The quotient of two.
    Quotient(u32, u32),
    /// The operand's element less the first, if any, times the second; then times scale and plus bias, if any.
    Normalized {
        /// The mean.
        mean: Option<u32>,
        /// What to multiply by.
        factor: u32,
        /// First normalized axis.
        axis: usize,
    },
}

/// Where a stored value goes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Target {
    /// The buffer.
    pub(crate) place: Place,
    /// The axis along which the stored value is a part of the buffer's, and its first index.
    pub(crate) part: Option<(usize, Dim)>,
}

impl Target {
    /// The value's own buffer.
    pub(crate) fn of(value: ValueId) -> Target {
        Target { place: Place::Value(value), part: None }
    }
}

/// The stages and parameters of a kernel in the making.
pub(crate) struct Emitter<'a> {
    pub(crate) graph: &'a Graph,
    /// Whether a value is in a buffer that the kernel reads.
    is_buffer: &'a dyn Fn(ValueId) -> bool,
    /// Extents of the outer axes, then of the inner ones.
    pub(crate) extents: Vec<Dim>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) stages: Vec<Stage>,
    /// The element type of each stage's result.
    stage_dtypes: Vec<DType>,
    staged: BTreeMap<ValueId, (Staged, Vec<Index>)>,
    pub(crate) body: Vec<Expr>,
    memo: HashMap<(ValueId, Vec<Index>, Vec<Bound>), ExprId>,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(graph: &'a Graph, is_buffer: &'a dyn Fn(ValueId) -> bool, extents: Vec<Dim>) -> Emitter<'a> {
        Emitter {
            graph,
            is_buffer,
            extents,
            slots: Vec::new(),
            stages: Vec::new(),
            stage_dtypes: Vec::new(),
            staged: BTreeMap::new(),
            body: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Adds an expression, or finds an equal one.
    pub(crate) fn push(&mut self, expr: Expr) -> ExprId {
        if let Some(id) = self.body.iter().position(|e| *e == expr) {
            return id as ExprId;
        }
        self.body.push(expr);
        self.body.len() as ExprId - 1
    }

    /// `function(args)`.
    pub(crate) fn apply(&mut self, function: ScalarOp, args: &[ExprId]) -> ExprId {
        self.push(Expr::Apply(function, args.to_vec()))
    }

    /// A number of a type.
    pub(crate) fn number(&mut self, dtype: DType, value: f64) -> ExprId {
        self.push(Expr::Const(dtype, number_bits(dtype, value)))
    }

    /// The expression converted to `to`, if it is not of that type.
    pub(crate) fn cast(&mut self, value: ExprId, from: DType, to: DType) -> ExprId {
        if from == to { value } else { self.push(Expr::Cast(to, value)) }
    }

    /// The number of the parameter for a buffer.
    pub(crate) fn slot(&mut self, slot: Slot) -> u32 {
        if let Some(i) = self.slots.iter().position(|s| *s == slot) {
            return i as u32;
        }
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    /// Ends the stage that `body` belongs to. The root is kept last.
    pub(crate) fn finish_stage(
        &mut self,
        inner: Vec<Axis>,
        anchor: Anchor,
        (root, dtype): (ExprId, DType),
        stores: Vec<Store>,
    ) -> u32 {
        self.memo.clear();
        let body = std::mem::take(&mut self.body);
        let keep_root = stores.is_empty() || !matches!(anchor, Anchor::Pointwise);
        let (body, stores) = prune(&body, root, keep_root, stores);
        self.push_stage(Stage { inner, anchor, body, stores }, dtype);
        self.stages.len() as u32 - 1
    }

    /// Adds a stage whose result is of a type.
    pub(crate) fn push_stage(&mut self, stage: Stage, dtype: DType) {
        self.stages.push(stage);
        self.stage_dtypes.push(dtype);
    }

    /// Forgets the expressions since the last stage.
    pub(crate) fn drop_body(&mut self) {
        self.body.clear();
        self.memo.clear();
    }

    /// The type of a buffer.
    pub(crate) fn place_ty(&self, place: Place) -> &'a TensorType {
        match place {
            Place::Value(value) => self.graph.tensor_ty(value),
            Place::Output(i) => self.graph.tensor_ty(self.graph.outputs()[i as usize]),
        }
    }

    /// Makes later uses of element `at` of `value` refer to the results of stages.
    pub(crate) fn set_staged(&mut self, value: ValueId, staged: Staged, at: Vec<Index>) {
        self.staged.insert(value, (staged, at));
    }

    /// A store of `value`, whose element is `indices`, to `target`.
    pub(crate) fn store(&mut self, value: ExprId, indices: &[Index], target: &Target) -> Store {
        let mut indices = indices.to_vec();
        if let Some((axis, first)) = &target.part {
            indices[*axis] = indices[*axis].plus(&Index::constant(first.clone()));
        }
        let linear = access::linearize(&indices, &self.place_ty(target.place).shape);
        let param = self.slot(Slot { place: target.place, view: View::Linear, is_output: true });
        Store { value, param, indices: vec![linear], bounds: Vec::new() }
    }

    /// The element `indices` of `value`. Where a condition of `guard` does not hold, any value will do, and nothing is
    /// read from memory.
    pub(crate) fn value(&mut self, value: ValueId, indices: &[Index], guard: &[Bound]) -> Result<ExprId, Misaligned> {
        let key = (value, indices.to_vec(), guard.to_vec());
        if let Some(&id) = self.memo.get(&key) {
            return Ok(id);
        }
        let id = self.compute(value, indices, guard)?;
        self.memo.insert(key, id);
        Ok(id)
    }

    fn is_inline(&self, value: ValueId) -> bool {
        self.graph.def(value).is_some_and(|node| {
            matches!(
                node.op,
                Op::Pointwise(_)
                    | Op::Cast(_)
                    | Op::Quantize(_)
                    | Op::Dequantize(_)
                    | Op::Concat(_)
                    | Op::Update(_)
                    | Op::Pad(_)
                    | Op::Gather(_)
            ) || access::moved(self.graph, node, &access::domain(&self.graph.tensor_ty(value).shape), &[]).is_some()
        })
    }

    fn compute(&mut self, value: ValueId, indices: &[Index], guard: &[Bound]) -> Result<ExprId, Misaligned> {
        let graph = self.graph;
        if let Some((staged, at)) = self.staged.get(&value) {
            if at == indices {
                return self.staged_value(value, *staged, indices);
            }
            if !self.is_inline(value) {
                return Err(Misaligned);
            }
        }
        if let Some(bits) = splat(graph, value) {
            return Ok(self.push(Expr::Const(graph.dtype(value), bits)));
        }
        let content = graph.elements(value);
        if (self.is_buffer)(value) && content.is_none_or(|content| content.len() > 1) {
            return Ok(self.load(value, indices, guard));
        }
        if let Some(content) = content
            && !graph.def(value).is_some_and(|node| matches!(node.op, Op::Iota(_)))
        {
            return Ok(self.content(graph.dtype(value), content, &graph.tensor_ty(value).shape, indices));
        }
        let node = graph.def(value).ok_or(Misaligned)?;
        if let Some((operand, indices)) = access::moved(graph, node, indices, &self.extents) {
            return self.value(operand, &indices, guard);
        }
        match &node.op {
            Op::Pointwise(op) => {
                let shape = &graph.tensor_ty(value).shape;
                let args = node.operands.iter().flatten().map(|&operand| {
                    let indices = access::broadcast(indices, shape, &graph.tensor_ty(operand).shape);
                    self.value(operand, &indices, guard)
                });
                let args = args.collect::<Result<Vec<_>, _>>()?;
                Ok(self.apply(op.function, &args))
            }
            Op::Cast(op) => {
                let operand = operand(node, 0)?;
                let element = self.value(operand, indices, guard)?;
                Ok(self.cast(element, graph.dtype(operand), op.to))
            }
            Op::Iota(op) => {
                let index = self.push(Expr::Index(indices[0].clone()));
                Ok(self.cast(index, DType::I64, op.dtype))
            }
            Op::Quantize(op) => self.quantize(node, op, indices, guard),
            Op::Dequantize(op) => self.dequantize(node, op, indices, guard),
            Op::Concat(op) => self.concat(node, op.axis, indices, guard),
            Op::Update(op) => self.update(node, op, indices, guard),
            Op::Pad(op) => self.pad(node, op.mode, &op.pads, indices, guard),
            Op::Gather(op) => self.gather(node, op.axis, indices, guard),
            _ => Err(Misaligned),
        }
    }

    /// The element `indices` of a value that follows from earlier stages. Narrow floats are computed as f32.
    fn staged_value(&mut self, value: ValueId, staged: Staged, indices: &[Index]) -> Result<ExprId, Misaligned> {
        let (graph, dtype) = (self.graph, self.graph.dtype(value));
        let wide = compute_dtype(dtype);
        let result = match staged {
            Staged::Result(stage) => {
                let result = self.push(Expr::Stage(stage));
                let wide = self.stage_dtypes[stage as usize];
                return Ok(self.cast(result, wide, dtype));
            }
            Staged::Quotient(numerator, denominator) => {
                let args = [numerator, denominator].map(|stage| self.push(Expr::Stage(stage)));
                self.apply(ScalarOp::Div, &args)
            }
            Staged::Normalized { mean, factor, axis } => {
                let node = graph.def(value).ok_or(Misaligned)?;
                let mut element = self.value(operand(node, 0)?, indices, &[])?;
                element = self.cast(element, dtype, wide);
                if let Some(mean) = mean {
                    let mean = self.push(Expr::Stage(mean));
                    element = self.apply(ScalarOp::Sub, &[element, mean]);
                }
                let factor = self.push(Expr::Stage(factor));
                element = self.apply(ScalarOp::Mul, &[element, factor]);
                let normalized = &graph.tensor_ty(value).shape[axis..];
                for (function, parameter) in [ScalarOp::Mul, ScalarOp::Add].into_iter().zip(&node.operands[1..]) {
                    let Some(parameter) = *parameter else { continue };
                    let ty = graph.tensor_ty(parameter);
                    let at = access::broadcast(&indices[axis..], normalized, &ty.shape);
                    let parameter = self.value(parameter, &at, &[])?;
                    let parameter = self.cast(parameter, ty.dtype, wide);
                    element = self.apply(function, &[element, parameter]);
                }
                element
            }
        };
        Ok(self.cast(result, wide, dtype))
    }

    fn load(&mut self, value: ValueId, indices: &[Index], guard: &[Bound]) -> ExprId {
        let linear = access::linearize(indices, &self.graph.tensor_ty(value).shape);
        let place = Place::Value(same_elements(self.graph, value));
        let param = self.slot(Slot { place, view: View::Linear, is_output: false });
        let otherwise = (!guard.is_empty()).then(|| self.push(Expr::Const(self.graph.dtype(value), 0)));
        let (indices, bounds) = (vec![linear], guard.to_vec());
        self.push(Expr::Load(Load { param, indices, gathered: Vec::new(), bounds, otherwise }))
    }

    /// The element of a value whose elements are known as dimension expressions.
    fn content(&mut self, dtype: DType, content: &[Dim], shape: &[Dim], indices: &[Index]) -> ExprId {
        let linear = access::linearize(indices, shape);
        let known = linear.as_const_index().and_then(|i| content.get(i));
        let dim = known.or(content.first().filter(|_| content.len() == 1));
        let element = match dim {
            Some(dim) => self.push(Expr::Index(Index::constant(dim.clone()))),
            None => {
                let at = self.push(Expr::Index(linear));
                let mut element = self.number(DType::I64, 0.0);
                for (i, dim) in content.iter().enumerate() {
                    let here = self.push(Expr::Index(Index::constant(Dim::constant(i as i64))));
                    let is_here = self.apply(ScalarOp::Eq, &[at, here]);
                    let dim = self.push(Expr::Index(Index::constant(dim.clone())));
                    element = self.apply(ScalarOp::Select, &[is_here, dim, element]);
                }
                element
            }
        };
        self.cast(element, DType::I64, dtype)
    }

    /// `element` where `bounds` hold, else `other`. `element` was computed under the guard `all`, which ends in them.
    fn choose(&mut self, element: ExprId, all: &[Bound], bounds: &[Bound], other: ExprId) -> ExprId {
        if bounds.is_empty() {
            return element;
        }
        if let Expr::Load(load) = &self.body[element as usize]
            && load.bounds == all
        {
            let load = Load { otherwise: Some(other), ..load.clone() };
            return self.push(Expr::Load(load));
        }
        let mut condition = None;
        for bound in bounds {
            let index = self.push(Expr::Index(bound.index.clone()));
            for (function, limit) in [(ScalarOp::Ge, &bound.low), (ScalarOp::Lt, &bound.high)] {
                let limit = self.push(Expr::Index(Index::constant(limit.clone())));
                let holds = self.apply(function, &[index, limit]);
                condition = Some(condition.map_or(holds, |c| self.apply(ScalarOp::And, &[c, holds])));
            }
        }
        condition.map_or(element, |c| self.apply(ScalarOp::Select, &[c, element, other]))
    }

    fn concat(&mut self, node: &Node, axis: usize, indices: &[Index], guard: &[Bound]) -> Result<ExprId, Misaligned> {
        let mut pieces = Vec::new();
        let mut first = Dim::constant(0);
        for &piece in node.operands.iter().flatten() {
            let extent = self.graph.tensor_ty(piece).shape[axis].clone();
            let mut at = indices.to_vec();
            at[axis] = indices[axis].plus(&Index::constant(-first.clone()));
            first = first + extent.clone();
            pieces.push((piece, at, extent));
        }
        let dtype = self.graph.dtype(node.results[0]);
        let mut result = self.push(Expr::Const(dtype, 0));
        for (piece, at, extent) in pieces.into_iter().rev().filter(|(.., extent)| !extent.is(0)) {
            let bounds = bounds_within(&at[axis], &extent, &self.extents);
            let all = [guard, &bounds].concat();
            let element = self.value(piece, &at, &all)?;
            result = self.choose(element, &all, &bounds, result);
        }
        Ok(result)
    }

    fn update(&mut self, node: &Node, op: &Update, indices: &[Index], guard: &[Bound]) -> Result<ExprId, Misaligned> {
        let (whole, part) = (operand(node, 0)?, operand(node, 1)?);
        let mut at = indices.to_vec();
        at[op.axis] = indices[op.axis].plus(&Index::constant(-op.start.clone()));
        let shape = &self.graph.tensor_ty(part).shape;
        let bounds: Vec<Bound> =
            at.iter().zip(shape).flat_map(|(index, extent)| bounds_within(index, extent, &self.extents)).collect();
        let old = self.value(whole, indices, guard)?;
        let all = [guard, &bounds].concat();
        let new = self.value(part, &at, &all)?;
        Ok(self.choose(new, &all, &bounds, old))
    }

    fn pad(
        &mut self,
        node: &Node,
        mode: PadMode,
        pads: &[Dim],
        indices: &[Index],
        guard: &[Bound],
    ) -> Result<ExprId, Misaligned> {
        let operand = operand(node, 0)?;
        let shape = self.graph.tensor_ty(operand).shape.clone();
        let shift = |(index, pad): (&Index, &Dim)| index.plus(&Index::constant(-pad.clone()));
        let source: Vec<Index> = indices.iter().zip(pads).map(shift).collect();
        if mode != PadMode::Constant {
            return Ok(self.pad_from_itself(operand, mode, pads, &source, guard));
        }
        let fill = match node.operands.get(1).copied().flatten() {
            Some(value) => self.value(value, &vec![Index::default(); self.graph.tensor_ty(value).rank()], guard)?,
            None => self.push(Expr::Const(self.graph.dtype(operand), 0)),
        };
        let mut bounds = Vec::new();
        for (axis, index) in source.iter().enumerate() {
            if !(pads[axis].is(0) && pads[axis + shape.len()].is(0)) {
                bounds.extend(bounds_within(index, &shape[axis], &self.extents));
            }
        }
        let all = [guard, &bounds].concat();
        let element = self.value(operand, &source, &all)?;
        Ok(self.choose(element, &all, &bounds, fill))
    }

    /// An element of a tensor that is padded with its own elements; `source` is relative to the tensor.
    fn pad_from_itself(
        &mut self,
        operand: ValueId,
        mode: PadMode,
        pads: &[Dim],
        source: &[Index],
        guard: &[Bound],
    ) -> ExprId {
        let shape = self.graph.tensor_ty(operand).shape.clone();
        let one = Dim::constant(1);
        let (mut indices, mut gathered, mut bounds) = (source.to_vec(), Vec::new(), Vec::new());
        for (axis, extent) in shape.iter().enumerate() {
            if pads[axis].is(0) && pads[axis + shape.len()].is(0) {
                continue;
            }
            let last = extent.clone() - one.clone();
            let limit = |this: &mut Self, dim: Dim| this.push(Expr::Index(Index::constant(dim)));
            let position = match mode {
                PadMode::Wrap => self.push(Expr::Index(source[axis].modulo(extent, &self.extents))),
                PadMode::Edge | PadMode::Constant => {
                    let at = self.push(Expr::Index(source[axis].clone()));
                    let zero = self.number(DType::I64, 0.0);
                    let at = self.apply(ScalarOp::Max, &[at, zero]);
                    let last = limit(self, last);
                    self.apply(ScalarOp::Min, &[at, last])
                }
                PadMode::Reflect => {
                    let period = (last.clone() * Dim::constant(2)).maximum(&one);
                    let at = self.push(Expr::Index(source[axis].modulo(&period, &self.extents)));
                    let period = limit(self, period);
                    let back = self.apply(ScalarOp::Sub, &[period, at]);
                    let at = self.apply(ScalarOp::Min, &[at, back]);
                    let last = limit(self, last);
                    self.apply(ScalarOp::Min, &[at, last])
                }
            };
            indices[axis] = Index::default();
            gathered.push((axis as u32, position));
            bounds.extend(bounds_within(&source[axis], extent, &self.extents));
        }
        let outside = self.load_gathered(operand, indices, gathered, guard);
        if bounds.is_empty() {
            return outside;
        }
        // Most elements are where they were, which takes no arithmetic.
        let param = self.slot(Slot { place: Place::Value(operand), view: View::Axes, is_output: false });
        let bounds = [guard, &bounds].concat();
        let indices = source.to_vec();
        self.push(Expr::Load(Load { param, indices, gathered: Vec::new(), bounds, otherwise: Some(outside) }))
    }

    fn gather(&mut self, node: &Node, axis: usize, indices: &[Index], guard: &[Bound]) -> Result<ExprId, Misaligned> {
        let (data, positions) = (operand(node, 0)?, operand(node, 1)?);
        let end = axis + self.graph.tensor_ty(positions).rank();
        let position = self.value(positions, &indices[axis..end], guard)?;
        let position = self.cast(position, self.graph.dtype(positions), DType::I64);
        let source = [&indices[..axis], &[Index::default()], &indices[end..]].concat();
        Ok(self.load_gathered(data, source, vec![(axis as u32, position)], guard))
    }

    fn load_gathered(
        &mut self,
        value: ValueId,
        indices: Vec<Index>,
        gathered: Vec<(u32, ExprId)>,
        guard: &[Bound],
    ) -> ExprId {
        let param = self.slot(Slot { place: Place::Value(value), view: View::Axes, is_output: false });
        let otherwise = (!guard.is_empty()).then(|| self.push(Expr::Const(self.graph.dtype(value), 0)));
        self.push(Expr::Load(Load { param, indices, gathered, bounds: guard.to_vec(), otherwise }))
    }
}

pub(super) fn operand(node: &Node, i: usize) -> Result<ValueId, Misaligned> {
    node.operands.get(i).copied().flatten().ok_or(Misaligned)
}

/// The type in which elements of `dtype` are folded and normalized.
pub(crate) fn compute_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        _ => dtype,
    }
}

/// The condition that an index is within `0..extent`, unless it always is.
fn bounds_within(index: &Index, extent: &Dim, extents: &[Dim]) -> Vec<Bound> {
    if index.is_within(extent, extents) {
        return Vec::new();
    }
    vec![Bound { index: index.clone(), low: Dim::constant(0), high: extent.clone() }]
}

/// The bits of the one element that all elements of a small constant equal.
pub(crate) fn splat(graph: &Graph, value: ValueId) -> Option<u128> {
    const MAX_BYTES: usize = 4096;
    let literal = graph.constant(value).filter(|literal| !literal.dtype.is_handle())?;
    let size = literal.dtype.size().filter(|&size| size <= 16)?;
    let bits = |bytes: &[u8]| {
        let mut bits = [0; 16];
        bits[..size].copy_from_slice(bytes);
        u128::from_le_bytes(bits)
    };
    let bytes = match literal.as_inline() {
        Some(data) if literal.bytes() <= MAX_BYTES => data.to_le_bytes(),
        None if literal.len() == 1 => literal.tensor().ok()?.data().to_le_bytes(),
        _ => return None,
    };
    let first = bytes.get(..size)?;
    bytes.chunks(size).all(|chunk| chunk == first).then(|| bits(first))
}

/// The bits of a number as [`Expr::Const`] holds them.
pub(crate) fn number_bits(dtype: DType, value: f64) -> u128 {
    let data = match dtype {
        DType::F64 => Data::F64(vec![value]),
        DType::F32 => Data::F32(vec![value as f32]),
        DType::F16 => Data::F16(vec![ic_types::f32_to_f16(value as f32)]),
        DType::BF16 => Data::BF16(vec![ic_types::f32_to_bf16(value as f32)]),
        _ => return (value as i128 as u128) & (u128::MAX >> (128 - dtype.size().unwrap_or(16) * 8)),
    };
    let mut bits = [0; 16];
    let bytes = data.to_le_bytes();
    bits[..bytes.len()].copy_from_slice(&bytes);
    u128::from_le_bytes(bits)
}

/// The first small constant with the elements of `value`, whatever its shape, if that is one; else `value`.
fn same_elements(graph: &Graph, value: ValueId) -> ValueId {
    const MAX_ELEMENTS: usize = 512;
    let inline = |value| match graph.constant(value)?.data {
        LiteralData::Inline(ref data) => Some(data),
        LiteralData::File { .. } => None,
    };
    let Some(data) = inline(value).filter(|data| data.len() <= MAX_ELEMENTS) else { return value };
    let constants = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Constant(_))).map(|(_, n)| n.results[0]);
    constants.take_while(|&other| other != value).find(|&other| inline(other) == Some(data)).unwrap_or(value)
}
