//! The walk over the part of the outer space that a tile covers.

use super::Emitter;
use super::loops::Unroll;
use super::run::Run;
use super::strip::Last;
use crate::cpu::scratch::COLUMNS;
use crate::shared::form::Schedule;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::Variable;
use ic_kernels::abi::Tile;
use ic_types::Dim;
use std::mem::offset_of;

impl<'a> Emitter<'a> {
    /// Runs all passes on the tile.
    pub(super) fn space(&mut self, tile: Value) {
        let flags = MemFlagsData::trusted();
        let mut bound =
            |offset: usize, axis: usize| self.b.ins().load(types::I64, flags, tile, (offset + 8 * axis) as i32);
        let (begin, end) = (offset_of!(Tile, begin), offset_of!(Tile, end));
        let rows = (bound(begin, 0), bound(end, 0));
        let columns = (bound(begin, 1), bound(end, 1));
        let n_inner = self.form.passes.iter().map(|pass| pass.inner.len()).max().unwrap_or(0);
        let n_outer = self.form.outer.len();
        self.axes = vec![None; n_outer + n_inner];
        match self.form.schedule {
            Schedule::Points => self.outer_points(n_outer - 1, rows, &mut |e| {
                let range = if e.form.whole_columns { (e.iconst(0), e.outer_extent(n_outer - 1)) } else { columns };
                e.pass_along(0, n_outer - 1, None, range);
            }),
            Schedule::Rows => self.outer_points(n_outer, rows, &mut |e| e.row()),
            Schedule::Columns => self.outer_points(n_outer - 1, rows, &mut |e| {
                let at = e.b.declare_var(types::I64);
                e.b.def_var(at, columns.0);
                e.while_below(at, columns.1, COLUMNS, &mut |e, from| {
                    let size = e.iconst(COLUMNS);
                    let to = e.b.ins().iadd(from, size);
                    let to = e.b.ins().smin(to, columns.1);
                    e.columns(n_outer - 1, from, to);
                });
            }),
        }
    }

    /// Runs `body` at each of the points `range` of the first `n_axes` outer axes, in row-major order.
    fn outer_points(&mut self, n_axes: usize, range: (Value, Value), body: &mut dyn FnMut(&mut Self)) {
        if n_axes == 0 {
            return body(self);
        }
        let vars: Vec<Variable> = (0..n_axes).map(|_| self.b.declare_var(types::I64)).collect();
        let mut rest = range.0;
        for axis in (0..n_axes).rev() {
            let value = if axis == 0 {
                rest
            } else {
                let extent = self.outer_extent(axis);
                let value = self.b.ins().urem(rest, extent);
                rest = self.b.ins().udiv(rest, extent);
                value
            };
            self.b.def_var(vars[axis], value);
        }
        self.for_each(range.0, range.1, &mut |e, _| {
            for (axis, &var) in vars.iter().enumerate() {
                e.axes[axis] = Some(e.b.use_var(var));
            }
            body(e);
            e.step(&vars);
        });
    }

    /// An outer extent as a divisor. It is at least 1: there are no tiles of an empty space.
    fn outer_extent(&mut self, axis: usize) -> Value {
        let extent = self.form.outer[axis].clone();
        self.dim(&extent)
    }

    /// The next point, without division.
    fn step(&mut self, vars: &[Variable]) {
        let mut carry = self.iconst(1);
        for (axis, &var) in vars.iter().enumerate().rev() {
            let value = self.axes[axis].expect("outer axes have values");
            let next = self.b.ins().iadd(value, carry);
            if axis == 0 {
                self.b.def_var(var, next);
                return;
            }
            let extent = self.outer_extent(axis);
            let wraps = self.b.ins().icmp(IntCC::Equal, next, extent);
            let zero = self.iconst(0);
            let wrapped = self.b.ins().select(wraps, zero, next);
            self.b.def_var(var, wrapped);
            carry = self.b.ins().uextend(types::I64, wraps);
        }
    }

    /// All passes at one outer point.
    fn row(&mut self) {
        let n_outer = self.form.outer.len();
        for number in 0..self.form.passes.len() {
            let pass = &self.form.passes[number];
            if pass.reduce.is_some() {
                self.reduce_row(number);
            } else if pass.inner.is_empty() {
                let mut run = self.new_run(number, None, None);
                self.prepare(&mut run);
                self.results[number] = Some(self.uniform_value(&run, pass.root));
                for index in 0..pass.stores.len() {
                    let value = self.uniform_value(&run, pass.stores[index].value);
                    self.store_one_of(number, index, value);
                }
            } else {
                let axis = n_outer + pass.inner.len() - 1;
                self.nest(number, n_outer, &mut |e, range| e.pass_along(number, axis, None, range));
            }
        }
    }

