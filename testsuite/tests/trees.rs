//! Random tree ensembles: the kernel and the expansion into core ops against the evaluator, bit for bit.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::pipeline::Options;
use ic::runner::Runner;
use ic_ir::eval::eval_graph;
use ic_ir::testing::{Operand, Random, SAMPLES, Sample};
use ic_ir::{Graph, Op};
use ic_passes::PASSES;
use ic_types::Tensor;

fn samples(n: u64) -> impl Iterator<Item = Sample> {
    let (_, make) = SAMPLES.iter().find(|(name, _)| *name == "tree_ensemble").unwrap();
    (0..n).map(|seed| make(&mut Random(seed)))
}

/// The sums' own bits, but for which NaN it is.
fn assert_same(found: &Tensor, wanted: &Tensor, seed: usize) {
    assert_eq!(found.shape(), wanted.shape(), "sample {seed}");
    let near = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
    let (found, wanted) = (ic_ir::eval::reals(found).unwrap(), ic_ir::eval::reals(wanted).unwrap());
    assert!(found.iter().zip(&wanted).all(|(&a, &b)| near(a, b)), "sample {seed}: {found:?}, expected {wanted:?}");
}

#[test]
fn the_kernel_agrees_with_the_evaluator() {
    for (seed, sample) in samples(60).enumerate() {
        let graph = sample.graph(Operand::Input).unwrap();
        let inputs = sample.inputs();
        let wanted = eval_graph(&graph, &inputs, &Default::default()).unwrap();
        let found = Runner::new(graph, &Options::default()).unwrap().run(&inputs).unwrap();
        assert_same(&found[0], &wanted[0], seed);
    }
}

#[test]
fn the_expansion_agrees_with_the_evaluator() {
    let pass = PASSES.iter().find(|pass| pass.name == "expand_trees").unwrap();
    let options = ic_passes::Options { native_compounds: false, ..Default::default() };
    for (seed, sample) in samples(200).enumerate() {
        let graph = sample.graph(Operand::Constant).unwrap();
        let expanded: Graph = (pass.run)(&graph, &options).unwrap();
        assert!(expanded.nodes().all(|(_, node)| !matches!(node.op, Op::TreeEnsemble(_))));
        let [wanted, found] = [&graph, &expanded].map(|graph| eval_graph(graph, &[], &Default::default()).unwrap());
        assert_same(&found[0], &wanted[0], seed);
    }
}
