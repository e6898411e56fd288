//! What is wrong with an artifact, its inputs or its options is said in one message.

use crate::common::*;
use ic_artifact::{DimOp, KernelRef, Place, Plan, Step};
use ic_runtime::*;

fn load(bytes: &[u8]) -> Result<Model, Error> {
    // SAFETY: the test has made the artifact.
    unsafe { Model::from_bytes(bytes, &LoadOptions::new()) }
}

fn session(entry: (Entry, Plan)) -> Result<Session, Error> {
    load(&artifact(vec![entry], vec![], &dense_weights()))?.session(&Options::new().threads(1))
}

fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn all_problems_of_inputs_are_listed() {
    let session = session(sum()).unwrap();
    let (good, long, matrix) = ([1.0f32; 3], [1.0f32; 4], [1i64; 4]);
    let good = TensorView::new(&[3], &good).unwrap();
    let long = TensorView::new(&[4], &long).unwrap();
    let integers = TensorView::new(&[4], &matrix).unwrap();
    let floats = [1.0f32; 4];
    let matrix = TensorView::new(&[2, 2], &floats).unwrap();
    let check = |inputs: &[(&str, TensorView)], expected: &[&str]| {
        let expected: String = expected.iter().map(|line| format!("\n  {line}")).collect();
        assert_eq!(message(session.run(inputs)), format!("inputs of entry `main` do not fit:{expected}"));
    };
    check(
        &[("a", integers)],
        &[
            "input `a` has the wrong element type: expected f32[N], found i64[4]",
            "input `b` is missing; expected f32[N]",
        ],
    );
    check(
        &[("a", matrix), ("c", good)],
        &[
            "there is no input `c`; the inputs are: a, b",
            "input `a` has the wrong rank: expected f32[N], found f32[2, 2]",
            "input `b` is missing; expected f32[N]",
        ],
    );
    check(&[("a", good), ("b", good), ("a", good)], &["input `a` is given twice"]);
    check(&[("a", good), ("b", long)], &["input `b` has the wrong extent on axis 0: expected 3 (`N`), found f32[4]"]);
    let huge = vec![0.0f32; 1_000_001];
    let huge = TensorView::new(&[1_000_001], &huge).unwrap();
    let problem =
        |name| format!("input `{name}` is out of range on axis 0: expected `N` from 0 to 1000000, found f32[1000001]");
    check(&[("a", huge), ("b", huge)], &[&problem("a"), &problem("b")]);
    session.run(&[("a", good), ("b", good)]).unwrap();
}

#[test]
fn a_constant_extent_is_checked() {
    let session = session(dense()).unwrap();
    let x = Tensor::zeros(DType::F32, vec![1, 4]);
    assert_eq!(
        message(session.run(&[("x", x.view())])),
        "inputs of entry `dense` do not fit:\n  \
         input `x` has the wrong extent on axis 1: expected 3, found f32[1, 4]"
    );
}

#[test]
fn what_the_runtime_lacks_is_named() {
    let with_kernel = |name: &str, revision| {
        let (entry, mut plan) = dense();
        plan.kernels[0] = KernelRef { name: name.into(), layout: 0, revision };
        message(session((entry, plan)))
    };
    let start = "`artifact in memory` needs kernel";
    let end = format!("which runtime {} does not have; it was written by ic 0.1.0", env!("CARGO_PKG_VERSION"));
    assert_eq!(with_kernel("warp", 3), format!("{start} `warp` of layout 0 in revision 3, {end}"));
    let found = with_kernel("f32_matmul", 99);
    assert_eq!(found, format!("{start} `f32_matmul` of layout 0 in revision 99 (it has revision 1), {end}"));
}

#[test]
fn calls_that_a_kernel_does_not_know_are_refused() {
    let (entry, mut plan) = dense();
    let Step::Library { operands, .. } = &mut plan.steps[0] else { unreachable!() };
    operands.pop();
    assert!(message(session((entry, plan))).contains("`/fc/MatMul`: f32_matmul takes operands [a, b, y], found 2"));
}

