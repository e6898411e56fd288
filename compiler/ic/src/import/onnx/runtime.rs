//! Operands that ONNX takes as numbers and that a model computes from data: extents, bounds, axes.
//!
//! An extent that only a run knows is a symbol bound to an element of an i64 tensor. What ONNX does to such numbers first
//! (counting from the end, clamping, filling in what is left) is done by nodes, so that the symbol is what remains: an
//! extent that is not negative, or the run fails with an error.

use super::context::Context;
use super::error::{Result, unsupported};
use ic_ir::ops::{Cumulative, CumulativeFn, Reduce, ReduceFn, Reduction, ScatterElements};
use ic_ir::{ScalarOp, ValueId};
use ic_types::{DType, Dim};

/// Most elements that a tensor of extents may have.
const MAX_ELEMENTS: i64 = 64;

impl Context {
    /// The elements of an integer tensor as symbols that a run reads; a negative one fails the run.
    ///
    /// # Errors
    /// If their number is not known; `what` names the operand.
    pub(crate) fn read(&mut self, value: ValueId, what: &str) -> Result<Vec<Dim>> {
        if let Some(symbols) = self.frame().read.get(&value) {
            return Ok(symbols.clone());
        }
        let ty = self.ty(value)?;
        let count = ty.elements().as_const().filter(|n| *n <= MAX_ELEMENTS);
        let count = count.ok_or_else(|| unsupported!("`{what}` is computed from data, and its extent is not known"))?;
        if !ty.dtype.is_int() {
            return Err(unsupported!("`{what}` is computed from data of type {}", ty.dtype));
        }
        if let Some(outer) = self.captured_from(value) {
            let frame = self.leave_frame();
            let symbols = self.read(outer, what);
            self.enter_frame(frame);
            return symbols;
        }
        let bound = self.cast(value, DType::I64)?;
        let name = self.graph().value(value).name.clone().unwrap_or_else(|| what.into());
        let symbols = self.bind_elements(bound, count, &name);
        self.frame().read.insert(value, symbols.clone());
        Ok(symbols)
    }

    /// The bits of the elements of an f64 tensor as symbols that a run reads; a negative number fails the run.
    ///
    /// # Errors
    /// If there are too many; `what` names the operand.
    pub(crate) fn read_bits(&mut self, value: ValueId, what: &str) -> Result<Vec<Dim>> {
        let count = self.length(value, what)? as i64;
        Ok(self.bind_elements(value, count, what))
    }

    /// A symbol for each of the elements of a value.
    fn bind_elements(&mut self, bound: ValueId, count: i64, name: &str) -> Vec<Dim> {
        let mut symbols = Vec::new();
        for element in 0..count {
            let base = if count == 1 { name.to_string() } else { format!("{name}_{element}") };
            let symbol = self.symbols.fresh_name(&base);
            self.frame().graph.bind_symbol(symbol.as_str(), bound, element as u32);
            symbols.push(Dim::symbol(&symbol));
        }
        symbols
    }

    /// An integer tensor as an i64 vector.
    ///
    /// # Errors
    /// If it holds no integers.
    pub(crate) fn vector_of(&mut self, value: ValueId, what: &str) -> Result<ValueId> {
        let ty = self.ty(value)?;
        if !ty.dtype.is_int() {
            return Err(super::error::invalid!("`{what}` must be integers, found {ty}"));
        }
        let wide = self.cast(value, DType::I64)?;
        self.reshape(wide, vec![ty.elements()])
    }

    /// The number of elements of a vector of extents, bounds or axes.
    ///
    /// # Errors
    /// If it is not known; `what` names the operand.
    pub(crate) fn length(&self, value: ValueId, what: &str) -> Result<usize> {
        let n = self.ty(value)?.elements().as_const().filter(|n| *n <= MAX_ELEMENTS);
        n.map(|n| n as usize).ok_or_else(|| unsupported!("`{what}` is computed from data, and its extent is not known"))
    }

