//! The rewrite rules, in tables by topic.
//!
//! A rule states a law and how well it holds in floating point. One test takes every rule through random instances of
//! its left side and compares both sides with the evaluator.

mod algebra;
mod attention;
mod experts;
mod fold;
#[cfg(test)]
mod instances;
mod movement;
mod recover;

use crate::egraph::rule::Rule;

/// Every rule, in the order in which matches are applied.
pub(crate) fn all_rules() -> Vec<Rule> {
    [algebra::rules(), recover::rules(), attention::rules(), experts::rules(), fold::rules(), movement::rules()]
        .into_iter()
        .flatten()
        .collect()
}

/// The names of all rules.
pub fn rule_names() -> Vec<&'static str> {
    all_rules().iter().map(|rule| rule.name).collect()
}

#[cfg(test)]
mod tests {
    use super::all_rules;
    use super::instances::{Random, instance, near_miss};
    use crate::egraph::block::{Block, Surroundings};
    use crate::egraph::convert::convert;
    use crate::egraph::extract::{Extraction, extract};
    use crate::egraph::plan::Plan;
    use crate::egraph::rule::{FpClass, Rule};
    use crate::known::known_values;
    use crate::rebuild::Rebuild;
    use ic_ir::eval::eval_graph;
    use ic_ir::{Graph, NodeId};
    use ic_types::{DType, Data, Tensor};

    /// Instances of each rule that are compared.
    const INSTANCES: usize = 200;

    /// Attempts at making them.
    const ATTEMPTS: usize = 80_000;

    #[test]
    fn names_are_unique_and_laws_are_stated() {
        let rules = all_rules();
        for (i, rule) in rules.iter().enumerate() {
            assert!(rules[..i].iter().all(|other| other.name != rule.name), "two rules are called {}", rule.name);
            assert!(rule.law.trim().ends_with('.'), "the law of {} must be a sentence", rule.name);
        }
    }

    #[test]
    fn every_rule_holds_on_random_instances() {
        let mut silent = Vec::new();
        for rule in all_rules() {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let mut n_fired = 0;
            for attempt in 0..ATTEMPTS {
                if n_fired == INSTANCES {
                    break;
                }
                let Some(graph) = instance(&rule.left, &mut random) else { continue };
                if let Some(both) = both_sides(&rule, &graph) {
                    let mismatch = mismatch(&rule, &both, &mut random);
                    assert_eq!(mismatch, None, "{} (attempt {attempt})", rule.name);
                    n_fired += 1;
                }
            }
            if n_fired < INSTANCES {
                silent.push((rule.name, n_fired));
            }
        }
        assert!(silent.is_empty(), "rules that fire on too few instances: {silent:?}");
    }

    /// Near misses of each rule.
    const MISSES: usize = 100;

    #[test]
    fn rules_do_not_fire_on_near_misses_or_hold_there_too() {
        let mut eager = Vec::new();
        for rule in all_rules() {
            let mut random = Random(0x1234_5678_9abc_def1);
            let (mut n_silent, mut n_fired) = (0, 0);
            for attempt in 0..ATTEMPTS / 16 {
                if n_silent + n_fired == MISSES {
                    break;
                }
                // Where no part can be otherwise, a condition that does not hold is the near miss.
                let graph = match attempt % 2 {
                    0 => near_miss(&rule.left, &mut random),
                    _ => instance(&rule.left, &mut random),
                };
                let Some(graph) = graph else { continue };
                match both_sides(&rule, &graph) {
                    None => n_silent += 1,
                    Some(both) if attempt % 2 == 0 => {
                        assert_eq!(mismatch(&rule, &both, &mut random), None, "{} (attempt {attempt})", rule.name);
                        n_fired += 1;
                    }
                    Some(_) => {}
                }
            }
            if n_silent == 0 {
                eager.push(rule.name);
            }
        }
        assert!(eager.is_empty(), "rules that fire on every near miss: {eager:?}");
    }

