//! Ascend kernels of the graphs in `ascend/*.ic` and `programs/*.ic`, run three ways against the graph's evaluator.
//!
//! The tree of each kernel always runs in its interpreter. Its text runs on this CPU where the tools are: the vendor's
//! spelling lowered by `bishengir-opt`, upstream's by `mlir-opt` of LLVM 22; and `bishengir-compile` takes each kernel as
//! far as it goes without CANN. `ascend/run.sh` fetches the tools and runs everything.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "ascend/machine.rs"]
mod machine;
#[path = "ascend/tools.rs"]
mod tools;

use ic_codegen::AscendTarget;
use ic_codegen::ascend::{AscendKernel, Spelling, eval_kernel};
use ic_ir::kernel::Kernel;
use ic_types::{DType, Tensor};
use machine::{cases, check, programs};
use tools::{Tools, Verdict};

const FILES: &[&str] = &["pointwise", "rows", "movement", "contraction", "models"];

#[test]
fn the_trees_compute_what_the_graphs_do() {
    for case in FILES.iter().flat_map(|file| cases(file)).chain(programs()) {
        for target in AscendTarget::ALL {
            if *target == AscendTarget::A310p && case.needs_f32_contractions {
                continue;
            }
            check(&case, *target, &mut |kernel, _, params| eval_kernel(kernel, params).unwrap());
        }
    }
}

#[test]
fn the_vendors_spelling_computes_what_the_graphs_do() {
    let Some(tools) = Tools::find() else { return };
    run_text(&tools, Spelling::Vendor);
}

#[test]
fn upstreams_spelling_computes_what_the_graphs_do() {
    let Some(tools) = Tools::find() else { return };
    run_text(&tools, Spelling::Upstream);
}

fn run_text(tools: &Tools, spelling: Spelling) {
    for case in FILES.iter().flat_map(|file| cases(file)) {
        let mut number = 0;
        check(&case, AscendTarget::A910b, &mut |kernel, source, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            tools.run(&name, kernel, source, spelling, params);
        });
    }
}

#[test]
fn the_vendors_compiler_takes_every_kernel() {
    let Some(tools) = Tools::find() else { return };
    let mut failures = Vec::new();
    for case in FILES.iter().flat_map(|file| cases(file)) {
        let mut number = 0;
        check(&case, AscendTarget::A910b, &mut |kernel, source, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            match tools.compile(&name, kernel, source, AscendTarget::A910b) {
                Verdict::Compiled(text) => failures.extend(what_is_missing(&name, kernel, &text)),
                Verdict::Refused(step, log) => failures.push(format!("{name}: {step}:\n{log}")),
            }
            eval_kernel(kernel, params).unwrap();
        });
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Upstream's spelling of every kernel, of the programs too, is taken by MLIR in this process.
#[cfg(feature = "mlir")]
#[test]
fn upstreams_spelling_is_lowered_in_process() {
    for case in FILES.iter().flat_map(|file| cases(file)).chain(programs()) {
        let mut number = 0;
        check(&case, AscendTarget::A910b, &mut |kernel, source, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            let text = kernel.text(source, &name, Spelling::Upstream);
            let lowered = ic_codegen::ascend::lower_in_process(&name, &text);
            let lowered = lowered.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(lowered.contains(&format!("llvm.func @{name}")), "{lowered}");
            // Verification sees what is not well-formed, and says where.
            let broken = text.replacen("-> tensor<", "-> tensor<3x", 1).replacen("memref<?x", "memref<?x?x", 1);
            let error = ic_codegen::ascend::lower_in_process(&name, &broken).unwrap_err();
            assert!(error.to_string().contains(&name), "{error}");
            eval_kernel(kernel, params).unwrap();
        });
    }
}

/// What a contraction must have become: operands in the cube unit's layout, products there, results moved out.
fn what_is_missing(name: &str, kernel: &AscendKernel, text: &str) -> Vec<String> {
    let AscendKernel::Cube(cube) = kernel else { return Vec::new() };
    let calls = ["@nd2nz_", "@mma_tile_", "@fixpipe_"];
    let mut missing: Vec<String> =
        calls.iter().filter(|call| !text.contains(*call)).map(|call| format!("{name}: no {call}")).collect();
    if cube.is_mixed() && !text.contains("_mix_aiv(") {
        missing.push(format!("{name}: no vector part"));
    }
    missing
}

/// What cannot be compiled is refused by name.
#[test]
fn what_has_no_kernel_is_refused() {
    let refused = |dtype: DType, target: AscendTarget| {
        let param = |is_output| ic_ir::kernel::Param { dtype, shape: vec![4.into()], is_output };
        let kernel = Kernel { params: vec![param(false), param(true)], outer: vec![], stages: vec![] };
        ic_codegen::ascend::lower_kernel(&kernel, target).err()
    };
    assert_eq!(refused(DType::F64, AscendTarget::A910b).as_deref(), Some("element type f64"));
    assert_eq!(refused(DType::BF16, AscendTarget::A910b), None);
    assert_eq!(refused(DType::BF16, AscendTarget::A310p).as_deref(), Some("element type bf16"));
}

/// The elements of a kernel's parameters.
type Params<'a> = &'a mut [Tensor];