    /// `x` where it is not negative, else `x + extent`.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn counted_from_front(&mut self, x: ValueId, extent: ValueId) -> Result<ValueId> {
        let negative = self.with_scalar(ScalarOp::Lt, x, 0.0)?;
        let wrapped = self.binary(ScalarOp::Add, x, extent)?;
        self.select(negative, wrapped, x)
    }

    /// How many steps of `step`, which is not 0, lead over `distance` in its direction: `max(ceil(distance / step), 0)`.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn n_steps(&mut self, distance: ValueId, step: ValueId) -> Result<ValueId> {
        let backwards = self.with_scalar(ScalarOp::Lt, step, 0.0)?;
        let opposite = self.unary(ScalarOp::Neg, distance)?;
        let distance = self.select(backwards, opposite, distance)?;
        let step = self.unary(ScalarOp::Abs, step)?;
        let step = self.with_scalar(ScalarOp::Max, step, 1.0)?;
        // Division rounds towards zero; what is added is never added to the largest number.
        let before = self.with_scalar(ScalarOp::Sub, distance, 1.0)?;
        let whole = self.binary(ScalarOp::Div, before, step)?;
        let n = self.with_scalar(ScalarOp::Add, whole, 1.0)?;
        let any = self.with_scalar(ScalarOp::Gt, distance, 0.0)?;
        let zero = self.scalar(DType::I64, 0.0)?;
        self.select(any, n, zero)
    }

    /// For each axis of `rank`, whether it is among `axes`: bool `[rank]`.
    ///
    /// # Errors
    /// If `axes` holds no integers.
    pub(crate) fn axis_flags(&mut self, axes: ValueId, rank: usize) -> Result<ValueId> {
        let axes = self.vector_of(axes, "axes")?;
        let n = self.scalar(DType::I64, rank as f64)?;
        let axes = self.counted_from_front(axes, n)?;
        let axes = self.unsqueeze(axes, &[0])?;
        let all = self.vector((0..rank as i64).collect())?;
        let all = self.unsqueeze(all, &[1])?;
        let equal = self.binary(ScalarOp::Eq, axes, all)?;
        self.push(Reduce { function: ReduceFn::Any, axes: vec![1], keep_dims: false }, &[equal])
    }

    /// The elements of i64 `values` where bool `keep` is true, of which there are `n`, in their order.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn kept(&mut self, values: ValueId, keep: ValueId, n: usize) -> Result<ValueId> {
        let places = self.ranks(keep)?;
        // What is not kept goes behind the end.
        let behind = self.scalar(DType::I64, n as f64)?;
        let places = self.select(keep, places, behind)?;
        let places = self.with_scalar(ScalarOp::Min, places, n as f64)?;
        let room = self.vector(vec![0i64; n + 1])?;
        let scattered = self.push(ScatterElements { axis: 0, reduction: Reduction::None }, &[room, places, values])?;
        self.slice(scattered, 0, Dim::constant(0), Dim::constant(n as i64))
    }

    /// For each element of a bool vector, how many before it are true.
    ///
    /// # Errors
    /// If the value is not bool.
    pub(crate) fn ranks(&mut self, flags: ValueId) -> Result<ValueId> {
        let ones = self.cast(flags, DType::I64)?;
        let sum = Cumulative { function: CumulativeFn::Sum, axis: 0, exclusive: true, reverse: false };
        self.push(sum, &[ones])
    }

    /// The element `i` of a vector, of rank 0.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn element(&mut self, vector: ValueId, i: usize) -> Result<ValueId> {
        let part = self.slice(vector, 0, Dim::constant(i as i64), Dim::constant(1))?;
        self.reshape(part, vec![])
    }

    /// `values` put into an i64 vector of `defaults` at the places `at`.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn put(&mut self, defaults: ValueId, at: ValueId, values: ValueId) -> Result<ValueId> {
        self.push(ScatterElements { axis: 0, reduction: Reduction::None }, &[defaults, at, values])
    }
}