#[test]
fn operands_outside_of_their_buffers_are_refused() {
    let (entry, mut plan) = dense();
    // The weight operand becomes one row too tall.
    plan.dims.push(DimOp::Const(4));
    let Step::Library { operands, .. } = &mut plan.steps[0] else { unreachable!() };
    operands[1].as_mut().unwrap().shape[0] = 8;
    let session = session((entry, plan)).unwrap();
    let x = Tensor::zeros(DType::F32, vec![1, 3]);
    assert_eq!(
        message(session.run(&[("x", x.view())])),
        "entry `dense` cannot run on these inputs: `/fc/MatMul` (step 0): \
         operand 1 [4, 2] at 0 reaches outside of its buffer of 24 bytes"
    );
}

#[test]
fn absurd_sizes_are_refused() {
    let run = |change: fn(&mut Plan)| {
        let (entry, mut plan) = sum();
        change(&mut plan);
        let x = Tensor::zeros(DType::F32, vec![5]);
        message(session((entry, plan)).unwrap().run(&[("a", x.view()), ("b", x.view())]))
    };
    let start = "entry `main` cannot run on these inputs:";
    let overflow = run(|p| p.dims[1] = DimOp::Const(1 << 62));
    assert_eq!(overflow, format!("{start} dim slot 2 overflows 64 bits or is divided by zero"));
    let outside = run(|p| p.dims[1] = DimOp::Const(8));
    assert_eq!(outside, format!("{start} 40 bytes at 0 of Input(0) reach outside of it"));
    let negative = run(|p| {
        p.dims.push(DimOp::Const(-1));
        p.dims.push(DimOp::Mul(0, 5));
        p.buffers[2].bytes = 6;
    });
    assert_eq!(negative, format!("{start} size of buffer 2 is -5"));
    let huge = run(|p| {
        p.dims.push(DimOp::Const(1 << 60));
        p.buffers[2].bytes = 5;
    });
    assert_eq!(huge, "not enough memory for 1152921504606846976 bytes of arena");
    let both = run(|p| {
        p.dims.push(DimOp::Const(i64::MAX));
        p.buffers[2].bytes = 5;
    });
    assert_eq!(both, format!("{start} the arena does not fit in memory"));
}

#[test]
fn an_absurd_output_is_an_error() {
    let (mut entry, mut plan) = prefix();
    // The output's extent is read, its buffer is small.
    entry.outputs[0].shape = vec!["n".into()];
    let Place::View { of, .. } = plan.buffers[3].place else { unreachable!() };
    plan.buffers[3].bytes = 7;
    plan.buffers[4].bytes = 7;
    plan.steps[1] = add("/Prefix", [of, 0, 4], 7, 3, 3);
    let session = session((entry, plan)).unwrap();
    let (x, n) = (Tensor::zeros(DType::F32, vec![5]), Tensor::scalar(1i64 << 60));
    let error = message(session.run(&[("x", x.view()), ("n", n.view())]));
    assert_eq!(error, "not enough memory for 4611686018427387904 bytes of output `y`");
}

#[test]
fn options_are_checked() {
    let model = load(&artifact(vec![sum(), dense()], vec![], &dense_weights())).unwrap();
    assert_eq!(message(model.session_entry("other", &Options::new())), "no entry `other`; there are: main, dense");
    let error = message(model.session(&Options::new().kernels("mmx")));
    assert!(error.starts_with("no kernels `mmx`; expected one of: portable"), "{error}");

    let bytes = artifact(vec![sum()], vec![], &[]);
    // SAFETY: the test has made the artifact.
    let load_for = |target| unsafe { Model::from_bytes(&bytes, &LoadOptions::new().target(target)) };
    assert_eq!(load_for(target_name()).unwrap().target(), target_name());
    let start = "`artifact in memory` has no code for this device, cpu:";
    assert_eq!(message(load_for("nvptx:sm_80")), format!("{start} nvptx:sm_80: it is for device cuda"));
    let found = format!("{start} target warp was asked for, the artifact holds nvptx:sm_80, {}", target_name());
    assert_eq!(message(load_for("warp")), found);
}

