//! The order of a program's steps: kernels as in the model where nothing else decides, and between them the points where
//! the values of symbols are read.
//!
//! A kernel is of the level of the symbols that it depends on. Those of one level run before anything of the next, so
//! that there are as few points as possible at which a run must wait for values.

use super::emit::{Place, Slot};
use super::facts::Facts;
use super::kernels::{self, Draft, Work};
use super::plan::Plan;
use ic_ir::{Binding, NodeId, ValueId};
use ic_types::{Dim, symbols_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Values that are runs of the elements of others, with the first element.
type Inside = BTreeMap<ValueId, (ValueId, Dim)>;

/// One item of the order.
pub(super) enum Item<'a> {
    /// The draft of this index runs.
    Draft(usize),
    /// Symbols get their values.
    Read(Vec<&'a Binding>),
}

/// What each draft waits for.
struct Needs<'a> {
    /// Drafts whose results it reads.
    drafts: Vec<BTreeSet<usize>>,
    /// Symbols that must have been read.
    symbols: Vec<Vec<&'a Binding>>,
    /// The drafts that write what a symbol is an element of, by symbol.
    writers: BTreeMap<&'a str, BTreeSet<usize>>,
}

/// The order in which drafts run and symbols are read.
pub(super) fn order<'a>(facts: &'a Facts, plan: &Plan, inside: &Inside, drafts: &[Draft]) -> Vec<Item<'a>> {
    let needs = needs(facts, plan, inside, drafts);
    let levels = levels(&needs, drafts);
    let mut read: BTreeSet<&str> = BTreeSet::new();
    let mut items = Vec::new();
    let sorted = sort(&needs, |i| (levels[i], drafts[i].position, i));
    for (at, &i) in sorted.iter().enumerate() {
        if at == 0 || levels[sorted[at - 1]] < levels[i] {
            // Whatever of the levels from here on can be read by now.
            let written =
                |b: &Binding| needs.writers.get(&*b.symbol).is_none_or(|w| w.iter().all(|&w| levels[w] < levels[i]));
            let wanted = sorted[at..].iter().flat_map(|&j| &needs.symbols[j]).copied();
            let list: Vec<&Binding> =
                wanted.filter(|b| levels[i] > 0 && written(b)).filter(|b| read.insert(&b.symbol)).collect();
            if !list.is_empty() {
                items.push(Item::Read(list));
            }
        }
        items.push(Item::Draft(i));
    }
    items
}

fn needs<'a>(facts: &'a Facts, plan: &Plan, inside: &Inside, drafts: &[Draft]) -> Needs<'a> {
    let mut writers: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    let mut reads = Vec::new();
    for (i, draft) in drafts.iter().enumerate() {
        let (read, written) = kernels::places(facts, draft);
        written.into_iter().for_each(|place| writers.entry(place).or_default().push(i));
        reads.push(read);
    }
    let mut pieces: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
    inside.iter().for_each(|(&piece, (whole, _))| pieces.entry(*whole).or_default().push(piece));
    let written = |mut pending: Vec<Place>| {
        let mut needs = BTreeSet::new();
        while let Some(place) = pending.pop() {
            needs.extend(writers.get(&place).into_iter().flatten().copied());
            let Place::Value(value) = place else { continue };
            pending.extend(pieces.get(&value).into_iter().flatten().map(|&v| Place::Value(v)));
            let view = plan.views.get(&value).filter(|_| !plan.stored.contains(&value));
            pending.extend(view.map(|(base, _)| Place::Value(*base)));
        }
        needs
    };
    let bindings = facts.graph.bindings();
    let bound = |draft: &Draft| {
        let names = if bindings.is_empty() { BTreeSet::new() } else { symbols(facts, plan, inside, draft) };
        bindings.iter().filter(|binding| names.contains(&binding.symbol)).collect::<Vec<_>>()
    };
    let symbols: Vec<Vec<&Binding>> = drafts.iter().map(bound).collect();
    let sources = bindings.iter().map(|b| (&*b.symbol, written(vec![Place::Value(b.value)])));
    let sources: BTreeMap<&str, BTreeSet<usize>> = sources.collect();
    let mut needed: Vec<BTreeSet<usize>> = reads.into_iter().map(&written).collect();
    for (needed, symbols) in needed.iter_mut().zip(&symbols) {
        needed.extend(symbols.iter().flat_map(|b| &sources[&*b.symbol]));
    }
    Needs { drafts: needed, symbols, writers: sources }
}

/// The symbols that a draft and the memory that it works on depend on.
fn symbols(facts: &Facts, plan: &Plan, inside: &Inside, draft: &Draft) -> BTreeSet<Arc<str>> {
    let graph = facts.graph;
    let (mut names, mut values) = match &draft.work {
        Work::Kernel(kernel, slots) => {
            let value = |slot: &Slot| match slot.place {
                Place::Value(value) => value,
                Place::Output(i) => graph.outputs()[i as usize],
            };
            (kernel.symbols(), slots.iter().map(value).collect::<Vec<_>>())
        }
        Work::Branch(id) => {
            let node = graph.node(*id);
            (graph.node_symbols(node), node.operands.iter().flatten().chain(&node.results).copied().collect())
        }
    };
    while let Some(value) = values.pop() {
        names.extend(symbols_of(&graph.tensor_ty(value).shape));
        for (whole, first) in inside.get(&value).into_iter().chain(plan.views.get(&value)) {
            first.collect_symbols(&mut names);
            values.push(*whole);
        }
    }
    names
}

/// The level of each draft.
fn levels(needs: &Needs, drafts: &[Draft]) -> Vec<usize> {
    let mut levels = vec![0; drafts.len()];
    for i in sort(needs, |i| (0, drafts[i].position, i)) {
        let after = needs.drafts[i].iter().map(|&n| levels[n]).max().unwrap_or(0);
        let read = needs.symbols[i].iter().map(|b| {
            let written = needs.writers[&*b.symbol].iter().map(|&w| levels[w]).max().unwrap_or(0);
            written + 1
        });
        levels[i] = read.max().unwrap_or(0).max(after);
    }
    levels
}

/// The drafts after what they need, and otherwise by key.
fn sort(needs: &Needs, key: impl Fn(usize) -> (usize, NodeId, usize)) -> Vec<usize> {
    let n = needs.drafts.len();
    let mut users = vec![BTreeSet::new(); n];
    let mut waits = vec![0; n];
    for (i, needed) in needs.drafts.iter().enumerate() {
        waits[i] = needed.len();
        needed.iter().for_each(|&need: &usize| {
            users[need].insert(i);
        });
    }
    let mut ready: BTreeSet<(usize, NodeId, usize)> = (0..n).filter(|&i| waits[i] == 0).map(&key).collect();
    let mut order = Vec::with_capacity(n);
    while let Some((.., i)) = ready.pop_first() {
        order.push(i);
        for &user in &users[i] {
            waits[user] -= 1;
            if waits[user] == 0 {
                ready.insert(key(user));
            }
        }
    }
    debug_assert_eq!(order.len(), n, "kernels depend on each other");
    order
}
