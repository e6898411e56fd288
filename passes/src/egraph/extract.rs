//! Extraction over the DAG: the cheapest node of every class, where what is shared is paid for once.
//!
//! Greedy first: the cost of a class is that of the set of classes on which its node depends, kept as a bitset. Then a
//! bounded local search tries the other nodes of the chosen classes against the total. Values that are known at
//! compile time cost a run nothing; of those the smallest expression is taken.

use super::{EGraph, ENode, Kind};
use crate::cost::node_cost;
use egg::Id;
use std::collections::VecDeque;

/// Rounds of the local search.
const ROUNDS: usize = 2;

/// Trials of the local search: each costs a walk over the chosen nodes.
const MAX_TRIALS: usize = 4000;

/// The chosen node of each class, by class.
pub(crate) struct Choice {
    nodes: Vec<Option<usize>>,
}

impl Choice {
    /// The chosen node of a class.
    ///
    /// # Panics
    /// If no node of the class could be chosen; extraction has checked that those that roots need could.
    pub(crate) fn node<'a>(&self, egraph: &'a EGraph, class: Id) -> &'a ENode {
        let class = egraph.find(class);
        &egraph[class].nodes[self.nodes[usize::from(class)].expect("extraction chose a node of every needed class")]
    }
}

/// The classes of an e-graph by number, with the costs of their nodes.
struct Problem {
    /// Canonical classes in order.
    classes: Vec<Id>,
    /// For each class, for each node, what a run pays for it.
    costs: Vec<Vec<u64>>,
    /// For each class, for each node, the classes that it needs and that are not known.
    children: Vec<Vec<Vec<u32>>>,
    /// For each class, the classes with a node that needs it.
    parents: Vec<Vec<u32>>,
    /// Number of each class.
    number: Vec<u32>,
}

/// Chooses nodes for `roots` and what they depend on; `None` if there is no choice without cycles.
pub(crate) fn extract(egraph: &EGraph, roots: &[Id]) -> Option<Choice> {
    let problem = Problem::new(egraph);
    let mut choice = problem.greedy();
    let roots: Vec<u32> = roots.iter().map(|&root| problem.number[usize::from(egraph.find(root))]).collect();
    problem.improve(&mut choice, &roots)?;
    let mut nodes = smallest_known(egraph);
    for (class, chosen) in problem.classes.iter().zip(&choice) {
        if let Some(node) = chosen {
            nodes[usize::from(*class)] = Some(*node);
        }
    }
    Some(Choice { nodes })
}

impl Problem {
    fn new(egraph: &EGraph) -> Problem {
        let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        classes.sort_unstable();
        let size = classes.last().map_or(0, |&last| usize::from(last) + 1);
        let mut number = vec![u32::MAX; size];
        classes.retain(|&class| !is_free(egraph, class));
        classes.iter().enumerate().for_each(|(i, &class)| number[usize::from(class)] = i as u32);
        let mut problem = Problem {
            costs: Vec::with_capacity(classes.len()),
            children: Vec::with_capacity(classes.len()),
            parents: vec![Vec::new(); classes.len()],
            classes: Vec::new(),
            number,
        };
        for (i, &class) in classes.iter().enumerate() {
            let nodes = &egraph[class].nodes;
            problem.costs.push(nodes.iter().map(|node| cost_of(egraph, class, node)).collect());
            let mut needed = Vec::new();
            for node in nodes {
                let numbers = node.children.iter().map(|&child| problem.number[usize::from(egraph.find(child))]);
                let mut children: Vec<u32> = numbers.filter(|&n| n != u32::MAX).collect();
                children.sort_unstable();
                children.dedup();
                children.iter().for_each(|&child| problem.parents[child as usize].push(i as u32));
                needed.push(children);
            }
            problem.children.push(needed);
        }
        problem.classes = classes;
        problem
    }

    /// For each class the node whose set of needed classes costs least.
    fn greedy(&self) -> Vec<Option<usize>> {
        let n = self.classes.len();
        let mut choice: Vec<Option<usize>> = vec![None; n];
        let mut paid = vec![0u64; n];
        let mut totals = vec![u64::MAX; n];
        let mut sets: Vec<Vec<u64>> = vec![Vec::new(); n];
        let mut queue: VecDeque<u32> =
            (0..n as u32).filter(|&i| self.children[i as usize].iter().any(Vec::is_empty)).collect();
        let mut queued = vec![false; n];
        queue.iter().for_each(|&i| queued[i as usize] = true);
        while let Some(class) = queue.pop_front() {
            let class = class as usize;
            queued[class] = false;
            let mut improved = false;
            for (node, children) in self.children[class].iter().enumerate() {
                if children.iter().any(|&child| choice[child as usize].is_none()) {
                    continue;
                }
                let mut set = vec![0u64; n.div_ceil(64)];
                for &child in children {
                    set.iter_mut().zip(&sets[child as usize]).for_each(|(a, b)| *a |= b);
                }
                // A node that needs its own class would be a cycle.
                if set[class / 64] >> (class % 64) & 1 == 1 {
                    continue;
                }
                let total = members(&set).fold(self.costs[class][node], |sum, i| sum.saturating_add(paid[i]));
                if total < totals[class] {
                    set[class / 64] |= 1 << (class % 64);
                    (choice[class], totals[class], sets[class]) = (Some(node), total, set);
                    paid[class] = self.costs[class][node];
                    improved = true;
                }
            }
            for &parent in self.parents[class].iter().filter(|_| improved) {
                if !std::mem::replace(&mut queued[parent as usize], true) {
                    queue.push_back(parent);
                }
            }
        }
        choice
    }

