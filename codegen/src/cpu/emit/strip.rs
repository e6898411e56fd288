//! Strips: functions that are called on a block of the vector axis.
//!
//! Level by level, the arguments of all strips of the level are computed into scratch, and the strips called in place.
//! What is quantized in the end is such a block too.

use super::Emitter;
use super::loops::{Group, Unroll};
use super::run::{Place, Run};
use super::value::{Val, Width};
use crate::cpu::quantized::{Quantized, quantized};
use crate::cpu::scratch::BLOCK;
use crate::shared::form::{Node, NodeId};
use crate::shared::strip_of;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};

/// Elements from which on quantizing them in a call is quicker.
const SHORTEST: i64 = 32;

/// What a run does after strips have been computed: on a block, from the first index to before the second.
pub(super) type Last<'b, 'a> = dyn FnMut(&mut Emitter<'a>, &mut Run<'a>, Value, Value) + 'b;

impl<'a> Emitter<'a> {
    /// Computes all strips of `start..end`, then does `last`; block by block where there are strips.
    pub(super) fn blocks(
        &mut self,
        run: &mut Run<'a>,
        start: Value,
        end: Value,
        unroll: Unroll,
        last: &mut Last<'_, 'a>,
    ) {
        let levels = levels(run);
        let quantized = self.quantized_store(run);
        let highest = levels.iter().flatten().copied().max().unwrap_or(0);
        if highest == 0 && quantized.is_none() {
            return last(self, run, start, end);
        }
        let at = self.b.declare_var(types::I64);
        self.b.def_var(at, start);
        self.while_below(at, end, BLOCK, &mut |e, from| {
            let size = e.iconst(BLOCK);
            let to = e.b.ins().iadd(from, size);
            let to = e.b.ins().smin(to, end);
            for level in 1..=highest {
                let strips: Vec<NodeId> = (0..levels.len()).filter(|&id| levels[id] == Some(level)).collect();
                if let ([only], true) = (strips.as_slice(), level == highest)
                    && let Some(dst) = e.direct_result(run, *only, from)
                {
                    e.level(run, &strips, from, to, unroll, Some(dst));
                    return;
                }
                e.level(run, &strips, from, to, unroll, None);
            }
            match &quantized {
                Some((quantized, to_place)) => e.quantize_block(run, quantized, to_place, (from, to), unroll),
                None => last(e, run, from, to),
            }
        });
        run.strips.fill(None);
    }

    /// What the run quantizes to neighbouring bytes, and where, if there is enough of it for a call.
    fn quantized_store(&self, run: &Run<'a>) -> Option<(Quantized, Place)> {
        let found = quantized(run.pass)?;
        let is_uniform = [found.scale, found.zero].into_iter().flatten().all(|id| !run.varying[id]);
        let is_long = self.extent_of(run).is_none_or(|extent| extent >= SHORTEST);
        let place = run.store_place_of(0).filter(|place| place.is_plain())?;
        (is_uniform && is_long && run.varying[found.x]).then(|| (found, place.clone()))
    }

    /// Quantizes and stores one block.
    fn quantize_block(
        &mut self,
        run: &mut Run<'a>,
        quantized: &Quantized,
        place: &Place,
        (from, to): (Value, Value),
        unroll: Unroll,
    ) {
        let x = quantized.x;
        let source = match (run.strips[x], self.direct_source(run, x, from)) {
            (Some(base), _) => {
                let bytes = self.scaled(from, 4);
                self.b.ins().iadd(base, bytes)
            }
            (None, Some(source)) => source,
            (None, None) => {
                let offset = self.scratch_layout.quantized[run.number].expect("passes that quantize have a block");
                let block = self.scratch_at(&Dim::constant(offset));
                self.for_groups(from, to, unroll, &mut |e, group| {
                    e.next_group(run);
                    let val = e.eval(run, x, group);
                    e.store_block(block, from, val, group);
                });
                block
            }
        };
        let n = self.b.ins().isub(to, from);
        let dst = self.plain_address(place, from);
        let [scale, zero] = [(quantized.scale, 1.0), (quantized.zero, 0.0)].map(|(node, otherwise)| match node {
            Some(node) => self.uniform_value(run, node),
            None => self.b.ins().f32const(otherwise),
        });
        let [low, high] = [quantized.low, quantized.high].map(|limit| self.b.ins().f32const(limit));
        self.call_quantize(dst, source, n, [scale, zero, low, high]);
    }