    /// All passes on the columns `from..to`.
    fn columns(&mut self, axis: usize, from: Value, to: Value) {
        for number in 0..self.form.passes.len() {
            if self.form.passes[number].reduce.is_some() {
                self.reduce_columns(number, axis, from, to);
            } else {
                self.nest_all(number, &mut |e| e.pass_along(number, axis, Some(from), (from, to)));
            }
        }
    }

    /// Runs `body` with the range of the last inner axis, at each point of the others.
    pub(super) fn nest(&mut self, number: usize, n_outer: usize, body: &mut dyn FnMut(&mut Self, (Value, Value))) {
        let inner = &self.form.passes[number].inner;
        let last = inner.len() - 1;
        self.nested(&inner[..last], n_outer, &mut |e| {
            let (zero, extent) = (e.iconst(0), e.dim(&inner[last]));
            e.axes[n_outer + last] = None;
            body(e, (zero, extent));
        });
    }

    /// Runs `body` at each point of the inner axes.
    pub(super) fn nest_all(&mut self, number: usize, body: &mut dyn FnMut(&mut Self)) {
        let n_outer = self.form.outer.len();
        self.nested(&self.form.passes[number].inner, n_outer, body);
    }

    fn nested(&mut self, extents: &[Dim], axis: usize, body: &mut dyn FnMut(&mut Self)) {
        let Some((extent, rest)) = extents.split_first() else { return body(self) };
        let (zero, end) = (self.iconst(0), self.dim(extent));
        self.for_each(zero, end, &mut |e, value| {
            e.axes[axis] = Some(value);
            e.nested(rest, axis + 1, body);
        });
        self.axes[axis] = None;
    }

    /// A pointwise pass along the vector axis.
    fn pass_along(&mut self, number: usize, axis: usize, column: Option<Value>, range: (Value, Value)) {
        let keeps = self.form.passes[number].keep && self.scratch_layout.kept[number].is_some();
        self.along_axis(number, axis, column, range, false, &mut |e, run, from, to| {
            let kept = keeps.then(|| e.kept_place(run, number));
            let unroll = e.unroll(run, e.extent_of(run));
            e.for_groups(from, to, unroll, &mut |e, group| {
                e.next_group(run);
                e.store_group(run, kept.as_ref(), group);
            });
        });
    }

    /// Prepares a run and does `last` on each block of it.
    pub(super) fn along_axis(
        &mut self,
        number: usize,
        axis: usize,
        column: Option<Value>,
        (start, end): (Value, Value),
        reduces_rows: bool,
        last: &mut Last<'_, 'a>,
    ) {
        // Nothing may be read where there is nothing to compute.
        let some = self.b.ins().icmp(IntCC::SignedLessThan, start, end);
        self.when(some, &mut |e| {
            let mut run = e.new_run(number, Some(axis), column);
            e.prepare(&mut run);
            if run.pass.reduce.is_none() {
                e.prepare_stores(&mut run);
            }
            run.multiple = e.multiple_of(&run);
            let unroll = if reduces_rows {
                Unroll { copies: 4, multiple: run.multiple, is_exact: false }
            } else {
                e.unroll(&run, e.extent_of(&run))
            };
            e.pieces(&mut run, start, end, &mut |e, run, from, to| e.blocks(run, from, to, unroll, last));
        });
    }

    /// What divides the number of elements of every block of the run. Tiles of outer axes may end anywhere.
    fn multiple_of(&self, run: &Run) -> i64 {
        let is_whole = self.form.whole_columns || run.axis.is_some_and(|axis| axis >= self.form.outer.len());
        let extent = if is_whole && !run.has_pieces() { self.extent_of(run) } else { None };
        extent.filter(|&extent| extent > 0).unwrap_or(1)
    }

    /// The extent of the vector axis, if it is constant.
    pub(super) fn extent_of(&self, run: &Run) -> Option<i64> {
        let axis = run.axis?;
        let n_outer = self.form.outer.len();
        match axis.checked_sub(n_outer) {
            Some(inner) => run.pass.inner[inner].as_const(),
            None => self.form.outer[axis].as_const(),
        }
    }
}
