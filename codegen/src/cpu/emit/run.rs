//! A run: one pass along the vector axis.
//!
//! What does not change along the axis is computed before the loop. Bounds that hold on an interval of the axis split
//! the run into pieces within which they are the same for all elements.

use super::Emitter;
use super::index::{Along, depends_on, split};
use super::loops::{Group, Unroll};
use super::memory::size;
use super::value::{LANES, Rep, Val, Width};
use crate::cpu::scratch::kept_dtype;
use crate::shared::form::{Gather, Node, NodeId, Pass};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use ic_ir::kernel::{Bound, Index};
use ic_types::{DType, Dim};

/// The state of a run.
pub(super) struct Run<'p> {
    pub(super) pass: &'p Pass,
    /// Index of the pass.
    pub(super) number: usize,
    /// The vector axis; `None` where the pass has one point.
    pub(super) axis: Option<usize>,
    pub(super) needed: Vec<bool>,
    /// Whether a node's value changes along the axis.
    pub(super) varying: Vec<bool>,
    /// Values of nodes that do not vary.
    uniform: Vec<Option<Value>>,
    /// Where varying nodes are read.
    loads: Vec<Option<Place>>,
    /// Where values are written.
    stores: Vec<Place>,
    /// Values of nodes in the current group.
    values: Vec<Option<Val>>,
    /// Addresses of strips' results at index 0 of the axis.
    pub(super) strips: Vec<Option<Value>>,
    /// First column of the block, in the schedule of columns.
    pub(super) column: Option<Value>,
    /// What divides the number of elements.
    pub(super) multiple: i64,
}

/// Where an access is along the axis.
#[derive(Clone)]
pub(super) struct Place {
    dtype: DType,
    kind: Kind,
    /// Parts of the address that vary with data.
    gathers: Vec<Gather>,
    guard: Guard,
    otherwise: Option<NodeId>,
}

#[derive(Clone)]
enum Kind {
    /// `base + coefficient * axis`, in elements.
    Linear { base: Value, coefficient: Dim },
    /// A parameter's base and a linear index in elements.
    General { base: Value, at: Index },
}

#[derive(Clone)]
enum Guard {
    Always,
    /// The same for all elements.
    Uniform(Value),
    /// From the first to before the second on the axis; within a piece, whether the piece is inside.
    Range {
        low: Value,
        high: Value,
        inside: Option<Value>,
    },
    /// Tested element by element.
    Elements(Vec<Bound>),
}

impl Place {
    /// Whether elements are neighbours in memory, whatever the index.
    pub(super) fn is_plain(&self) -> bool {
        let is_unit = matches!(&self.kind, Kind::Linear { coefficient, .. } if coefficient.is(1));
        is_unit && self.gathers.is_empty() && matches!(self.guard, Guard::Always)
    }
}

impl Run<'_> {
    /// Where a node is read.
    pub(super) fn load_place_of(&self, id: NodeId) -> Option<&Place> {
        self.loads[id].as_ref()
    }

    /// Whether interval bounds divide the run into pieces.
    pub(super) fn has_pieces(&self) -> bool {
        let is_range = |place: &Place| matches!(place.guard, Guard::Range { .. });
        self.loads.iter().flatten().chain(&self.stores).any(is_range)
    }

    /// Where a store writes.
    pub(super) fn store_place_of(&self, index: usize) -> Option<&Place> {
        self.stores.get(index)
    }
}

