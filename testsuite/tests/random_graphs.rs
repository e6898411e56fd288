//! A few random ONNX graphs against the reference evaluator; `cargo xtask random-graphs` takes many.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it leaves out, and fails where it stands"
)]

use ic_codegen::{NvptxTarget, Target};
use ic_ir::testing::Random;
use ic_testsuite::random_graphs::{Place, Verdict, check, graph, shrink};

/// How many graphs from this seed on are right at `place`.
fn count_right(seed: u64, n: u64, place: &Place) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut n_right = 0;
    for seed in seed..seed + n {
        let case = graph(&mut Random(seed), folder.path());
        match check(&case, place, folder.path()) {
            Verdict::Right(_) => n_right += 1,
            Verdict::Unsupported(why) => println!("seed {seed}: unsupported: {why}"),
            Verdict::OutOfBounds => println!("seed {seed}: these extents are out of bounds"),
            Verdict::NotImported(why) => println!("seed {seed}: not imported: {why}"),
            Verdict::Broken(defect, why) => {
                let small = shrink(&case, defect, place, folder.path());
                panic!("seed {seed}: {defect:?}: {why}\n{:?}\n{:?}", small.nodes, small.leaves);
            }
        }
    }
    n_right
}

#[test]
fn random_graphs_give_what_their_evaluation_gives() {
    let n_right = count_right(1_000_000, 300, &Place::host());
    assert!(n_right * 20 >= 300 * 19, "{n_right} of 300 graphs are taken");
}

#[test]
#[cfg(target_os = "linux")]
fn so_they_do_on_the_emulated_gpu() {
    let place = Place { target: Target::Nvptx(NvptxTarget::Sm80), device: "emulated-cuda".into() };
    let n_right = count_right(30_000_300, 60, &place);
    assert!(n_right >= 20, "{n_right} of 60 graphs are taken");
}
