//! A mapped artifact that is cut short while in use ends the process with a message and exit code 1.

use crate::common::*;
use ic_runtime::*;
use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "IC_TEST_TRUNCATE";

#[test]
fn truncation_in_use_is_an_error() {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return use_and_truncate(Path::new(&path));
    }
    let path = std::env::temp_dir().join(format!("ic-truncated-{}.ica", std::process::id()));
    let mut weights = dense_weights();
    weights.resize(1 << 16, 0.0);
    std::fs::write(&path, artifact(vec![dense()], vec![], &weights)).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "truncation::truncation_in_use_is_an_error", "--nocapture"])
        .env(VARIABLE, &path)
        .output()
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let message = format!("error: `{}` was truncated while it was in use", path.display());
    let found = String::from_utf8_lossy(&output.stderr);
    assert!(found.contains(&message), "{found}");
    assert_eq!(output.status.code(), Some(1));
}

fn use_and_truncate(path: &Path) {
    // SAFETY: the test has made the artifact, and wants to see what happens when it changes.
    let model = unsafe { Model::load_with(path, &LoadOptions::new().exit_on_truncation()) }.unwrap();
    let session = model.session(&Options::new().threads(2)).unwrap();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
    let x = Tensor::zeros(DType::F32, vec![4, 3]);
    drop(session.run(&[("x", x.view())]));
    unreachable!("the weights are gone");
}
