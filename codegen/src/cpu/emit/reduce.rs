//! Reductions.
//!
//! Of 32-bit types, element `j` of the last inner axis goes to lane `j % 16`; in the end lanes 8 apart are combined,
//! then 4, 2 and 1 apart. Of wider types and bools, elements are combined in order. By columns, elements are combined
//! in order. The greatest and the smallest of f32 in memory are found by calls.

use super::Emitter;
use super::call::Extreme;
use super::index::split;
use super::loops::{Group, Unroll};
use super::run::Run;
use super::value::{LANES, Rep, Val, Width};
use crate::cpu::scratch::kept_dtype;
use crate::shared::form::{Node, Pass};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};

/// Elements from which on a call finds an extreme more quickly.
const SHORTEST: i64 = 32;

/// Elements that one call sees, so that the next finds them in cache.
const IN_CACHE: i64 = 4096;

/// Vectors that accumulate at a time.
const ACCUMULATORS: usize = 4;

/// The accumulators of a reduction.
struct Lanes {
    function: ReduceFn,
    dtype: DType,
    vectors: [Variable; ACCUMULATORS],
    /// The lanes in memory.
    memory: Value,
}

impl<'a> Emitter<'a> {
    /// Reduces the pass of `run` at this outer point, and stores the result.
    pub(super) fn reduce_row(&mut self, number: usize) {
        if self.results[number].is_some() {
            // Found together with another extreme of the same elements.
            return;
        }
        let pass = &self.form.passes[number];
        let dtype = pass.types[pass.root];
        let function = pass.reduce.expect("the pass reduces");
        let n_outer = self.form.outer.len();
        let rep = Rep::of(dtype);
        if !pass.inner.is_empty() && self.extreme_of(number).is_some() {
            return self.reduce_in_calls(number);
        }
        let total = if pass.inner.is_empty() {
            // One element.
            let mut run = self.new_run(number, None, None);
            self.prepare(&mut run);
            self.uniform_value(&run, pass.root)
        } else if rep.is_wide() || rep == Rep::Bool {
            let sum = self.b.declare_var(rep.scalar());
            let identity = self.identity(function, dtype);
            self.b.def_var(sum, identity);
            self.nest(number, n_outer, &mut |e, extent| {
                e.along_axis(number, n_outer + pass.inner.len() - 1, None, extent, true, &mut |e, run, from, to| {
                    e.for_groups(from, to, Unroll::SCALAR, &mut |e, group| {
                        e.next_group(run);
                        let val = e.eval(run, run.pass.root, group);
                        let value = e.lane(val, dtype, 0);
                        let before = e.b.use_var(sum);
                        let after = e.combine(function, dtype, before, value);
                        e.b.def_var(sum, after);
                    });
                });
            });
            self.b.use_var(sum)
        } else {
            self.reduce_lanes(number, function, dtype)
        };
        self.reduced(number, total);
    }

    /// Finishes and stores what the elements of a pass were combined to.
    fn reduced(&mut self, number: usize, total: Value) {
        let pass = &self.form.passes[number];
        let (function, dtype) = (pass.reduce.expect("the pass reduces"), pass.types[pass.root]);
        let count: Dim = pass.inner.iter().cloned().product();
        let total = self.finished(function, dtype, total, &count);
        self.results[number] = Some(total);
        self.store_value(number, total);
    }

    /// Which extreme of f32 that are neighbours in memory the pass finds, if it does that.
    fn extreme_of(&self, number: usize) -> Option<Extreme> {
        let pass = &self.form.passes[number];
        let extreme = match pass.reduce? {
            ReduceFn::Max => Extreme::Greatest,
            ReduceFn::Min => Extreme::Smallest,
            _ => return None,
        };
        let axis = self.form.outer.len() + pass.inner.len() - 1;
        let is_plain = match &pass.nodes[pass.root] {
            Node::Load(get) => {
                let is_unit = split(&get.at, axis).is_some_and(|(_, coefficient)| coefficient.is(1));
                is_unit && get.gathers.is_empty() && get.bounds.is_empty()
            }
            Node::Pass(pass) => self.scratch_layout.kept[*pass].is_some(),
            _ => false,
        };
        let is_long = pass.inner.last().and_then(Dim::as_const).is_none_or(|extent| extent >= SHORTEST);
        (is_plain && is_long && pass.types[pass.root] == DType::F32).then_some(extreme)
    }

