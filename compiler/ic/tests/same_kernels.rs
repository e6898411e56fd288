//! A Hugging Face folder and its ONNX export end in the same kernels.
//!
//! `data/bert` is a BERT of two layers with random weights as `transformers` saves it, and `model.onnx` what
//! `torch.onnx.export(dynamo=True)` makes of it, without its comments.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::import::ImportOptions;
use ic::pipeline::{Options, Source, lower};
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::kernel::Step;
use ic_types::Tensor;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert")
}

/// The optimized graph's outputs for one feed, and the text of its kernels.
fn lowered(path: &Path, opt_level: u8) -> (Vec<Tensor>, Vec<String>) {
    let passes = ic_passes::Options { opt_level, ..Default::default() };
    let options = Options { import: ImportOptions::default(), passes, ..Options::default() };
    let package = lower(&[Source::main(path)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    let model = &package.models()[0];
    let kernel = |step: &Step| match step {
        Step::Kernel { kernel, .. } => kernel.to_string(),
        step => format!("{step:?}"),
    };
    let ints = |elements: [i64; 6]| Tensor::from_elements(vec![2, 3], elements.to_vec());
    let inputs = [ints([1, 10, 4, 0, 2, 2]), ints([1, 1, 1, 1, 1, 0]), ints([0, 0, 1, 0, 1, 1])];
    let outputs = eval_graph(&model.graph, &inputs, &Symbols::new()).unwrap();
    (outputs, model.program.steps.iter().map(kernel).collect())
}

#[test]
fn bert_from_safetensors_and_from_onnx() {
    for opt_level in [0, 2] {
        let (folder, onnx) = (lowered(&data(), opt_level), lowered(&data().join("model.onnx"), opt_level));
        assert_eq!(folder.1, onnx.1, "kernels at level {opt_level}");
        assert_eq!(folder.0, onnx.0, "outputs at level {opt_level}");
    }
}
