//! Compiles magika, which `cargo xtask example` obtains.

use std::path::PathBuf;

fn main() -> Result<(), ic_build::Error> {
    println!("cargo::rerun-if-env-changed=MAGIKA");
    let model = std::env::var_os("MAGIKA").map_or_else(|| "../../../target/models/magika.onnx".into(), PathBuf::from);
    let labels = std::path::absolute(model.with_extension("labels")).unwrap_or_default();
    println!("cargo::rustc-env=LABELS={}", labels.display());
    ic_build::model(model).name("magika").beside_binary().compile()
}
