//! Feature `mlir`: upstream's spelling parsed, verified and lowered to LLVM's dialect in this process.
//!
//! It checks what the compiler prints, with no tool beside it: compiling for Ascend with this feature fails where MLIR
//! does not take a kernel.

use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::Module;
use melior::pass::PassManager;
use melior::utility::{parse_pass_pipeline, register_all_dialects, register_all_passes};
use std::sync::{Arc, Mutex};

/// Why MLIR does not take the text of a kernel.
#[derive(Debug, thiserror::Error)]
pub enum MlirError {
    /// It is malformed, or the types of an operation do not fit.
    #[error("MLIR does not parse kernel `{kernel}`: {message}")]
    Parse {
        /// The kernel's name.
        kernel: String,
        /// What MLIR says.
        message: String,
    },
    /// A pass fails.
    #[error("MLIR does not lower kernel `{kernel}`: {message}")]
    Lower {
        /// The kernel's name.
        kernel: String,
        /// What MLIR says.
        message: String,
    },
}

/// From linalg on tensors to LLVM's dialect.
const PIPELINE: &str = "builtin.module(\
    one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},\
    buffer-results-to-out-params{modify-public-functions=true},\
    convert-linalg-to-loops,\
    convert-scf-to-cf,\
    expand-strided-metadata,\
    lower-affine,\
    convert-math-to-libm,\
    convert-math-to-llvm,\
    convert-arith-to-llvm,\
    convert-index-to-llvm,\
    finalize-memref-to-llvm,\
    convert-func-to-llvm,\
    convert-cf-to-llvm,\
    reconcile-unrealized-casts)";

/// Parses, verifies and lowers the text of a kernel in upstream's spelling; gives it in LLVM's dialect.
///
/// # Errors
/// The step that fails, with the kernel's name and MLIR's messages. Parsing includes verification.
pub fn lower_in_process(kernel: &str, text: &str) -> Result<String, MlirError> {
    let registry = DialectRegistry::new();
    register_all_dialects(&registry);
    register_all_passes();
    let context = Context::new_with_registry(&registry, false);
    let messages = Arc::new(Mutex::new(Vec::new()));
    let sink = messages.clone();
    context.attach_diagnostic_handler(move |diagnostic| {
        if let Ok(mut messages) = sink.lock() {
            messages.push(format!("{}: {diagnostic}", diagnostic.location()));
        }
        true
    });
    let said = || messages.lock().map(|messages| messages.join("\n")).unwrap_or_default();
    let parse = || MlirError::Parse { kernel: kernel.into(), message: said() };
    let lower = |message: String| MlirError::Lower { kernel: kernel.into(), message };
    let mut module = Module::parse(&context, text).ok_or_else(parse)?;
    let manager = PassManager::new(&context);
    parse_pass_pipeline(manager.as_operation_pass_manager(), PIPELINE).map_err(|e| lower(e.to_string()))?;
    manager.run(&mut module).map_err(|_| lower(said()))?;
    Ok(module.as_operation().to_string())
}

#[cfg(test)]
mod tests {
    use super::lower_in_process;
    use crate::ascend::tests::kernels;
    use crate::ascend::{Spelling, lower_kernel};
    use crate::target::AscendTarget;

    #[test]
    fn upstreams_spelling_lowers_in_process() {
        for (name, kernel) in kernels() {
            let lowered = lower_kernel(&kernel, AscendTarget::A910b).unwrap().unwrap();
            let text = lowered.text(&kernel, "kernel", Spelling::Upstream);
            let llvm = lower_in_process("kernel", &text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            assert!(llvm.contains("llvm.func @kernel"), "{llvm}");
        }
    }

    #[test]
    fn malformed_text_is_refused_with_the_kernels_name_and_mlirs_message() {
        for (text, message) in [
            ("func.func @k0007(%a: f32 {", "expected"),
            ("func.func @k0007() -> f32 { return }", "operand"),
            ("func.func @k0007(%a: f32, %b: i32) -> f32 { %s = arith.addf %a, %b : f32 return %s : f32 }", "type"),
            ("func.func @k0007() { \"linalg.nothing\"() : () -> () return }", "linalg.nothing"),
        ] {
            let error = lower_in_process("k0007", text).unwrap_err().to_string();
            assert!(error.contains("kernel `k0007`") && error.contains(message), "{error}");
        }
    }
}