    /// Computes the strips of one level, into `dst` if that is given.
    fn level(
        &mut self,
        run: &mut Run<'a>,
        strips: &[NodeId],
        from: Value,
        to: Value,
        unroll: Unroll,
        dst: Option<Value>,
    ) {
        // Each argument to be computed: node and its block.
        let mut copies: Vec<(NodeId, Value)> = Vec::new();
        let mut calls: Vec<(NodeId, Vec<Value>)> = Vec::new();
        for &id in strips {
            let Node::Apply(_, args) = &run.pass.nodes[id] else { continue };
            let mut sources = Vec::new();
            for (index, &arg) in args.iter().enumerate() {
                let source = match self.direct_source(run, arg, from) {
                    Some(source) => source,
                    None => {
                        let block = self.strip_block(run, id, index);
                        copies.push((arg, block));
                        block
                    }
                };
                sources.push(source);
            }
            calls.push((id, sources));
        }
        if !copies.is_empty() {
            self.for_groups(from, to, unroll, &mut |e, group| {
                e.next_group(run);
                for &(arg, block) in &copies {
                    let val = e.eval(run, arg, group);
                    e.store_block(block, from, val, group);
                }
            });
        }
        let n = self.b.ins().isub(to, from);
        for (id, sources) in calls {
            let block = self.strip_block(run, id, 0);
            let target = dst.unwrap_or(block);
            let Node::Apply(op, _) = &run.pass.nodes[id] else { continue };
            match *op {
                ScalarOp::Pow => self.call_pow(target, sources[0], sources[1], n),
                op => {
                    let strip = strip_of(op).expect("strips have a function");
                    self.call_strip(strip, target, sources[0], n);
                }
            }
            let bytes = self.scaled(from, 4);
            run.strips[id] = Some(self.b.ins().isub(block, bytes));
        }
    }

    fn strip_block(&mut self, run: &Run, id: NodeId, argument: usize) -> Value {
        let offset = self.scratch_layout.strips[run.number][id].expect("needed strips have a block");
        let offset = self.iconst(offset + argument as i64 * BLOCK * 4);
        self.b.ins().iadd(self.scratch, offset)
    }

    fn store_block(&mut self, block: Value, from: Value, val: Val, group: Group) {
        let index = self.b.ins().isub(group.start, from);
        let bytes = self.scaled(index, 4);
        let address = self.b.ins().iadd(block, bytes);
        let offset = (group.offset * 4) as i32;
        match group.width {
            Width::Vector => self.store_four(DType::F32, val, address, offset),
            Width::Scalar => {
                let value = self.lane(val, DType::F32, 0);
                self.store_one(DType::F32, value, address, offset);
            }
        }
    }

    /// The value of a strip whose result at index 0 of the axis would be at `base`.
    pub(super) fn strip_result(&mut self, base: Value, group: Group) -> Val {
        let bytes = self.scaled(group.start, 4);
        let address = self.b.ins().iadd(base, bytes);
        let offset = (group.offset * 4) as i32;
        match group.width {
            Width::Vector => self.load_four(DType::F32, address, offset),
            Width::Scalar => Val::One(self.load_one(DType::F32, address, offset)),
        }
    }

    /// A strip of one element that does not vary along the axis.
    pub(super) fn uniform_strip(&mut self, run: &Run, id: NodeId, value: &dyn Fn(NodeId) -> Value) -> Value {
        let Node::Apply(op, args) = &run.pass.nodes[id] else { unreachable!("strips are functions") };
        let blocks: Vec<Value> = (0..args.len()).map(|index| self.strip_block(run, id, index)).collect();
        for (&arg, &block) in args.iter().zip(&blocks) {
            self.store_one(DType::F32, value(arg), block, 0);
        }
        let one = self.iconst(1);
        match *op {
            ScalarOp::Pow => self.call_pow(blocks[0], blocks[0], blocks[1], one),
            op => self.call_strip(strip_of(op).expect("strips have a function"), blocks[0], blocks[0], one),
        }
        let result = self.load_one(DType::F32, blocks[0], 0);
        self.rounded(run.pass.types[id], result)
    }

    /// The address of an argument that lies in memory as strips take it, from index `from` on.
    pub(super) fn direct_source(&mut self, run: &Run, arg: NodeId, from: Value) -> Option<Value> {
        let place = run.load_place_of(arg)?;
        self.plain_f32(place, from)
    }

    /// Where a strip can write its result at once: it is all that the pass stores, or all that it keeps.
    fn direct_result(&mut self, run: &Run, id: NodeId, from: Value) -> Option<Value> {
        if run.pass.reduce.is_some() || run.pass.types[id] != DType::F32 {
            return None;
        }
        match run.pass.stores.as_slice() {
            [store] if store.value == id && !run.pass.keep => {
                let place = run.store_place_of(0)?;
                self.plain_f32(place, from)
            }
            [] if run.pass.root == id && run.pass.keep => {
                let place = self.kept_place(run, run.number);
                self.plain_f32(&place, from)
            }
            _ => None,
        }
    }
}

/// The level of each varying strip: one more than that of the strips that it depends on.
fn levels(run: &Run) -> Vec<Option<usize>> {
    let n_nodes = run.pass.nodes.len();
    let (mut depth, mut levels) = (vec![0; n_nodes], vec![None; n_nodes]);
    for id in (0..n_nodes).filter(|&id| run.needed[id] && run.varying[id]) {
        depth[id] = run.pass.operands(id).into_iter().map(|operand| depth[operand]).max().unwrap_or(0);
        if run.pass.is_strip(id) {
            depth[id] += 1;
            levels[id] = Some(depth[id]);
        }
    }
    levels
}
