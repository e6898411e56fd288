//! Kernels with inner axes: reductions, softmax, normalizations, windows. A thread, a warp or a block per row.
//!
//! A thread has a row where rows are neighbours in memory, or so short that more threads would have nothing to do.
//! Rows that fit are kept in registers between passes, and every element is loaded once; longer ones and those of
//! unknown length are walked again by each pass, which computes what it needs of earlier passes anew.

use super::{Scheduled, ceil_div};
use crate::nvptx::emit::{Emitter, Point, Value, is_vector};
use crate::nvptx::ptx::{Binary, Compare, Instruction, Label, Operand, Reg, Special, Ty};
use crate::shared::form::{Form, Get, Node, Pass, Schedule};
use ic_types::Dim;
use std::collections::HashMap;

mod reduce;

/// Threads of a block that has several rows, or a row that is not long.
const ROW_THREADS: u32 = 128;
/// Rows of a block whose threads have one each.
const COLUMN_THREADS: u32 = 256;
/// Longer rows have more threads than one.
const COLUMN_ELEMENTS: i64 = 4096;
/// Threads of a block that has one row.
const BLOCK_THREADS: u32 = 256;
/// Rows of at most this many elements have a warp.
const WARP_ELEMENTS: i64 = 1024;
/// Rows of at most this many elements have four warps, which keep all of them.
const FOUR_WARPS_ELEMENTS: i64 = 4 * 32 * KEPT;
/// Elements of a row that a thread keeps in registers.
const KEPT: i64 = 32;

/// How rows are divided among threads.
struct Layout {
    /// Number of elements of a row.
    length: Dim,
    /// Neighbours that a thread takes at a time.
    lanes: usize,
    /// Threads of a row.
    threads: u32,
    /// Rows of a block.
    rows: u32,
    /// How often each thread takes some, if that is known and few.
    chunks: Option<i64>,
}

fn layout(form: &Form, aligned: &[bool]) -> Result<Layout, String> {
    let lengths = form.passes.iter().filter(|p| !p.inner.is_empty()).map(|p| p.inner.iter().cloned().product::<Dim>());
    let lengths: Vec<Dim> = lengths.collect();
    let length = lengths.first().cloned().ok_or("a kernel of rows without inner axes")?;
    if lengths.iter().any(|other| *other != length) {
        return Err("stages over inner axes of different extents".into());
    }
    let chunks = length.as_const().filter(|elements| *elements <= KEPT);
    let is_short = length.as_const().is_some_and(|elements| elements <= COLUMN_ELEMENTS);
    if form.schedule == Schedule::Columns && is_short && (chunks.is_some() || !stores_early(form)) {
        return Ok(Layout { length, lanes: 1, threads: 1, rows: COLUMN_THREADS, chunks });
    }
    let lanes = lanes(form, aligned, &length);
    let (threads, rows) = match length.as_const() {
        Some(n) if n <= WARP_ELEMENTS => (32, ROW_THREADS / 32),
        Some(n) if n <= FOUR_WARPS_ELEMENTS => (ROW_THREADS, 1),
        _ => (BLOCK_THREADS, 1),
    };
    let per_chunk = i64::from(threads) * lanes as i64;
    let chunks = length.as_const().map(|n| (n + per_chunk - 1) / per_chunk).filter(|c| c * lanes as i64 <= KEPT);
    Ok(Layout { length, lanes, threads, rows, chunks })
}

/// Whether a pass other than the last stores rows.
fn stores_early(form: &Form) -> bool {
    let earlier = &form.passes[..form.passes.len().saturating_sub(1)];
    earlier.iter().any(|pass| pass.reduce.is_none() && !pass.inner.is_empty() && !pass.stores.is_empty())
}

