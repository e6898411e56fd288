//! A smaller graph with the same defect.

use super::case::{Case, Leaf};
use super::check::{Defect, Place, Verdict, check};
use std::path::Path;

/// The smallest graph found that has the same kind of defect: with one output, cut off from what computes its operands,
/// with numbers for extents.
pub fn shrink(case: &Case, defect: Defect, place: &Place, folder: &Path) -> Case {
    let mut best = case.clone();
    while let Some(smaller) = smaller(&best).into_iter().find(|c| has(c, defect, place, folder)) {
        best = smaller;
    }
    best
}

fn has(case: &Case, defect: Defect, place: &Place, folder: &Path) -> bool {
    matches!(check(case, place, folder), Verdict::Broken(found, _) if found == defect)
}

/// Smaller graphs, the smallest first.
fn smaller(case: &Case) -> Vec<Case> {
    let size = |c: &Case| {
        let symbolic = c.leaves.values().filter_map(|leaf| leaf.symbolic.as_ref());
        (c.nodes.len(), c.outputs.len(), symbolic.flatten().filter(|s| **s).count())
    };
    let mut found = Vec::new();
    let computed: Vec<&String> = case.nodes.iter().flat_map(|node| &node.output).collect();
    for name in &computed {
        found.push(Case { outputs: vec![(*name).clone()], ..case.clone() }.pruned());
        if !case.outputs.contains(name) && case.known.get(*name).is_some_and(|tensor| !tensor.is_empty()) {
            found.push(cut(case, name));
        }
    }
    for (name, leaf) in &case.leaves {
        if leaf.symbolic.as_ref().is_some_and(|axes| axes.contains(&true)) {
            let mut fixed = case.clone();
            if let Some(leaf) = fixed.leaves.get_mut(name) {
                leaf.symbolic = Some(vec![false; leaf.tensor.rank()]);
            }
            found.push(fixed);
        }
    }
    let now = size(case);
    found.retain(|c| size(c) < now);
    found.sort_by_key(size);
    found
}

/// The graph with a computed value as an input.
fn cut(case: &Case, name: &str) -> Case {
    let mut case = case.clone();
    for node in &mut case.nodes {
        for result in &mut node.output {
            if result == name {
                result.push_str("_unused");
            }
        }
    }
    if let Some(tensor) = case.known.get(name) {
        let leaf = Leaf { tensor: tensor.clone(), symbolic: Some(vec![false; tensor.rank()]) };
        case.leaves.insert(name.to_string(), leaf);
    }
    case.pruned()
}