    /// An extreme by calls on whole runs, and with it the others of the same elements: each reads what is in cache.
    fn reduce_in_calls(&mut self, number: usize) {
        let pass = &self.form.passes[number];
        let n_outer = self.form.outer.len();
        let is_same = |other: &Pass| other.inner == pass.inner && other.nodes[other.root] == pass.nodes[pass.root];
        let all: Vec<(usize, Extreme)> = (number..self.form.passes.len())
            .filter(|&other| is_same(&self.form.passes[other]))
            .filter_map(|other| Some((other, self.extreme_of(other)?)))
            .collect();
        let all: Vec<(usize, Extreme, Variable)> =
            all.into_iter().map(|(other, extreme)| (other, extreme, self.b.declare_var(types::F32))).collect();
        for &(other, _, found) in &all {
            let function = self.form.passes[other].reduce.expect("the pass reduces");
            let identity = self.identity(function, DType::F32);
            self.b.def_var(found, identity);
        }
        self.nest(number, n_outer, &mut |e, extent| {
            e.along_axis(number, n_outer + pass.inner.len() - 1, None, extent, true, &mut |e, run, from, to| {
                let at = e.b.declare_var(types::I64);
                e.b.def_var(at, from);
                e.while_below(at, to, IN_CACHE, &mut |e, from| {
                    let size = e.iconst(IN_CACHE);
                    let end = e.b.ins().iadd(from, size);
                    let end = e.b.ins().smin(end, to);
                    let source = e.direct_source(run, pass.root, from).expect("the elements are neighbours");
                    let n = e.b.ins().isub(end, from);
                    for &(other, extreme, found) in &all {
                        let function = e.form.passes[other].reduce.expect("the pass reduces");
                        let value = e.call_extreme(extreme, source, n);
                        let before = e.b.use_var(found);
                        let after = e.combine(function, DType::F32, before, value);
                        e.b.def_var(found, after);
                    }
                });
            });
        });
        for (other, _, found) in all {
            let total = self.b.use_var(found);
            self.reduced(other, total);
        }
    }

    fn reduce_lanes(&mut self, number: usize, function: ReduceFn, dtype: DType) -> Value {
        let pass = &self.form.passes[number];
        let (n_outer, rep) = (self.form.outer.len(), Rep::of(dtype));
        let identity = self.identity(function, dtype);
        let identity = self.b.ins().splat(rep.vector(), identity);
        let vectors = std::array::from_fn(|_| {
            let var = self.b.declare_var(rep.vector());
            self.b.def_var(var, identity);
            var
        });
        let memory = self.scratch_at(&Dim::constant(self.scratch_layout.lanes));
        let lanes = Lanes { function, dtype, vectors, memory };
        self.nest(number, n_outer, &mut |e, extent| {
            e.along_axis(number, n_outer + pass.inner.len() - 1, None, extent, true, &mut |e, run, from, to| {
                e.accumulate(run, &lanes, from, to);
            });
        });
        self.tree(&lanes)
    }