/// As many lanes as make 16 bytes, if rows are walked along memory.
fn lanes(form: &Form, aligned: &[bool], length: &Dim) -> usize {
    if form.passes.iter().any(|pass| pass.inner.len() > 1) {
        return 1;
    }
    let axis = form.outer.len();
    let widest = form.params.iter().filter_map(|dtype| dtype.size()).max().unwrap_or(4);
    let n = 16 / widest.clamp(1, 16);
    let inner = || form.passes.iter().filter(|pass| !pass.inner.is_empty());
    let mut loads = inner().flat_map(|pass| &pass.nodes).filter_map(|node| match node {
        Node::Load(get) => Some(get.param).filter(|_| is_vector(&get.at, axis, n)),
        _ => None,
    });
    let divides = length.exact_div(&Dim::constant(n as i64)).is_some();
    if n > 1 && divides && loads.any(|param| aligned[param]) { n } else { 1 }
}

/// A row kernel under construction.
struct Rows<'a, 'f> {
    e: Emitter<'f>,
    form: &'a Form,
    layout: &'a Layout,
    /// The thread's number in its row.
    thread: Operand,
    /// The outer axes.
    outer: Vec<Operand>,
    /// Whether this thread stores what rows have one of; all do if there is no condition.
    first: Option<Reg>,
    /// Where the kernel ends.
    end: Label,
    /// Results that all points of a row share.
    uniform: HashMap<usize, Value>,
    /// Results by pass and chunk.
    kept: HashMap<(usize, i64), Value>,
    /// What has been loaded, by chunk, where passes share it.
    loaded: HashMap<i64, Vec<(Get, Value)>>,
}

/// Generates a kernel with inner axes.
pub(super) fn generate(form: &Form, aligned: &[bool]) -> Result<Scheduled, String> {
    let layout = layout(form, aligned)?;
    let mut e = Emitter::new(&form.params, aligned);
    let (block, id) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let total: Dim = form.outer.iter().cloned().product();
    let end = e.b.label();
    let (row, thread) = if layout.rows == 1 {
        (block, Operand::Reg(id))
    } else if layout.threads == 1 {
        let row = e.b.fma(Ty::S32, block, i64::from(layout.rows), id);
        let limit = e.dim(&total);
        let outside = e.b.compare(Compare::Ge, Ty::U32, row, limit);
        e.b.push(Instruction::Branch { to: end, guard: Some((outside, true)) });
        (row, Operand::Int(0))
    } else {
        let warp = e.b.binary(Binary::Shr, Ty::U32, id, 5);
        let row = e.b.fma(Ty::S32, block, i64::from(layout.rows), warp);
        let limit = e.dim(&total);
        // A whole warp leaves.
        let outside = e.b.compare(Compare::Ge, Ty::U32, row, limit);
        e.b.push(Instruction::Branch { to: end, guard: Some((outside, true)) });
        (row, e.b.binary(Binary::And, Ty::B32, id, 31).into())
    };
    let outer = e.unflatten(row.into(), &form.outer);
    let first = (layout.threads > 1).then(|| e.b.compare(Compare::Eq, Ty::U32, thread, 0));
    let (uniform, kept, loaded) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut rows = Rows { e, form, layout: &layout, thread, outer, first, end, uniform, kept, loaded };
    for pass in 0..form.passes.len() {
        rows.pass(pass)?;
    }
    rows.e.b.place(end);
    let threads = layout.threads * layout.rows;
    let name = match layout.threads {
        1 => "thread",
        32 => "warp",
        _ => "block",
    };
    Ok(Scheduled::new(rows.e, threads, ceil_div(&total, layout.rows.into()), name))
}

