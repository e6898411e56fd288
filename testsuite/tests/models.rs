//! Real models, compiled and run, against outputs of ONNX Runtime.
//!
//! Cases are stored in `testsuite/models` where they are small, and in `target/models/cases` where
//! `testsuite/models/references.py` has made them. Models from crates are obtained by cargo; those from wheels are
//! tested if `cargo xtask models --all` has obtained them.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::pipeline::{self, Options, Source as Entry};
use ic::tensors::read_npz;
use ic_codegen::Target;
use ic_testsuite::catalog::{MODELS, Model, Source};
use ic_testsuite::fetch;
use ic_types::{Tensor, TensorView};
use std::path::{Path, PathBuf};

/// Largest error of a float output, as a share of its largest magnitude.
const TOLERANCE: f64 = 1e-3;

fn cases(model: &Model) -> Vec<PathBuf> {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let made = fetch::models_folder().join("cases");
    let entries = [stored, made].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let prefix = format!("{}.", model.name);
    let is_case = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(".npz")
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_case).collect();
    paths.sort();
    paths
}

fn compile(model: &Path, artifact: &Path, target: Target) {
    let options = Options { targets: vec![target], ..Options::default() };
    let lowered = pipeline::lower(&[Entry::main(model)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    pipeline::write(&lowered, artifact, &options, &mut |_| {}).unwrap();
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    let (Some(found), Some(want)) = (found.elements::<f32>(), expected.elements::<f32>()) else {
        return if found == expected { 0.0 } else { f64::INFINITY };
    };
    let scale = want.iter().map(|x| f64::from(x.abs())).fold(f64::MIN_POSITIVE, f64::max);
    let largest = |a: f64, b: f64| if b.is_nan() || b > a { b } else { a };
    found.iter().zip(want).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, largest) / scale
}

#[expect(unsafe_code, reason = "the test runs an artifact that it has just compiled")]
fn check(model: &Model, artifact: &Path, case: &Path) {
    // SAFETY: the artifact was written by the compiler under test a moment ago.
    let loaded = unsafe { ic_runtime::Model::load(artifact) }.unwrap();
    let arrays = read_npz(case).unwrap();
    let part = |prefix: &str| {
        let named = arrays.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone())));
        named.collect::<Vec<(String, Tensor)>>()
    };
    let (inputs, expected) = (part("in:"), part("out:"));
    let views: Vec<(&str, TensorView)> = inputs.iter().map(|(name, t)| (name.as_str(), t.view())).collect();
    let mut runs = Vec::new();
    for threads in [1, 2] {
        let session = loaded.session(&ic_runtime::Options::new().threads(threads)).unwrap();
        runs.push(session.run(&views).unwrap());
    }
    assert_eq!(runs[0], runs[1], "{}: results depend on the number of threads", model.name);
    for (name, expected) in &expected {
        let error = difference(runs[0].get(name).unwrap(), expected);
        assert!(error <= TOLERANCE, "{}: output `{name}` is off by {error:.2e} of its scale", case.display());
    }
}

#[test]
fn real_models_agree_with_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::host().unwrap();
    for model in MODELS {
        let from_crate = matches!(model.source, Source::Crate { .. });
        let path = if from_crate { Some(fetch::obtain(model).unwrap()) } else { fetch::obtained(model) };
        let Some(path) = path else {
            println!("{}: not obtained, see `cargo xtask models --all`", model.name);
            continue;
        };
        let artifact = folder.path().join(model.name).with_extension("ica");
        compile(&path, &artifact, target);
        let cases = cases(model);
        assert!(!from_crate || !cases.is_empty(), "{}: no stored case", model.name);
        for case in cases {
            check(model, &artifact, &case);
            println!("{}: agrees", case.display());
        }
    }
}
