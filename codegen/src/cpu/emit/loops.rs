//! Loops.

use super::Emitter;
use super::value::{LANES, Width};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

/// How a loop along the vector axis is unrolled: some vectors at a time, then single vectors, then single elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unroll {
    /// Vectors at a time; 0 for one element at a time.
    pub(super) copies: usize,
    /// What divides the number of elements: loops for what cannot be left are left out.
    pub(super) multiple: i64,
    /// Whether there are exactly `multiple` elements, so few that no loop is needed.
    pub(super) is_exact: bool,
}

impl Unroll {
    /// One element at a time.
    pub(super) const SCALAR: Unroll = Unroll { copies: 0, multiple: 1, is_exact: false };

    /// So many vectors at a time.
    pub(super) fn vectors(copies: usize) -> Unroll {
        Unroll { copies, multiple: 1, is_exact: false }
    }
}

/// What the body of a loop along the vector axis computes.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// Index of the loop's first element on the vector axis.
    pub(super) start: Value,
    /// This group's first element counted from there.
    pub(super) offset: i64,
    /// One element or four.
    pub(super) width: Width,
}

impl Emitter<'_> {
    /// Runs `body` while `var < limit`, adding `step` to `var` each time.
    pub(super) fn while_below(
        &mut self,
        var: Variable,
        limit: Value,
        step: i64,
        body: &mut dyn FnMut(&mut Self, Value),
    ) {
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        let at = self.b.use_var(var);
        // The optimizer takes the second way first, and forgets loops that it has left: what does not change in a loop
        // leaves it only in this order.
        let done = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, at, limit);
        self.b.ins().brif(done, exit, &[], inside, &[]);
        self.b.switch_to_block(inside);
        body(self, at);
        let step = self.iconst(step);
        let next = self.b.ins().iadd(at, step);
        self.b.def_var(var, next);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(exit);
    }

    /// Runs `body` for each of `start..end`.
    pub(super) fn for_each(&mut self, start: Value, end: Value, body: &mut dyn FnMut(&mut Self, Value)) {
        let var = self.b.declare_var(types::I64);
        self.b.def_var(var, start);
        self.while_below(var, end, 1, body);
    }

    /// Runs `body` on groups that cover `start..end`.
    pub(super) fn for_groups(
        &mut self,
        start: Value,
        end: Value,
        unroll: Unroll,
        body: &mut dyn FnMut(&mut Self, Group),
    ) {
        let Unroll { copies, multiple, is_exact } = unroll;
        if is_exact {
            let vectors = if copies > 0 { multiple / LANES as i64 * LANES as i64 } else { 0 };
            (0..vectors).step_by(LANES).for_each(|offset| body(self, Group { start, offset, width: Width::Vector }));
            (vectors..multiple).for_each(|offset| body(self, Group { start, offset, width: Width::Scalar }));
            return;
        }
        let var = self.b.declare_var(types::I64);
        self.b.def_var(var, start);
        let group = |start, copy: usize, width| Group { start, offset: (copy * LANES) as i64, width };
        let step = (copies * LANES) as i64;
        if copies > 0 {
            if copies > 1 {
                let limit = self.before(end, step);
                self.while_below(var, limit, step, &mut |e, at| {
                    (0..copies).for_each(|copy| body(e, group(at, copy, Width::Vector)));
                });
            }
            if copies == 1 || multiple % step != 0 {
                let limit = self.before(end, LANES as i64);
                self.while_below(var, limit, LANES as i64, &mut |e, at| body(e, group(at, 0, Width::Vector)));
            }
            if multiple % LANES as i64 == 0 {
                return;
            }
        }
        self.while_below(var, end, 1, &mut |e, at| body(e, group(at, 0, Width::Scalar)));
    }

    /// Past the last start of a whole step before `end`.
    pub(super) fn before(&mut self, end: Value, step: i64) -> Value {
        let less = self.iconst(1 - step);
        self.b.ins().iadd(end, less)
    }

    /// Runs `body` if `condition`.
    pub(super) fn when(&mut self, condition: Value, body: &mut dyn FnMut(&mut Self)) {
        let (inside, exit) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        body(self);
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
    }
}
