//! A package with a model, as `ic-build` and `include_model!` serve it: what fits compiles, a wrong element type or rank
//! does not. Checked by Cargo itself, with the `ic` under test as the installed one.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GRAPH: &str = "graph @scale(%x: f32[N, 4]) {
  %0 = constant() {value = f32[] [2.0]} : f32[]
  %1 = mul(%x, %0) : f32[N, 4] @\"scale\"
  return \"y\" = %1
}
";

/// Programs that differ in the input alone.
const PROGRAMS: &[(&str, &str)] = &[
    ("right", "TensorView::new([1, 4], &[1.0f32; 4])?"),
    ("wrong_dtype", "TensorView::new([1, 4], &[1.0f64; 4])?"),
    ("wrong_rank", "TensorView::new([4], &[1.0f32; 4])?"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Writes the package into `folder`.
fn write_package(folder: &Path) {
    let root = root();
    let manifest = format!(
        "[package]\nname = \"scale\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nic-runtime = {{ path = {:?} }}\n\
         [build-dependencies]\nic-build = {{ path = {:?}, default-features = false }}\n",
        root.join("runtime/runtime"),
        root.join("compiler/build")
    );
    let build = "fn main() -> Result<(), ic_build::Error> { ic_build::model(\"scale.ic\").opt_level(1).compile() }\n";
    std::fs::create_dir_all(folder.join("src/bin")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    std::fs::write(folder.join("build.rs"), build).unwrap();
    std::fs::write(folder.join("scale.ic"), GRAPH).unwrap();
    for (name, input) in PROGRAMS {
        let program = format!(
            "#![forbid(unsafe_op_in_unsafe_fn)]\n#![deny(unsafe_code, missing_docs, warnings)]\n//! Scales.\n\
             use ic_runtime::typed::{{Tensor, TensorView}};\nic_runtime::include_model!(\"scale\");\n\
             fn main() -> Result<(), ic_runtime::Error> {{\n\
             let y: Tensor<f32, 2> = Scale::load()?.run({input})?.y;\nassert_eq!(y[[0, 3]], 2.0);\nOk(())\n}}\n"
        );
        std::fs::write(folder.join(format!("src/bin/{name}.rs")), program).unwrap();
    }
}

fn check(folder: &Path, program: &str) -> Output {
    Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--bin", program])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("build_script"))
        .env("IC", env!("CARGO_BIN_EXE_ic"))
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap()
}

#[test]
fn a_wrong_element_type_or_rank_does_not_compile() {
    let folder = tempfile::tempdir().unwrap();
    write_package(folder.path());
    for (name, _) in PROGRAMS {
        let done = check(folder.path(), name);
        let said = String::from_utf8_lossy(&done.stderr);
        if *name == "right" {
            assert!(done.status.success(), "{said}");
        } else {
            assert!(!done.status.success() && said.contains("E0308"), "{name}: {said}");
        }
    }
    // What the compiler says reaches whoever runs Cargo.
    std::fs::write(folder.path().join("scale.ic"), GRAPH.replace("mul", "no_such_op")).unwrap();
    let said = check(folder.path(), "right");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no_such_op"), "{said:?}");
}

#[test]
fn a_compile_lists_files_and_writes_the_typed_interface() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    std::fs::write(path("scale.ic"), GRAPH).unwrap();
    let emits =
        [format!("deps={}", path("deps")), format!("rust={}", path("rs")), format!("rust-beside={}", path("b"))];
    let mut command = Command::new(env!("CARGO_BIN_EXE_ic"));
    command.args(["compile", &path("scale.ic"), "-o", &path("scale.ica")]);
    let done = emits.iter().fold(&mut command, |command, emit| command.args(["--emit", emit])).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(read("deps").trim(), path("scale.ic"));
    assert!(read("rs").contains("struct Scale = embedded(") && read("rs").contains("x: f32, 2 = \"x\";"));
    let identity: String =
        std::fs::read(path("scale.ica")).unwrap()[32..64].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(read("b").contains(&format!("beside(\"scale.ica\", \"{identity}\")")), "{}", read("b"));
}