impl Rows<'_, '_> {
    fn pass(&mut self, index: usize) -> Result<(), String> {
        let pass = &self.form.passes[index];
        if pass.inner.is_empty() {
            let mut stores = self.first;
            if let (true, Some(first)) = (index + 1 == self.form.passes.len(), stores) {
                // Nothing follows that others have a part in.
                self.e.b.push(Instruction::Branch { to: self.end, guard: Some((first, false)) });
                stores = None;
            }
            let point = Point {
                axes: self.outer.clone(),
                lane_axis: self.outer.len().saturating_sub(1),
                n_lanes: 1,
                guards: Vec::new(),
                stores,
                from: None,
            };
            let values = self.e.evaluate(pass, &point, &self.uniform)?;
            let loads = pass.nodes.iter().any(|node| matches!(node, Node::Load(_)));
            if stores.is_some() && loads && !pass.stores.is_empty() {
                // What is stored may lie where other threads still load from.
                self.e.b.push(if self.layout.rows == 1 { Instruction::Barrier } else { Instruction::WarpBarrier });
            }
            self.e.put_all(pass, &point, &values)?;
            self.uniform.extend(values[pass.root].clone().map(|value| (index, value)));
            return Ok(());
        }
        let accumulators = pass.reduce.map(|function| self.start(function, pass.types[pass.root])).transpose()?;
        match self.layout.chunks {
            Some(chunks) => {
                for chunk in 0..chunks {
                    self.unrolled(index, chunk, accumulators.as_deref())?;
                }
            }
            None => self.looped(index, accumulators.as_deref())?,
        }
        if let (Some(function), Some(accumulators)) = (pass.reduce, accumulators) {
            let dtype = pass.types[pass.root];
            let total = self.finish(function, dtype, &accumulators)?;
            let value = Value { lanes: vec![total.into()], dtype };
            let mut values = vec![None; pass.nodes.len()];
            values[pass.root] = Some(value.clone());
            let axes = self.outer.clone();
            let point = Point { axes, lane_axis: 0, n_lanes: 1, guards: Vec::new(), stores: self.first, from: None };
            self.e.put_all(pass, &point, &values)?;
            self.uniform.insert(index, value);
        }
        Ok(())
    }

    /// One of a known number of chunks.
    fn unrolled(&mut self, index: usize, chunk: i64, accumulators: Option<&[Reg]>) -> Result<(), String> {
        let (lanes, threads) = (self.layout.lanes as i64, i64::from(self.layout.threads));
        let thread = self.e.b.add(self.thread, Operand::Int(chunk * threads));
        let begin = self.e.b.mul(thread, Operand::Int(lanes));
        let length = self.layout.length.as_const().ok_or("a row of unknown length")?;
        let guard =
            ((chunk + 1) * threads * lanes > length).then(|| self.e.b.compare(Compare::Lt, Ty::S32, begin, length));
        let mut point = self.point(index, begin, guard);
        if self.form.passes[index].inner.len() == 1 {
            // That of the first chunk.
            point.from = Some((self.e.b.mul(self.thread, Operand::Int(lanes)), chunk * threads * lanes));
        }
        let mut results = self.uniform.clone();
        let kept = self.kept.iter().filter(|((_, c), _)| *c == chunk);
        results.extend(kept.map(|((pass, _), value)| (*pass, value.clone())));
        self.e.loaded = Some(self.loaded.remove(&chunk).unwrap_or_default());
        let value = self.at_point(index, &point, &results, accumulators)?;
        let mut loaded = self.e.loaded.take().unwrap_or_default();
        loaded.retain(|(get, _)| self.is_shared(index, get));
        self.loaded.insert(chunk, loaded);
        if accumulators.is_none() {
            self.kept.extend(value.map(|value| ((index, chunk), value)));
        }
        Ok(())
    }

    /// Whether a pass after `index` walks the same axes and loads this as well, and there is room for it. What has been
    /// stored in between is loaded anew.
    fn is_shared(&self, index: usize, get: &Get) -> bool {
        let passes = &self.form.passes;
        let is_stored = passes.iter().flat_map(|pass| &pass.stores).any(|put| put.param == get.param);
        let loads = |pass: &&Pass| pass.nodes.iter().any(|node| matches!(node, Node::Load(other) if other == get));
        let users = passes.iter().filter(loads);
        let all_alike = users.clone().all(|pass| pass.inner == passes[index].inner);
        let is_first = passes.iter().flat_map(|pass| &pass.nodes).find_map(|node| match node {
            Node::Load(other) if other.is_of_the_point() && other.at.uses(self.outer.len() as u32) => Some(other),
            _ => None,
        });
        !is_stored && all_alike && users.count() > 1 && is_first == Some(get)
    }

