//! A few random ONNX graphs against the reference evaluator; `cargo xtask random-graphs` takes many.

use ic_ir::testing::Random;
use ic_testsuite::random_graphs::{Verdict, check, graph, shrink};

const SEED: u64 = 1_000_000;
const N_GRAPHS: u64 = 300;

#[test]
fn random_graphs_give_what_their_evaluation_gives() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_right = 0;
    for seed in SEED..SEED + N_GRAPHS {
        let case = graph(&mut Random(seed), folder.path());
        match check(&case, folder.path()) {
            Verdict::Right(_) => n_right += 1,
            Verdict::OutOfBounds => println!("seed {seed}: these extents are out of bounds"),
            Verdict::NotImported(why) => println!("seed {seed}: not imported: {why}"),
            Verdict::Broken(defect, why) => {
                let small = shrink(&case, defect, folder.path());
                panic!("seed {seed}: {defect:?}: {why}\n{:?}\n{:?}", small.nodes, small.leaves);
            }
        }
    }
    assert!(n_right * 20 >= N_GRAPHS * 19, "{n_right} of {N_GRAPHS} graphs are taken");
}
