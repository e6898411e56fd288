//! `saturate`: equality saturation with all rules of the allowed floating-point classes, then extraction.
//!
//! The search is bounded by counts of rounds and nodes, never by a clock, and walks nothing in the order of a hash map,
//! so that the result is the same everywhere. Long graphs are searched in stretches, cut between layers rather than
//! within them. Stretches of one form are searched once, and all get the same choice.

mod context;
pub(crate) mod stretches;

use crate::egraph::EGraph;
use crate::egraph::block::{Block, Form, Surroundings};
use crate::egraph::convert::{Converted, convert};
use crate::egraph::explain::{self, Explainer, Log};
use crate::egraph::extract::extract;
use crate::egraph::language::Head;
use crate::egraph::pattern::Bindings;
use crate::egraph::plan::Plan;
use crate::egraph::rule::Rule;
use crate::known::known_values;
use crate::rebuild::{Rebuild, copy_known, map_regions};
use crate::rules::all_rules;
use crate::{Options, PassError, Report};
use egg::Id;
use ic_ir::{Graph, Node, NodeId};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;

/// See the file's header.
///
/// # Errors
/// If a chosen node does not fit its operands.
pub(crate) fn saturate(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let rules: Vec<Rule> = all_rules().into_iter().filter(|rule| rule.class.runs_in(options.fp)).collect();
    let saturated = saturate_with(graph, &rules, options, report)?;
    // What rules built may have simpler or other spellings of its own.
    crate::canonicalize::canonicalize(&saturated, options, &mut Report::default())
}

fn saturate_with(graph: &Graph, rules: &[Rule], options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let known = known_values(graph);
    let mut rebuild = Rebuild::new(graph);
    let is_known = |node: &Node| !node.results.is_empty() && node.results.iter().all(|r| known[r.index()]);
    let nodes: Vec<(NodeId, &Node)> = rebuild.live_nodes().into_iter().filter(|(_, node)| !is_known(node)).collect();
    let ranges = stretches::stretches(graph, &nodes, &known, options.stretch);
    let stretches: Vec<&[(NodeId, &Node)]> = ranges.into_iter().map(|range| &nodes[range]).collect();
    let context = context::context(graph, &stretches, &known);
    let around = Surroundings { graph, known: &known, context: &context };
    let ids = |stretch: &[(NodeId, &Node)]| stretch.iter().map(|(id, _)| *id).collect();
    let blocks: Vec<Block> = stretches.iter().map(|stretch| Block::new(&around, ids(stretch))).collect();
    let plans = choose(graph, &blocks, rules, options, report);
    for plan_of in blocks.iter().zip(&plans).filter(|_| options.explain) {
        if let (block, Some(plan)) = plan_of {
            report.explanations.extend(plan.explain(graph, block));
        }
    }
    let mut region = |region: &Graph| saturate_with(region, rules, options, report);
    for (block, plan) in blocks.iter().zip(plans) {
        match plan {
            Some(plan) => plan.build(&mut rebuild, block, &mut region)?,
            None => copy(&mut rebuild, block, &mut region)?,
        }
    }
    for output in graph.roots() {
        copy_known(&mut rebuild, output)?;
    }
    Ok(rebuild.finish())
}

/// Copies the nodes of a block as they are.
fn copy(
    rebuild: &mut Rebuild,
    block: &Block,
    region: &mut impl FnMut(&Graph) -> Result<Graph, PassError>,
) -> Result<(), PassError> {
    for &id in &block.nodes {
        let node = rebuild.old.node(id);
        // What is not known has been copied before.
        for &operand in node.operands.iter().flatten() {
            copy_known(rebuild, operand)?;
        }
        let regions = map_regions(node, &mut *region)?;
        rebuild.copy(node, regions)?;
    }
    Ok(())
}

/// What becomes of each block; `None` if it stays as it is. The last block is the first to choose: what it reads the
/// others have to compute.
fn choose(
    graph: &Graph,
    blocks: &[Block],
    rules: &[Rule],
    options: &Options,
    report: &mut Report,
) -> Vec<Option<Rc<Plan>>> {
    let mut wanted = vec![false; graph.values().len()];
    graph.roots().for_each(|v| wanted[v.index()] = true);
    let mut templates = Templates::new(blocks, options);
    let mut plans: Vec<Option<Rc<Plan>>> = Vec::with_capacity(blocks.len());
    for (number, block) in blocks.iter().enumerate().rev() {
        let results = block.results().into_iter();
        let roots: Vec<u32> = results.filter(|(_, v)| wanted[v.index()]).map(|(local, _)| local).collect();
        let plan = templates.plan(number, roots, rules, options, report);
        match &plan {
            Some(plan) => plan.leaves().into_iter().for_each(|local| {
                wanted[block.values[local as usize].index()] = true;
            }),
            None => block.nodes.iter().flat_map(|&id| graph.node(id).operands.iter().flatten()).for_each(|v| {
                wanted[v.index()] = true;
            }),
        }
        plans.push(plan);
    }
    plans.reverse();
    plans
}

/// What has been found out about the forms of blocks. An e-graph lives as long as blocks of its form are left.
struct Templates<'b> {
    /// Each form, how many blocks of it are left, and its search.
    forms: Vec<(&'b Form, usize, Option<Searched>)>,
    /// The form of each block.
    numbers: Vec<usize>,
    reuse: bool,
}

