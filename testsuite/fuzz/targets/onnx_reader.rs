//! The ONNX importer takes any bytes: a graph or diagnostics, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".onnx").tempfile().expect("a temporary file");
    file.write_all(bytes).expect("the temporary file is writable");
    if let Ok(imported) = ic::import::import(file.path(), &Default::default()) {
        assert!(ic_ir::verify(&imported.graph).is_empty());
    }
});
