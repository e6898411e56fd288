//! Comparisons of indices with extents, divided by what divides both: a choice that is made once per piece reads as one,
//! however the axes were split before.

use super::body::{operands_of_mut, prune};
use ic_ir::kernel::{Atom, Expr, ExprId, Index, Kernel, Stage};
use ic_ir::scalar::ScalarOp;
use ic_types::Dim;

/// Simplifies the comparisons of every stage. `extents` are those of all axes.
pub(crate) fn relax_comparisons(kernel: &mut Kernel, extents: &[Dim]) {
    for stage in &mut kernel.stages {
        if (0..stage.body.len()).any(|at| relaxed(&stage.body, &stage.body[at], extents).is_some()) {
            rewrite(stage, extents);
        }
    }
}

/// `step * index + rest >= step * limit` with `0 <= rest < step` is `index >= limit`, and so is `<`: the function, the
/// index and the limit.
fn relaxed(body: &[Expr], expr: &Expr, extents: &[Dim]) -> Option<(ScalarOp, Index, Index)> {
    let Expr::Apply(function @ (ScalarOp::Ge | ScalarOp::Lt), operands) = expr else { return None };
    let &[a, b] = operands.as_slice() else { return None };
    let (Expr::Index(index), Expr::Index(limit)) = (&body[a as usize], &body[b as usize]) else { return None };
    let limit = limit.as_constant()?;
    index.terms.iter().map(|(_, step)| step).find_map(|step| {
        let is_step = !step.is(1) && step.lower_bound().is_some_and(|low| low >= 1);
        let divided = limit.exact_div(step).filter(|_| is_step)?;
        let index = index.floor_div(step, extents);
        let is_simpler = index.terms.iter().all(|(atom, _)| matches!(atom, Atom::Axis(_)));
        is_simpler.then(|| (*function, index, Index::constant(divided)))
    })
}

/// The stage with its comparisons relaxed. Indices are put where they are first used, as if they had been relaxed from
/// the start.
fn rewrite(stage: &mut Stage, extents: &[Dim]) {
    let mut rewriter = Rewriter { old: &stage.body, body: Vec::new(), ids: vec![None; stage.body.len()] };
    for at in 0..stage.body.len() {
        let expr = &stage.body[at];
        let id = match relaxed(&stage.body, expr, extents) {
            Some((function, index, limit)) => {
                let operands = [index, limit].map(|index| rewriter.push(Expr::Index(index)));
                rewriter.push(Expr::Apply(function, operands.to_vec()))
            }
            None if matches!(expr, Expr::Index(_)) => continue,
            None => {
                let mut expr = expr.clone();
                operands_of_mut(&mut expr).into_iter().for_each(|operand| *operand = rewriter.id(*operand));
                rewriter.push(expr)
            }
        };
        rewriter.ids[at] = Some(id);
    }
    let Some(last) = stage.body.len().checked_sub(1) else { return };
    let mut stores = stage.stores.clone();
    stores.iter_mut().for_each(|store| store.value = rewriter.id(store.value));
    let root = rewriter.id(last as ExprId);
    // The root is the last, unless it has become equal to an earlier expression.
    if root as usize + 1 != rewriter.body.len() {
        return;
    }
    let (body, stores) = prune(&rewriter.body, root, true, stores);
    (stage.body, stage.stores) = (body, stores);
}

/// Expressions under construction.
struct Rewriter<'a> {
    old: &'a [Expr],
    body: Vec<Expr>,
    /// The new numbers of the old expressions.
    ids: Vec<Option<ExprId>>,
}

impl Rewriter<'_> {
    /// Adds an expression, or finds an equal one.
    fn push(&mut self, expr: Expr) -> ExprId {
        let at = self.body.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.body.push(expr);
            self.body.len() - 1
        });
        at as ExprId
    }

    /// The new number of an old expression; one that has none yet is an index.
    fn id(&mut self, old: ExprId) -> ExprId {
        self.ids[old as usize].unwrap_or_else(|| {
            let id = self.push(self.old[old as usize].clone());
            self.ids[old as usize] = Some(id);
            id
        })
    }
}
