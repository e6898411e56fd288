//! `saturate`: equality saturation with all rules of the allowed floating-point classes, then extraction.
//!
//! The search is bounded by counts of rounds and nodes, never by a clock, and walks nothing in the order of a hash map,
//! so that the result is the same everywhere. Long graphs are searched in stretches of at most [`STRETCH`] nodes, cut
//! where few values cross: between layers rather than within them.

use crate::egraph::EGraph;
use crate::egraph::convert::{Converted, convert};
use crate::egraph::emit::emit;
use crate::egraph::extract::extract;
use crate::egraph::language::Head;
use crate::egraph::pattern::Bindings;
use crate::egraph::rule::Rule;
use crate::known::known_values;
use crate::rebuild::{Rebuild, map_regions};
use crate::rules::all_rules;
use crate::{Options, PassError, Report};
use egg::Id;
use ic_ir::{Graph, Node, NodeId, ValueDef, ValueId};
use std::collections::BTreeMap;

/// Most nodes that one e-graph starts with.
const STRETCH: usize = 1500;

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
    let live = rebuild.live_nodes();
    let is_known = |node: &Node| !node.results.is_empty() && node.results.iter().all(|r| known[r.index()]);
    let nodes: Vec<(NodeId, &Node)> = live.iter().filter(|(_, node)| !is_known(node)).copied().collect();
    for stretch in stretches(graph, &nodes) {
        let ids: Vec<NodeId> = stretch.iter().map(|(id, _)| *id).collect();
        let mut converted = convert(graph, &ids, &known);
        run(&mut converted.egraph, rules, options, report);
        rebuild_stretch(&mut rebuild, &converted, stretch, |region| {
            saturate_with(region, rules, options, &mut Report::default())
        })?;
    }
    for output in graph.roots() {
        copy_known(&mut rebuild, output)?;
    }
    Ok(rebuild.finish())
}

/// Runs of nodes, each but the last of at least half of [`STRETCH`]: it ends where the fewest values are needed later.
fn stretches<'n, 'g>(graph: &Graph, nodes: &'n [(NodeId, &'g Node)]) -> Vec<&'n [(NodeId, &'g Node)]> {
    let mut last_use = vec![0; graph.values().len()];
    for (i, (_, node)) in nodes.iter().enumerate() {
        node.operands.iter().flatten().for_each(|v| last_use[v.index()] = i);
    }
    graph.roots().for_each(|v| last_use[v.index()] = nodes.len());
    let (mut crossing, mut ending) = (Vec::with_capacity(nodes.len()), vec![0; nodes.len() + 1]);
    let mut n_crossing = 0;
    for (i, (_, node)) in nodes.iter().enumerate() {
        n_crossing -= ending[i];
        for result in node.results.iter().filter(|result| last_use[result.index()] > i) {
            ending[last_use[result.index()]] += 1;
            n_crossing += 1;
        }
        crossing.push(n_crossing);
    }
    let (mut found, mut start) = (Vec::new(), 0);
    while nodes.len() - start > STRETCH {
        let ends = start + STRETCH / 2..start + STRETCH;
        let end = ends.min_by_key(|&i| (crossing[i], std::cmp::Reverse(i))).unwrap_or(start) + 1;
        found.push(&nodes[start..end]);
        start = end;
    }
    found.extend(Some(&nodes[start..]).filter(|rest| !rest.is_empty()));
    found
}

/// Copies a known value and what it depends on, unless it is there already.
fn copy_known(rebuild: &mut Rebuild, value: ValueId) -> Result<(), PassError> {
    let ValueDef::Result(id, _) = rebuild.old.value(value).def else { return Ok(()) };
    if rebuild.is_built(value) {
        return Ok(());
    }
    let node = rebuild.old.node(id);
    for &operand in node.operands.iter().flatten() {
        copy_known(rebuild, operand)?;
    }
    Ok(rebuild.copy(node, Vec::new())?)
}

/// Adds the cheapest spelling of a stretch to the new graph.
fn rebuild_stretch(
    rebuild: &mut Rebuild,
    converted: &Converted,
    stretch: &[(NodeId, &Node)],
    mut region: impl FnMut(&Graph) -> Result<Graph, PassError>,
) -> Result<(), PassError> {
    let egraph = &converted.egraph;
    let needed = needed_outside(rebuild.old, stretch);
    let roots: Vec<Id> = needed.iter().filter_map(|v| converted.classes[v.index()]).collect();
    let Some(choice) = extract(egraph, &roots) else {
        for (_, node) in stretch {
            // What is not known has been copied before.
            for &operand in node.operands.iter().flatten() {
                copy_known(rebuild, operand)?;
            }
            let regions = map_regions(node, &mut region)?;
            rebuild.copy(node, regions)?;
        }
        return Ok(());
    };
    let built = emit(rebuild, egraph, &choice, &roots, region)?;
    for &result in stretch.iter().flat_map(|(_, node)| &node.results) {
        let class = converted.classes[result.index()].expect("every result of the stretch has a class");
        if let Some([value]) = built.get(&egraph.find(class)).map(Vec::as_slice) {
            rebuild.set(result, *value);
        }
    }
    Ok(())
}

/// The results of a stretch that later nodes or outputs use.
fn needed_outside(graph: &Graph, stretch: &[(NodeId, &Node)]) -> Vec<ValueId> {
    let Some((last, _)) = stretch.last() else { return Vec::new() };
    let mut used = vec![false; graph.values().len()];
    graph.roots().for_each(|v| used[v.index()] = true);
    let later = graph.nodes().skip(last.index() + 1);
    later.flat_map(|(_, node)| node.operands.iter().flatten()).for_each(|v| used[v.index()] = true);
    stretch.iter().flat_map(|(_, node)| &node.results).filter(|r| used[r.index()]).copied().collect()
}

/// Applies rules until nothing changes or a limit is reached.
pub(crate) fn run(egraph: &mut EGraph, rules: &[Rule], options: &Options, report: &mut Report) {
    for _ in 0..options.iterations {
        let matches = search(egraph, rules);
        let mut changed = false;
        for (rule, root, bindings) in matches {
            if egraph.total_size() > options.e_nodes {
                break;
            }
            let root = egraph.find(root);
            let Some(right) = rule.build(egraph, root, &bindings) else { continue };
            if egraph.union(root, right) {
                *report.rules.entry(rule.name).or_default() += 1;
                changed = true;
            }
        }
        egraph.rebuild();
        if !changed || egraph.total_size() > options.e_nodes {
            return;
        }
    }
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