/// A saturated e-graph, what led to it, and the choices made so far, by roots.
struct Searched {
    converted: Converted,
    outcome: Outcome,
    plans: FxHashMap<Vec<u32>, Option<Rc<Plan>>>,
}

impl<'b> Templates<'b> {
    fn new(blocks: &'b [Block], options: &Options) -> Templates<'b> {
        let (mut forms, mut number_of): (Vec<(&Form, usize, Option<Searched>)>, _) = (Vec::new(), FxHashMap::default());
        let mut numbers = Vec::with_capacity(blocks.len());
        for block in blocks {
            let number = *number_of.entry(&block.form).or_insert_with(|| {
                forms.push((&block.form, 0, None));
                forms.len() - 1
            });
            forms[number].1 += 1;
            numbers.push(number);
        }
        Templates { forms, numbers, reuse: options.reuse }
    }

    /// What becomes of a block, of which `roots` are wanted.
    fn plan(
        &mut self,
        block: usize,
        roots: Vec<u32>,
        rules: &[Rule],
        options: &Options,
        report: &mut Report,
    ) -> Option<Rc<Plan>> {
        let (form, left, searched) = &mut self.forms[self.numbers[block]];
        let of_form = searched.get_or_insert_with(|| {
            report.search.searched += 1;
            search_form(form, rules, options)
        });
        of_form.outcome.add_to(report);
        let log = of_form.outcome.log.as_ref();
        let Converted { egraph, classes } = &of_form.converted;
        let plan = of_form.plans.entry(roots).or_insert_with_key(|roots| {
            let roots: Vec<Id> = roots.iter().map(|&local| classes[local as usize]).collect();
            let explainer = log.map(|log| Explainer::new(egraph, log));
            let plan = |choice| Plan::new(egraph, &choice, &roots, classes, explainer.as_ref());
            extract(egraph, &roots, options.extraction).map(|choice| Rc::new(plan(choice)))
        });
        let plan = plan.clone();
        *left -= 1;
        if *left == 0 || !self.reuse {
            *searched = None;
        }
        plan
    }
}

fn search_form(form: &Form, rules: &[Rule], options: &Options) -> Searched {
    let mut converted = convert(form);
    let outcome = run(&mut converted.egraph, rules, options);
    Searched { converted, outcome, plans: FxHashMap::default() }
}

/// What a search did: how often each rule matched and changed something, and what an explanation needs.
#[derive(Default)]
struct Outcome {
    matches: BTreeMap<&'static str, usize>,
    hits: BTreeMap<&'static str, usize>,
    rounds: usize,
    e_nodes: usize,
    log: Option<Log>,
}

impl Outcome {
    fn add_to(&self, report: &mut Report) {
        self.hits.iter().for_each(|(rule, n)| *report.rules.entry(rule).or_default() += n);
        let search = &mut report.search;
        self.matches.iter().for_each(|(rule, n)| *search.matches.entry(rule).or_default() += n);
        search.stretches += 1;
        search.rounds = search.rounds.max(self.rounds);
        search.e_nodes = search.e_nodes.max(self.e_nodes);
    }
}

/// Applies rules until nothing changes or a limit is reached.
fn run(egraph: &mut EGraph, rules: &[Rule], options: &Options) -> Outcome {
    let mut outcome = Outcome { log: options.explain.then(|| Log::new(egraph)), ..Outcome::default() };
    for _ in 0..options.iterations {
        let matches = search(egraph, rules);
        outcome.rounds += 1;
        let mut changed = false;
        for (rule, root, bindings) in matches {
            *outcome.matches.entry(rule.name).or_default() += 1;
            if egraph.total_size() > options.e_nodes {
                continue;
            }
            let root = egraph.find(root);
            let left = outcome.log.as_ref().map(|_| explain::matched(egraph, &rule.left, root, &bindings));
            egraph.analysis.made = left.as_ref().map(|_| Vec::new());
            let right = rule.build(egraph, root, &bindings);
            let made = egraph.analysis.made.take().unwrap_or_default();
            let Some(right) = right else { continue };
            let is_new = egraph.union(root, right);
            if is_new {
                *outcome.hits.entry(rule.name).or_default() += 1;
                changed = true;
            }
            if let (Some(log), Some(left), true) = (&mut outcome.log, left, is_new || !made.is_empty()) {
                log.add(rule.name, root, left, made);
            }
        }
        egraph.rebuild();
        if !changed || egraph.total_size() > options.e_nodes {
            break;
        }
    }
    outcome.e_nodes = egraph.total_size();
    outcome
}

/// All matches of all rules, by rule, then by class.
fn search<'r>(egraph: &EGraph, rules: &'r [Rule]) -> Vec<(&'r Rule, Id, Bindings)> {
    let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    classes.sort_unstable();
    let mut by_head: BTreeMap<Head, Vec<Id>> = BTreeMap::new();
    for &class in &classes {
        let mut heads: Vec<Head> = egraph[class].nodes.iter().map(|node| egraph.analysis.ops.head(node.op)).collect();
        heads.sort_unstable();
        heads.dedup();
        heads.into_iter().for_each(|head| by_head.entry(head).or_default().push(class));
    }
    let none = Vec::new();
    let mut matches = Vec::new();
    for rule in rules {
        let candidates = match rule.left.head() {
            Some(head) => by_head.get(&head).unwrap_or(&none),
            None => &classes,
        };
        for &class in candidates {
            matches.extend(rule.search(egraph, class).into_iter().map(|bindings| (rule, class, bindings)));
        }
    }
    matches
}