#[test]
fn devices_that_are_not_built_in_or_have_no_code_are_refused() {
    let bytes = artifact(vec![sum()], vec![], &[]);
    // SAFETY: the test has made the artifact.
    let load_on = |device| unsafe { Model::from_bytes(&bytes, &LoadOptions::new().device(device)) };
    assert_eq!(load_on("cpu").unwrap().target(), target_name());
    // Whether there is a driver or not, there are not so many GPUs.
    let refused = if cfg!(feature = "cuda") { "device cuda:99: " } else { "device cuda is not built in" };
    let error = message(load_on("cuda:99"));
    assert!(error.starts_with(refused), "{error}");
    let error = message(load_on("ascend"));
    assert!(error.starts_with("`artifact in memory` has no code for this device, ascend: "), "{error}");
    assert_eq!(message(load_on("abacus")), "no device `abacus`; there are: cpu, cuda, emulated-cuda, ascend");
}

#[test]
fn sections_of_other_devices_are_not_read() {
    let mut bytes = artifact(vec![sum()], vec![], &[]);
    let found = bytes.windows(DEVICE_CODE.len()).position(|w| w == DEVICE_CODE).unwrap();
    bytes[found] ^= 1;
    let session = load(&bytes).unwrap().session(&Options::new().threads(1)).unwrap();
    let ones = Tensor::from_elements(vec![3], vec![1.0f32; 3]);
    let outputs = session.run(&[("a", ones.view()), ("b", ones.view())]).unwrap();
    assert_eq!(outputs[0].elements::<f32>().unwrap(), [3.0; 3]);
}

#[test]
fn a_kernel_that_refuses_its_data_is_named() {
    let entry = Entry {
        name: "main".into(),
        inputs: vec![port("x", F32, &["3"]), port("i", I64, &["1"])],
        outputs: vec![port("y", F32, &["1"])],
        symbols: vec![],
        states: vec![],
    };
    let plan = Plan {
        dims: vec![
            DimOp::Const(3),
            DimOp::Const(1),
            DimOp::Const(12),
            DimOp::Const(8),
            DimOp::Const(4),
            DimOp::Const(0),
        ],
        inputs: vec![vec![0], vec![1]],
        outputs: vec![vec![1]],
        buffers: [(2, Place::Input(0)), (3, Place::Input(1)), (4, Place::Output(0))]
            .map(|(bytes, place)| ic_artifact::Buffer { bytes, place })
            .to_vec(),
        steps: vec![Step::Library {
            name: "/embeddings/Gather".into(),
            kernel: 0,
            operands: vec![operand(0, F32, &[0]), operand(1, I64, &[1]), operand(2, F32, &[1])],
            attrs: vec![5],
            epilogue: vec![],
            callback: None,
        }],
        kernels: vec![KernelRef { name: "gather".into(), layout: 0, revision: 1 }],
        ..Plan::default()
    };
    let session = session((entry, plan)).unwrap();
    let (x, i) = (Tensor::zeros(DType::F32, vec![3]), Tensor::from_elements(vec![1], vec![7i64]));
    let error = message(session.run(&[("x", x.view()), ("i", i.view())]));
    assert!(error.starts_with("`/embeddings/Gather` (gather): "), "{error}");
}

#[test]
fn files_that_are_no_artifacts_are_refused() {
    let folder = std::env::temp_dir().join(format!("ic-runtime-errors-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.ica");
    // SAFETY: the test has made the file, which holds no code.
    let load = || message(unsafe { Model::load(&path) });
    assert!(load().starts_with(&format!("cannot open `{}`: ", path.display())));
    for contents in ["", "not an artifact"] {
        std::fs::write(&path, contents).unwrap();
        let expected = "not an ic artifact: it does not start with the artifact magic";
        assert_eq!(load(), format!("`{}`: {expected}", path.display()));
    }
    let mut bytes = artifact(vec![sum()], vec![], &[]);
    bytes.pop();
    std::fs::write(&path, &bytes).unwrap();
    assert!(load().contains("artifact is truncated or has a tail"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn damaged_weights_are_found_on_demand() {
    let mut bytes = artifact(vec![dense()], vec![], &dense_weights());
    load(&bytes).unwrap().verify_weights().unwrap();
    let weights = bytes.windows(4).rposition(|w| w == 5.0f32.to_le_bytes()).unwrap();
    bytes[weights] ^= 1;
    let error = message(load(&bytes).unwrap().verify_weights());
    assert_eq!(error, "`artifact in memory`: artifact section `weights` is damaged: its hash does not match");
}
