//! Bodies of stages: what expressions refer to, and which of them are needed.

use ic_ir::kernel::{Expr, ExprId, Store};

/// The expressions that the root and the stores need, in order, and the stores renumbered.
pub(crate) fn prune(body: &[Expr], root: ExprId, keep_root: bool, mut stores: Vec<Store>) -> (Vec<Expr>, Vec<Store>) {
    let mut needed = vec![false; body.len()];
    if keep_root {
        needed[root as usize] = true;
    }
    stores.iter().for_each(|store| needed[store.value as usize] = true);
    for i in (0..body.len()).rev().filter(|&i| i < body.len()) {
        if needed[i] {
            operands_of(&body[i]).into_iter().for_each(|operand| needed[operand as usize] = true);
        }
    }
    let mut numbers = vec![0; body.len()];
    let mut kept = Vec::new();
    for (i, expr) in body.iter().enumerate().filter(|&(i, _)| needed[i]) {
        numbers[i] = kept.len() as ExprId;
        let mut expr = expr.clone();
        operands_of_mut(&mut expr).into_iter().for_each(|operand| *operand = numbers[*operand as usize]);
        kept.push(expr);
    }
    stores.iter_mut().for_each(|store| store.value = numbers[store.value as usize]);
    (kept, stores)
}

fn operands_of(expr: &Expr) -> Vec<ExprId> {
    operands_of_mut(&mut expr.clone()).into_iter().map(|id| *id).collect()
}

/// What an expression refers to.
pub(crate) fn operands_of_mut(expr: &mut Expr) -> Vec<&mut ExprId> {
    match expr {
        Expr::Const(..) | Expr::Index(_) | Expr::Stage(_) => Vec::new(),
        Expr::Load(load) => load.gathered.iter_mut().map(|(_, id)| id).chain(&mut load.otherwise).collect(),
        Expr::Apply(_, args) => args.iter_mut().collect(),
        Expr::Cast(_, value) => vec![value],
    }
}
