//! The symbols that a kernel depends on: what must have a value before it runs.

use super::index::{Atom, Index};
use super::stage::{Anchor, Bound, Expr, Kernel, Stage};
use std::collections::BTreeSet;
use std::sync::Arc;

type Names = BTreeSet<Arc<str>>;

impl Kernel {
    /// The names of all symbols in shapes, indices, conditions and attributes.
    pub fn symbols(&self) -> Names {
        let mut names = Names::new();
        self.params.iter().flat_map(|param| &param.shape).for_each(|dim| dim.collect_symbols(&mut names));
        self.outer.iter().for_each(|axis| axis.extent.collect_symbols(&mut names));
        self.stages.iter().for_each(|stage| of_stage(stage, &mut names));
        names
    }
}

fn of_stage(stage: &Stage, names: &mut Names) {
    stage.inner.iter().for_each(|axis| axis.extent.collect_symbols(names));
    if let Anchor::Op { op, operands, .. } = &stage.anchor {
        op.collect_symbols(names);
        for operand in operands.iter().flatten() {
            operand.shape.iter().chain(&operand.strides).for_each(|dim| dim.collect_symbols(names));
            operand.offset.collect_symbols(names);
        }
    }
    for expr in &stage.body {
        match expr {
            Expr::Index(index) => of_index(index, names),
            Expr::Load(load) => {
                load.indices.iter().for_each(|index| of_index(index, names));
                load.bounds.iter().for_each(|bound| of_bound(bound, names));
            }
            Expr::Const(..) | Expr::Stage(_) | Expr::Apply(..) | Expr::Cast(..) => {}
        }
    }
    for store in &stage.stores {
        store.indices.iter().for_each(|index| of_index(index, names));
        store.bounds.iter().for_each(|bound| of_bound(bound, names));
    }
}

fn of_bound(bound: &Bound, names: &mut Names) {
    of_index(&bound.index, names);
    bound.low.collect_symbols(names);
    bound.high.collect_symbols(names);
}

fn of_index(index: &Index, names: &mut Names) {
    index.constant.collect_symbols(names);
    for (atom, coefficient) in &index.terms {
        coefficient.collect_symbols(names);
        if let Atom::FloorDiv(inner, divisor) | Atom::Mod(inner, divisor) = atom {
            of_index(inner, names);
            divisor.collect_symbols(names);
        }
    }
}