    /// The left side and the right side as two outputs of one graph, if the rule fires.
    fn both_sides(rule: &Rule, graph: &Graph) -> Option<Graph> {
        let known = known_values(graph);
        let output = graph.outputs()[0];
        let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
        let nodes = nodes.into_iter().filter(|&id| graph.node(id).results.iter().any(|v| !known[v.index()])).collect();
        let context = vec![false; graph.nodes().len()];
        let block = Block::new(&Surroundings { graph, known: &known, context: &context }, nodes);
        let mut converted = convert(&block.form);
        let egraph = &mut converted.egraph;
        let local = block.values.iter().position(|&value| value == output)?;
        let root = egraph.find(converted.classes[local]);
        let bindings = rule.search(egraph, root).into_iter().next()?;
        let right = rule.build(egraph, root, &bindings)?;
        egraph.rebuild();
        if egraph.find(right) == egraph.find(root) {
            // Both were evaluated to the same constant.
            return None;
        }
        let choice = extract(egraph, &[root, right], Extraction::Cheapest)?;
        // Both sides stand for the output, one after the other.
        let sides = [(root, "left"), (right, "right")].map(|(side, name)| {
            let mut classes = converted.classes.clone();
            classes[local] = side;
            (Plan::new(egraph, &choice, &[side], &classes, None), name)
        });
        let mut rebuild = Rebuild::new(graph);
        for (plan, name) in sides {
            plan.build(&mut rebuild, &block, |region| Ok(region.clone())).ok()?;
            let value = rebuild.value(output);
            rebuild.new.add_output(name, value);
        }
        Some(rebuild.new)
    }

    /// How the two sides differ on random inputs, if by more than the rule's class allows.
    fn mismatch(rule: &Rule, graph: &Graph, random: &mut Random) -> Option<String> {
        let special = rule.class == FpClass::Exact;
        let inputs: Vec<Tensor> = graph
            .inputs()
            .iter()
            .map(|&v| {
                let ty = graph.tensor_ty(v);
                random.tensor(ty.dtype, &ty.constant_shape().unwrap(), special)
            })
            .collect();
        let results = eval_graph(graph, &inputs, &Default::default()).unwrap();
        let (left, right) = (&results[0], &results[1]);
        assert_eq!(left.shape(), right.shape());
        let (a, b) = (reals(left), reals(right));
        let scale = a.iter().chain(&b).filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
        let bound = match rule.class {
            FpClass::Exact => 0.0,
            FpClass::Reassociating => 2e-5 * scale,
            FpClass::Approximate => 1e-3 * scale,
        };
        let same = |x: f64, y: f64| x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= bound;
        let differs = a.iter().zip(&b).find(|&(&x, &y)| !same(x, y));
        differs.map(|(x, y)| format!("{x} and {y} on {inputs:?} of\n{}", ic_ir::text::print(graph)))
    }

    #[test]
    fn a_wrong_rule_is_caught() {
        let mut rule = all_rules().into_iter().find(|rule| rule.name == "silu").unwrap();
        rule.right = "(hard_swish ?x)".into();
        let mut random = Random(1);
        let caught = (0..100).any(|_| {
            let both = instance(&rule.left, &mut random).and_then(|graph| both_sides(&rule, &graph));
            both.is_some_and(|both| mismatch(&rule, &both, &mut random).is_some())
        });
        assert!(caught);
    }

    fn reals(tensor: &Tensor) -> Vec<f64> {
        match tensor.data() {
            Data::F64(v) => v.clone(),
            Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::Bool(v) => v.iter().map(|&x| x.into()).collect(),
            data => panic!("unexpected {}", data.dtype()),
        }
    }

    #[test]
    fn dtypes_of_instances_are_those_that_comparison_knows() {
        let mut random = Random(1);
        for dtype in [DType::F64, DType::F32, DType::I32, DType::Bool] {
            assert_eq!(reals(&random.tensor(dtype, &[3], true)).len(), 3);
        }
    }
}
