//! Properties that every op has, on random instances.

use super::*;
use crate::eval::{Symbols, bind_symbols, eval_graph};
use crate::op::Constraint;
use crate::scalar::ScalarOp;
use crate::text::{parse, print};
use crate::{AttrMap, Type};

const N_SAMPLES: u64 = 60;

/// Calls `check` with samples of every op, and a seed that reproduces each.
fn for_each_sample(check: impl Fn(&Sample, u64)) {
    for seed in 0..N_SAMPLES {
        for (_, make) in SAMPLES {
            check(&make(&mut Random(seed)), seed);
        }
        for &function in ScalarOp::ALL {
            check(&pointwise(function, &mut Random(seed)), seed);
        }
    }
}

#[test]
fn every_op_has_a_sample() {
    let names: Vec<&str> = SAMPLES.iter().map(|(name, _): &(&str, Make)| *name).collect();
    assert_eq!(names, Op::NAMES);
    for (name, make) in SAMPLES {
        assert_eq!(make(&mut Random(0)).op.name(), *name);
    }
}

#[test]
fn evaluation_gives_the_inferred_types() {
    for_each_sample(|sample, seed| {
        let graph = sample.graph(Operand::Input).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{sample:?}"));
        assert_eq!(graph.outputs().len(), sample.op.n_results(), "{}", sample.op.name());
        // The evaluator checks every result against its type.
        let results = eval_graph(&graph, &sample.inputs(), &Symbols::new());
        let results = results.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{sample:?}"));
        assert_eq!(results.len(), graph.outputs().len());
    });
}

#[test]
fn symbolic_types_describe_the_results() {
    for_each_sample(|sample, seed| {
        // Some ops need a constant extent somewhere; they say so.
        let Ok(graph) = sample.graph(Operand::SymbolicInput) else { return };
        let inputs = sample.inputs();
        let symbols = bind_symbols(&graph, &inputs, &Symbols::new()).unwrap();
        let value = |dim: &Dim| dim.eval(&|name| symbols.get(name).copied()).unwrap();
        for (_, node) in graph.nodes() {
            for constraint in &node.constraints {
                let holds = match constraint {
                    Constraint::Equal(a, b) => value(a) == value(b),
                    Constraint::Broadcast(a, b) => value(a) == value(b) || value(a) == 1 || value(b) == 1,
                };
                assert!(holds, "seed {seed}: {constraint:?} of {sample:?}");
            }
        }
        let results = eval_graph(&graph, &inputs, &Symbols::new());
        assert!(results.is_ok(), "seed {seed}: {results:?}\n{sample:?}");
    });
}

#[test]
fn known_contents_are_the_elements() {
    let n_known = std::cell::Cell::new(0);
    for_each_sample(|sample, seed| {
        let graph = sample.graph(Operand::Constant).unwrap();
        let value = graph.outputs()[0];
        let Some(content) = &graph.value(value).content else { return };
        let known: Vec<i64> = content.iter().map(|d| d.as_const().unwrap()).collect();
        let found = eval_graph(&graph, &[], &Symbols::new()).unwrap().remove(0);
        let found: Vec<i64> = if found.dtype().is_float() {
            crate::eval::reals(&found).unwrap().into_iter().map(|x| x as i64).collect()
        } else {
            crate::eval::indices(&found).unwrap()
        };
        assert_eq!(known, found, "seed {seed}: {sample:?}");
        n_known.set(n_known.get() + 1);
    });
    assert!(n_known.get() > 100, "{n_known:?}");
}

#[test]
fn text_round_trips() {
    for_each_sample(|sample, seed| {
        let graph = sample.graph(Operand::SymbolicInput).or_else(|_| sample.graph(Operand::Input)).unwrap();
        let text = print(&graph);
        let again = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(print(&again), text);
        let op = |graph: &Graph| graph.nodes().next().map(|(_, node)| node.op.clone());
        assert_eq!(op(&again), op(&graph), "{text}");
    });
}

/// Whatever the op makes of foreign operands, it must not panic.
fn try_all(sample: &Sample) {
    for operand in [Operand::Input, Operand::SymbolicInput, Operand::Constant] {
        let Ok(graph) = sample.graph(operand) else { continue };
        let plausible = graph.values().all(|(_, value)| match &value.ty {
            Type::Tensor(ty) => ty.elements().as_const().is_none_or(|n| n < 1 << 20),
            _ => false,
        });
        let inputs = if operand == Operand::Constant { vec![] } else { sample.inputs() };
        if plausible {
            drop(eval_graph(&graph, &inputs, &Symbols::new()));
        }
    }
}

#[test]
fn foreign_operands_do_not_panic() {
    for seed in 0..N_SAMPLES {
        let mut random = Random(seed);
        for (_, make) in SAMPLES {
            let mut sample = make(&mut random);
            let (_, other) = random.pick(SAMPLES);
            let foreign = other(&mut random).operands;
            match random.below(3) {
                0 => sample.operands = foreign,
                1 => sample.operands.truncate(random.below(3)),
                _ => {
                    let at = random.below(sample.operands.len());
                    let some = foreign.into_iter().next();
                    sample.operands.iter_mut().skip(at).take(1).zip(some).for_each(|(slot, new)| *slot = new);
                }
            }
            try_all(&sample);
        }
    }
}

#[test]
fn foreign_attributes_do_not_panic() {
    const NUMBERS: [&str; 8] =
        ["0", "1", "2", "-1", "9223372036854775807", "-9223372036854775808", "4611686018427387904", "3"];
    for seed in 0..N_SAMPLES {
        let mut random = Random(seed);
        for (name, make) in SAMPLES {
            let mut sample = make(&mut random);
            let mut attrs: Vec<(String, String)> =
                sample.op.attrs().into_iter().map(|(name, text)| (name.into(), text)).collect();
            if attrs.is_empty() {
                continue;
            }
            let at = random.below(attrs.len());
            let digits: Vec<usize> = attrs[at].1.match_indices(|c: char| c.is_ascii_digit()).map(|(i, _)| i).collect();
            if let Some(&i) = digits.get(random.below(digits.len())) {
                attrs[at].1.replace_range(i..=i, random.pick(&NUMBERS));
            }
            let Some(Ok(op)) = Op::from_attrs(name, &mut AttrMap(attrs)) else { continue };
            sample.op = op;
            try_all(&sample);
        }
    }
}