    /// Chunks until the row ends.
    fn looped(&mut self, index: usize, accumulators: Option<&[Reg]>) -> Result<(), String> {
        let lanes = self.layout.lanes as i64;
        let start = self.e.b.mul(self.thread, Operand::Int(lanes));
        let at = self.e.b.mov(Ty::B32, start);
        let (begin, end) = (self.e.b.label(), self.e.b.label());
        let length = self.e.dim(&self.layout.length);
        self.e.b.place(begin);
        let outside = self.e.b.compare(Compare::Ge, Ty::S32, at, length);
        self.e.b.push(Instruction::Branch { to: end, guard: Some((outside, true)) });
        let point = self.point(index, at.into(), None);
        let mut results = self.uniform.clone();
        self.recompute(index, index, &point, &mut results)?;
        self.at_point(index, &point, &results, accumulators)?;
        let next = self.e.b.binary(Binary::Add, Ty::S32, at, i64::from(self.layout.threads) * lanes);
        self.e.b.assign(Ty::B32, at, next);
        self.e.b.push(Instruction::Branch { to: begin, guard: None });
        self.e.b.place(end);
        Ok(())
    }

    /// The point of the row's elements from `begin` on.
    fn point(&mut self, index: usize, begin: Operand, guard: Option<Reg>) -> Point {
        let mut axes = self.outer.clone();
        let inner = self.e.unflatten(begin, &self.form.passes[index].inner);
        axes.extend(inner);
        let lane_axis = axes.len() - 1;
        Point {
            axes,
            lane_axis,
            n_lanes: self.layout.lanes,
            guards: guard.into_iter().collect(),
            stores: None,
            from: None,
        }
    }

    /// Evaluates a pass at a point, stores and accumulates. The value of the root, if later passes need it.
    fn at_point(
        &mut self,
        index: usize,
        point: &Point,
        results: &HashMap<usize, Value>,
        accumulators: Option<&[Reg]>,
    ) -> Result<Option<Value>, String> {
        let pass = &self.form.passes[index];
        let values = self.e.evaluate(pass, point, results)?;
        match (pass.reduce, accumulators) {
            (Some(function), Some(accumulators)) => {
                let value = values[pass.root].as_ref().ok_or("a root that has not been computed")?;
                self.accumulate(function, value, point, accumulators)?;
            }
            _ => self.e.put_all(pass, point, &values)?,
        }
        Ok(values[pass.root].clone())
    }

    /// Computes the results of pointwise passes that pass `index` needs at the point: by the stores that they have made,
    /// or again. `at` is the pass that is being emitted.
    fn recompute(
        &mut self,
        index: usize,
        at: usize,
        point: &Point,
        results: &mut HashMap<usize, Value>,
    ) -> Result<(), String> {
        for earlier in used(&self.form.passes[index]) {
            if results.contains_key(&earlier) {
                continue;
            }
            let pass = &self.form.passes[earlier];
            let mut axes = self.outer.clone();
            let begin = self.flat(index, point);
            axes.extend(self.e.unflatten(begin, &pass.inner));
            let there = Point { lane_axis: axes.len() - 1, axes, from: None, ..point.clone() };
            // What another stage has stored since may lie in the memory that this one reads.
            if self.form.passes[..at].iter().any(|pass| !pass.stores.is_empty() && pass.reduce.is_none()) {
                return Err("a long row that is stored and then used has no schedule for nvptx".into());
            }
            self.recompute(earlier, at, &there, results)?;
            let values = self.e.evaluate(pass, &there, results)?;
            results.extend(values[pass.root].clone().map(|value| (earlier, value)));
        }
        Ok(())
    }

    /// The number in its row of a point of pass `index`.
    fn flat(&mut self, index: usize, point: &Point) -> Operand {
        let inner = &self.form.passes[index].inner;
        let mut number = Operand::Int(0);
        for (extent, &axis) in inner.iter().zip(&point.axes[self.outer.len()..]) {
            let extent = self.e.dim(extent);
            let scaled = self.e.b.mul(number, extent);
            number = self.e.b.add(scaled, axis);
        }
        number
    }
}

/// The earlier passes whose results a pass uses.
fn used(pass: &Pass) -> Vec<usize> {
    let needed = pass.needed();
    let nodes = pass.nodes.iter().zip(needed);
    nodes
        .filter_map(|(node, needed)| if let (Node::Pass(p), true) = (node, needed) { Some(*p) } else { None })
        .collect()
}
