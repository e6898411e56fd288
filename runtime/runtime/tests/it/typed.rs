//! Models with typed methods, loaded from files beside the program and from signed files.

use crate::common::*;
use ic_artifact::{SecretKey, sign};
use ic_runtime::typed::TensorView;
use ic_runtime::{LoadOptions, Options};
use std::path::PathBuf;

/// The identity of the artifact of [`sum`].
fn identity() -> String {
    let bytes = artifact(vec![sum()], vec![], &[1.0; 64]);
    bytes[32..64].iter().map(|byte| format!("{byte:02x}")).collect()
}

ic_runtime::typed_model! {
    struct Sum = beside("typed-sum.ica", &identity());
    fn run = "main" {
        a: f32, 1 = "a";
        b: f32, 1 = "b";
    } -> SumOutputs {
        y: f32, 1 = "y";
    }
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(name)
}

#[test]
fn a_typed_model_beside_the_program_runs() {
    let path = beside("typed-sum.ica");
    drop(std::fs::remove_file(&path));
    assert!(Sum::load().unwrap_err().to_string().contains("typed-sum.ica"));
    let bytes = artifact(vec![sum()], vec![], &[1.0; 64]);
    std::fs::write(&path, &bytes).unwrap();
    let model = Sum::load_with(&LoadOptions::new(), &Options::new().threads(1)).unwrap();
    let (a, b) = ([1.0f32, 2.0, 3.0], [0.5f32, 0.5, 1.0]);
    let outputs = model.run(TensorView::new([3], &a).unwrap(), TensorView::new([3], &b).unwrap()).unwrap();
    assert_eq!((outputs.y.shape(), outputs.y.elements()), ([3], &[2.0f32, 3.0, 5.0][..]));
    let error = model.run(TensorView::new([3], &a).unwrap(), TensorView::new([2], &b[..2]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("input `b` has the wrong extent"), "{error}");

    // Damaged weights and other artifacts are refused. New files: the old one stays mapped.
    let replace = |bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        Sum::load().unwrap_err().to_string()
    };
    let mut damaged = bytes.clone();
    let weights = damaged.windows(4).rposition(|window| window == 1f32.to_le_bytes()).unwrap();
    damaged[weights] ^= 1;
    assert!(replace(&damaged).contains("`weights` is damaged"));
    assert!(replace(&artifact(vec![sum()], vec![], &[2.0; 64])).contains("is not the artifact"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn only_what_was_signed_with_the_key_loads() {
    use ic_runtime::Model;
    let (key, other) = (SecretKey::from_bytes(&[7; 32]), SecretKey::from_bytes(&[8; 32]));
    let path = beside("signed.ica");
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Model::load_signed(&path, &key.public())
    };
    let plain = artifact(vec![sum()], vec![], &[1.0; 64]);
    assert!(load(&plain).unwrap_err().to_string().contains("not signed"));
    sign(&path, &path, &key).unwrap();
    let signed = std::fs::read(&path).unwrap();
    let model = load(&signed).unwrap();
    let x = ic_runtime::Tensor::from_elements(vec![1], vec![1f32]);
    let outputs = model.session(&Options::new().threads(1)).unwrap().run(&[("a", x.view()), ("b", x.view())]).unwrap();
    assert_eq!(outputs["y"].elements::<f32>(), Some(&[3.0][..]));
    // Signing again replaces the signature.
    sign(&path, &path, &key).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), signed);
    assert!(Model::load_signed(&path, &other.public()).unwrap_err().to_string().contains("signature"));
    // No byte that is used can change; the code for a device that is not there is not.
    let device = signed.windows(DEVICE_CODE.len()).position(|window| window == DEVICE_CODE).unwrap();
    let used = |at: usize| (signed[at] != 0 || at < 4096) && !(device..device + DEVICE_CODE.len()).contains(&at);
    for at in (0..signed.len()).filter(|&at| used(at)).step_by(7) {
        let mut changed = signed.clone();
        changed[at] ^= 0x10;
        assert!(load(&changed).is_err(), "byte {at}");
    }
    // Nor can the signature be moved to another artifact.
    std::fs::write(&path, artifact(vec![sum()], vec![], &[2.0; 64])).unwrap();
    sign(&path, &path, &other).unwrap();
    let mut moved = std::fs::read(&path).unwrap();
    let signature = moved.len() - 64;
    moved[signature..].copy_from_slice(&signed[signature..]);
    assert!(load(&moved).unwrap_err().to_string().contains("signature"));
    std::fs::remove_file(&path).unwrap();
}