    /// Tries other nodes of the chosen classes, one at a time, and keeps what makes the whole cheaper.
    fn improve(&self, choice: &mut [Option<usize>], roots: &[u32]) -> Option<()> {
        let (mut best, mut used) = self.total(choice, roots)?;
        let mut trials = 0;
        for _ in 0..ROUNDS {
            let before = best;
            for class in used.clone() {
                let current = choice[class as usize];
                let mut kept = current;
                for node in 0..self.costs[class as usize].len() {
                    if Some(node) == current || trials == MAX_TRIALS {
                        continue;
                    }
                    trials += 1;
                    choice[class as usize] = Some(node);
                    if let Some((total, now_used)) = self.total(choice, roots)
                        && total < best
                    {
                        (best, used, kept) = (total, now_used, Some(node));
                    }
                }
                choice[class as usize] = kept;
            }
            if best == before {
                break;
            }
        }
        Some(())
    }

    /// What all classes cost on which the roots depend, and which they are; `None` if they depend on themselves.
    fn total(&self, choice: &[Option<usize>], roots: &[u32]) -> Option<(u64, Vec<u32>)> {
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![0u8; self.classes.len()];
        let (mut total, mut used) = (0u64, Vec::new());
        let mut stack: Vec<(u32, bool)> = Vec::new();
        for &root in roots.iter().filter(|&&root| root != u32::MAX) {
            stack.push((root, false));
            while let Some((class, children_done)) = stack.pop() {
                let i = class as usize;
                if children_done {
                    state[i] = DONE;
                    continue;
                }
                match state[i] {
                    DONE => continue,
                    OPEN => return None,
                    _ => {}
                }
                state[i] = OPEN;
                let node = choice[i]?;
                total = total.saturating_add(self.costs[i][node]);
                used.push(class);
                stack.push((class, true));
                for &child in self.children[i][node].iter().rev() {
                    match state[child as usize] {
                        DONE => {}
                        OPEN => return None,
                        _ => stack.push((child, false)),
                    }
                }
            }
        }
        Some((total, used))
    }
}

/// The numbers in a bitset.
fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(word, &bits)| {
        std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
            .take_while(|&bits| bits != 0)
            .map(move |bits| word * 64 + bits.trailing_zeros() as usize)
    })
}

/// Whether a run pays nothing for the class: it is known at compile time, or absent.
fn is_free(egraph: &EGraph, class: Id) -> bool {
    let facts = &egraph[class].data;
    facts.known || facts.types.is_empty()
}

fn cost_of(egraph: &EGraph, class: Id, node: &ENode) -> u64 {
    match egraph.analysis.ops.kind(node.op) {
        Kind::Op(op) => {
            let operands: Vec<_> = node.children.iter().map(|&child| egraph[child].data.types.first()).collect();
            node_cost(op, &operands, &egraph[class].data.types)
        }
        Kind::Opaque(_) | Kind::Leaf(_) | Kind::Result(_) | Kind::Absent => 0,
    }
}

/// For each known class the node with the smallest expression; constants before everything else.
fn smallest_known(egraph: &EGraph) -> Vec<Option<usize>> {
    let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    let size = classes.last().map_or(0, |&last| usize::from(last) + 1);
    classes.retain(|&class| is_free(egraph, class));
    let mut choice: Vec<Option<usize>> = vec![None; size];
    let mut sizes = vec![u64::MAX; size];
    loop {
        let mut changed = false;
        for &class in &classes {
            for (i, node) in egraph[class].nodes.iter().enumerate() {
                let operands = node.children.iter().map(|&child| sizes[usize::from(egraph.find(child))]);
                let total = operands.fold(1, u64::saturating_add);
                if total < sizes[usize::from(class)] {
                    (sizes[usize::from(class)], choice[usize::from(class)]) = (total, Some(i));
                    changed = true;
                }
            }
        }
        if !changed {
            return choice;
        }
    }
}
