//! Where parted warps meet again: immediate post-dominators of the instructions that branch.

use crate::instruction::{Instruction, Op};

/// The meeting point that is the end of the kernel.
pub(crate) const END: usize = usize::MAX;

/// For each instruction, where lanes that part at it meet again; [`END`] if only at the end.
pub(crate) fn reconvergence(body: &[Instruction]) -> Vec<usize> {
    let n = body.len();
    let successors = |at: usize| -> [usize; 2] {
        let next = at + 1;
        match (&body[at].op, body[at].guard) {
            (Op::Branch { to }, None) => [*to, *to],
            (Op::Branch { to }, Some(_)) => [*to, next],
            (Op::Exit, None) => [n, n],
            (Op::Exit, Some(_)) => [n, next],
            _ => [next, next],
        }
    };
    // Immediate post-dominators by the iteration of Cooper, Harvey and Kennedy on the reversed graph, `n` its root. Every
    // instruction's order is its distance in reverse post-order from there.
    let order = reverse_post_order(n, &successors);
    let mut number = vec![usize::MAX; n + 1];
    order.iter().enumerate().for_each(|(i, &at)| number[at] = i);
    let mut dominator = vec![usize::MAX; n + 1];
    dominator[n] = n;
    let mut changed = true;
    while changed {
        changed = false;
        for &at in order.iter().filter(|&&at| at != n) {
            let mut best = usize::MAX;
            for next in successors(at) {
                if dominator[next] == usize::MAX {
                    continue;
                }
                best = if best == usize::MAX { next } else { common(best, next, &dominator, &number) };
            }
            if dominator[at] != best {
                dominator[at] = best;
                changed = true;
            }
        }
    }
    dominator.truncate(n);
    dominator.into_iter().map(|at| if at == n || at == usize::MAX { END } else { at }).collect()
}

fn common(mut a: usize, mut b: usize, dominator: &[usize], number: &[usize]) -> usize {
    while a != b {
        while number[a] > number[b] {
            a = dominator[a];
        }
        while number[b] > number[a] {
            b = dominator[b];
        }
    }
    a
}

/// Instructions that reach the end, in reverse post-order of the reversed graph from the end on.
fn reverse_post_order(n: usize, successors: &dyn Fn(usize) -> [usize; 2]) -> Vec<usize> {
    let mut predecessors = vec![Vec::new(); n + 1];
    for at in 0..n {
        let [a, b] = successors(at);
        predecessors[a].push(at);
        if b != a {
            predecessors[b].push(at);
        }
    }
    let mut seen = vec![false; n + 1];
    let mut order = Vec::with_capacity(n + 1);
    let mut stack = vec![(n, 0)];
    seen[n] = true;
    while let Some((at, i)) = stack.pop() {
        match predecessors[at].get(i) {
            Some(&before) => {
                stack.push((at, i + 1));
                if !seen[before] {
                    seen[before] = true;
                    stack.push((before, 0));
                }
            }
            None => order.push(at),
        }
    }
    order.reverse();
    order
}
