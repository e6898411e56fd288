//! Extraction over the DAG: the cheapest node of every class, where what is shared is paid for once.
//!
//! Greedy first: the cost of a class is that of the set of classes on which its node depends, kept as a bitset. Then a
//! bounded local search tries the other nodes of the chosen classes against the total. Values that are known at
//! compile time cost a run nothing; of those the smallest expression is taken.

use super::{EGraph, ENode, Kind};
use crate::cost::node_cost;
use egg::Id;
use ic_ir::Op;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rounds of the local search.
const ROUNDS: usize = 2;

/// Trials of the local search: each costs a walk over the chosen nodes.
const MAX_TRIALS: usize = 4000;

/// How nodes are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extraction {
    /// As this file's header says.
    Cheapest,
    /// For each class the node whose tree costs least, where what is shared counts as often as it is used.
    Trees,
    /// As for trees, with every node's cost times 2 to a power drawn from `0..=spread`.
    Drawn {
        /// What the draws follow from.
        seed: u64,
        /// 0 is none at all.
        spread: u32,
    },
}

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
    /// For each class, for each node, whether it only moves elements.
    moves: Vec<Vec<bool>>,
    /// For each class, the nodes that need it: their class and index.
    parents: Vec<Vec<(u32, u32)>>,
    /// Number of each class.
    number: Vec<u32>,
}

/// Chooses nodes for `roots` and what they depend on; `None` if there is no choice without cycles.
pub(crate) fn extract(egraph: &EGraph, roots: &[Id], extraction: Extraction) -> Option<Choice> {
    let problem = Problem::new(egraph);
    let roots: Vec<u32> = roots.iter().map(|&root| problem.number[usize::from(egraph.find(root))]).collect();
    let choice = match extraction {
        Extraction::Cheapest => {
            let mut choice = problem.greedy();
            problem.improve(&mut choice, &roots)?;
            choice
        }
        Extraction::Trees => problem.trees(&problem.costs).1,
        Extraction::Drawn { seed, spread } => problem.trees(&drawn(&problem.costs, seed, spread)).1,
    };
    problem.total(&choice, &roots)?;
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
            moves: Vec::with_capacity(classes.len()),
            parents: vec![Vec::new(); classes.len()],
            classes: Vec::new(),
            number,
        };
        for (i, &class) in classes.iter().enumerate() {
            let nodes = &egraph[class].nodes;
            problem.costs.push(nodes.iter().map(|node| cost_of(egraph, class, node)).collect());
            problem.moves.push(nodes.iter().map(|node| is_movement(egraph, node)).collect());
            let mut needed = Vec::new();
            for (index, node) in nodes.iter().enumerate() {
                let numbers = node.children.iter().map(|&child| problem.number[usize::from(egraph.find(child))]);
                let mut children: Vec<u32> = numbers.filter(|&n| n != u32::MAX).collect();
                children.sort_unstable();
                children.dedup();
                children.iter().for_each(|&child| problem.parents[child as usize].push((i as u32, index as u32)));
                needed.push(children);
            }
            problem.children.push(needed);
        }
        problem.classes = classes;
        problem
    }

    /// For each class the node whose set of needed classes costs least, of those that need only classes that come
    /// before it in [`Problem::trees`]: so no choice is a cycle. Of equal ones, movement comes last, where it meets what
    /// absorbs it.
    fn greedy(&self) -> Vec<Option<usize>> {
        let n = self.classes.len();
        let mut choice: Vec<Option<usize>> = vec![None; n];
        let mut paid = vec![0u64; n];
        let mut sets: Vec<Vec<u64>> = vec![Vec::new(); n];
        for class in self.trees(&self.costs).0 {
            let mut best: Option<((u64, bool), usize, Vec<u64>)> = None;
            for (node, children) in self.children[class].iter().enumerate() {
                if children.iter().any(|&child| choice[child as usize].is_none()) {
                    continue;
                }
                let mut set = vec![0u64; n.div_ceil(64)];
                for &child in children {
                    set.iter_mut().zip(&sets[child as usize]).for_each(|(a, b)| *a |= b);
                }
                let total = members(&set).fold(self.costs[class][node], |sum, i| sum.saturating_add(paid[i]));
                let rank = (total, !self.moves[class][node]);
                if best.as_ref().is_none_or(|(least, ..)| rank < *least) {
                    best = Some((rank, node, set));
                }
            }
            let Some((_, node, mut set)) = best else { continue };
            set[class / 64] |= 1 << (class % 64);
            (choice[class], paid[class], sets[class]) = (Some(node), self.costs[class][node], set);
        }
        choice
    }

    /// The classes in the order of the cost of their cheapest tree, each after the children of that tree; and the root of
    /// that tree for each class.
    fn trees(&self, node_costs: &[Vec<u64>]) -> (Vec<usize>, Vec<Option<usize>>) {
        let n = self.classes.len();
        let mut choice: Vec<Option<usize>> = vec![None; n];
        let mut missing: Vec<Vec<usize>> =
            self.children.iter().map(|nodes| nodes.iter().map(Vec::len).collect()).collect();
        let mut costs: Vec<Option<u128>> = vec![None; n];
        let mut queue: BinaryHeap<Reverse<(u128, usize, usize)>> = BinaryHeap::new();
        for (class, (nodes, costs)) in self.children.iter().zip(node_costs).enumerate() {
            let ready = nodes.iter().zip(costs).enumerate();
            let ready = ready.filter(|(_, (children, _))| children.is_empty());
            queue.extend(ready.map(|(node, (_, &cost))| Reverse((u128::from(cost), class, node))));
        }
        let mut order = Vec::with_capacity(n);
        while let Some(Reverse((cost, class, node))) = queue.pop() {
            if costs[class].is_some() {
                continue;
            }
            (costs[class], choice[class]) = (Some(cost), Some(node));
            order.push(class);
            for &(parent, node) in &self.parents[class] {
                let (parent, node) = (parent as usize, node as usize);
                missing[parent][node] -= 1;
                if missing[parent][node] == 0 {
                    let children = self.children[parent][node].iter().map(|&child| costs[child as usize].unwrap_or(0));
                    let total = children.fold(u128::from(node_costs[parent][node]), u128::saturating_add);
                    queue.push(Reverse((total, parent, node)));
                }
            }
        }
        (order, choice)
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

/// Costs times powers of 2, the exponents from `0..=spread`.
fn drawn(costs: &[Vec<u64>], seed: u64, spread: u32) -> Vec<Vec<u64>> {
    let mut state = seed;
    let mut draw = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        1 << ((z ^ (z >> 31)) % u64::from(spread.min(40) + 1))
    };
    let of_class = |costs: &Vec<u64>| costs.iter().map(|cost| (cost + 1).saturating_mul(draw())).collect();
    costs.iter().map(of_class).collect()
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

fn is_movement(egraph: &EGraph, node: &ENode) -> bool {
    matches!(egraph.analysis.ops.kind(node.op), Kind::Op(Op::Reshape(_) | Op::Transpose(_)))
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
