//! The dependency arrows between the crates: reads `cargo metadata` and fails on any other.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Each crate and the workspace crates that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("ic-types", &[]),
    ("ic-ir", &["ic-types"]),
    ("ic-passes", &["ic-types", "ic-ir"]),
    ("ic-kernels", &["ic-types"]),
    ("ic-artifact", &["ic-types"]),
    ("ic-runtime", &["ic-types", "ic-kernels", "ic-artifact"]),
    ("ic-capi", &["ic-types", "ic-runtime"]),
    ("ic-ptx-emulator", &[]),
    ("ic-cuda-emulator", &["ic-ptx-emulator"]),
    ("ic-codegen", &["ic-types", "ic-ir", "ic-artifact", "ic-kernels"]),
    ("ic", &["ic-types", "ic-ir", "ic-passes", "ic-kernels", "ic-artifact", "ic-runtime", "ic-codegen"]),
    ("ic-build", &["ic"]),
];

/// What an application that only loads artifacts must not pull in.
const NOT_IN_RUNTIME: &[&str] = &["egg", "cranelift-codegen", "protobuf", "onnx-protobuf", "petgraph", "clap"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO")).args(["metadata", "--format-version", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let members: BTreeSet<&str> =
        packages.iter().filter(|p| p["source"].is_null()).map(|p| p["name"].as_str().unwrap()).collect();
    for package in packages.iter().filter(|p| p["source"].is_null()) {
        let name = package["name"].as_str().unwrap();
        if name.starts_with("ic-testsuite") {
            continue;
        }
        let (_, allowed) =
            ARROWS.iter().find(|(crate_name, _)| *crate_name == name).unwrap_or_else(|| panic!("{name} has no row"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && members.contains(to) {
                assert!(allowed.contains(&to), "{name} may not depend on {to}");
            }
        }
    }
}

#[test]
fn the_runtime_does_not_pull_in_the_compiler() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "-p", "ic-runtime", "-e", "normal", "--prefix", "none"])
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("ic-kernels"), "{}", String::from_utf8_lossy(&output.stderr));
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(!NOT_IN_RUNTIME.contains(&name), "ic-runtime pulls in {name}");
    }
}