    /// Adds `from..to` to the lanes. `from` is a multiple of 16.
    fn accumulate(&mut self, run: &mut Run<'a>, lanes: &Lanes, from: Value, to: Value) {
        let at = self.b.declare_var(types::I64);
        self.b.def_var(at, from);
        let step = (ACCUMULATORS * LANES) as i64;
        let limit = self.before(to, step);
        self.while_below(at, limit, step, &mut |e, start| {
            for copy in 0..ACCUMULATORS {
                let offset = (copy * LANES) as i64;
                let group = Group { start, offset, width: Width::Vector };
                e.next_group(run);
                let val = e.eval(run, run.pass.root, group);
                let value = e.vector(val, lanes.dtype);
                let before = e.b.use_var(lanes.vectors[copy]);
                let after = e.combine(lanes.function, lanes.dtype, before, value);
                e.b.def_var(lanes.vectors[copy], after);
            }
        });
        if run.multiple % step == 0 {
            return;
        }
        let rest = self.b.use_var(at);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, rest, to);
        self.when(more, &mut |e| e.accumulate_rest(run, lanes, rest, to));
    }

    /// Adds fewer than 16 elements, with the lanes in memory.
    fn accumulate_rest(&mut self, run: &mut Run<'a>, lanes: &Lanes, rest: Value, to: Value) {
        let dtype = kept_dtype(lanes.dtype);
        let dtype = if Rep::of(dtype) == Rep::I32 { DType::I32 } else { dtype };
        for (copy, &var) in lanes.vectors.iter().enumerate() {
            let vector = self.b.use_var(var);
            self.store_four(dtype, Val::Vector(vector), lanes.memory, (copy * LANES * 4) as i32);
        }
        self.for_groups(rest, to, Unroll::vectors(1), &mut |e, group| {
            e.next_group(run);
            let val = e.eval(run, run.pass.root, group);
            let lane = e.b.ins().isub(group.start, rest);
            let offset = e.scaled(lane, 4);
            let address = e.b.ins().iadd(lanes.memory, offset);
            match group.width {
                Width::Vector => {
                    let before = e.load_four(dtype, address, 0);
                    let before = e.vector(before, dtype);
                    let value = e.vector(val, lanes.dtype);
                    let after = e.combine(lanes.function, lanes.dtype, before, value);
                    e.store_four(dtype, Val::Vector(after), address, 0);
                }
                Width::Scalar => {
                    let before = e.load_one(dtype, address, 0);
                    let value = e.lane(val, lanes.dtype, 0);
                    let after = e.combine(lanes.function, lanes.dtype, before, value);
                    e.store_one(dtype, after, address, 0);
                }
            }
        });
        for (copy, &var) in lanes.vectors.iter().enumerate() {
            let vector = self.load_four(dtype, lanes.memory, (copy * LANES * 4) as i32);
            let vector = self.vector(vector, dtype);
            self.b.def_var(var, vector);
        }
    }

    /// Combines the 16 lanes.
    fn tree(&mut self, lanes: &Lanes) -> Value {
        let [a, b, c, d] = lanes.vectors.map(|var| self.b.use_var(var));
        let low = self.combine(lanes.function, lanes.dtype, a, c);
        let high = self.combine(lanes.function, lanes.dtype, b, d);
        let four = self.combine(lanes.function, lanes.dtype, low, high);
        let [a, b, c, d] = std::array::from_fn(|lane| self.lane(Val::Vector(four), lanes.dtype, lane));
        let even = self.combine(lanes.function, lanes.dtype, a, c);
        let odd = self.combine(lanes.function, lanes.dtype, b, d);
        self.combine(lanes.function, lanes.dtype, even, odd)
    }

    /// Reduces the pass on columns `begin..end` into its kept result, and stores it.
    pub(super) fn reduce_columns(&mut self, number: usize, column: usize, begin: Value, end: Value) {
        let pass = &self.form.passes[number];
        let dtype = pass.types[pass.root];
        let function = pass.reduce.expect("the pass reduces");
        let unroll = if Rep::of(dtype).is_wide() { Unroll::SCALAR } else { Unroll::vectors(4) };
        let sums = {
            let run = self.new_run(number, Some(column), Some(begin));
            self.kept_place(&run, number)
        };
        let identity = self.identity(function, dtype);
        let mut run = self.new_run(number, Some(column), Some(begin));
        self.for_groups(begin, end, unroll, &mut |e, group| e.store_place(&mut run, &sums, Val::One(identity), group));
        self.nest_all(number, &mut |e| {
            e.along_axis(number, column, Some(begin), (begin, end), false, &mut |e, run, from, to| {
                let unroll = e.unroll(run, None);
                e.for_groups(from, to, unroll, &mut |e, group| {
                    e.next_group(run);
                    let val = e.eval(run, run.pass.root, group);
                    let before = e.load_place(run, &sums, group);
                    let after = e.combine_val(function, dtype, before, val);
                    e.store_place(run, &sums, after, group);
                });
            });
        });
        let count: Dim = pass.inner.iter().cloned().product();
        let mut run = self.new_run(number, Some(column), Some(begin));
        self.prepare_stores(&mut run);
        self.for_groups(begin, end, unroll, &mut |e, group| {
            let total = e.load_place(&mut run, &sums, group);
            let total = e.map_val(total, &mut |e, value| e.finished(function, dtype, value, &count));
            if run.pass.keep {
                e.store_place(&mut run, &sums, total, group);
            }
            e.store_all(&mut run, total, group);
        });
    }

    fn map_val(&mut self, val: Val, f: &mut dyn FnMut(&mut Self, Value) -> Value) -> Val {
        match val {
            Val::One(value) => Val::One(f(self, value)),
            Val::Vector(value) => Val::Vector(f(self, value)),
            Val::Lanes(lanes) => Val::Lanes(lanes.map(|lane| f(self, lane))),
        }
    }

    fn combine_val(&mut self, function: ReduceFn, dtype: DType, a: Val, b: Val) -> Val {
        match (a, b) {
            (Val::One(a), Val::One(b)) => Val::One(self.combine(function, dtype, a, b)),
            (Val::Lanes(a), b) => {
                let lanes = std::array::from_fn(|lane| {
                    let b = self.lane(b, dtype, lane);
                    self.combine(function, dtype, a[lane], b)
                });
                Val::Lanes(lanes)
            }
            (a, b) => {
                let (a, b) = (self.vector(a, dtype), self.vector(b, dtype));
                Val::Vector(self.combine(function, dtype, a, b))
            }
        }
    }

    /// One step of a reduction, on one element or four.
    fn combine(&mut self, function: ReduceFn, dtype: DType, a: Value, b: Value) -> Value {
        let op = match function {
            ReduceFn::Sum | ReduceFn::Mean => ScalarOp::Add,
            ReduceFn::Prod => ScalarOp::Mul,
            ReduceFn::Max => ScalarOp::Max,
            ReduceFn::Min => ScalarOp::Min,
            ReduceFn::Any => return self.b.ins().bor(a, b),
            ReduceFn::All => return self.b.ins().band(a, b),
        };
        if dtype.is_float() {
            return match op {
                ScalarOp::Max => self.float_extreme(FloatCC::GreaterThan, b, a),
                ScalarOp::Min => self.float_extreme(FloatCC::LessThan, b, a),
                op => self.float_op(op, &[a, b], Width::Scalar),
            };
        }
        let value = self.int_op(op, dtype, &[a, b]);
        self.normalized(dtype, value)
    }

    /// The result of a reduction of no elements.
    fn identity(&mut self, function: ReduceFn, dtype: DType) -> Value {
        let ty = Rep::of(dtype).scalar();
        if dtype.is_float() {
            let value = match function {
                ReduceFn::Prod => 1.0,
                ReduceFn::Max => f64::NEG_INFINITY,
                ReduceFn::Min => f64::INFINITY,
                _ => 0.0,
            };
            return if ty == types::F64 { self.b.ins().f64const(value) } else { self.b.ins().f32const(value as f32) };
        }
        let bits = dtype.bits() as u32;
        let (low, high): (i64, i64) = match dtype {
            DType::Bool => (0, 1),
            _ if dtype.is_signed_int() => (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)),
            _ => (0, (u64::MAX >> (64 - bits)) as i64),
        };
        let value = match function {
            ReduceFn::Prod | ReduceFn::All => 1,
            ReduceFn::Max => low,
            ReduceFn::Min => high,
            _ => 0,
        };
        let zero = self.b.ins().iconst(ty, 0);
        self.int_like(zero, value)
    }

    /// What remains to be done with the combined elements.
    fn finished(&mut self, function: ReduceFn, dtype: DType, total: Value, count: &Dim) -> Value {
        let total = if function != ReduceFn::Mean {
            total
        } else {
            let count = self.dim(count);
            self.divided(dtype, total, count)
        };
        self.rounded(dtype, total)
    }

    fn divided(&mut self, dtype: DType, total: Value, count: Value) -> Value {
        let ty = self.b.func.dfg.value_type(total);
        if dtype.is_float() {
            let scalar = if ty.is_vector() { types::F32 } else { ty };
            let count = self.b.ins().fcvt_from_sint(scalar, count);
            let count = if ty.is_vector() { self.b.ins().splat(ty, count) } else { count };
            return self.b.ins().fdiv(total, count);
        }
        let by_lane = |e: &mut Self, total: Value| {
            let count = if ty == types::I64 { count } else { e.b.ins().ireduce(types::I32, count) };
            let quotient = e.int_op(ScalarOp::Div, dtype, &[total, count]);
            e.normalized(dtype, quotient)
        };
        if !ty.is_vector() {
            return by_lane(self, total);
        }
        let lanes = std::array::from_fn(|lane| {
            let total = self.lane(Val::Vector(total), dtype, lane);
            by_lane(self, total)
        });
        self.vector(Val::Lanes(lanes), dtype)
    }
}