impl<'a> Emitter<'a> {
    /// A run of pass `number`.
    pub(super) fn new_run(&self, number: usize, axis: Option<usize>, column: Option<Value>) -> Run<'a> {
        let pass = &self.form.passes[number];
        let n_nodes = pass.nodes.len();
        let mut run = Run {
            pass,
            number,
            axis,
            needed: pass.needed(),
            varying: vec![false; n_nodes],
            uniform: vec![None; n_nodes],
            loads: vec![None; n_nodes],
            stores: Vec::new(),
            values: vec![None; n_nodes],
            strips: vec![None; n_nodes],
            column,
            multiple: 1,
        };
        if let Some(axis) = axis {
            for id in 0..n_nodes {
                run.varying[id] = self.is_varying(&run, id, axis);
            }
        }
        run
    }

    fn is_varying(&self, run: &Run, id: NodeId, axis: usize) -> bool {
        let changes = |index: &Index| depends_on(index, axis);
        let own = match &run.pass.nodes[id] {
            Node::Index(index) => changes(index),
            Node::Load(get) => changes(&get.at) || get.bounds.iter().any(|bound| changes(&bound.index)),
            Node::Pass(pass) => self.is_kept(*pass),
            _ => false,
        };
        own || run.pass.operands(id).into_iter().any(|operand| run.varying[operand])
    }

    /// Whether the result of a pass is in scratch, along the axis.
    fn is_kept(&self, pass: usize) -> bool {
        self.scratch_layout.kept[pass].is_some()
    }

    /// Computes what does not vary, and where accesses are.
    pub(super) fn prepare(&mut self, run: &mut Run) {
        for id in (0..run.pass.nodes.len()).filter(|&id| run.needed[id]) {
            if !run.varying[id] {
                let value = self.uniform(run, id);
                run.uniform[id] = Some(value);
                continue;
            }
            run.loads[id] = match &run.pass.nodes[id] {
                Node::Load(get) => {
                    let mut place = self.place(run, get.param, &get.at, &get.bounds);
                    self.add_gathers(run, &mut place, &get.gathers);
                    place.otherwise = get.otherwise;
                    Some(place)
                }
                Node::Pass(pass) => Some(self.kept_place(run, *pass)),
                _ => None,
            };
        }
    }

    /// Computes where stores are.
    pub(super) fn prepare_stores(&mut self, run: &mut Run) {
        let pass = run.pass;
        run.stores = pass.stores.iter().map(|store| self.place(run, store.param, &store.at, &store.bounds)).collect();
    }

    fn place(&mut self, run: &Run, param: usize, at: &Index, bounds: &[Bound]) -> Place {
        let dtype = self.form.params[param];
        let base = self.params[param];
        let axis = run.axis.expect("only runs have places");
        let kind = match split(at, axis) {
            Some((rest, coefficient)) => Kind::Linear { base: self.element(base, &rest, dtype, None), coefficient },
            None => Kind::General { base, at: at.clone() },
        };
        let guard = self.guard(run, bounds, axis);
        Place { dtype, kind, gathers: Vec::new(), guard, otherwise: None }
    }

    /// The address of the element `index` from `base`.
    fn element(&mut self, base: Value, index: &Index, dtype: DType, along: Option<Along>) -> Value {
        if index.terms.is_empty() && index.constant.is(0) {
            return base;
        }
        let index = self.index(index, along);
        let offset = self.scaled(index, size(dtype));
        self.b.ins().iadd(base, offset)
    }

    /// Adds the gathered parts of an address: those that do not vary to the base.
    fn add_gathers(&mut self, run: &Run, place: &mut Place, gathers: &[Gather]) {
        for gather in gathers {
            match run.uniform[gather.index] {
                Some(index) => {
                    let offset = self.gathered(run.pass.types[gather.index], index, gather, place.dtype);
                    let (Kind::Linear { base, .. } | Kind::General { base, .. }) = &mut place.kind;
                    *base = self.b.ins().iadd(*base, offset);
                }
                None => place.gathers.push(gather.clone()),
            }
        }
    }

    /// Bytes of `clamp(index) * stride`.
    fn gathered(&mut self, from: DType, index: Value, gather: &Gather, dtype: DType) -> Value {
        let Val::One(index) = self.cast(from, DType::I64, Val::One(index)) else {
            unreachable!("a value of one lane stays one")
        };
        let extent = self.dim(&gather.extent);
        let (zero, minus_one) = (self.iconst(0), self.iconst(-1));
        let from_end = self.b.ins().iadd(index, extent);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, index, zero);
        let index = self.b.ins().select(negative, from_end, index);
        let last = self.b.ins().iadd(extent, minus_one);
        let index = self.b.ins().smin(index, last);
        let index = self.b.ins().smax(index, zero);
        let elements = self.times(index, &gather.stride);
        self.scaled(elements, size(dtype))
    }

    /// Where the result of an earlier pass is kept.
    pub(super) fn kept_place(&mut self, run: &Run, pass: usize) -> Place {
        let kept = &self.form.passes[pass];
        let dtype = kept_dtype(kept.types[kept.root]);
        let offset = self.scratch_layout.kept[pass].clone().expect("the pass is kept");
        let mut base = self.scratch_at(&offset);
        let is_value = kept.inner.is_empty() || kept.reduce.is_some();
        let points = if is_value { None } else { self.inner_point(run) };
        if let Some(column) = run.column {
            let mut index = self.b.ins().ineg(column);
            if let Some(points) = points {
                let columns = self.iconst(crate::cpu::scratch::COLUMNS);
                let rows = self.b.ins().imul(points, columns);
                index = self.b.ins().iadd(index, rows);
            }
            let offset = self.scaled(index, size(dtype));
            base = self.b.ins().iadd(base, offset);
        } else if let Some(points) = points {
            let offset = self.scaled(points, size(dtype));
            base = self.b.ins().iadd(base, offset);
        }
        let kind = Kind::Linear { base, coefficient: Dim::constant(1) };
        Place { dtype, kind, gathers: Vec::new(), guard: Guard::Always, otherwise: None }
    }

    /// The linear index of the inner point with the vector axis at 0; `None` if there is no other inner axis.
    fn inner_point(&mut self, run: &Run) -> Option<Value> {
        let n_outer = self.form.outer.len();
        let mut sum: Option<Value> = None;
        for (axis, extent) in run.pass.inner.iter().enumerate() {
            if let Some(scaled) = sum {
                sum = Some(self.times(scaled, extent));
            }
            if let Some(value) = self.axes[n_outer + axis] {
                sum = Some(match sum {
                    Some(sum) => self.b.ins().iadd(sum, value),
                    None => value,
                });
            }
        }
        sum
    }

    fn guard(&mut self, run: &Run, bounds: &[Bound], axis: usize) -> Guard {
        let (mut condition, mut range, mut elements) = (None, None, Vec::new());
        for bound in bounds {
            if !depends_on(&bound.index, axis) {
                let holds = self.bound(bound, None);
                condition = Some(self.both(condition, holds));
                continue;
            }
            match split(&bound.index, axis).filter(|(_, c)| c.is(1) || c.is(-1)) {
                // Pieces would move elements to other lanes of a reduction.
                Some((rest, coefficient)) if run.pass.reduce.is_none() => {
                    let (low, high) = self.interval(bound, &rest, coefficient.is(1));
                    range = Some(match range {
                        Some((l, h)) => (self.b.ins().smax(l, low), self.b.ins().smin(h, high)),
                        None => (low, high),
                    });
                }
                _ => elements.push(bound.clone()),
            }
        }
        if !elements.is_empty() {
            return Guard::Elements(bounds.to_vec());
        }
        match (condition, range) {
            (None, None) => Guard::Always,
            (Some(condition), None) => Guard::Uniform(condition),
            (None, Some((low, high))) => Guard::Range { low, high, inside: None },
            (Some(condition), Some((low, high))) => {
                let empty = self.iconst(i64::MIN);
                let high = self.b.ins().select(condition, high, empty);
                Guard::Range { low, high, inside: None }
            }
        }
    }

    /// The interval of the axis in which `low <= rest ± axis < high`.
    fn interval(&mut self, bound: &Bound, rest: &Index, ascending: bool) -> (Value, Value) {
        let rest = self.index(rest, None);
        let (low, high) = (self.dim(&bound.low), self.dim(&bound.high));
        if ascending {
            return (self.b.ins().isub(low, rest), self.b.ins().isub(high, rest));
        }
        let one = self.iconst(1);
        let from = self.b.ins().isub(rest, high);
        let to = self.b.ins().isub(rest, low);
        (self.b.ins().iadd(from, one), self.b.ins().iadd(to, one))
    }

    /// Whether a bound holds.
    pub(super) fn bound(&mut self, bound: &Bound, along: Option<Along>) -> Value {
        let index = self.index(&bound.index, along);
        let (low, high) = (self.dim(&bound.low), self.dim(&bound.high));
        let above = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, index, low);
        let below = self.b.ins().icmp(IntCC::SignedLessThan, index, high);
        self.b.ins().band(above, below)
    }

    fn both(&mut self, a: Option<Value>, b: Value) -> Value {
        match a {
            Some(a) => self.b.ins().band(a, b),
            None => b,
        }
    }

    /// The value of a node that does not vary.
    fn uniform(&mut self, run: &Run, id: NodeId) -> Value {
        let dtype = run.pass.types[id];
        let value = |id: NodeId| run.uniform[id].expect("operands of uniform nodes are uniform and come first");
        match &run.pass.nodes[id] {
            Node::Const(bits) => self.constant(dtype, *bits),
            Node::Index(index) => self.index(index, None),
            Node::Pass(pass) => self.results[*pass].expect("an earlier pass has a result"),
            Node::Cast(arg) => {
                let result = self.cast_node(run.pass, *arg, dtype, Val::One(value(*arg)));
                self.lane(result, dtype, 0)
            }
            Node::Apply(..) if run.pass.is_strip(id) => self.uniform_strip(run, id, &value),
            Node::Apply(op, args) => {
                let types: Vec<DType> = args.iter().map(|&arg| run.pass.types[arg]).collect();
                let args: Vec<Val> = args.iter().map(|&arg| Val::One(value(arg))).collect();
                let result = self.apply(*op, &types, dtype, &args);
                self.lane(result, dtype, 0)
            }
            Node::Load(get) => {
                let mut condition = None;
                for bound in &get.bounds {
                    let holds = self.bound(bound, None);
                    condition = Some(self.both(condition, holds));
                }
                let otherwise = get.otherwise.map(|other| Val::One(value(other)));
                let loaded = self.guarded(condition, otherwise, dtype, Width::Scalar, &mut |e| {
                    let mut address = e.element(e.params[get.param], &get.at, dtype, None);
                    for gather in &get.gathers {
                        let offset = e.gathered(run.pass.types[gather.index], value(gather.index), gather, dtype);
                        address = e.b.ins().iadd(address, offset);
                    }
                    Val::One(e.load_one(dtype, address, 0))
                });
                self.lane(loaded, dtype, 0)
            }
        }
    }

    fn constant(&mut self, dtype: DType, bits: u128) -> Value {
        match Rep::of(dtype) {
            Rep::F32 => {
                let value = match dtype {
                    DType::F16 => ic_types::f16_to_f32(bits as u16),
                    DType::BF16 => ic_types::bf16_to_f32(bits as u16),
                    _ => f32::from_bits(bits as u32),
                };
                self.b.ins().f32const(value)
            }
            Rep::F64 => self.b.ins().f64const(f64::from_bits(bits as u64)),
            Rep::I64 => self.b.ins().iconst(types::I64, bits as u64 as i64),
            Rep::Bool => self.b.ins().iconst(types::I8, i64::from(bits & 0xff != 0)),
            Rep::I32 => {
                let unused = 64 - dtype.bits().min(32) as u32;
                let shifted = (bits as u64) << unused;
                let value = if dtype.is_signed_int() { (shifted as i64) >> unused } else { (shifted >> unused) as i64 };
                self.b.ins().iconst(types::I32, value & 0xffff_ffff)
            }
        }
    }

    /// `load()` where `condition` holds, else `otherwise`.
    fn guarded(
        &mut self,
        condition: Option<Value>,
        otherwise: Option<Val>,
        dtype: DType,
        width: Width,
        load: &mut dyn FnMut(&mut Self) -> Val,
    ) -> Val {
        let Some(condition) = condition else { return load(self) };
        let rep = Rep::of(dtype);
        let (ty, n) = match width {
            Width::Scalar => (rep.scalar(), 1),
            Width::Vector if rep.is_wide() => (rep.scalar(), LANES),
            Width::Vector => (rep.vector(), 1),
        };
        let results: Vec<_> = (0..n).map(|_| self.b.declare_var(ty)).collect();
        let assign = |e: &mut Self, val: Val| {
            for (lane, &var) in results.iter().enumerate() {
                let value =
                    if n == 1 && width == Width::Vector { e.vector(val, dtype) } else { e.lane(val, dtype, lane) };
                e.b.def_var(var, value);
            }
        };
        let other = otherwise.unwrap_or_else(|| Val::One(self.constant(dtype, 0)));
        assign(self, other);
        self.when(condition, &mut |e| {
            let val = load(e);
            assign(e, val);
        });
        let values: Vec<Value> = results.iter().map(|&var| self.b.use_var(var)).collect();
        match (width, values.as_slice()) {
            (Width::Scalar, &[value]) => Val::One(value),
            (_, &[a, b, c, d]) => Val::Lanes([a, b, c, d]),
            (_, values) => Val::Vector(values[0]),
        }
    }

    /// The index of a lane on the vector axis.
    pub(super) fn along(&mut self, run: &Run, group: Group, lane: usize) -> Along {
        let offset = self.iconst(group.offset + lane as i64);
        Along { axis: run.axis.expect("groups lie on the vector axis"), value: self.b.ins().iadd(group.start, offset) }
    }

    /// Forgets the values of the previous group.
    pub(super) fn next_group(&mut self, run: &mut Run) {
        run.values.fill(None);
    }

    /// The value of a node in a group.
    pub(super) fn eval(&mut self, run: &mut Run, id: NodeId, group: Group) -> Val {
        if let Some(value) = run.uniform[id] {
            return Val::One(value);
        }
        if let Some(val) = run.values[id] {
            return val;
        }
        let dtype = run.pass.types[id];
        let val = match &run.pass.nodes[id] {
            Node::Load(_) | Node::Pass(_) => self.load(run, id, group),
            Node::Index(index) => {
                let n_lanes = if group.width == Width::Vector { LANES } else { 1 };
                let lanes: Vec<Value> = (0..n_lanes)
                    .map(|lane| {
                        let along = self.along(run, group, lane);
                        self.index(index, Some(along))
                    })
                    .collect();
                match lanes.as_slice() {
                    &[a, b, c, d] => Val::Lanes([a, b, c, d]),
                    lanes => Val::One(lanes[0]),
                }
            }
            Node::Cast(arg) => {
                let val = self.eval(run, *arg, group);
                self.cast_node(run.pass, *arg, dtype, val)
            }
            Node::Apply(op, args) => match run.strips[id] {
                Some(base) => {
                    let val = self.strip_result(base, group);
                    self.rounded_val(dtype, val)
                }
                None => {
                    let types: Vec<DType> = args.iter().map(|&arg| run.pass.types[arg]).collect();
                    let args: Vec<Val> = args.iter().map(|&arg| self.eval(run, arg, group)).collect();
                    self.apply(*op, &types, dtype, &args)
                }
            },
            Node::Const(_) => unreachable!("constants are uniform"),
        };
        run.values[id] = Some(val);
        val
    }

    fn rounded_val(&mut self, dtype: DType, val: Val) -> Val {
        match val {
            Val::One(value) => Val::One(self.rounded(dtype, value)),
            Val::Vector(value) => Val::Vector(self.rounded(dtype, value)),
            Val::Lanes(lanes) => Val::Lanes(lanes),
        }
    }

    fn load(&mut self, run: &mut Run, id: NodeId, group: Group) -> Val {
        let place = run.loads[id].clone().expect("varying loads have a place");
        if let (Guard::Range { inside: Some(inside), .. }, Some(other)) = (&place.guard, place.otherwise)
            && matches!(run.pass.nodes[other], Node::Load(_))
            && run.varying[other]
        {
            return self.either_load(run, &place, *inside, other, group);
        }
        let otherwise = place.otherwise.map(|other| self.eval(run, other, group));
        // Indices first: what is computed under a condition cannot be used outside.
        for gather in &place.gathers {
            self.eval(run, gather.index, group);
        }
        let condition = match &place.guard {
            Guard::Always => None,
            Guard::Uniform(condition) => Some(*condition),
            Guard::Range { inside, .. } => *inside,
            Guard::Elements(bounds) => return self.load_by_element(run, &place, bounds, otherwise, group),
        };
        self.guarded(condition, otherwise, place.dtype, group.width, &mut |e| e.load_place(run, &place, group))
    }

    /// `place` in the piece that is `inside`, and elsewhere the value of `other`, which is not computed in vain.
    fn either_load(&mut self, run: &mut Run, place: &Place, inside: Value, other: NodeId, group: Group) -> Val {
        let nothing = Val::One(self.constant(place.dtype, 0));
        let known = run.values.clone();
        let outside = self.not(inside);
        let found = self.guarded(Some(outside), Some(nothing), place.dtype, group.width, &mut |e| {
            let val = e.eval(run, other, group);
            // What was computed under the condition cannot be used elsewhere.
            run.values.clone_from(&known);
            val
        });
        self.guarded(Some(inside), Some(found), place.dtype, group.width, &mut |e| e.load_place(run, place, group))
    }

    fn load_by_element(
        &mut self,
        run: &mut Run,
        place: &Place,
        bounds: &[Bound],
        otherwise: Option<Val>,
        group: Group,
    ) -> Val {
        let n_lanes = if group.width == Width::Vector { LANES } else { 1 };
        let mut lanes = Vec::with_capacity(n_lanes);
        for lane in 0..n_lanes {
            let along = self.along(run, group, lane);
            let mut condition = None;
            for bound in bounds {
                let holds = self.bound(bound, Some(along));
                condition = Some(self.both(condition, holds));
            }
            let other = otherwise.map(|other| Val::One(self.lane(other, place.dtype, lane)));
            let val = self.guarded(condition, other, place.dtype, Width::Scalar, &mut |e| {
                let address = e.address(run, place, along, group, lane);
                Val::One(e.load_one(place.dtype, address, 0))
            });
            lanes.push(self.lane(val, place.dtype, 0));
        }
        match lanes.as_slice() {
            &[a, b, c, d] => self.joined([a, b, c, d], place.dtype),
            lanes => Val::One(lanes[0]),
        }
    }

    /// An unconditional load.
    pub(super) fn load_place(&mut self, run: &mut Run, place: &Place, group: Group) -> Val {
        let dtype = place.dtype;
        if let (Some((address, offset)), Width::Vector) = (self.unit(place, group), group.width) {
            return self.load_four(dtype, address, offset);
        }
        if group.width == Width::Scalar {
            let along = self.along(run, group, 0);
            let address = self.address(run, place, along, group, 0);
            return Val::One(self.load_one(dtype, address, 0));
        }
        let lanes: [Value; LANES] = std::array::from_fn(|lane| {
            let along = self.along(run, group, lane);
            let address = self.address(run, place, along, group, lane);
            self.load_one(dtype, address, 0)
        });
        self.joined(lanes, dtype)
    }

    /// Address and byte offset of a group whose elements are neighbours in memory.
    fn unit(&mut self, place: &Place, group: Group) -> Option<(Value, i32)> {
        let Kind::Linear { base, coefficient } = &place.kind else { return None };
        if !coefficient.is(1) || !place.gathers.is_empty() {
            return None;
        }
        let step = self.scaled(group.start, size(place.dtype));
        let address = self.b.ins().iadd(*base, step);
        Some((address, (group.offset * size(place.dtype)) as i32))
    }

    /// The address of one element.
    fn address(&mut self, run: &mut Run, place: &Place, along: Along, group: Group, lane: usize) -> Value {
        let mut address = match &place.kind {
            Kind::Linear { base, coefficient } if coefficient.is(0) => *base,
            Kind::Linear { base, coefficient } => {
                let step = self.times(along.value, coefficient);
                let step = self.scaled(step, size(place.dtype));
                self.b.ins().iadd(*base, step)
            }
            Kind::General { base, at } => self.element(*base, at, place.dtype, Some(along)),
        };
        for gather in &place.gathers {
            let from = run.pass.types[gather.index];
            let index = self.eval(run, gather.index, group);
            let index = self.lane(index, from, lane);
            let offset = self.gathered(from, index, gather, place.dtype);
            address = self.b.ins().iadd(address, offset);
        }
        address
    }

    /// Writes the stored values of a group, and keeps the root if later passes need it.
    pub(super) fn store_group(&mut self, run: &mut Run, kept: Option<&Place>, group: Group) {
        let pass = run.pass;
        let values: Vec<Val> = pass.stores.iter().map(|store| self.eval(run, store.value, group)).collect();
        if let Some(kept) = kept {
            let root = self.eval(run, pass.root, group);
            self.store_place(run, kept, root, group);
        }
        for (index, val) in values.into_iter().enumerate() {
            let place = run.stores[index].clone();
            self.store_guarded(run, &place, val, group);
        }
    }

    /// Writes a group's value, where its bounds hold.
    pub(super) fn store_guarded(&mut self, run: &mut Run, place: &Place, val: Val, group: Group) {
        let condition = match &place.guard {
            Guard::Always => return self.store_place(run, place, val, group),
            Guard::Uniform(condition) => Some(*condition),
            Guard::Range { inside, .. } => *inside,
            Guard::Elements(bounds) => {
                let n_lanes = if group.width == Width::Vector { LANES } else { 1 };
                for lane in 0..n_lanes {
                    let along = self.along(run, group, lane);
                    let mut condition = None;
                    for bound in bounds {
                        let holds = self.bound(bound, Some(along));
                        condition = Some(self.both(condition, holds));
                    }
                    let value = self.lane(val, place.dtype, lane);
                    let condition = condition.expect("there are bounds");
                    self.when(condition, &mut |e| {
                        let address = e.address(run, place, along, group, lane);
                        e.store_one(place.dtype, value, address, 0);
                    });
                }
                return;
            }
        };
        match condition {
            Some(condition) => self.when(condition, &mut |e| e.store_place(run, place, val, group)),
            None => self.store_place(run, place, val, group),
        }
    }

    /// An unconditional store.
    pub(super) fn store_place(&mut self, run: &mut Run, place: &Place, val: Val, group: Group) {
        let dtype = place.dtype;
        if let (Some((address, offset)), Width::Vector) = (self.unit(place, group), group.width) {
            return self.store_four(dtype, val, address, offset);
        }
        let n_lanes = if group.width == Width::Vector { LANES } else { 1 };
        for lane in 0..n_lanes {
            let along = self.along(run, group, lane);
            let address = self.address(run, place, along, group, lane);
            let value = self.lane(val, dtype, lane);
            self.store_one(dtype, value, address, 0);
        }
    }

    /// Runs `body` on pieces of `start..end` within which every interval bound is the same for all elements.
    pub(super) fn pieces(
        &mut self,
        run: &mut Run<'a>,
        start: Value,
        end: Value,
        body: &mut dyn FnMut(&mut Self, &mut Run<'a>, Value, Value),
    ) {
        if !run.has_pieces() {
            return body(self, run, start, end);
        }
        let at = self.b.declare_var(types::I64);
        self.b.def_var(at, start);
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        let from = self.b.use_var(at);
        let done = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, from, end);
        self.b.ins().brif(done, exit, &[], inside, &[]);
        self.b.switch_to_block(inside);
        let mut to = end;
        for place in run.loads.iter_mut().flatten().chain(&mut run.stores) {
            if let Guard::Range { low, high, inside } = &mut place.guard {
                let before = self.b.ins().icmp(IntCC::SignedLessThan, from, *low);
                let below = self.b.ins().icmp(IntCC::SignedLessThan, from, *high);
                let next = self.b.ins().select(below, *high, end);
                let next = self.b.ins().select(before, *low, next);
                to = self.b.ins().smin(to, next);
                let reached = self.not(before);
                *inside = Some(self.b.ins().band(reached, below));
            }
        }
        body(self, run, from, to);
        self.b.def_var(at, to);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(exit);
    }

    /// Writes `val`, the result of a reduction, wherever the pass stores it.
    pub(super) fn store_all(&mut self, run: &mut Run, val: Val, group: Group) {
        for index in 0..run.stores.len() {
            let place = run.stores[index].clone();
            self.store_guarded(run, &place, val, group);
        }
    }

    /// Writes the result of a pass with one value at this outer point.
    pub(super) fn store_value(&mut self, number: usize, value: Value) {
        (0..self.form.passes[number].stores.len()).for_each(|index| self.store_one_of(number, index, value));
    }

    /// Does one store of a pass with one value at this outer point.
    pub(super) fn store_one_of(&mut self, number: usize, index: usize, value: Value) {
        let store = &self.form.passes[number].stores[index];
        let dtype = self.form.params[store.param];
        let mut condition = None;
        for bound in &store.bounds {
            let holds = self.bound(bound, None);
            condition = Some(self.both(condition, holds));
        }
        let mut write = |e: &mut Self| {
            let address = e.element(e.params[store.param], &store.at, dtype, None);
            e.store_one(dtype, value, address, 0);
        };
        match condition {
            Some(condition) => self.when(condition, &mut write),
            None => write(self),
        }
    }

    /// The value of a node of a pass with one point.
    pub(super) fn uniform_value(&self, run: &Run, id: NodeId) -> Value {
        run.uniform[id].expect("a pass without a vector axis is uniform")
    }

    /// The address of neighbouring f32 from index `from` on, if the place is that.
    pub(super) fn plain_f32(&mut self, place: &Place, from: Value) -> Option<Value> {
        (place.dtype == DType::F32 && place.is_plain()).then(|| self.plain_address(place, from))
    }

    /// The address of element `from` of a plain place.
    pub(super) fn plain_address(&mut self, place: &Place, from: Value) -> Value {
        let (Kind::Linear { base, .. } | Kind::General { base, .. }) = &place.kind;
        let step = self.scaled(from, size(place.dtype));
        self.b.ins().iadd(*base, step)
    }

    /// How a run's loops are unrolled.
    pub(super) fn unroll(&self, run: &Run, extent: Option<i64>) -> Unroll {
        let varying = || (0..run.pass.nodes.len()).filter(|&id| run.needed[id] && run.varying[id]);
        let narrow = |id: NodeId| !Rep::of(run.pass.types[id]).is_wide();
        let stores_narrow = run.pass.stores.iter().any(|store| narrow(store.value));
        let n_narrow = varying().filter(|&id| narrow(id)).count() + usize::from(stores_narrow);
        let n_wide = varying().filter(|&id| !narrow(id)).count();
        let short = extent.is_some_and(|extent| extent < LANES as i64);
        let has_strips = varying().any(|id| run.pass.is_strip(id));
        let is_exact = extent == Some(run.multiple) && !has_strips && run.multiple * varying().count() as i64 <= 512;
        if short || n_narrow == 0 || n_wide > 3 * n_narrow {
            return Unroll { copies: 0, multiple: run.multiple, is_exact: is_exact && run.multiple <= 16 };
        }
        let by_element = |place: &Place| matches!(place.guard, Guard::Elements(_));
        let has_blocks = run.loads.iter().flatten().chain(&run.stores).any(by_element);
        let copies = match varying().count() {
            _ if has_blocks || extent.is_some_and(|extent| extent < 16) => 1,
            0..=12 => 4,
            13..=32 => 2,
            _ => 1,
        };
        Unroll { copies, multiple: run.multiple, is_exact: is_exact && run.multiple <= 64 }
    }
}
